"""A direct stream after a restart of the driver: the same ranges again, its secrets from the machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import SparkException
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import KafkaUtils
from tests.servers.kafka import PASSWORD, USER, KafkaBroker
from tests.streaming.kafka.conftest import Topics
from tests.streaming.recovery.driving import Driver, Results
from tests.waiting import wait_for


@pytest.fixture
def clocked(no_context: None) -> Any:
    """A context whose streams stand still between batches."""
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("kafka")
    conf.set("headwater.streaming.kafka.metadataInterval", "1ms")
    conf.set("spark.streaming.kafka.maxRatePerPartition", "3").set("spark.streaming.clock", "ManualClock")
    with SparkContext(conf=conf) as sc:
        yield sc


def test_pending_batches_have_the_same_ranges_and_the_next_ones_follow(
    clocked: SparkContext, topics: Topics, tmp_path: Path
) -> None:
    topic, results = topics.broker.topic(), Results(tmp_path / "results")
    broken, params = tmp_path / "broken", topics.params()
    write = results.of("values")

    def fail_or_write(time: Any, rdd: Any) -> None:
        if Path(broken).exists():
            raise OSError("the disk is away")
        write(time, rdd)

    def define(ssc: StreamingContext) -> None:
        KafkaUtils.createDirectStream(ssc, [topic], params).map(lambda pair: pair[1]).foreachRDD(fail_or_write)

    topics.broker.send(topic, [str(i) for i in range(8)])
    driver = Driver(tmp_path / "checkpoint", define).start()
    driver.tick()
    broken.touch()
    driver.tick()
    driver.stop()
    broken.unlink()
    driver = Driver(tmp_path / "checkpoint", define).start(after_ms=3500)
    driver.heard(3)  # the pending one, and those of the down time
    driver.stop()
    assert results.read("values") == [[0, ["0", "1", "2"]], [1, ["3", "4", "5"]], [2, ["6", "7"]], [3, []]]


def test_partition_that_appeared_during_down_time_is_read_from_its_beginning(
    clocked: SparkContext, topics: Topics, tmp_path: Path
) -> None:
    topic, results = topics.broker.topic(), Results(tmp_path / "results")
    params = topics.params(auto_offset_reset="latest")
    write = results.of("values")

    def define(ssc: StreamingContext) -> None:
        KafkaUtils.createDirectStream(ssc, [topic], params).map(lambda pair: pair[1]).foreachRDD(write)

    driver = Driver(tmp_path / "checkpoint", define).start()
    driver.tick()
    driver.stop()
    topics.broker.add_partitions(topic, 2)
    topics.broker.send(topic, ["new"], 1)
    topics.broker.send(topic, ["old"], 0)
    driver = Driver(tmp_path / "checkpoint", define).start(after_ms=500)
    driver.tick()
    driver.stop()
    assert results.records("values") == ["new", "old"]


def test_new_code_goes_on_with_the_offsets_of_the_old(clocked: SparkContext, topics: Topics, tmp_path: Path) -> None:
    topic, results = topics.broker.topic(), Results(tmp_path / "results")

    def program(name: str) -> Any:
        write = results.of(name)

        def define(ssc: StreamingContext) -> None:
            stream = KafkaUtils.createDirectStream(ssc, [topic], topics.params()).uid("clicks")
            stream.map(lambda pair: pair[1]).foreachRDD(write)

        return define

    topics.broker.send(topic, [str(i) for i in range(5)])
    driver = Driver(tmp_path / "checkpoint", program("old")).start()
    driver.tick()
    driver.stop()
    driver = Driver(tmp_path / "checkpoint", program("new"), upgrade=True).start(after_ms=500)
    driver.tick()
    driver.stop()
    assert (results.records("old"), results.records("new")) == (["0", "1", "2"], ["3", "4"])


def test_new_code_that_reads_another_topic_begins_with_its_oldest_records(
    clocked: SparkContext, topics: Topics, tmp_path: Path
) -> None:
    first, second, results = topics.broker.topic(), topics.broker.topic(), Results(tmp_path / "results")

    def program(*names: str) -> Any:
        write = results.of("-".join(names))

        def define(ssc: StreamingContext) -> None:
            stream = KafkaUtils.createDirectStream(ssc, list(names), topics.params(auto_offset_reset="latest"))
            stream.uid("clicks").map(lambda pair: pair[1]).foreachRDD(write)

        return define

    driver = Driver(tmp_path / "checkpoint", program(first)).start()
    driver.tick()
    driver.stop()
    for topic in (first, second):
        topics.broker.send(topic, [topic])
    driver = Driver(tmp_path / "checkpoint", program(second), upgrade=True).start(after_ms=500)
    driver.tick()
    driver.stop()
    assert (results.records(first), results.records(second)) == ([], [second])


# ------------------------------------------------------------------------------------------------ secrets
# Writes what it reads over TLS, with a password, into a file; goes on from its checkpoint.
PROGRAM = """
import sys
from headwater import SparkConf, SparkContext
from headwater.errors import SparkException
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import KafkaUtils

