"""Streams into Kafka, `DStream.saveToKafka`: at least once, or exactly once by transactions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.errors import IllegalArgumentException
from headwater.streaming.kafka.direct import KafkaInput
from headwater.streaming.kafka.kept import Kept
from headwater.streaming.kafka.offsets import OffsetRange
from headwater.streaming.kafka.params import KafkaParams
from headwater.streaming.kafka.transactions import FencedError, PartitionBatch, TransactionalWriter
from headwater.streaming.kafka.writing import Encoding, Writer
from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch

if TYPE_CHECKING:
    from headwater.rdd import RDD

NAME_CHARACTERS_MAX = 200
# Producers of all kinds that a worker keeps.
KEPT_MAX = 64


# ------------------------------------------------------------------------------------------------ in tasks
_writers: Kept[Writer] = Kept()


def write_partition(params: KafkaParams, encoding: Encoding, records: Iterator[Any]) -> None:
    """Write a partition, at least once."""
    key = ("plain", params.identity())
    writer = _writers.take(key, partial(Writer, params))
    try:
        writer.write(map(encoding, records))
        writer.flush()
    except BaseException:
        writer.close()
        raise
    _writers.give_back(key, writer, KEPT_MAX)


def write_once(
    params: KafkaParams,
    encoding: Encoding,
    output: str,
    source: str,
    batch: PartitionBatch,
    partition: int,
    records: Iterator[Any],
) -> Iterator[None]:
    """Write a partition exactly once; gives nothing.

    Raises:
        SparkException: it can't be written, or the batch had another number of partitions before.
    """
    name = f"{output}-{partition}"
    key = ("transactional", params.identity(), name, source)
    writer = _writers.take(key, partial(_transactional, params, name, encoding.topic or "", source))
    assert isinstance(writer, TransactionalWriter)
    try:
        if writer.begin_unless_written(batch):
            writer.write(map(encoding, records))
            writer.commit(batch)
    except FencedError:
        # Another worker has written this partition since. Nothing was read yet: be the only one again, and look again.
        writer.close()
        return write_once(params, encoding, output, source, batch, partition, records)
    except BaseException:
        writer.abort()
        writer.close()
        raise
    _writers.give_back(key, writer, KEPT_MAX)
    return iter(())


def _transactional(params: KafkaParams, name: str, topic: str, source: str) -> Writer:
    return TransactionalWriter(params, name, topic, source)


# ------------------------------------------------------------------------------------------------ in the driver
class KafkaOutput(BatchOutput):
    """The output of `DStream.saveToKafka`: writes each batch of a stream.

    Args:
        params: of the brokers.
        encoding: makes what is sent.
        name: of the output, if each batch is to be written exactly once; else empty.
        source: the input whose offsets are committed along.

    Raises:
        IllegalArgumentException: the name is too long, or exactly-once output lacks a topic or the source a group.
    """

    def __init__(self, params: KafkaParams, encoding: Encoding, name: str, source: KafkaInput | None) -> None:
        if len(name) > NAME_CHARACTERS_MAX:
            raise IllegalArgumentException(f"exactlyOnce: the name must have {NAME_CHARACTERS_MAX} characters at most")
        if name and not encoding.topic:
            raise IllegalArgumentException("exactlyOnce: give the output's topic: its notes stand under it")
        if source is not None and not name:
            raise IllegalArgumentException("offsetsOf: give the output a name as exactlyOnce, too")
        if source is not None and not source.group:
            raise IllegalArgumentException(
                "offsetsOf: the stream's kafkaParams need a group.id to commit offsets under"
            )
        self.unique_name = name
        self.must_checkpoint = bool(name) and source is None
        self._params = params
        self._encoding = encoding
        self._source = source

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        if not self.unique_name:
            rdd.foreachPartition(partial(write_partition, self._params, self._encoding))
            return
        source = ""
        ranges: tuple[OffsetRange, ...] = ()
        if self._source is not None:
            source, ranges = self._source.group, self._source.ranges(batch.time_ms)
            rdd = rdd.coalesce(1, shuffle=True)
        written = PartitionBatch(batch.time_ms, batch.oldest_pending_ms - 1, rdd.getNumPartitions(), ranges)
        task = partial(write_once, self._params, self._encoding, self.unique_name, source, written)
        rdd.mapPartitionsWithIndex(task).count()
