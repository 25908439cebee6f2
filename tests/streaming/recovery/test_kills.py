"""Recovery of killed drivers, record by record: what outputs and states have seen is compared with what was sent."""

from __future__ import annotations

import ctypes
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.effort import tries
from tests.engine.processes import executors, workers
from tests.streaming.recovery.killing import PATIENCE_SECONDS, Files, Program, Server
from tests.waiting import wait_for

LOG = {"spark.streaming.receiver.writeAheadLog.enable": "true"}
# Where the first process dies; then where the second does, and the third.
CRASHES = [
    ("before-batch-begun:4", "before-batch-begun:2"),
    ("before-batch-done:5", "before-batch-done:1"),
    ("before-version:9", "before-version:3"),
    ("before-forgotten:3", "before-forgotten:2"),
    ("before-commit:11", "before-commit:2"),
    ("in-checkpoint:3", "in-checkpoint:1", "in-checkpoint:2"),
    ("after-checkpoint:3", "after-checkpoint:1", "in-recovery:1", "after-recovery:1"),
]
OFTEN = {"headwater.streaming.checkpoint.interval": "300ms"}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Also when a test fails, its processes end: others are not to run beside them."""
    yield
    while Program.made:
        Program.made.pop().kill()


@pytest.mark.parametrize("crashes", CRASHES, ids=lambda crashes: crashes[0].partition(":")[0])
def test_file_stream_counts_each_record_once_when_the_driver_dies_at(tmp_path: Path, crashes: tuple[str, ...]) -> None:
    program = Program(tmp_path, conf=OFTEN)
    process = program.start(crashes[0])
    program.await_start()
    with Files(tmp_path) as files:
        for crash in (*crashes[1:], ""):
            program.await_death()
            process = program.start(crash)
        time.sleep(0.6)
    try:
        program.await_numbers(files.sent)
        assert process.poll() is None
    finally:
        program.kill()
    program.check(exactly=files.sent)


@pytest.mark.parametrize("crashes", [*CRASHES[:2], CRASHES[4], ("before-block:15", "before-block:3")])
def test_logged_receiver_loses_nothing_acknowledged_when_the_driver_dies_at(
    tmp_path: Path, crashes: tuple[str, ...]
) -> None:
    with Server() as server:
        program = Program(tmp_path, port=server.port, conf={**OFTEN, **LOG})
        program.start(crashes[0])
        for crash in (*crashes[1:], ""):
            program.await_death()
            program.start(crash)
        time.sleep(1.2)
    try:
        program.await_numbers(server.sent)
    finally:
        program.kill()
    program.check()


@pytest.mark.parametrize("seed", range(tries(1)))
@pytest.mark.parametrize("source", ["files", "receiver"])
def test_nothing_is_lost_when_the_driver_dies_at_any_time(tmp_path: Path, source: str, seed: int) -> None:
    chance = random.Random(f"{source} {seed}")
    if source == "files":
        program, fed = Program(tmp_path, conf=OFTEN), Files(tmp_path)
        program.start()
        program.await_start()
    else:
        fed = Server()
        program = Program(tmp_path, port=fed.port, conf={**OFTEN, **LOG})
        program.start()
    with fed:
        for _ in range(3):
            time.sleep(chance.uniform(0.3, 2.0))
            program.kill()
            program.start()
        time.sleep(1.0)
    try:
        program.await_numbers(fed.sent)
    finally:
        program.kill()
    program.check(exactly=fed.sent if source == "files" else None)


# ------------------------------------------------------------------------------------------------ executors
@pytest.mark.parametrize("victims", [executors, workers], ids=["executor", "worker"])
def test_nothing_is_lost_when_a_process_of_the_cluster_dies(
    tmp_path: Path, victims: Callable[[int], list[int]]
) -> None:
    chance = random.Random(1)
    with Server() as server:
        # With the log on, there is only one copy of a block outside of it.
        program = Program(tmp_path, port=server.port, conf=LOG, master="local-cluster[2,1,512]", batch=0.4)
        process = program.start()
        program.await_start()
        for _ in range(3):
            time.sleep(chance.uniform(0.6, 1.2))
            wait_for(lambda: bool(victims(process.pid)), "there is a process to kill")
            os.kill(chance.choice(victims(process.pid)), signal.SIGKILL)
        time.sleep(1.5)
    try:
        program.await_numbers(server.sent)
    finally:
        program.kill()
    program.check()


# ------------------------------------------------------------------------------------------------ the directory
def exchange(one: Path, other: Path) -> None:
    """Give each of two paths the other's name, at once: in a moment without the directory a driver would make it."""
    here, both = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), both):
        raise OSError(ctypes.get_errno(), "can't be exchanged", str(one))


def test_stream_goes_on_and_is_recovered_when_its_directory_was_away_for_a_while(tmp_path: Path) -> None:
    checkpoints, away = tmp_path / "checkpoints", tmp_path / "away"
    program = Program(tmp_path, conf=OFTEN)
    program.start()
    program.await_start()
    with Files(tmp_path) as files:
        wait_for(lambda: len(program.batches("update")) > 3, "batches are done")
        away.touch()
        exchange(checkpoints, away)  # nothing can be written in a file, not even by root
        done, before = len(program.batches("update")), numbers_of(away)
        wait_for(lambda: len(program.batches("update")) > done + 4, "it goes on")
        wait_for(lambda: "can't be written: the stream goes on without" in program.log(), "it says so")
        exchange(checkpoints, away)
        wait_for(lambda: max(numbers_of(checkpoints)) > max(before) + 1, "there are checkpoints again")
        program.kill()
        program.start()
    try:
        program.await_numbers(files.sent)
    finally:
        program.kill()
    program.check(exactly=files.sent)


def test_segments_of_the_receivers_log_go_when_no_batch_needs_them(tmp_path: Path) -> None:
    short = {
        "spark.streaming.receiver.writeAheadLog.rollingIntervalSecs": "1",
        "spark.streaming.receiver.blockStoreTimeout": "1",
    }
    segments = tmp_path / "checkpoints" / "receivedData" / "0"
    seen: set[str] = set()
    with Server() as server:
        program = Program(tmp_path, port=server.port, conf={**LOG, **short})
        program.start()
        for _ in range(2):

            def some_have_gone() -> bool:
                there = {path.name for path in segments.glob("log-*")}
                seen.update(there)
                return len(seen - there) >= 2

            seen.clear()
            wait_for(some_have_gone, "segments are removed")
            program.kill()
            program.start()
        time.sleep(0.5)
    try:
        program.await_numbers(server.sent)
    finally:
        program.kill()
    program.check()


def numbers_of(directory: Path) -> list[int]:
    """Of the checkpoints."""
    return [int(path.name.rpartition("-")[2]) for path in directory.glob("checkpoint-*-*[0-9]")]


def test_second_driver_of_a_directory_is_refused(tmp_path: Path) -> None:
    first, second = Program(tmp_path), Program(tmp_path)
    first.start()
    first.await_start()
    try:
        assert second.start().wait(PATIENCE_SECONDS) == 1
    finally:
        first.kill()
    assert "checkpoints is in use by process" in second.log()
