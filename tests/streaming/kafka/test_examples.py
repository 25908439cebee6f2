"""The Kafka examples as a user runs them."""

from __future__ import annotations

import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.engine.processes import complaints
from tests.servers.kafka import KafkaBroker
from tests.waiting import wait_for

EXAMPLES = Path(__file__).parents[3] / "examples"
PATIENCE_SECONDS = 60


@contextmanager
def running(name: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """An example, ended by Ctrl-C; it must end well."""
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, complaints(errors)) == (0, [])


def test_kafka_wordcount_counts_what_is_in_the_topic(kafka: KafkaBroker) -> None:
    topic, counts = kafka.topic(2), dict.fromkeys(("to", "be", "or", "not"), 0)
    kafka.send(topic, ["to be or not to be"] * 10)
    with running("kafka_wordcount.py", kafka.bootstrap, topic) as process:
        assert process.stdout is not None
        while sum(counts.values()) < 60:
            line = process.stdout.readline()
            assert line, f"it ended early: {counts}"
            for word, number in re.findall(r"\('(\w+)', (\d+)\)", line):
                counts[word] += int(number)
    assert counts == {"to": 20, "be": 20, "or": 10, "not": 10}


def test_kafka_offsets_in_database_goes_on_where_the_database_is(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic, database = kafka.topic(2), tmp_path / "records.db"

    def values() -> list[str]:
        if not database.exists():
            return []
        connection = sqlite3.connect(database, timeout=60)
        try:
            return sorted(value for (value,) in connection.execute("SELECT value FROM records"))
        finally:
            connection.close()

    expected: list[str] = []
    for round_ in range(2):
        for partition in (0, 1):
            kafka.send(topic, [f"{round_}-{partition}-{i}" for i in range(5)], partition)
            expected += [f"{round_}-{partition}-{i}" for i in range(5)]
        sent = len(expected)
        with running("kafka_offsets_in_database.py", kafka.bootstrap, topic, database):
            wait_for(lambda: database.exists() and "records" in tables(database), "the table is there")
            wait_for(lambda sent=sent: len(values()) >= sent, "all records are in the database")
    assert values() == sorted(expected)


def tables(database: Path) -> list[str]:
    connection = sqlite3.connect(database, timeout=60)
    try:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master")]
    finally:
        connection.close()
