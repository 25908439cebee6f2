"""A program that copies a topic exactly once, and dies where it's told to. Run by `test_exactly_once.py`.

Arguments: its directory, and options as JSON: `bootstrap`, `source`, `sink`; `how`: "checkpoint" (transactions, and a
checkpoint), "offsets" (transactions with the source's offsets, no checkpoint), "database" (rows and offsets in SQLite,
no checkpoint) or "receiver" (a receiver with its log, at least once).

CRASH=POINT:N has the driver killed when the Nth record comes to a point: "read" (a task reads it), "write" (a task
writes it), "written" (it was written, its batch isn't done); or "worker": the one that writes it.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import (
    ConsumerRecord,
    ConsumerStrategies,
    KafkaDStream,
    KafkaUtils,
    LocationStrategies,
    TopicAndPartition,
)

READING = {
    "group.id": "copying",
    "auto.offset.reset": "earliest",
    "key.deserializer": "StringDeserializer",
    "value.deserializer": "StringDeserializer",
}
# Of the program's arguments.
DIRECTORY = Path()
OPTIONS: dict[str, str] = {}


def brokers() -> dict[str, str]:
    return {"bootstrap.servers": OPTIONS["bootstrap"]}


def crash(point: str, value: str) -> None:
    """Die if this is the point and the record; once, however often it runs."""
    # Asked for here: a variable would come out of the checkpoint, with what it was for the driver before.
    where, _, at = os.environ.get("CRASH", "").partition(":")
    dead = DIRECTORY / "dead"
    if where in (point, "worker" if point == "write" else point) and value == at and not dead.exists():
        dead.touch()
        driver = int((DIRECTORY / "pid").read_text())
        os.kill(os.getpid() if where == "worker" else driver, signal.SIGKILL)


def stream_of(ssc: StreamingContext, offsets: dict[TopicAndPartition, int] | None = None) -> KafkaDStream:
    strategy = ConsumerStrategies.Subscribe([OPTIONS["source"]], brokers() | READING, offsets)
    return KafkaUtils.createDirectStream(ssc, LocationStrategies.PreferConsistent, strategy)


def new_context() -> StreamingContext:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("copying")
    conf.set("spark.streaming.kafka.maxRatePerPartition", "400")
    conf.set("spark.streaming.receiver.writeAheadLog.enable", "true")
    return StreamingContext(SparkContext(conf=conf), 0.1)


def define_received(ssc: StreamingContext) -> None:
    def encode(value: str) -> str:
        crash("write", value)
        return value

    # A dead member's partitions are free after the timeout.
    quickly = {"session.timeout.ms": 1000, "heartbeat.interval.ms": 200}
    params = {**brokers(), **quickly, "auto.offset.reset": "earliest"}
    pairs = KafkaUtils.createStream(ssc, "", "copying", {OPTIONS["source"]: 2}, params)
    pairs.saveToKafka(OPTIONS["sink"], brokers(), valueEncoder=encode)


def define_copy(ssc: StreamingContext, *, with_offsets: bool) -> None:
    def read(record: ConsumerRecord) -> tuple[str, str]:
        crash("read", record.value)
        return record.key, record.value

    def encode(value: str) -> str:
        crash("write", value)
        return value

    def written(rdd: Any) -> None:
        for value in rdd.values().collect():
            crash("written", value)

    stream = stream_of(ssc)
    pairs = stream.map(read)
    pairs.saveToKafka(
        OPTIONS["sink"],
        brokers(),
        valueEncoder=encode,
        exactlyOnce="copying-out",
        offsetsOf=stream if with_offsets else None,
    )
    pairs.foreachRDD(written)


# ------------------------------------------------------------------------------------------------ with a database
def connect() -> sqlite3.Connection:
    return sqlite3.connect(DIRECTORY / "rows.db", timeout=30)


def define_rows(ssc: StreamingContext) -> None:
    connection = connect()
    connection.execute("CREATE TABLE IF NOT EXISTS rows (value TEXT)")
    connection.execute("CREATE TABLE IF NOT EXISTS offsets (partition INTEGER PRIMARY KEY, next INTEGER)")
    begun = {TopicAndPartition(OPTIONS["source"], p): at for p, at in connection.execute("SELECT * FROM offsets")}
    connection.close()

    def write(cursor: Any, records: Iterable[ConsumerRecord]) -> None:
        for record in records:
            crash("write", record.value)
            cursor.execute("INSERT INTO rows VALUES (?)", (record.value,))
            row = record.partition, record.offset + 1
            cursor.execute("INSERT INTO offsets VALUES (?, ?) ON CONFLICT DO UPDATE SET next = excluded.next", row)

    def written(rdd: Any) -> None:
        for record in rdd.collect():
            crash("written", record.value)

    stream = stream_of(ssc, begun)
    stream.foreachTransaction(connect, write, "rows")
    stream.foreachRDD(written)


def main() -> None:
    (DIRECTORY / "pid").write_text(str(os.getpid()))

    def setup() -> StreamingContext:
        ssc = new_context()
        define_received(ssc) if OPTIONS["how"] == "receiver" else define_copy(ssc, with_offsets=False)
        return ssc

    if OPTIONS["how"] in ("checkpoint", "receiver"):
        ssc = StreamingContext.getOrCreate(str(DIRECTORY / "checkpoint"), setup)
    else:
        ssc = new_context()
        define_rows(ssc) if OPTIONS["how"] == "database" else define_copy(ssc, with_offsets=True)
    ssc.start()
    print("started", flush=True)
    ssc.awaitTermination()


if __name__ == "__main__":
    DIRECTORY, OPTIONS = Path(sys.argv[1]), json.loads(sys.argv[2])
    main()
