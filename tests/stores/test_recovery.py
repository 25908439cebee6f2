"""Checkpoints and logs in each store: a driver is killed, and another one goes on from what it left there."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headwater import filesystem
from headwater.errors import IllegalStateException
from headwater.streaming.recovery.lock import DirectoryLock, lock_directory
from headwater.streaming.recovery.log import LogSettings, LogWriter, clean, read_log, read_record
from tests.servers.azure import ACCOUNT_KEY
from tests.servers.processes import running
from tests.servers.s3 import SECRET_KEY
from tests.servers.stores import Store
from tests.stores.counting import KEYS
from tests.stores.test_faults import numbers_of, saved
from tests.stores.test_files import write
from tests.waiting import wait_for

PROGRAM = Path(__file__).with_name("counting.py")
PATIENCE_SECONDS = 60.0
SETTINGS = {
    "headwater.streaming.fileStream.selection": "identity",
    "headwater.streaming.fileStream.stabilityDuration": "0",
    "headwater.streaming.checkpoint.interval": "1s",
}


def driver(store: Store, place: str, directory: Path) -> contextlib.AbstractContextManager[subprocess.Popen[bytes]]:
    """The program, from its start to the end of the block, where it's killed; `log` gets what it says."""
    defaults = "".join(f"{key} {value}\n" for key, value in store.settings.items())
    (directory / "spark-defaults.conf").write_text(defaults)
    environment = {**os.environ, "SPARK_CONF_DIR": str(directory), "PYTHONPATH": str(PROGRAM.parents[2])}
    return running([sys.executable, str(PROGRAM), place, json.dumps(SETTINGS)], directory / "log", environment)


def await_it(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for what a driver does."""
    wait_for(condition, lambda: log.read_text()[-4000:], process=process)


def counted(place: str) -> dict[str, int]:
    """The newest of the counts."""
    if not filesystem.exists(f"{place}/counts"):
        return {}
    files = [file.path for file in filesystem.list_files(f"{place}/counts") if file.path[-1].isdigit()]
    if not files:
        return {}
    with filesystem.open_raw(max(files)) as file:
        return dict(json.load(file))


def test_driver_that_is_killed_is_followed_by_one_that_loses_nothing(store: Store, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    for run in range(3):
        with driver(store, place, tmp_path) as process:
            await_it(lambda run=run: log.read_text().count("started") > run, process, log)  # type: ignore[misc]
            for name in range(2 * run, 2 * run + 2):
                write(f"{place}/in/{name}", numbers_of(name))
            records = len(numbers_of(0).split()) * (2 * run + 2)
            if run != 1:  # the second one is killed whatever it is at
                await_it(lambda records=records: sum(counted(place).values()) == records, process, log)  # type: ignore[misc]
    numbers = [int(number) for name in range(6) for number in numbers_of(name).split()]
    assert counted(place) == {str(key): sum(number % KEYS == key for number in numbers) for key in range(KEYS)}
    assert complete(place) == Counter(numbers)
    assert b"Traceback" not in log.read_bytes()


def test_second_driver_is_refused(store: Store, place: str, tmp_path: Path) -> None:
    log, second_log = tmp_path / "log", tmp_path / "second" / "log"
    second_log.parent.mkdir()
    with driver(store, place, tmp_path) as process:
        await_it(lambda: "started" in log.read_text(), process, log)
        with driver(store, place, second_log.parent) as second:
            assert second.wait(PATIENCE_SECONDS) != 0
        assert f"is in use by process {process.pid} on" in second_log.read_text()
        write(f"{place}/in/0", numbers_of(0))
        await_it(lambda: bool(counted(place)), process, log)


def test_of_drivers_that_start_at_once_one_gets_the_directory(place: str) -> None:
    start = threading.Barrier(4)

    def lock(_: int) -> DirectoryLock | None:
        start.wait()
        try:
            return lock_directory(f"{place}/checkpoints")
        except IllegalStateException as error:
            assert "is in use by process" in str(error)
            return None

    for _ in range(3):
        with ThreadPoolExecutor(4) as drivers:
            (held,) = filter(None, drivers.map(lock, range(4)))
        held.close()


def complete(place: str) -> Counter[int]:
    """As `saved`; what a killed driver has left incomplete was replaced, unless it was of the last batch."""
    for directory in filesystem.expand(f"{place}/saved/*"):
        if not filesystem.exists(f"{directory}/_SUCCESS"):
            filesystem.remove(directory)
    return saved(place)


def test_keys_reach_neither_checkpoints_nor_what_is_logged(store: Store, place: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with driver(store, place, tmp_path) as process:
        await_it(lambda: "started" in log.read_text(), process, log)
        write(f"{place}/in/0", numbers_of(0))
        await_it(lambda: bool(counted(place)), process, log)
    files = [file.path for file in filesystem.list_files(f"{place}/checkpoints/{{checkpoint,program}}-*")]
    kept = b"".join(filesystem.open_raw(path).read() for path in files)
    assert b"headwater.streaming.fileStream.selection" in kept
    for key in (SECRET_KEY, ACCOUNT_KEY):
        assert key.encode() not in kept
        assert key not in log.read_text()


@pytest.mark.parametrize("close_after_write", [False, True])
def test_log_in_a_store_is_read_as_it_was_written(place: str, close_after_write: bool) -> None:
    directory = f"{place}/log"
    settings = LogSettings(close_after_write=close_after_write)
    for writer_number in range(2):  # the second one goes on behind the first
        writer = LogWriter(directory, settings)
        positions = [writer.append([b"%d-%d" % (writer_number, n)], time_ms=1000 * n)[0] for n in range(3)]
        writer.close()
    expected = [b"%d-%d" % (writer_number, n) for writer_number in range(2) for n in range(3)]
    assert [record for _, record in read_log(directory)] == expected
    assert [read_record(position) for position in positions] == expected[3:]
    assert len(filesystem.list_files(directory)) == 6  # an object a write: there is no append
    assert len(clean(directory, 10**9)) == 6
    assert list(read_log(directory)) == []
