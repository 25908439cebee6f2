"""kafkaParams: Java's names, librdkafka's settings, and secrets that are shown to nobody."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from headwater import SparkConf
from headwater.errors import IllegalArgumentException
from headwater.streaming.kafka.params import KafkaParams, KafkaSecrets, read_params
from headwater.streaming.kafka.records import deserializer

pytest.importorskip("confluent_kafka")
BROKER = {"bootstrap.servers": "127.0.0.1:1"}


def read(**more: Any) -> KafkaParams:
    return read_params({**BROKER, **{key.replace("_", "."): value for key, value in more.items()}})


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ({"metadata.broker.list": "b:1"}, {"bootstrap.servers": "b:1"}),
        ({**BROKER, "receive.buffer.bytes": 70000}, {**BROKER, "socket.receive.buffer.bytes": "70000"}),
        ({**BROKER, "fetch.message.max.bytes": "5"}, {**BROKER, "max.partition.fetch.bytes": "5"}),
        ({**BROKER, "check.crcs": True}, {**BROKER, "check.crcs": "true"}),
        ({**BROKER, "max.poll.records": 5, "zookeeper.connect": "z:1"}, BROKER),
        (
            {**BROKER, "ssl.endpoint.identification.algorithm": ""},
            {**BROKER, "ssl.endpoint.identification.algorithm": "none"},
        ),
    ],
)
def test_settings_of_java_become_those_of_librdkafka(given: dict[str, Any], settings: dict[str, str]) -> None:
    assert read_params(given).settings == settings


@pytest.mark.parametrize(
    ("text", "reset"), [("smallest", "earliest"), ("largest", "latest"), ("earliest", "earliest"), ("none", "none")]
)
def test_reset_has_the_names_of_both_apis(text: str, reset: str) -> None:
    assert read(auto_offset_reset=text).reset == reset


def test_reset_is_latest_and_nothing_is_committed_unless_the_program_says_so() -> None:
    assert (read().reset, read().commits, read().group) == ("latest", False, "")
    assert read(enable_auto_commit=True).commits
    assert read(enable_auto_commit="true", group_id="g").commits


def test_secrets_are_in_no_text_and_in_the_client() -> None:
    jaas = 'org.apache.kafka.common.security.plain.PlainLoginModule required username="me" password="hush";'
    params = read(sasl_jaas_config=jaas, sasl_mechanism="PLAIN", security_protocol="SASL_PLAINTEXT")
    assert dict(params.secrets) == {"sasl.username": "me", "sasl.password": "hush"}
    assert "hush" not in repr(params)
    assert "hush" not in str(params.settings)
    assert params.client({})["sasl.password"] == "hush"
    assert pickle.loads(pickle.dumps(params)).client({}) == params.client({})


def test_secrets_of_a_checkpoint_are_those_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = SparkConf(loadDefaults=False).set("headwater.streaming.kafka.secret.sasl.password", "of the conf")
    monkeypatch.setenv("HEADWATER_KAFKA_SASL_USERNAME", "of the environment")
    assert dict(KafkaSecrets.found(["sasl.password", "sasl.username"], conf)) == {
        "sasl.password": "of the conf",
        "sasl.username": "of the environment",
    }
    with pytest.raises(
        IllegalArgumentException,
        match=r"Kafka's ssl.key.password is not in the checkpoint, as it's a secret. Set headwater.streaming.kafka."
        r"secret.ssl.key.password, or the environment variable HEADWATER_KAFKA_SSL_KEY_PASSWORD",
    ):
        KafkaSecrets.found(["ssl.key.password"], conf)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "kafkaParams need bootstrap.servers"),
        ({**BROKER, "auto.offset.reset": "first"}, "auto.offset.reset must be earliest, latest or none, not 'first'"),
        ({**BROKER, "ssl.truststore.location": "a.jks"}, "export its certificates as PEM"),
        ({**BROKER, "fetch.min.bites": "1"}, 'kafkaParams: No such configuration property: "fetch.min.bites"'),
        ({**BROKER, "fetch.min.bytes": "many"}, "fetch.min.bytes"),
        ({**BROKER, "key.deserializer": "com.shop.OrderDeserializer"}, "key.deserializer: there is no"),
    ],
)
def test_settings_that_make_no_sense_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        read_params(given)


def test_what_is_no_dict_is_refused() -> None:
    with pytest.raises(TypeError, match="kafkaParams should be dict"):
        read_params(["localhost:9092"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "data", "value"),
    [
        (None, b"\xff", b"\xff"),
        (len, b"abc", 3),
        ("StringDeserializer", "é".encode(), "é"),
        ("org.apache.kafka.common.serialization.StringDeserializer", None, None),
        ("ByteArrayDeserializer", b"a", b"a"),
        ("ShortDeserializer", b"\xff\xfe", -2),
        ("IntegerDeserializer", b"\x00\x00\x01\x00", 256),
        ("DoubleDeserializer", b"\x3f\xf8" + bytes(6), 1.5),
        ("LongDeserializer", None, None),
    ],
)
def test_deserializers_are_functions_or_kafkas_by_name(wanted: Any, data: bytes | None, value: Any) -> None:
    assert deserializer(wanted, "value.deserializer")(data) == value
