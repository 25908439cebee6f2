"""What is sent to Kafka, and the producers that send it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming.kafka.params import KafkaParams

logger = logging.getLogger("headwater.streaming.kafka")

Encoder = Callable[[Any], "str | bytes | None"]

# Where programs don't say otherwise: no record twice when a broker's answer is lost, none out of order.
_PRODUCING = {"enable.idempotence": True, "linger.ms": 5}
_ROOM_SECONDS = 0.1


# ------------------------------------------------------------------------------------------------ records
class ProducerRecord(NamedTuple):
    """A record that says more than its value, for `saveToKafka`.

    Args:
        topic: where it goes; None: to the output's topic.
        value: encoded by the output's encoder.
        key: likewise.
        partition: -1: by the key.
        headers: (name, bytes) pairs.
        timestamp: milliseconds since the epoch; 0: now.
    """

    topic: str | None
    value: Any
    key: Any = None
    partition: int = -1
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = 0


@dataclass(frozen=True)
class Encoding:
    """Makes `ProducerRecord`s of bytes of a stream's records: of pairs key and value, of others the value."""

    topic: str | None
    key: Encoder | None
    value: Encoder | None

    def __call__(self, record: Any) -> ProducerRecord:
        if isinstance(record, ProducerRecord):
            whole = record
        elif type(record) is tuple and len(record) == 2:
            whole = ProducerRecord(None, record[1], record[0])
        else:
            whole = ProducerRecord(None, record)
        topic = whole.topic or self.topic
        if topic is None:
            raise IllegalArgumentException("saveToKafka: a record names no topic, and neither does the output")
        value, key = _encoded(self.value, whole.value, "value"), _encoded(self.key, whole.key, "key")
        return whole._replace(topic=topic, value=value, key=key)


def _encoded(encoder: Encoder | None, data: Any, what: str) -> bytes | None:
    found = data if encoder is None or data is None else encoder(data)
    if found is None or isinstance(found, bytes):
        return found
    if isinstance(found, str):
        return found.encode()
    raise TypeError(
        f"saveToKafka: the {what} {found!r} is neither str nor bytes but {type(found).__name__}. Give a {what}Encoder, "
        "such as str or json.dumps."
    )


# ------------------------------------------------------------------------------------------------ producers
class Writer:
    """A producer that one task at a time writes with.

    Args:
        params: of the brokers.
        own: further settings, which count.
    """

    def __init__(self, params: KafkaParams, own: Mapping[str, Any] | None = None) -> None:
        from confluent_kafka import Producer

        self._undelivered = ""  # why a record of this task could not be delivered, the first one
        reports = {"delivery.report.only.error": True, "on_delivery": self._not_delivered, "error_cb": ignore}
        self._producer: Any = Producer(params.client({**(own or {}), **reports}, _PRODUCING))

    def write(self, records: Iterable[ProducerRecord]) -> None:
        """Hand records over; they are delivered by the end of `flush`.

        Raises:
            SparkException: one can't be delivered.
        """
        produce = self._producer.produce
        for topic, value, key, partition, headers, timestamp in records:
            while True:
                try:
                    produce(topic, value, key, partition, timestamp=timestamp, headers=list(headers) or None)
                    break
                except BufferError:
                    self._producer.poll(_ROOM_SECONDS)
        self._producer.poll(0)
        self._check()

    def flush(self) -> None:
        """Wait until all records are delivered.

        Raises:
            SparkException: one can't be.
        """
        left = self._producer.flush()
        self._check()
        if left:
            raise SparkException(f"saveToKafka: {left} records were not delivered")

    def close(self) -> None:
        """Give up what is not delivered."""
        from confluent_kafka import KafkaException

        try:
            self._producer.purge()
            self._producer.flush(0)
        except KafkaException as error:  # one that is fenced has nothing left to give up
            ignore(error)

    def _check(self) -> None:
        if self._undelivered:
            raise SparkException(f"saveToKafka: a record could not be delivered: {self._undelivered}")

    def _not_delivered(self, error: Any, message: Any) -> None:
        self._undelivered = self._undelivered or f"{message.topic()}-{message.partition()}: {error.str()}"


def ignore(error: Any) -> None:
    """What goes wrong shows in the calls."""
    logger.debug("Kafka: %s", error)
