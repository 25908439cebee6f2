"""The stream of `createStream`: a receiver that is a member of a consumer group."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import KafkaUtils
from tests.servers.kafka import KafkaBroker
from tests.streaming.programs import FRAGILE_LOG, LOG, broken, program
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("no_context")


def received(broker: KafkaBroker, topic: str, group: str, members: int = 1) -> Callable[[StreamingContext], Any]:
    params = {"bootstrap.servers": broker.bootstrap, "auto.offset.reset": "smallest"}
    return lambda ssc: KafkaUtils.createStream(ssc, "unused:2181", group, {topic: members}, params)


def test_records_are_received_and_their_offsets_committed(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [("k", "é"), "b"])
    with program(received(kafka, topic, "received")) as running:
        running.wait(lambda: len(running.records) == 2)
        wait_for(lambda: kafka.committed("received", topic) == 2, "the offsets are committed")
    assert running.records == [("k", "é"), (None, "b")]


def test_members_share_the_partitions(kafka: KafkaBroker) -> None:
    topic = kafka.topic(partitions=4)
    for partition in range(4):
        kafka.send(topic, [f"{partition}-{i}" for i in range(50)], partition)
    with program(received(kafka, topic, "shared", members=2)) as running:
        running.wait(lambda: len(running.records) >= 200)
        assert kafka.members("shared") == 2
    assert sorted(value for _, value in running.records) == sorted(f"{p}-{i}" for p in range(4) for i in range(50))


def test_stream_goes_on_where_its_group_has_got_to(kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    for name in ("first", "second"):
        kafka.send(topic, [name])
        with program(received(kafka, topic, "goes-on")) as running:
            running.wait(lambda running=running: len(running.records) == 1)
        assert running.records == [(None, name)]


def test_offsets_are_not_committed_when_the_log_cannot_be_written(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = kafka.topic()
    with program(received(kafka, topic, "not-logged"), FRAGILE_LOG, tmp_path) as running:
        kafka.send(topic, ["before"])
        running.wait(lambda: len(running.records) == 1)
        wait_for(lambda: kafka.committed("not-logged", topic) == 1, "the first record is committed")
        with broken(tmp_path / "receivedData"):
            kafka.send(topic, ["meanwhile"])
            running.wait(lambda: bool(running.errors))
            assert kafka.committed("not-logged", topic) == 1
        running.wait(lambda: "meanwhile" in [value for _, value in running.records])
        wait_for(lambda: kafka.committed("not-logged", topic) == 2, "it is committed once it is logged")


def test_receiver_goes_on_when_the_broker_is_back(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = kafka.topic()
    kafka.send(topic, ["before"])
    with program(received(kafka, topic, "back"), LOG, tmp_path) as running:
        running.wait(lambda: len(running.records) == 1)
        kafka.kill()
        kafka.start()
        kafka.send(topic, ["after"])
        running.wait(lambda: (None, "after") in running.records)
    assert {value for _, value in running.records} == {"before", "after"}


def test_member_that_is_fenced_joins_again_and_nothing_is_lost(kafka: KafkaBroker, tmp_path: Path) -> None:
    from confluent_kafka import Consumer

    topic = kafka.topic()
    kafka.send(topic, ["before"])
    params = {"bootstrap.servers": kafka.bootstrap, "auto.offset.reset": "smallest", "group.instance.id": "the-one"}
    make = lambda ssc: KafkaUtils.createStream(ssc, "", "fenced", {topic: 1}, params)  # noqa: E731
    with program(make, LOG, tmp_path) as running:
        running.wait(lambda: len(running.records) == 1)
        intruder = Consumer({**params, "group.id": "fenced", "auto.offset.reset": "earliest", "log_level": 2})
        intruder.subscribe([topic])
        while not any("fenced" in error for error in running.errors):
            intruder.poll(0.1)
        intruder.close()
        kafka.send(topic, ["after"])
        running.wait(lambda: (None, "after") in running.records)
    assert {value for _, value in running.records} == {"before", "after"}


def test_brokers_of_a_program_that_names_zookeeper_are_a_setting_and_it_is_told_once(
    kafka: KafkaBroker, caplog: pytest.LogCaptureFixture
) -> None:
    topic = kafka.topic()
    kafka.send(topic, ["a"])

    def as_of_old(ssc: StreamingContext) -> Any:
        streams = [
            KafkaUtils.createStream(ssc, "zoo:2181", "old", {topic: 1}, {"auto.offset.reset": "smallest"})
            for _ in range(3)
        ]
        return ssc.union(*streams)

    settings = {"headwater.streaming.kafka.brokers": kafka.bootstrap}
    with program(as_of_old, settings) as running:
        running.wait(lambda: len(running.records) == 1)
    (said,) = [message for message in caplog.messages if "ZooKeeper" in message]
    assert said == (
        "createStream: Kafka no longer needs ZooKeeper, so zkQuorum='zoo:2181' is ignored. Records come from the "
        f"brokers at {kafka.bootstrap}, as headwater.streaming.kafka.brokers says."
    )


def test_arguments_that_make_no_sense_are_refused() -> None:
    with SparkContext("local[2]", "kafka", conf=SparkConf(loadDefaults=False)) as sc, warnings.catch_warnings():
        ssc = StreamingContext(sc, 1)
        with pytest.raises(
            IllegalArgumentException, match=r"Name the brokers: kafkaParams=.*headwater.streaming.kafka.b"
        ):
            KafkaUtils.createStream(ssc, "zoo:2181", "g", {"t": 1})
        for topics in (["t"], {"t": 0}, {"t": "1"}, {}):
            with pytest.raises(TypeError, match="topics should be dict"):
                KafkaUtils.createStream(ssc, "zoo:2181", "g", topics)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="topics should be list"):
            KafkaUtils.createDirectStream(ssc, "t", {})  # type: ignore[arg-type]
        with pytest.raises(IllegalArgumentException, match="group.id"):
            KafkaUtils.createStream(ssc, "zoo:2181", "", {"t": 1}, {"bootstrap.servers": "127.0.0.1:1"})
        ssc.stop(stopSparkContext=False)
