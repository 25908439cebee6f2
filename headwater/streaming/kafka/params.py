"""kafkaParams: Kafka's settings as programs write them, for Java's clients, made those of librdkafka.

- Passwords, keys and whom they belong to are `KafkaSecrets`: in no checkpoint, in no text. A restarted driver looks
  them up on its machine.
- What only a JVM could use is left out, and said once; what would be ignored to the user's harm is an error.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headwater.base import extras
from headwater.errors import IllegalArgumentException
from headwater.streaming.kafka.records import Decoder, deserializer
from headwater.streaming.recovery.secrets import Secrets

if TYPE_CHECKING:
    from headwater.conf import SparkConf

logger = logging.getLogger("headwater.streaming.kafka")

SECRET_PREFIX = "headwater.streaming.kafka.secret."
_ENVIRONMENT_PREFIX = "HEADWATER_KAFKA_"
_SECRET = re.compile(r"password|secret|jaas|username|\.pem$|\.token|oauthbearer\.config")

# Java's name -> librdkafka's.
_RENAMED = {
    "metadata.broker.list": "bootstrap.servers",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "request.timeout.ms": "socket.timeout.ms",
    "metadata.max.age.ms": "topic.metadata.refresh.interval.ms",
    "ssl.truststore.certificates": "ssl.ca.pem",
    "ssl.keystore.key": "ssl.key.pem",
    "ssl.keystore.certificate.chain": "ssl.certificate.pem",
}
# What has no meaning here, or isn't the program's to say.
_LEFT_OUT = re.compile(
    r"max\.poll\.records|partition\.assignment\.strategy"
    r"|auto\.commit\.interval\.ms|zookeeper\..*|consumer\.timeout\.ms|num\.consumer\.fetchers|rebalance\..*"
    r"|refresh\.leader\.backoff\.ms|(key|value)\.serializer|interceptor\.classes|metric(s|\.).*|exclude\.internal\.topics"
    r"|default\.api\.timeout\.ms|auto\.commit\.enable|offsets\.storage|spark\..*"
)
# Of every client, unless the program says otherwise. What a client has to say, it tells its user.
_CLIENT = {"log_level": 2, "reconnect.backoff.max.ms": 2000}
_RESETS = {"smallest": "earliest", "earliest": "earliest", "largest": "latest", "latest": "latest", "none": "none"}
_JKS = (
    "ssl.truststore.location is a Java key store: export its certificates as PEM, and name that file as ssl.ca.location"
)
_JAAS = re.compile(r'(username|password)\s*=\s*"((?:[^"\\]|\\.)*)"')


class KafkaSecrets(Secrets):
    """The settings of a stream that must not be written anywhere, by librdkafka's names."""

    @classmethod
    def found(cls, names: Iterable[str], conf: SparkConf) -> KafkaSecrets:
        values = {}
        for name in names:
            variable = _ENVIRONMENT_PREFIX + name.replace(".", "_").upper()
            value = conf.get(SECRET_PREFIX + name) or os.environ.get(variable)
            if value is None:
                raise IllegalArgumentException(
                    f"Kafka's {name} is not in the checkpoint, as it's a secret. Set {SECRET_PREFIX}{name}, or the "
                    f"environment variable {variable}, for the driver that goes on."
                )
            values[name] = value
        return cls(values)


@dataclass(frozen=True)
class KafkaParams:
    """What a program says of its brokers and of itself.

    Args:
        settings: for librdkafka, without secrets.
        secrets: the others.
        group: the consumer group's id; empty if the program has none.
        reset: where a group without offsets begins: `earliest`, `latest` or `none` (an error).
        commits: whether offsets of done batches are committed for the program.
        key_decoder: of `key.deserializer`.
        value_decoder: of `value.deserializer`.
    """

    settings: Mapping[str, str]
    secrets: KafkaSecrets
    group: str
    reset: str
    commits: bool
    key_decoder: Decoder
    value_decoder: Decoder

    @property
    def brokers(self) -> str:
        """Their addresses, for texts."""
        return self.settings["bootstrap.servers"]

    def identity(self) -> Hashable:
        """Clients of equal identity can stand for each other."""
        return tuple(sorted({**self.settings, **self.secrets}.items())), self.group

    def client(self, own: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The settings of a client: `own` are ours whatever the program says, `defaults` where it says nothing."""
        return {**_CLIENT, **(defaults or {}), **self.settings, **self.secrets, **own}


def read_params(params: Mapping[str, Any], *, group_required: bool = False) -> KafkaParams:
    """A program's kafkaParams.

    Args:
        params: by Java's names or librdkafka's; values are text, numbers or Booleans, deserializers also functions.
        group_required: whether there must be a `group.id`.

    Raises:
        TypeError: they aren't a dict.
        IllegalArgumentException: brokers are missing, a value is out of bounds, or a setting can't be honoured.
        SparkException: confluent-kafka isn't installed.
    """
    if not isinstance(params, Mapping):
        raise TypeError(f"kafkaParams should be dict, not {params!r}")
    extras.require("confluent_kafka", "kafka", "Kafka streams")
    rest = {str(key): value for key, value in params.items()}
    decoders = [deserializer(rest.pop(key, None), key) for key in ("key.deserializer", "value.deserializer")]
    group = str(rest.pop("group.id", ""))
    reset = str(rest.pop("auto.offset.reset", "latest"))
    commits = str(rest.pop("enable.auto.commit", "false")).lower() == "true"
    if reset not in _RESETS:
        raise IllegalArgumentException(f"auto.offset.reset must be earliest, latest or none, not {reset!r}")
    if group_required and not group:
        raise IllegalArgumentException("kafkaParams need a group.id: offsets are committed under it")
    settings, left_out = _for_librdkafka(rest)
    if left_out:
        logger.info("Settings of Kafka that have no meaning here are left out: %s", ", ".join(sorted(left_out)))
    if not settings.get("bootstrap.servers"):
        raise IllegalArgumentException(
            "kafkaParams need bootstrap.servers (or metadata.broker.list): the brokers' addresses, such as "
            "localhost:9092"
        )
    plain = {key: value for key, value in settings.items() if not _SECRET.search(key)}
    secrets = KafkaSecrets({key: value for key, value in settings.items() if key not in plain})
    read = KafkaParams(plain, secrets, group, _RESETS[reset], commits, *decoders)
    _check(read)
    return read


def _for_librdkafka(params: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """(settings by librdkafka's names, Java's names of what is left out)."""
    settings: dict[str, str] = {}
    left_out = []
    for key, value in params.items():
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if key == "ssl.truststore.location":
            raise IllegalArgumentException(_JKS)
        if key == "sasl.jaas.config":
            settings.update({f"sasl.{name}": found for name, found in _JAAS.findall(text)})
        elif key == "ssl.endpoint.identification.algorithm":
            settings[key] = text.lower() or "none"
        elif _LEFT_OUT.fullmatch(key):
            left_out.append(key)
        else:
            settings[_RENAMED.get(key, key)] = text
    return settings, left_out


def _check(params: KafkaParams) -> None:
    """Have librdkafka look at the settings now rather than in a task; it connects to no broker yet.

    Raises:
        IllegalArgumentException: it doesn't know one, or not such a value.
    """
    from confluent_kafka import Consumer, KafkaException

    try:
        Consumer(params.client({"group.id": params.group or "headwater"})).close()
    except KafkaException as error:
        raise IllegalArgumentException(f"kafkaParams: {error.args[0].str()}") from None
