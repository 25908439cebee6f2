"""Reading ranges of offsets in tasks: exactly those records, whatever gaps compaction and transactions have left.

- A worker keeps a reader for each partition from batch to batch: it has fetched ahead when the next range comes. A
  reader is one task's at a time; a second task on the same partition gets another.
- A range ends with its last offset, or where the brokers say that nothing more comes before its end.
- What has expired before it was read is an error, or by a setting skipped and said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from headwater.engine.lineage import Leaf, Records, TaskView
from headwater.errors import IllegalStateException, SparkException
from headwater.rdd import RDD
from headwater.streaming.kafka.brokers import READING, native
from headwater.streaming.kafka.kept import Kept
from headwater.streaming.kafka.offsets import OffsetRange, TopicAndPartition
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.kafka.records import Build

if TYPE_CHECKING:
    from headwater.rdd.driver import Driver

logger = logging.getLogger("headwater.streaming.kafka")

# Messages asked for at once: as many as have about this many bytes.
_TAKEN_BYTES = 8 << 20
_TAKEN_FIRST, _TAKEN_MAX = 1000, 20_000
# How long a call waits for all the messages that it asked for: what there is by then may be all there'll be.
_STEP_SECONDS = 0.05
_ANSWER_SECONDS_MAX = 10.0


class FetchSettings(NamedTuple):
    """How tasks read.

    `skips_expired`: whether records that are gone are skipped rather than an error. `readers_max`: readers that a
    worker keeps, 0 for none.
    """

    poll_ms: int
    skips_expired: bool
    readers_max: int


class KafkaSplit(NamedTuple):
    """A partition's payload. `locations`: executors that should read it."""

    range: OffsetRange
    locations: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class KafkaRead(Leaf):
    """Reads ranges of offsets; the payload is a `KafkaSplit`."""

    params: KafkaParams
    build: Build
    settings: FetchSettings
    has_locations: ClassVar[bool] = True

    def read(self, task: TaskView, payload: KafkaSplit) -> Records:
        return read_range(self.params, self.build, self.settings, payload.range)


class PinnedKafkaRead(KafkaRead):
    """Has each of its partitions read by one worker, as long as that lives, which keeps its reader."""

    pinned: ClassVar[bool] = True


class KafkaRDD(RDD[Any]):
    """Records of ranges of offsets, a partition a range."""

    _ranges: tuple[OffsetRange, ...] | None = None

    @classmethod
    def of_splits(cls, sc: Driver, operator: KafkaRead, splits: Sequence[KafkaSplit]) -> KafkaRDD:
        """The RDD of these ranges, in their order."""
        rdd = cls(sc, operator, (), len(splits), payloads=splits)
        rdd._ranges = tuple(each.range for each in splits)
        return rdd

    def offsetRanges(self) -> list[OffsetRange]:
        """The ranges, by partition.

        Raises:
            IllegalStateException: this RDD was made from the one that has them.

        >>> def handle(rdd):
        ...     for each in rdd.offsetRanges():
        ...         print(each.topic, each.partition, each.fromOffset, each.untilOffset)
        """
        if self._ranges is None:
            raise IllegalStateException(
                "offsetRanges: this RDD was made from that of the Kafka stream, and has no ranges of its own. Call it "
                "in the first transform or foreachRDD of the stream that createDirectStream returned."
            )
        return list(self._ranges)


# ------------------------------------------------------------------------------------------------ in tasks
def read_range(params: KafkaParams, build: Build, settings: FetchSettings, wanted: OffsetRange) -> Iterator[Any]:
    """The records of a range.

    Raises:
        SparkException: some have expired and that is an error, or they didn't come in time.
    """
    if not wanted.count():
        return
    partition = wanted.topicPartition()
    key = (params.identity(), partition)
    reader = _readers.take(key, partial(PartitionReader, params, partition))
    try:
        for messages in reader.messages(wanted, settings):
            yield from build(messages)
    except GeneratorExit:
        _readers.give_back(key, reader, settings.readers_max)  # the rest is not wanted
        raise
    except BaseException:
        reader.close()
        raise
    _readers.give_back(key, reader, settings.readers_max)


