"""Transactions that write a batch of an output's partition once: its records, and a note that they are written.

- The note is an offset of a consumer group of its own, which names output and partition. Whoever finds it, of an
  attempt before or of a driver before, writes nothing.
- The group's committed offset is the batch time, and its metadata are the batches that are written; below the oldest
  that isn't done all are.
- Before it looks for the note a producer makes itself the only one of its transactional id: an older one that still
  runs can't commit any more. So note and records are right whichever wins.
- With the offsets of a source a whole batch is one transaction, which moves the source's group on as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from headwater.errors import SparkException
from headwater.streaming.kafka.offsets import OffsetRange
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.kafka.writing import Writer, ignore

logger = logging.getLogger("headwater.streaming.kafka")

# An offset may have this many bytes of metadata, by the brokers' default.
NOTE_CHARACTERS_MAX = 4000
ANSWER_SECONDS_MAX = 30.0


# ------------------------------------------------------------------------------------------------ notes
class TransactionNote(NamedTuple):
    """Which batches of an output's partition are written: those up to `floor_ms`, and `written`, ascending.

    `partitions`: how many the last of them had.
    """

    partitions: int
    floor_ms: int
    written: tuple[int, ...]

    def has(self, time_ms: int) -> bool:
        """Whether a batch is written."""
        return time_ms <= self.floor_ms or time_ms in self.written

    def after(self, batch: PartitionBatch) -> TransactionNote:
        """The note once a batch is written, too."""
        floor_ms = max(self.floor_ms, batch.floor_ms)
        written = sorted({batch.time_ms, *(time_ms for time_ms in self.written if time_ms > floor_ms)})
        return TransactionNote(batch.partitions, floor_ms, tuple(written))

    def text(self) -> str:
        """As it stands in the metadata of an offset: numbers of base 16, batches as what they lie above the floor."""
        return ";".join(
            [
                f"{self.partitions:x}",
                f"{self.floor_ms:x}",
                *(f"{time_ms - self.floor_ms:x}" for time_ms in self.written),
            ]
        )

    @classmethod
    def of_text(cls, text: str) -> TransactionNote:
        """What `text` has written.

        Raises:
            ValueError: it is something else.
        """
        partitions, floor_ms, *written = (int(number, 16) for number in text.split(";"))
        return cls(partitions, floor_ms, tuple(floor_ms + above_ms for above_ms in written))


NOTHING_WRITTEN = TransactionNote(0, -1, ())


class PartitionBatch(NamedTuple):
    """What a task must know of the batch that it writes.

    `floor_ms`: no batch up to then will be written again. `ranges`: of the source whose offsets are committed along.
    """

    time_ms: int
    floor_ms: int
    partitions: int
    ranges: tuple[OffsetRange, ...] = ()


# ------------------------------------------------------------------------------------------------ producers
class FencedError(SparkException):
    """Another producer has made itself the only one of a transactional id."""


class TransactionalWriter(Writer):
    """A producer whose transactions carry notes; it makes itself the only one of its id, and then reads the note.

    Args:
        params: of the brokers.
        name: of the output's partition: transactional id, and group of the note.
        topic: the note stands under its first partition.
        source: group whose offsets are committed along; empty: none.

    Raises:
        SparkException: the brokers don't answer, or the group is another's.
    """

    def __init__(self, params: KafkaParams, name: str, topic: str, source: str) -> None:
        from confluent_kafka import Consumer, TopicPartition

        super().__init__(params, {"transactional.id": name})
        self._name = name
        self._topic = topic
        reading = {"enable.auto.commit": False, "isolation.level": "read_committed", "error_cb": ignore}
        self._notes = Consumer(params.client({**reading, "group.id": name}))
        self._source = Consumer(params.client({**reading, "group.id": source})) if source else None
        try:
            _tried(lambda: self._producer.init_transactions(ANSWER_SECONDS_MAX), f"{name}: begin")
            asked = [TopicPartition(topic, 0)]
            (found,) = _tried(
                lambda: self._notes.committed(asked, timeout=ANSWER_SECONDS_MAX), f"{name}: read its note"
            )
            self.note = self._read(found)
        except BaseException:
            self.close()
            raise

    def begin_unless_written(self, batch: PartitionBatch) -> bool:
        """Begin the transaction of a batch, with its note in it; False, and none is begun, if it is written already.

        Raises:
            FencedError: another producer has made itself the only one since; nothing has happened then.
            SparkException: the brokers don't answer, the batch had another number of partitions before, or the
                source's group is elsewhere than the batch begins.
        """
        from confluent_kafka import KafkaException, TopicPartition

        if self._is_written(batch):
            self._check_same_partitions(batch)
            return False
        text = self.note.after(batch).text()
        if len(text) > NOTE_CHARACTERS_MAX:
            raise SparkException(
                f"saveToKafka, {self._name}: so many batches have failed that a note of those that are written has no "
                "room any more. Restart the driver, which runs them again."
            )
        ends = [TopicPartition(each.topic, each.partition, each.untilOffset) for each in batch.ranges if each.count()]
        try:
            self._producer.begin_transaction()
            self._send_offsets([TopicPartition(self._topic, 0, batch.time_ms, metadata=text)], self._notes)
            if ends and self._source is not None:
                self._send_offsets(ends, self._source)
        except KafkaException as error:
            if error.args[0].fatal():
                raise FencedError(f"{self._name}: {error.args[0].str()}") from error
            raise SparkException(f"saveToKafka, {self._name}: {error.args[0].str()}") from error
        return True

    def commit(self, batch: PartitionBatch) -> None:
        """Commit the transaction.

        Raises:
            SparkException: it can't be; the next attempt finds out what has become of it.
        """
        _tried(lambda: self._producer.commit_transaction(ANSWER_SECONDS_MAX), f"{self._name}: commit")
        self._check()
        self.note = self.note.after(batch)

    def abort(self) -> None:
        """Undo the transaction, as far as the brokers can be reached; the next producer does it otherwise."""
        from confluent_kafka import KafkaException

        try:
            self._producer.abort_transaction(ANSWER_SECONDS_MAX)
        except KafkaException as error:
            logger.warning("%s: a transaction could not be aborted: %s", self._name, error.args[0].str())

    def close(self) -> None:
        super().close()
        self._notes.close()
        if self._source is not None:
            self._source.close()

    def _is_written(self, batch: PartitionBatch) -> bool:
        """Whether the note has the batch; one that has read something of a source is known by where that stands."""
        wanted = [each for each in batch.ranges if each.count()]
        return self._has_read(wanted) if wanted else self.note.has(batch.time_ms)

    def _has_read(self, wanted: Sequence[OffsetRange]) -> bool:
        """Whether the source's group has got past these ranges."""
        from confluent_kafka import TopicPartition

        source = self._source
        assert source is not None
        asked = [TopicPartition(each.topic, each.partition) for each in wanted]
        found = _tried(lambda: source.committed(asked, timeout=ANSWER_SECONDS_MAX), f"{self._name}: read offsets")
        offsets = {each: at.offset for each, at in zip(wanted, found)}
        if all(at >= each.untilOffset for each, at in offsets.items()):
            return True
        wrong = [f"{each}, committed {at}" for each, at in offsets.items() if at >= 0 and at != each.fromOffset]
        if wrong:
            raise SparkException(
                f"saveToKafka, {self._name}: the source's group doesn't stand where the batch begins: "
                f"{'; '.join(wrong)}. A batch before it was not written, or another program uses the group. Restart "
                "the driver: it goes on where the group stands."
            )
        return False

    def _check_same_partitions(self, batch: PartitionBatch) -> None:
        note = self.note
        if note.written and note.written[-1] == batch.time_ms and note.partitions != batch.partitions:
            raise SparkException(
                f"saveToKafka, {self._name}: an earlier run has written the batch of {batch.time_ms} ms in "
                f"{note.partitions} partitions, now it has {batch.partitions}, so which of its records are written is "
                "not known. Run it with as many partitions as before."
            )

    def _send_offsets(self, offsets: list[Any], group: Any) -> None:
        self._producer.send_offsets_to_transaction(offsets, group.consumer_group_metadata(), ANSWER_SECONDS_MAX)

    def _read(self, found: Any) -> TransactionNote:
        if found.error is not None:
            raise SparkException(f"saveToKafka, {self._name}: its note can't be read: {found.error.str()}")
        if found.offset < 0:
            return NOTHING_WRITTEN
        try:
            return TransactionNote.of_text(found.metadata or "")
        except ValueError:
            raise SparkException(
                f"saveToKafka: the consumer group {self._name!r} is used by something else: its offset has the "
                f"metadata {found.metadata!r}. Give the output another name."
            ) from None


def _tried(call: Callable[[], Any], what: str) -> Any:
    """What a call gives, made again once if the brokers say that this may help.

    Raises:
        SparkException: it failed.
    """
    from confluent_kafka import KafkaException

    try:
        try:
            return call()
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            return call()
    except KafkaException as error:
        raise SparkException(f"saveToKafka, {what}: {error.args[0].str()}") from error
