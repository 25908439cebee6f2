"""What a program gets of a Kafka message, and how its bytes are decoded."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from headwater.errors import IllegalArgumentException
from headwater.streaming.decoding import utf8_decoder
from headwater.streaming.kafka.offsets import TopicAndPartition

Decoder = Callable[[Any], Any]
#: Makes records of confluent-kafka's messages, in order; picklable.
Build = Callable[[Sequence[Any]], list[Any]]

_SERIALIZATION = "org.apache.kafka.common.serialization."
_TIMESTAMP_TYPES = ("NoTimestampType", "CreateTime", "LogAppendTime")  # by librdkafka's number


# ------------------------------------------------------------------------------------------------ bytes to values
def _bytes(data: bytes | None) -> bytes | None:
    return data


def _number(form: str) -> Decoder:
    packed = struct.Struct(form)

    def decode(data: bytes | None) -> Any:
        return None if data is None else packed.unpack(data)[0]

    return decode


# Kafka's deserializers that mean something in Python, by their Java names.
DESERIALIZERS: dict[str, Decoder] = {
    "ByteArrayDeserializer": _bytes,
    "BytesDeserializer": _bytes,
    "ByteBufferDeserializer": _bytes,
    "StringDeserializer": utf8_decoder,
    "ShortDeserializer": _number(">h"),
    "IntegerDeserializer": _number(">i"),
    "LongDeserializer": _number(">q"),
    "FloatDeserializer": _number(">f"),
    "DoubleDeserializer": _number(">d"),
}


def deserializer(wanted: Any, key: str) -> Decoder:
    """What decodes keys or values: a function of the program's own, or the one of a Java class's name.

    Args:
        wanted: a function of bytes or None, a name, or None for bytes as they are.
        key: of the setting, for the error.

    Raises:
        IllegalArgumentException: no deserializer has such a name.

    >>> deserializer("org.apache.kafka.common.serialization.LongDeserializer", "key.deserializer")(bytes(7) + b"*")
    42
    """
    if wanted is None:
        return _bytes
    if callable(wanted):
        return wanted  # type: ignore[no-any-return]
    name = str(wanted).removeprefix(_SERIALIZATION)
    if name not in DESERIALIZERS:
        raise IllegalArgumentException(
            f"{key}: there is no {wanted!r}. Give a function of bytes, or one of: {', '.join(DESERIALIZERS)}"
        )
    return DESERIALIZERS[name]


# ------------------------------------------------------------------------------------------------ records
class ConsumerRecord(NamedTuple):
    """A message as the 0-10 integration gives it. It can be pickled, so persisted and windowed.

    Args:
        topic: its topic.
        partition: its partition.
        offset: its place in the partition.
        timestamp: milliseconds since the epoch; -1 if it has none.
        timestampType: `CreateTime`, `LogAppendTime` or `NoTimestampType`.
        key: decoded by `key.deserializer`.
        value: decoded by `value.deserializer`.
        headers: (name, bytes or None) pairs, in order.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestampType: str
    key: Any
    value: Any
    headers: tuple[tuple[str, bytes | None], ...] = ()

    def topicPartition(self) -> TopicAndPartition:
        """Its partition."""
        return TopicAndPartition(self.topic, self.partition)


class KafkaMessageAndMetadata:
    """What a `messageHandler` is given. `key` and `message` are decoded when they are asked for.

    Args:
        topic: its topic.
        partition: its partition.
        offset: its place in the partition.
        key: its bytes, or None.
        message: its bytes, or None.
        keyDecoder: decodes the key.
        valueDecoder: decodes the message.
    """

    def __init__(
        self,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        message: bytes | None,
        keyDecoder: Decoder = utf8_decoder,
        valueDecoder: Decoder = utf8_decoder,
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.offset = offset
        self._raw_key = key
        self._raw_message = message
        self._key_decoder = keyDecoder
        self._value_decoder = valueDecoder

    @property
    def key(self) -> Any:
        """The key."""
        return self._key_decoder(self._raw_key)

    @property
    def message(self) -> Any:
        """The value."""
        return self._value_decoder(self._raw_message)

    def __repr__(self) -> str:
        return f"KafkaMessageAndMetadata(topic={self.topic!r}, partition={self.partition}, offset={self.offset})"


# ------------------------------------------------------------------------------------------------ messages to records
@dataclass(frozen=True)
class Pairs:
    """Builds (key, value) pairs: the records of the 0-8 API."""

    key: Decoder
    value: Decoder

    def __call__(self, messages: Sequence[Any]) -> list[Any]:
        key, value = self.key, self.value
        if key is utf8_decoder is value:  # the common case: without two calls a message
            return [
                (k if (k := m.key()) is None else k.decode(), v if (v := m.value()) is None else v.decode())
                for m in messages
            ]
        return [(key(message.key()), value(message.value())) for message in messages]


@dataclass(frozen=True)
class Handled:
    """Builds what a program's `messageHandler` returns."""

    handler: Callable[[KafkaMessageAndMetadata], Any]
    key: Decoder
    value: Decoder

    def __call__(self, messages: Sequence[Any]) -> list[Any]:
        handler, key, value = self.handler, self.key, self.value
        return [
            handler(KafkaMessageAndMetadata(m.topic(), m.partition(), m.offset(), m.key(), m.value(), key, value))
            for m in messages
        ]


@dataclass(frozen=True)
class ConsumerRecords:
    """Builds `ConsumerRecord`s: the records of the 0-10 API."""

    key: Decoder
    value: Decoder

    def __call__(self, messages: Sequence[Any]) -> list[Any]:
        return [self._record(message) for message in messages]

    def _record(self, message: Any) -> ConsumerRecord:
        kind, timestamp = message.timestamp()
        return ConsumerRecord(
            message.topic(),
            message.partition(),
            message.offset(),
            timestamp if kind else -1,
            _TIMESTAMP_TYPES[kind],
            self.key(message.key()),
            self.value(message.value()),
            tuple(message.headers() or ()),
        )
