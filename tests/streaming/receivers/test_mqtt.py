"""MQTTReceiver against a real broker."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.streaming.receivers import MQTTReceiver
from tests.servers.mosquitto import Mosquitto
from tests.streaming.programs import FRAGILE_LOG, broken, program


def received(broker: Mosquitto, topic: str, **options: Any) -> Callable[[StreamingContext], Any]:
    options = {"clientId": f"client-{topic}", **options}
    return lambda ssc: ssc.receiverStream(MQTTReceiver("127.0.0.1", broker.port, f"{topic}/#", **options))


def publish(broker: Mosquitto, topic: str, *payloads: str, retain: bool = False) -> None:
    """Publish messages; returns when the broker has them."""
    import paho.mqtt.client as mqtt

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    for payload in payloads:
        client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(30)
    client.disconnect()
    client.loop_stop()


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def test_messages_arrive_with_their_topics_and_once(mosquitto: Mosquitto, topic: str) -> None:
    publish(mosquitto, f"{topic}/first", "kept", retain=True)
    with program(received(mosquitto, topic)) as running:
        running.wait(lambda: len(running.records) == 1)  # so it has subscribed
        publish(mosquitto, f"{topic}/a", *[str(n) for n in range(100)])
        running.wait(lambda: len(running.records) == 101)
    assert running.records[0] == (f"{topic}/first", b"kept")
    assert running.records[1:] == [(f"{topic}/a", b"%d" % n) for n in range(100)]
    assert running.errors == []


@pytest.mark.parametrize(("qos", "expected"), [(1, [b"kept", b"kept", b"meanwhile"]), (0, [b"kept", b"kept"])])
def test_messages_wait_for_a_receiver_that_was_away_with_qos_1(
    mosquitto: Mosquitto, topic: str, qos: int, expected: list[bytes]
) -> None:
    publish(mosquitto, f"{topic}/a", "kept", retain=True)
    payloads = []
    for _ in range(2):
        with program(received(mosquitto, topic, qos=qos)) as running:
            # The retained message comes with each subscription, after what the session has kept.
            running.wait(lambda: any(payload == b"kept" for _, payload in running.records))
        payloads += [payload for _, payload in running.records]
        publish(mosquitto, f"{topic}/a", "meanwhile")
    assert sorted(payloads) == expected


def test_message_that_can_not_be_stored_is_sent_again(mosquitto: Mosquitto, topic: str, tmp_path: Path) -> None:
    publish(mosquitto, f"{topic}/a", "kept", retain=True)
    with program(received(mosquitto, topic), FRAGILE_LOG, tmp_path) as running:
        running.wait(lambda: len(running.records) == 1)
        with broken(tmp_path / "receivedData"):
            publish(mosquitto, f"{topic}/a", "fragile")
            running.wait(lambda: bool(running.errors))
        running.wait(lambda: (f"{topic}/a", b"fragile") in running.records)
    assert "Messages could not be stored; the broker sends them again" in running.errors[0]


def test_broker_that_was_away_is_found_again(mosquitto: Mosquitto, topic: str) -> None:
    publish(mosquitto, f"{topic}/a", "kept", retain=True)
    with program(received(mosquitto, topic)) as running:
        running.wait(lambda: len(running.records) == 1)
        mosquitto.kill()
        try:
            running.wait(lambda: any("ConnectionRefusedError" in error for error in running.errors))
        finally:
            mosquitto.start()
        publish(mosquitto, f"{topic}/a", "after")
        running.wait(lambda: (f"{topic}/a", b"after") in running.records)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"clientId": ""}, "must not be empty"),
        ({"topics": []}, "must not be empty"),
        ({"qos": 2}, "qos must be 0 or 1, got 2"),
    ],
)
def test_arguments_are_checked(options: dict[str, Any], text: str) -> None:
    with pytest.raises(IllegalArgumentException, match=text):
        MQTTReceiver("localhost", 1883, **{"topics": "a", "clientId": "c", **options})


def test_password_variable_that_is_not_there_is_named(mosquitto: Mosquitto, topic: str) -> None:
    receiving = received(mosquitto, topic, username="me", passwordVariable="NO_SUCH_VARIABLE")
    with program(receiving) as running:
        running.wait(lambda: bool(running.errors))
    assert "there is no environment variable NO_SUCH_VARIABLE" in running.errors[0]
