"""The direct stream: each batch is a range of offsets of each partition, fixed when the batch is generated.

- Ranges follow on each other without gaps; they stand in the ledger, so a batch that runs again reads the same records.
- Brokers that don't answer make a batch empty, not failed: what they hold comes with later batches.
- A partition that appears while the stream runs is read from its beginning.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.engine.members import is_on
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming.dstream import DStream
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.kafka import offsets
from headwater.streaming.kafka.brokers import Brokers, BrokerWatch
from headwater.streaming.kafka.kept import close_all
from headwater.streaming.kafka.offsets import OffsetRange, Positions, ReadLimits, TopicAndPartition
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.kafka.reading import (
    FetchSettings,
    KafkaRDD,
    KafkaRead,
    KafkaSplit,
    PinnedKafkaRead,
)
from headwater.streaming.kafka.records import Build
from headwater.streaming.kafka.strategies import ConsumerStrategy, LocationStrategy, PerPartitionConfig
from headwater.streaming.listener import StreamInputInfo

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.rdd.driver import Driver
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.recovery.matching import Source

logger = logging.getLogger("headwater.streaming.kafka")

CommitCallback = Callable[[Positions, "Exception | None"], Any]

# A batch waits this long for the brokers to say where partitions end, or for its interval if that is longer.
WAIT_MS_MIN = 500
# So many batches that aren't done keep offsets from being committed; with more, none are committed any more.
OUTSTANDING_MAX = 1000
# What in a checkpoint says that the stream has begun; other names there are those of partitions.
_BEGUN = "begun"


class DirectSettings(NamedTuple):
    """What a direct stream reads, and how.

    `min_partitions`: into how many pieces a batch is cut at least; 0: a partition each.
    """

    params: KafkaParams
    strategy: ConsumerStrategy
    locations: LocationStrategy
    rates: PerPartitionConfig
    build: Build
    min_partitions: int


def read_settings(conf: SparkConf) -> FetchSettings:
    """How tasks read, as the settings say."""
    keeps: bool = conf.read("spark.streaming.kafka.consumer.cache.enabled")
    return FetchSettings(
        conf.read("spark.streaming.kafka.consumer.poll.ms"),
        conf.read("headwater.streaming.kafka.offsetsExpired") == "earliest",
        conf.read("spark.streaming.kafka.consumer.cache.maxCapacity") if keeps else 0,
    )


class KafkaInput(InputNode):
    """The node of a direct stream.

    Args:
        stream_id: from 0, in the order of definition.
        batch_ms: the batch interval.
        sc: makes RDDs.
        settings: what to read.
    """

    is_stored = True  # in Kafka
    not_kept = InputNode.not_kept | {
        "_watch",
        "_ranges",
        "_positions",
        "_known",
        "_told",
        "_begins_ms",
        "_rate",
        "_commits",
        "_outstanding",
        "_done",
        "_committed",
    }

    def __init__(self, stream_id: int, batch_ms: int, *, sc: Driver, settings: DirectSettings) -> None:
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._settings = settings

    def _reset(self) -> None:
        super()._reset()
        self._watch: BrokerWatch | None = None  # from begin to stop
        self._ranges: dict[int, tuple[OffsetRange, ...]] = {}  # batch time -> what it reads, as long as remembered
        self._positions: dict[TopicAndPartition, int] = {}  # the next offset of each partition, in the order of ranges
        self._known = False  # whether the ledger knows that the stream has begun
        self._told: dict[TopicAndPartition, int] = {}  # positions that the ledger has
        self._begins_ms = 0  # batches before this are restored, or have brought nothing
        self._rate: float | None = None  # of back-pressure, records a second
        self._commits: deque[tuple[Positions, CommitCallback | None]] = deque()  # asked for and not yet passed on
        self._outstanding: dict[int, Positions] = {}  # where batches begin that aren't done, if we commit; ascending
        self._done: dict[TopicAndPartition, int] = {}  # the largest end of a batch that is done
        self._committed: dict[TopicAndPartition, int] = {}  # what was passed on of that

    # -------------------------------------------------------------------------------------------- recovery
    def source(self) -> Source:
        return ("Kafka direct stream of", str(self._settings.strategy))

    def batch_data(self, time_ms: int) -> Any:
        return [
            [each.topic, each.partition, each.fromOffset, each.untilOffset] for each in self._ranges.get(time_ms, ())
        ]

    def memory(self) -> Mapping[str, Any]:
        changed = {each: at for each, at in self._positions.items() if self._told.get(each) != at}
        gone = self._told.keys() - self._positions.keys()
        self._told = dict(self._positions)
        begun, self._known = {} if self._known else {_BEGUN: True}, True
        return begun | {_name(each): at for each, at in changed.items()} | {_name(each): None for each in gone}

    def restore(self, first_ms: int, after_ms: int, memory: Mapping[str, Any], batches: Mapping[int, Any]) -> None:
        self._begins_ms = first_ms
        self._told = {_named(name): at for name, at in memory.items() if name != _BEGUN}
        # New code may read other topics.
        self._positions = {each: at for each, at in self._told.items() if self._settings.strategy.selects(each)}
        self._known = _BEGUN in memory
        for time_ms, data in batches.items():
            self._ranges[time_ms] = tuple(OffsetRange(*fields) for fields in data)

    # -------------------------------------------------------------------------------------------- its life
    def begin(self) -> None:
        conf, settings = self._sc.conf, self._settings
        self._watch = BrokerWatch(
            settings.params,
            settings.strategy,
            renew_ms=conf.read("headwater.streaming.kafka.metadataInterval"),
            wait_ms=max(self.slide_ms, WAIT_MS_MIN),
            name=self.describe(),
            leaders=settings.locations.brokers,
        )
        try:
            begun = self._watch.begin(self._first_positions, conf.read("headwater.streaming.kafka.startTimeout"))
        except BaseException:
            self._watch.close()
            self._watch = None
            raise
        self._positions.update(begun)
        if not self._positions:
            text = "%s: there is no such topic yet; it is read from its beginning once it's there"
            logger.warning(text, self.describe())

    def _first_positions(self, brokers: Brokers, partitions: Sequence[TopicAndPartition]) -> Positions:
        """Where to begin with the partitions that a checkpoint doesn't know."""
        new = [each for each in partitions if each not in self._positions]
        if self._known or not new:
            return brokers.earliest(new) if new else {}
        settings = self._settings
        found = {each: settings.strategy.offsets[each] for each in new if each in settings.strategy.offsets}
        rest = [each for each in new if each not in found]
        if settings.params.group and rest:
            found.update(brokers.committed(rest))
            rest = [each for each in rest if each not in found]
        if rest and settings.params.reset == "none":
            raise SparkException(
                f"{self.describe()}: the group {settings.params.group!r} has no offsets for "
                f"{', '.join(map(str, rest))}, and auto.offset.reset is none. Set it to earliest or latest, or give "
                "the offsets to begin with."
            )
        if rest:
            found.update(brokers.earliest(rest) if settings.params.reset == "earliest" else brokers.latest(rest))
        return {each: found[each] for each in new}

    def stop(self) -> None:
        if self._watch is not None:
            while self._commits:
                self._pass_on(*self._commits.popleft())
            self._watch.close()
            self._watch = None
        close_all()

    def describe(self) -> str:
        return f"Kafka direct stream {self.stream_id} of {self._settings.strategy}"

    # -------------------------------------------------------------------------------------------- batches
    def compute(self, time_ms: int) -> Any:
        if time_ms not in self._ranges:
            if time_ms < self._begins_ms:
                return self._sc.emptyRDD()
            self._ranges[time_ms] = self._next_ranges()
        ranges: Sequence[OffsetRange] = self._ranges[time_ms]
        if self._settings.params.commits and len(self._outstanding) <= OUTSTANDING_MAX:
            self._outstanding[time_ms] = {each.topicPartition(): each.fromOffset for each in ranges}
        pinned = not self._settings.min_partitions
        if not pinned:
            ranges = offsets.split(ranges, self._settings.min_partitions)
        kind = PinnedKafkaRead if pinned else KafkaRead
        operator = kind(self._settings.params, self._settings.build, read_settings(self._sc.conf))
        return KafkaRDD.of_splits(self._sc, operator, [KafkaSplit(each, self._executors(each)) for each in ranges])

    def _next_ranges(self) -> tuple[OffsetRange, ...]:
        assert self._watch is not None
        look = self._watch.latest()
        positions = self._positions
        appeared = [each for each in look.partitions if each not in positions]
        if appeared:
            logger.info("%s: new partitions: %s", self.describe(), ", ".join(map(str, appeared)))
            positions.update((each, look.earliest[each]) for each in appeared)
        self._check_not_behind(look.latest)
        rates = self._settings.rates
        limits = ReadLimits(self.slide_ms, rates.maxRatePerPartition, rates.minRatePerPartition, self._rate)
        ranges = offsets.next_ranges(positions, look.latest, limits)
        positions.update((each.topicPartition(), each.untilOffset) for each in ranges)
        return tuple(ranges)

    def drain(self) -> int:
        if self._watch is None:
            return 0
        latest = self._watch.latest().latest
        return int(any(end > self._positions.get(each, 0) for each, end in latest.items()))

    def _check_not_behind(self, latest: Positions) -> None:
        """A partition that ends before where we are was made anew, or has lost records.

        Raises:
            SparkException: that is an error.
        """
        behind = [each for each, end in latest.items() if end < self._positions[each]]
        if not behind:
            return
        text = ", ".join(f"{each} ends at {latest[each]}, and was read to {self._positions[each]}" for each in behind)
        if self._sc.conf.read("headwater.streaming.kafka.offsetsExpired") != "earliest":
            raise SparkException(
                f"{self.describe()}: {text}: a topic was made anew, or its brokers have lost records. To go on with "
                "the oldest records that are there, set headwater.streaming.kafka.offsetsExpired=earliest."
            )
        assert self._watch is not None
        logger.warning("%s: %s. It goes on with the oldest records that are there.", self.describe(), text)
        self._positions.update(self._watch.ask(lambda brokers: brokers.earliest(behind)))

    def _executors(self, wanted: OffsetRange) -> tuple[str, ...]:
        """The executors that should read a range."""
        locations = self._settings.locations
        if not locations.brokers and not locations.hosts:
            return ()
        assert self._watch is not None
        hosts = self._watch.known.leaders if locations.brokers else locations.hosts
        host = hosts.get(wanted.topicPartition())
        there = self._sc.application.hosts()
        return tuple(executor for executor, its in there.items() if host is not None and is_on(its, host))

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        ranges = self._ranges.get(time_ms)
        if ranges is None:
            return None
        metadata = {"offsets": list(ranges), "Description": offsets.description(ranges)}
        return StreamInputInfo(self.stream_id, sum(each.count() for each in ranges), metadata)

    def forget(self, done_ms: int, *, unpersist: bool) -> None:
        super().forget(done_ms, unpersist=unpersist)
        for time_ms in [time_ms for time_ms in self._ranges if time_ms <= self.unneeded_ms(done_ms)]:
            del self._ranges[time_ms]

    def limit(self, records_per_second: float) -> None:
        self._rate = records_per_second

    # -------------------------------------------------------------------------------------------- commits
    @property
    def group(self) -> str:
        """The group that offsets are committed for; empty if there is none."""
        return self._settings.params.group

    def ranges(self, time_ms: int) -> tuple[OffsetRange, ...]:
        """What a batch reads, as long as it is remembered."""
        return self._ranges.get(time_ms, ())

    def commit(self, positions: Positions, callback: CommitCallback | None) -> None:
        """Commit these once the outputs of a batch are done. Called from any thread."""
        self._commits.append((positions, callback))

    def completed(self, time_ms: int) -> None:
        if self._outstanding.pop(time_ms, None) is not None:
            for each in self._ranges.get(time_ms, ()):
                partition = each.topicPartition()
                self._done[partition] = max(each.untilOffset, self._done.get(partition, 0))
            self._commit_done()
        while self._commits:
            self._pass_on(*self._commits.popleft())

    def _commit_done(self) -> None:
        """Commit up to where all batches are done: an earlier one may still run, or have failed."""
        if len(self._outstanding) > OUTSTANDING_MAX:
            return
        first = next(iter(self._outstanding.values()), {})
        ends = {each: min(at, first.get(each, at)) for each, at in self._done.items()}
        changed = {each: at for each, at in ends.items() if self._committed.get(each) != at}
        if changed:
            self._committed.update(changed)
            self._pass_on(changed, None)

    def _pass_on(self, positions: Positions, callback: CommitCallback | None) -> None:
        if self._watch is not None:
            self._watch.commit(positions, callback)


