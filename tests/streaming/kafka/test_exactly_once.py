"""End to end, record by record: a topic is copied into another one, or into a database, by drivers that are killed."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import pytest

from tests.servers.kafka import KafkaBroker
from tests.servers.processes import dies_with_its_parent
from tests.waiting import wait_for

PROGRAM = Path(__file__).with_name("copying.py")
REPOSITORY = Path(__file__).parents[3]
PARTITIONS, RECORDS = 3, 600
PATIENCE_SECONDS = 60.0
RESTARTS_MAX = 5


class Copy:
    """The program, a topic that it copies, and what has become of that."""

    def __init__(self, broker: KafkaBroker, directory: Path, how: str) -> None:
        self.broker = broker
        self.directory = directory
        self.source, self.sink = broker.topic(PARTITIONS), broker.topic(2)
        self.options = {"bootstrap": broker.bootstrap, "source": self.source, "sink": self.sink, "how": how}
        self.sent: list[str] = []

    def send(self, count: int = RECORDS) -> None:
        """Send that many more records, spread over the partitions."""
        new = [str(len(self.sent) + i) for i in range(count)]
        for partition in range(PARTITIONS):
            self.broker.send(self.source, [(value, value) for value in new[partition::PARTITIONS]], partition)
        self.sent += new

    @contextmanager
    def running(self, crash: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """The program, killed at the end. `crash`: where it dies by itself, `POINT:RECORD`."""
        (self.directory / "dead").unlink(missing_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CRASH": crash}
        command = [sys.executable, str(PROGRAM), str(self.directory), json.dumps(self.options)]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, preexec_fn=dies_with_its_parent
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def copied(self) -> Counter[str]:
        """The values that committed readers of the sink see, and how often."""
        if self.options["how"] == "database":
            connection = sqlite3.connect(self.directory / "rows.db", timeout=30)
            try:
                return Counter(value for (value,) in connection.execute("SELECT value FROM rows"))
            except sqlite3.OperationalError:  # the program hasn't made it yet
                return Counter()
            finally:
                connection.close()
        return Counter(value.decode() for records in self.broker.read(self.sink, 2) for _, value in records)

    def await_copied(self, process: subprocess.Popen[bytes]) -> None:
        """Wait until all that was sent is there."""

        def is_there() -> bool:
            assert process.poll() is None, (self.directory / "log").read_text()[-3000:]
            return self.is_copied()

        wait_for(is_there, "all records are copied")

    def is_copied(self) -> bool:
        """Whether all that was sent is there."""
        return self.copied().keys() >= set(self.sent)

    def check(self) -> None:
        assert self.copied() == Counter(self.sent)


Start = Callable[[str], Copy]


@pytest.fixture
def copy(kafka: KafkaBroker, tmp_path: Path) -> Start:
    return lambda how: Copy(kafka, tmp_path, how)


def await_death(process: subprocess.Popen[bytes], copy: Copy) -> None:
    assert process.wait(PATIENCE_SECONDS) == -signal.SIGKILL, (copy.directory / "log").read_text()[-3000:]


@pytest.mark.parametrize(
    ("how", "point"),
    [
        *product(("checkpoint", "offsets"), ("read", "write", "written")),
        *product(("database",), ("write", "written")),  # there, reading is writing
    ],
)
def test_each_record_is_there_once_when_the_driver_is_killed(copy: Start, how: str, point: str) -> None:
    it = copy(how)
    it.send()
    for victim in (RECORDS // 4, RECORDS // 2 + 1):
        with it.running(f"{point}:{victim}") as process:
            await_death(process, it)
    it.send()
    with it.running() as process:
        it.await_copied(process)
    it.check()


def test_no_received_record_is_lost_when_the_driver_is_killed(copy: Start) -> None:
    it = copy("receiver")
    for victim in (RECORDS // 4, RECORDS + RECORDS // 2):  # those of the first time may have been written by then
        it.send()
        with it.running(f"write:{victim}") as process:
            await_death(process, it)
    it.send()
    with it.running() as process:
        it.await_copied(process)
    assert it.copied().keys() == set(it.sent)


@pytest.mark.parametrize("how", ["checkpoint", "database"])
def test_each_record_is_there_once_when_a_worker_is_killed(copy: Start, how: str) -> None:
    it = copy(how)
    it.send()
    with it.running(f"worker:{RECORDS // 2}") as process:
        it.await_copied(process)
        assert (it.directory / "dead").exists()
    it.check()


@pytest.mark.parametrize("how", ["checkpoint", "offsets", "database"])
def test_each_record_is_there_once_when_drivers_are_killed_at_random(copy: Start, how: str) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chosen, it = random.Random(seed), copy(how)
    for _ in range(4):
        it.send(RECORDS // 2)
        with it.running() as process:
            log = (it.directory / "log").read_text().count("started")
            wait_for(lambda log=log: (it.directory / "log").read_text().count("started") > log, "it has started")
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(chosen.uniform(0, 0.5))
    with it.running() as process:
        it.await_copied(process)
    it.check()


def test_each_record_is_there_once_when_the_broker_is_killed_in_the_middle_of_a_batch(copy: Start) -> None:
    it = copy("checkpoint")
    it.send()
    with it.running():
        wait_for(lambda: len(it.copied()) > 0, "some are copied")
        it.broker.kill()
        it.broker.start()
    it.send(60)
    for _ in range(RESTARTS_MAX):  # an output that failed ends the program: what it had to do is the next one's
        with it.running() as process:
            wait_for(lambda process=process: process.poll() is not None or it.is_copied(), "it has ended or copied all")
        if it.is_copied():
            break
    it.check()
