"""Where a stream stands in its topics: partitions, ranges of offsets, and how far a batch may read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


@dataclass(frozen=True, slots=True, order=True)
class TopicAndPartition:
    """A partition of a topic.

    >>> TopicAndPartition("clicks", 0) in {TopicAndPartition("clicks", 0): 17}
    True
    """

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


#: The name that Kafka's own client has for it.
TopicPartition = TopicAndPartition


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker's address; 0-8 programs name the leaders of partitions by it."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The records of a partition from `fromOffset` up to, but without, `untilOffset`.

    >>> OffsetRange("clicks", 0, 100, 250).count()
    150
    """

    topic: str
    partition: int
    fromOffset: int
    untilOffset: int

    @staticmethod
    def create(topic: str, partition: int, fromOffset: int, untilOffset: int) -> OffsetRange:
        """The range of these offsets: Java's way to make one."""
        return OffsetRange(topic, partition, fromOffset, untilOffset)

    def topicPartition(self) -> TopicAndPartition:
        """Its partition."""
        return TopicAndPartition(self.topic, self.partition)

    def topicAndPartition(self) -> TopicAndPartition:
        """Its partition: the 0-8 name."""
        return self.topicPartition()

    def count(self) -> int:
        """How many offsets it has: at most this many records, for compacted and transactional topics have gaps."""
        return self.untilOffset - self.fromOffset

    def __str__(self) -> str:
        return (
            f"OffsetRange(topic: '{self.topic}', partition: {self.partition}, "
            f"range: [{self.fromOffset} -> {self.untilOffset}])"
        )


# Partition -> the next offset to read.
Positions = Mapping[TopicAndPartition, int]


class ReadLimits(NamedTuple):
    """How fast a batch may read. Rates in records a second, 0 for no limit.

    `rate` is the whole stream's, found by back-pressure; `most` and `least` are each partition's.
    """

    batch_ms: int
    most: Callable[[TopicAndPartition], float]
    least: Callable[[TopicAndPartition], float]
    rate: float | None = None


def next_ranges(positions: Positions, latest: Positions, limits: ReadLimits) -> list[OffsetRange]:
    """What a batch reads of each partition, in the order of `positions`; nothing of one whose end isn't known.

    Back-pressure's rate is shared out by how much waits in each partition. One with anything waiting gets a record at
    least, however low its share: a slow partition must not starve behind a fast one.
    """
    waiting = {each: max(latest.get(each, at) - at, 0) for each, at in positions.items()}
    total, seconds = sum(waiting.values()), limits.batch_ms / 1000
    ranges = []
    for each, at in positions.items():
        per_second, lag = limits.most(each), waiting[each]
        if limits.rate is not None and total:
            share = max(lag / total * limits.rate, limits.least(each))
            per_second = min(share, per_second) if per_second > 0 else share
        count = lag if per_second <= 0 else min(lag, max(int(per_second * seconds), 1))
        ranges.append(OffsetRange(each.topic, each.partition, at, at + count))
    return ranges


def split(ranges: Sequence[OffsetRange], at_least: int) -> list[OffsetRange]:
    """The ranges cut into `at_least` pieces or a few more, as equal as can be; empty ones stay whole.

    >>> [str(piece.fromOffset) for piece in split([OffsetRange("t", 0, 0, 90), OffsetRange("t", 1, 5, 35)], 4)]
    ['0', '30', '60', '5']
    """
    total = sum(each.count() for each in ranges)
    if len(ranges) >= at_least or not total:
        return list(ranges)
    pieces = []
    for each in ranges:
        n = max(1, min(each.count(), round(each.count() / total * at_least)))
        cuts = [each.fromOffset + i * each.count() // n for i in range(n + 1)]
        pieces += [OffsetRange(each.topic, each.partition, a, b) for a, b in pairwise(cuts)]
    return pieces


def description(ranges: Iterable[OffsetRange]) -> str:
    """What listeners are told: a line for each range that isn't empty."""
    return "\n".join(
        f"topic: {each.topic}\tpartition: {each.partition}\toffsets: {each.fromOffset} to {each.untilOffset}"
        for each in ranges
        if each.count()
    )