class KafkaDStream(DStream[Any]):
    """A direct stream. The RDDs that its first transform or foreachRDD is given are `KafkaRDD`s."""

    _node: KafkaInput

    @property
    def node(self) -> KafkaInput:
        """Its node of the stream graph."""
        return self._node

    def commitAsync(self, offsetRanges: Iterable[OffsetRange], callback: CommitCallback | None = None) -> None:
        """Commit the ends of these ranges for the consumer group, once all outputs of a running batch are done.

        Commits are sent at the end of a batch, and at the latest when the context stops. A program that starts without
        a checkpoint goes on from them: at least once, since a driver may die after an output and before the commit.

        Args:
            offsetRanges: of `rdd.offsetRanges()`; of several ranges of a partition the last end counts.
            callback: `callback(offsets by partition, error or None)`; called on a thread of the stream.

        Raises:
            IllegalArgumentException: the stream has no `group.id`.
        """
        if not self._node.group:
            raise IllegalArgumentException("commitAsync: kafkaParams need a group.id to commit offsets under")
        ends: dict[TopicAndPartition, int] = {}
        for each in offsetRanges:
            partition = each.topicPartition()
            ends[partition] = max(each.untilOffset, ends.get(partition, 0))
        self._node.commit(ends, callback)


def direct_stream(ssc: StreamingContext, settings: DirectSettings) -> KafkaDStream:
    """A new direct stream of a context."""
    sc, batch_ms = ssc.sparkContext, ssc.batch_ms
    node = ssc.add_input(lambda stream_id: KafkaInput(stream_id, batch_ms, sc=sc, settings=settings))
    return KafkaDStream(node, ssc)


def _name(partition: TopicAndPartition) -> str:
    return f"{partition.topic}:{partition.partition}"


def _named(name: str) -> TopicAndPartition:
    topic, _, partition = name.rpartition(":")
    return TopicAndPartition(topic, int(partition))
