"""MQTTUtils, PySpark's names for streams of MQTT messages, against a real broker."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException
from headwater.streaming.mqtt import MQTTUtils
from tests.servers.mosquitto import Mosquitto
from tests.streaming.programs import program
from tests.streaming.receivers.test_mqtt import publish


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex[:8]}"


def test_a_stream_has_the_messages_of_a_topic_as_text(mosquitto: Mosquitto, topic: str) -> None:
    publish(mosquitto, topic, "caf\u00e9", retain=True)
    url = f"tcp://127.0.0.1:{mosquitto.port}"
    with program(lambda ssc: MQTTUtils.createStream(ssc, url, topic)) as running:
        running.wait(lambda: len(running.records) == 1)  # so it has subscribed
        publish(mosquitto, topic, "two", "three")
        running.wait(lambda: len(running.records) == 3)
    assert running.records == ["caf\u00e9", "two", "three"]


def test_a_paired_stream_says_which_topic_a_message_is_of(mosquitto: Mosquitto, topic: str) -> None:
    topics = [f"{topic}/a", f"{topic}/b"]
    for number, name in enumerate(topics):
        publish(mosquitto, name, str(number), retain=True)
    url = f"mqtt://127.0.0.1:{mosquitto.port}"
    with program(lambda ssc: MQTTUtils.createPairedStream(ssc, url, topics)) as running:
        running.wait(lambda: len(running.records) == 2)
    assert sorted(running.records) == [(topics[0], "0"), (topics[1], "1")]


@pytest.mark.parametrize(("client", "expected"), [("named", {"kept", "meanwhile"}), (None, {"kept"})])
def test_messages_wait_for_a_client_with_a_name(
    mosquitto: Mosquitto, topic: str, client: str | None, expected: set[str]
) -> None:
    publish(mosquitto, topic, "kept", retain=True)
    url, client_id = f"tcp://127.0.0.1:{mosquitto.port}", client and f"{client}-{topic}"
    payloads: list[Any] = []
    for _ in range(2):
        with program(lambda ssc: MQTTUtils.createStream(ssc, url, topic, clientId=client_id)) as running:
            # The retained message comes with each subscription, after what the session has kept.
            running.wait(lambda: "kept" in running.records)
        payloads += running.records
        publish(mosquitto, topic, "meanwhile")
    assert set(payloads) == expected


@pytest.mark.parametrize("url", ["localhost:1883", "http://localhost:1883", "tcp://:1883", "tcp://localhost:port", ""])
def test_a_url_that_is_none_of_a_broker_is_refused(url: str) -> None:
    with pytest.raises(IllegalArgumentException, match="is not tcp://host:port or ssl://host:port"):
        MQTTUtils.createStream(None, url, "topic")  # type: ignore[arg-type]