brokers, certificate, topic, directory, user, password = sys.argv[1:]

def save(rdd):
    with open(directory + "/output", "a") as file:
        file.write("".join(f"{value}\\n" for _, value in rdd.collect()))

def setup():
    ssc = StreamingContext(SparkContext("local[2]", "secrets"), 0.1)
    params = {
        "bootstrap.servers": brokers,
        "auto.offset.reset": "earliest",
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": certificate,
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": password,
    }
    KafkaUtils.createDirectStream(ssc, [topic], params).foreachRDD(save)
    return ssc

ssc = StreamingContext.getOrCreate(directory + "/checkpoint", setup)
ssc.start()
ssc.awaitTermination()
"""


def run(broker: KafkaBroker, topic: str, directory: Path, user: str, password: str, **environment: str) -> Any:
    arguments = [broker.secure_bootstrap, str(broker.certificate), topic, str(directory), user, password]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *arguments], env={**os.environ, **environment}, stdout=log, stderr=log
        )


def test_secrets_are_in_no_checkpoint_and_no_log_and_come_from_the_machine(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic, output = kafka.topic(), tmp_path / "output"
    kafka.send(topic, ["first"])
    process = run(kafka, topic, tmp_path, USER, PASSWORD)
    try:
        wait_for(lambda: output.exists() and output.read_text() == "first\n", "the first record is written")
    finally:
        process.kill()
        process.wait()
    process = run(kafka, topic, tmp_path, USER, "unused")
    try:
        assert process.wait(60) == 1
    finally:
        process.kill()
    log = (tmp_path / "log").read_text()
    assert "Kafka's sasl.username is not in the checkpoint, as it's a secret" in log
    kafka.send(topic, ["second"])
    secrets = {"HEADWATER_KAFKA_SASL_USERNAME": USER, "HEADWATER_KAFKA_SASL_PASSWORD": PASSWORD}
    process = run(kafka, topic, tmp_path, USER, "unused", **secrets)
    try:
        wait_for(lambda: "second\n" in output.read_text(), "the second record is written")
    finally:
        process.kill()
        process.wait()
    kept = [path for path in (tmp_path / "checkpoint").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in (*kept, tmp_path / "log") if PASSWORD.encode() in path.read_bytes()] == []


def test_start_says_what_it_waits_for_and_gives_up_after_the_time_that_is_set(
    topics: Topics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("headwater.streaming.kafka.brokers.ANSWER_SECONDS_MAX", 2.0)
    harness = topics.harness()
    monkeypatch.setitem(harness.ssc.sparkContext.conf._pairs, "headwater.streaming.kafka.startTimeout", "1s")
    with socket.socket() as nobody:  # bound, and not listening
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        harness.collect(KafkaUtils.createDirectStream(harness.ssc, ["any"], {"bootstrap.servers": address}))
        with pytest.raises(SparkException, match=r"The start has waited 1 s .* headwater\..*startTimeout"):
            harness.start()
    (said,) = [message for message in caplog.messages if "waiting for the brokers" in message]
    assert said.startswith(
        f"Kafka direct stream 0 of any: waiting for the brokers at {address}, for about 1 s at most "
        "(headwater.streaming.kafka.startTimeout)"
    )


def test_wrong_password_is_an_error_at_the_start_that_does_not_show_it(
    kafka: KafkaBroker, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.streaming.kafka.brokers.ANSWER_SECONDS_MAX", 2.0)
    harness = topics.harness()
    monkeypatch.setitem(harness.ssc.sparkContext.conf._pairs, "headwater.streaming.kafka.startTimeout", "1s")
    params = {
        "bootstrap.servers": kafka.secure_bootstrap,
        "security.protocol": "SASL_SSL",
        "ssl.ca.location": str(kafka.certificate),
        "sasl.mechanism": "PLAIN",
        "sasl.username": USER,
        "sasl.password": "wrong-and-hidden",
    }
    harness.collect(KafkaUtils.createDirectStream(harness.ssc, ["any"], params))
    with pytest.raises(Exception, match=r"Kafka at 127.0.0.1:\d+: .*[Aa]uthentication") as raised:
        harness.start()
    assert "wrong-and-hidden" not in str(raised.value)
