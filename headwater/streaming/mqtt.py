"""MQTTUtils: streams of MQTT messages by PySpark's names, over `MQTTReceiver`."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from headwater.errors import IllegalArgumentException
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.mqtt import MQTTReceiver

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream

__all__ = ["MQTTUtils"]

# Scheme of a broker's URL -> whether it's TLS, and the usual port.
_SCHEMES = {"tcp": (False, 1883), "mqtt": (False, 1883), "ssl": (True, 8883), "mqtts": (True, 8883)}


class MQTTUtils:
    """Makes streams of MQTT messages. They need paho-mqtt: `pip install 'headwater[mqtt]'`."""

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        brokerUrl: str,
        topic: str,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        clientId: str | None = None,
        username: str | None = None,
        passwordVariable: str | None = None,
        qos: int = 1,
    ) -> DStream[str]:
        """The messages of a topic, as text.

        Args:
            ssc: the context.
            brokerUrl: `tcp://host:port`, or `ssl://host:port` for TLS.
            topic: a topic, or a filter such as `sensors/+/temperature`.
            storageLevel: of the received blocks.
            clientId: the name under which the broker keeps what comes while the receiver is away. None, as with Spark,
                is a new name each time: what comes meanwhile is lost.
            username: None: without a login.
            passwordVariable: the environment variable with the password, in executors.
            qos: 0 or 1.

        Returns:
            A stream of str. A message that is no UTF-8 fails its batch; `MQTTReceiver` gives bytes.

        Raises:
            SparkException: paho-mqtt is missing.
            IllegalArgumentException: the URL or `qos` isn't valid.
        """
        receiver = _receiver(brokerUrl, topic, storageLevel, clientId, username, passwordVariable, qos)
        return ssc.receiverStream(receiver).map(lambda message: message[1].decode())

    @staticmethod
    def createPairedStream(
        ssc: StreamingContext,
        brokerUrl: str,
        topics: Sequence[str],
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        clientId: str | None = None,
        username: str | None = None,
        passwordVariable: str | None = None,
        qos: int = 1,
    ) -> DStream[tuple[str, str]]:
        """The messages of several topics, as pairs (topic, text); see `createStream`."""
        receiver = _receiver(brokerUrl, topics, storageLevel, clientId, username, passwordVariable, qos)
        return ssc.receiverStream(receiver).mapValues(bytes.decode)


def _receiver(
    url: str,
    topics: str | Sequence[str],
    storage_level: StorageLevel,
    client_id: str | None,
    username: str | None,
    password_variable: str | None,
    qos: int,
) -> MQTTReceiver:
    host, port, tls = _address(url)
    return MQTTReceiver(
        host,
        port,
        topics,
        client_id or f"headwater-{uuid.uuid4().hex[:12]}",
        qos,
        username,
        password_variable,
        tls,
        storageLevel=storage_level,
        cleanSession=None if client_id else True,
    )


def _address(url: str) -> tuple[str, int, bool]:
    """Host, port and whether it's TLS.

    >>> _address("tcp://localhost:1884"), _address("ssl://broker")
    (('localhost', 1884, False), ('broker', 8883, True))
    """
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = 0
    if parts.scheme not in _SCHEMES or not parts.hostname or port == 0:
        raise IllegalArgumentException(f"brokerUrl {url!r} is not tcp://host:port or ssl://host:port")
    tls, usual_port = _SCHEMES[parts.scheme]
    return parts.hostname, usual_port if port is None else port, tls