class PartitionReader:
    """A consumer of one partition. One thread at a time uses it.

    Args:
        params: of the stream.
        partition: what it reads.
    """

    def __init__(self, params: KafkaParams, partition: TopicAndPartition) -> None:
        from confluent_kafka import Consumer

        self._partition = partition
        self._params = params
        self._consumer = Consumer(
            params.client(
                {
                    "group.id": f"headwater-{params.group}",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "error_cb": self._hear,
                },
                READING | _FETCHING,
            )
        )
        self._at = -1  # where the next range must begin for what was fetched ahead to be of use; -1: nowhere
        self._seen = -1  # all messages before this have come
        self._ahead: list[Any] = []  # messages that came, and belong to no range yet; ascending
        self._take = _TAKEN_FIRST
        self._trouble = ""

    def messages(self, wanted: OffsetRange, settings: FetchSettings) -> Iterator[list[Any]]:
        """The messages of a range, in lists.

        Raises:
            SparkException: see `read_range`.
        """
        start, until = wanted.fromOffset, wanted.untilOffset
        if start != self._at:
            self._seek(start)
        self._at = -1
        deadline = time.monotonic() + settings.poll_ms / 1000
        while True:
            taken = self._taken(until)
            if taken:
                yield taken
                deadline = time.monotonic() + settings.poll_ms / 1000
            if self._seen >= until:
                break
            if not self._fetch(until, settings) and time.monotonic() >= deadline:
                raise SparkException(
                    f"{wanted}: failed to get the records from {max(self._seen, start)} on after polling for "
                    f"{settings.poll_ms} ms{self._heard()}. Are the brokers at {self._params.brokers} there? The limit "
                    "is spark.streaming.kafka.consumer.poll.ms."
                )
        self._at = until

    def close(self) -> None:
        """Close its connections."""
        self._consumer.close()

    def _taken(self, until: int) -> list[Any]:
        """What came of the range, taken out of `_ahead`."""
        ahead = self._ahead
        if not ahead or ahead[-1].offset() < until:
            self._ahead = []
            return ahead
        end = next(i for i, message in enumerate(ahead) if message.offset() >= until)
        self._ahead = ahead[end:]
        return ahead[:end]

    def _fetch(self, until: int, settings: FetchSettings) -> bool:
        """Get what there is, up to about the end of the range; returns whether that was anything."""
        came = self._consumer.consume(min(self._take, max(until - self._seen, 1)), _STEP_SECONDS)
        messages = [message for message in came if message.error() is None]
        if messages:
            self._ahead += messages
            self._seen = (messages[-1].offset() or 0) + 1
            size = sum(map(_size, messages[:100])) // len(messages[:100]) + 1
            self._take = max(1, min(_TAKEN_MAX, _TAKEN_BYTES // size))
        progressed = bool(messages)
        for message in came:
            if message.error() is not None:
                progressed |= self._told(message, settings, until)
        return progressed

    def _told(self, message: Any, settings: FetchSettings, until: int) -> bool:
        """Something else than a message came; returns whether reading gets on by it."""
        from confluent_kafka import KafkaError

        error = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            # Between the last message and there nothing is left: compacted, or marks of transactions.
            self._seen = max(self._seen, message.offset())
            return False
        if error.code() in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):
            return self._skip_expired(settings, until)
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED):
            raise SparkException(f"{self._partition}: {error.str()}")
        self._trouble = error.str()
        return False

    def _skip_expired(self, settings: FetchSettings, until: int) -> bool:
        """The next offset isn't there: go on with the oldest that is; returns whether that is another one."""
        oldest, end = self._consumer.get_watermark_offsets(native(self._partition), _ANSWER_SECONDS_MAX)
        lost = f"{self._partition}: offset {self._seen} is out of range: the topic has {oldest} to {end}"
        if oldest <= self._seen < end:  # a topic was made anew just now: of the old one the broker has said that
            self._trouble = lost
            self._seek(self._seen)
            return False
        if oldest <= self._seen or not settings.skips_expired:
            raise SparkException(
                f"{lost}. Its records have expired or the topic was made anew, so what the stream was to read is lost. "
                "Give topics a longer retention; to go on with the oldest that are there, set "
                "headwater.streaming.kafka.offsetsExpired=earliest."
            )
        logger.warning("%s. %d records are skipped.", lost, min(oldest, until) - self._seen)
        self._seek(min(oldest, until))
        return True

    def _seek(self, offset: int) -> None:
        self._ahead = []
        self._seen = offset
        self._consumer.assign([native(self._partition, offset)])

    def _hear(self, error: Any) -> None:
        self._trouble = str(error.str())

    def _heard(self) -> str:
        return f" ({self._trouble})" if self._trouble else ""


# Unless the program says otherwise. A reader holds little, for a worker has many; and it fetches again as soon as there
# is room, not after a second.
_FETCHING: dict[str, Any] = {
    "queued.max.messages.kbytes": 16 << 10,
    "queued.min.messages": 100_000,
    "fetch.queue.backoff.ms": 5,
    "fetch.error.backoff.ms": 50,
}


_readers: Kept[PartitionReader] = Kept()


def _size(message: Any) -> int:
    return int(len(message.value() or b"") + len(message.key() or b""))
