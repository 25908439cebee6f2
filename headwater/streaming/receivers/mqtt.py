"""MQTTReceiver: messages of an MQTT broker, acknowledged once they are stored.

A thread runs paho's client, which takes messages into a queue; another one stores what has gathered there as a block,
and then acknowledges it.
With QoS 1 a broker limits the messages that are under way, so it never sends more than is stored. QoS 0 has no such
limit: there a full queue makes paho's thread wait, and so the connection.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from functools import partial
from typing import Any

from headwater.base.extras import require
from headwater.base.threads import WatchedThread
from headwater.errors import IllegalArgumentException
from headwater.rdd.checks import check_port
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.receiver import Receiver
from headwater.streaming.receivers.secrets import secret

# Messages that have arrived and aren't stored yet, at most; and messages of a block, at most.
MESSAGES_MAX = 10_000
# How often silence is looked at for the end.
LOOK_SECONDS = 0.2
# A stop waits this long for what is being stored to be acknowledged.
LAST_STORE_SECONDS_MAX = 2.0


class MQTTReceiver(Receiver):
    """Messages of topics, as pairs (topic, payload in bytes). Needs paho-mqtt: `pip install 'headwater[mqtt]'`.

    With `qos` 1 a message is acknowledged once it is stored: the broker keeps it until then, also while the receiver is
    away, and sends it again if it has to (at least once). With 0, what comes while it's away is lost.

    Args:
        host: of the broker.
        port: of the broker: 1883, with TLS usually 8883.
        topics: one filter, or several, such as `sensors/+/temperature`.
        clientId: the name under which the broker keeps the session; no other client may have the same.
        qos: 0 or 1.
        username: None: no login.
        passwordVariable: the environment variable with the password, in executors. It is in no checkpoint.
        tls: speak TLS, and trust the certificate authorities of the system, or of `caFile`.
        caFile: a PEM file of authorities, in executors.
        storageLevel: of the blocks.
        cleanSession: have the broker forget the session when the connection ends, so that what comes while the receiver
            is away is lost; None: with `qos` 0.

    Raises:
        SparkException: paho-mqtt is missing.
        IllegalArgumentException: the client id is empty, there are no topics, or `qos` is neither 0 nor 1.
    """

    def __init__(
        self,
        host: str,
        port: int,
        topics: str | Sequence[str],
        clientId: str,
        qos: int = 1,
        username: str | None = None,
        passwordVariable: str | None = None,
        tls: bool = False,
        caFile: str | None = None,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        cleanSession: bool | None = None,
    ) -> None:
        super().__init__(storageLevel)
        require("paho.mqtt.client", "mqtt", "MQTT receivers")
        check_port("port", port)
        self._topics = [topics] if isinstance(topics, str) else list(topics)
        if not clientId or not self._topics:
            raise IllegalArgumentException("clientId and topics must not be empty: the broker keeps a session by them")
        if qos not in (0, 1):
            raise IllegalArgumentException(f"qos must be 0 or 1, got {qos!r}: a block is stored at least once")
        self._host, self._port, self._client_id, self._qos = host, port, clientId, qos
        self._username, self._password_variable = username, passwordVariable
        self._tls, self._ca_file = tls, caFile
        self._clean_session = qos == 0 if cleanSession is None else cleanSession
        self._session: _Session | None = None

    def onStart(self) -> None:
        self._session = _Session(self, self._client(), self._topics, self._qos)
        self._session.start(self._host, self._port)

    def onStop(self) -> None:
        if self._session is not None:
            self._session.stop()
            self._session = None

    def _client(self) -> Any:
        mqtt = require("paho.mqtt.client", "mqtt", "MQTT receivers")
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=self._client_id,
            clean_session=self._clean_session,
            manual_ack=True,
            reconnect_on_failure=False,  # we restart instead, with the delay that restarts have
        )
        if self._username is not None:
            client.username_pw_set(self._username, secret(self._password_variable, "passwordVariable"))
        if self._tls:
            client.tls_set(ca_certs=self._ca_file)
        return client


class _Session:
    """A connection to the broker, and the threads around it, from one start of the receiver to its stop."""

    def __init__(self, receiver: Receiver, client: Any, topics: list[str], qos: int) -> None:
        self._receiver = receiver
        self._client = client
        self._topics = [(topic, qos) for topic in topics]
        self._stopping = threading.Event()
        self._arrived: queue.Queue[Any] = queue.Queue(MESSAGES_MAX)
        failed = partial(self._again, "A thread of the receiver has failed")
        self._network = WatchedThread(client.loop_forever, name="mqtt-network", on_failure=failed)
        self._storing = WatchedThread(self._store, name="mqtt-store", on_failure=failed)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_subscribe = self._subscribed
        client.on_message = lambda client, userdata, message: self._take(message)

    def start(self, host: str, port: int) -> None:
        """Connect and subscribe.

        Raises:
            OSError: there is no connection.
        """
        self._client.connect(host, port)
        self._network.start()
        self._storing.start()

    def stop(self) -> None:
        """Acknowledge what is stored, and disconnect; the broker keeps the rest."""
        self._stopping.set()
        if self._storing.ident is not None:
            self._storing.join(LAST_STORE_SECONDS_MAX)
        self._client.disconnect()
        if self._network.ident is not None:
            self._network.join(LAST_STORE_SECONDS_MAX)

    # -------------------------------------------------------------------------------------------- paho's client
    def _connected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        if reason.is_failure:
            self._again(f"The MQTT broker refused the connection: {reason}")
        else:
            client.subscribe(self._topics)

    def _subscribed(self, client: Any, userdata: Any, mid: int, reasons: Any, properties: Any) -> None:
        refused = [topic for (topic, _), reason in zip(self._topics, reasons) if reason.is_failure]
        if refused:
            self._again(f"The MQTT broker refused the subscription to {', '.join(refused)}")

    def _disconnected(self, client: Any, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        self._again(f"The MQTT broker ended the connection: {reason}")

    def _take(self, message: Any) -> None:
        while not self._stopping.is_set():
            try:
                self._arrived.put(message, timeout=LOOK_SECONDS)
                return
            except queue.Full:
                continue  # the store is slower than the broker

    # -------------------------------------------------------------------------------------------- storing
    def _store(self) -> None:
        try:
            while not self._stopping.is_set():
                messages = self._gathered()
                if not messages:
                    continue
                self._receiver.store([(message.topic, message.payload) for message in messages])
                for message in messages:
                    if message.qos:
                        self._client.ack(message.mid, message.qos)
        except Exception as error:
            self._again("Messages could not be stored; the broker sends them again", error)

    def _gathered(self) -> list[Any]:
        """What has arrived; waits for the first, but not for long."""
        messages: list[Any] = []
        try:
            messages.append(self._arrived.get(timeout=LOOK_SECONDS))
            while len(messages) < MESSAGES_MAX:
                messages.append(self._arrived.get_nowait())
        except queue.Empty:
            pass
        return messages

    def _again(self, message: str, error: BaseException | None = None) -> None:
        if not self._stopping.is_set():
            self._receiver.restart(message, error)
