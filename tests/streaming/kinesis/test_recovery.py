"""Programs that are killed: their shards go to others, and with the log on nothing that was received is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.servers.kinesis import KinesisStream
from tests.streaming.kinesis.conftest import SETTINGS, Programs
from tests.waiting import wait_for

SECRET = "not-to-be-written-down"
# Writes each batch's texts to a file named by its time, whole or not at all; goes on from its checkpoint.
PROGRAM = """
import os, sys
from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kinesis import KinesisInitialPositions, KinesisInputDStream, SparkAWSCredentials, utf8_decoder

kinesis, dynamodb, app, stream, directory, secret = sys.argv[1:7]
output = directory + "/output"

def save(time, rdd):
    texts = rdd.collect()
    if texts:
        name = f"{output}/{time.timestamp()}"
        with open(name + ".tmp", "w") as file:
            file.write("".join(f"{text}\\n" for text in texts))
        os.rename(name + ".tmp", name + ".txt")

def create():
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("t")
    conf.set("spark.streaming.receiver.writeAheadLog.enable", "true")
    conf.setAll([pair.split("=") for pair in sys.argv[7:]])
    ssc = StreamingContext(SparkContext(conf=conf), 0.1)
    ssc.checkpoint(directory + "/checkpoint")
    builder = KinesisInputDStream.builder.streamingContext(ssc).streamName(stream).checkpointAppName(app)
    builder.endpointUrl(kinesis).dynamoDBEndpointUrl(dynamodb)
    builder.initialPosition(KinesisInitialPositions.TrimHorizon())
    builder.kinesisCredentials(SparkAWSCredentials.builder().basicCredentials("a", secret).build())
    builder.build().map(utf8_decoder).foreachRDD(save)
    return ssc

os.makedirs(output, exist_ok=True)
ssc = StreamingContext.getOrCreate(directory + "/checkpoint", create)
ssc.start()
ssc.awaitTermination()
"""


@contextmanager
def program(programs: Programs, stream: KinesisStream, directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The program in a process of its own, killed at the end."""
    server = programs.server
    settings = [f"{key}={value}" for key, value in SETTINGS.items()]
    arguments = [server.url, server.dynamodb_url, programs.app, stream.name, str(directory), SECRET]
    environment = {**os.environ, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": SECRET}
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *arguments, *settings], env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def written(directory: Path) -> Counter[str]:
    return Counter(line for path in (directory / "output").glob("*.txt") for line in path.read_text().split())


def named(name: str) -> set[str]:
    return {f"{name}-{i}" for i in range(100)}


def put(stream: KinesisStream, name: str) -> None:
    stream.put(sorted(named(name)))


def is_checkpointed(programs: Programs, stream: KinesisStream, last: str) -> bool:
    lease = programs.leases().get(stream.shards()[0]["ShardId"], {"checkpoint": "TRIM_HORIZON"})
    return lease["checkpoint"].isdigit() and int(lease["checkpoint"]) >= int(last)


def test_killed_driver_loses_nothing_and_repeats_only_what_was_not_checkpointed(
    programs: Programs, tmp_path: Path
) -> None:
    stream = programs.server.stream()
    with program(programs, stream, tmp_path):
        put(stream, "first")
        last = stream.client.put_record(StreamName=stream.name, Data=b"last", PartitionKey="x")["SequenceNumber"]
        wait_for(lambda: is_checkpointed(programs, stream, last), "the first records are checkpointed")
        put(stream, "second")
    put(stream, "third")
    expected = named("first") | named("second") | named("third") | {"last"}
    with program(programs, stream, tmp_path):
        wait_for(lambda: written(tmp_path).keys() >= expected, "all records are in the output")
    counts = written(tmp_path)
    assert counts.keys() == expected
    assert {counts[record] for record in named("first")} == {1}
    kept = [path for path in (tmp_path / "checkpoint").rglob("*") if path.is_file()]
    assert kept
    assert [path for path in kept if SECRET.encode() in path.read_bytes()] == []


def test_interrupted_driver_gives_its_leases_back_without_complaint(
    programs: Programs, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stream = programs.server.stream()
    with program(programs, stream, tmp_path) as process:
        put(stream, "first")
        wait_for(lambda: written(tmp_path).keys() >= named("first"), "the first records are in the output")
        process.send_signal(signal.SIGINT)
        process.wait(60)
    said = capfd.readouterr().err
    assert "KeyboardInterrupt" in said
    assert "a bug" not in said
    assert "RuntimeError" not in said
    assert owners(programs) == set()


def test_shards_of_a_killed_worker_are_taken_over(programs: Programs, tmp_path: Path) -> None:
    stream = programs.server.stream(shards=3)
    with program(programs, stream, tmp_path) as process:
        put(stream, "first")
        wait_for(lambda: written(tmp_path).keys() >= named("first"), "the first records are in the output")
        with programs.context() as ssc:
            got = programs.gather(ssc, stream.name)
            ssc.start()
            wait_for(lambda: len(owners(programs)) == 2, "both have shards")
            process.kill()
            put(stream, "second")
            got.wait_for(named("second"))
            wait_for(lambda: len(owners(programs)) == 1, "one has all shards")


def owners(programs: Programs) -> set[str]:
    return {lease["leaseOwner"] for lease in programs.leases().values() if "leaseOwner" in lease}
