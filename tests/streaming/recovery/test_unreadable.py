"""Files that a batch could not read, and drivers that die meanwhile: each record is in one batch, once."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from tests.streaming.recovery.driving import START_MS, Driver, Results, put
from tests.streaming.recovery.killing import Program
from tests.waiting import wait_for


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Also when a test fails, its processes end."""
    yield
    while Program.made:
        Program.made.pop().kill()


GOOD, BAD = set(range(1000)), set(range(1000, 2000))


def numbers(wanted: set[int]) -> bytes:
    return "".join(f"{number}\n" for number in sorted(wanted)).encode()


def place(root: Path, name: str, content: bytes) -> None:
    """Put a whole file into the program's directory."""
    (root / name).write_bytes(content)
    (root / name).rename(root / "in" / name)


def await_text(program: Program, text: str) -> None:
    wait_for(lambda: text in program.log(), program.log)


@pytest.mark.parametrize("selection", ["modificationTime", "identity"])
@pytest.mark.parametrize("crash", ["", "before-batches-amended:1", "after-batches-amended:1"])
def test_file_that_is_completed_after_a_kill_is_counted_once(tmp_path: Path, selection: str, crash: str) -> None:
    conf = {
        "headwater.streaming.fileStream.selection": selection,
        "headwater.streaming.fileStream.stabilityDuration": "0s",
    }
    program = Program(tmp_path, conf=conf, states=["map", "inverse", "plain"])
    program.start(crash)
    program.await_start()
    whole = gzip.compress(numbers(BAD))
    place(tmp_path, "bad.gz", whole[:-20])
    place(tmp_path, "good.txt", numbers(GOOD))
    if crash:
        program.await_death()
    else:
        await_text(program, "bad.gz could not be read")
        program.kill()
    place(tmp_path, "bad.gz", whole)
    program.start()
    program.await_numbers(GOOD | BAD)
    program.kill()
    program.check(exactly=GOOD | BAD)


@pytest.fixture
def sc(no_context: None) -> Iterator[SparkContext]:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("unreadable")
    with SparkContext(conf=conf.set("spark.streaming.clock", "ManualClock")) as made:
        yield made


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return Results(tmp_path / "results")


def test_restarted_driver_tries_a_file_again_and_its_windows_lack_it(
    sc: SparkContext, tmp_path: Path, results: Results
) -> None:
    def define(ssc: StreamingContext) -> None:
        stream = ssc.textFileStream(str(tmp_path / "in"))
        stream.foreachRDD(results.of("lines"))
        stream.window(3).foreachRDD(results.of("windows"))

    driver = Driver(tmp_path / "checkpoints", define).start()
    put(tmp_path / "in", "a.gz", "no gzip", -100)
    put(tmp_path / "in", "b", "good\n", -100)
    driver.tick(2)
    driver.stop()
    (tmp_path / "in" / "a.gz").write_bytes(gzip.compress(b"late\n"))
    os.utime(tmp_path / "in" / "a.gz", ns=((START_MS + 1200) * 1_000_000,) * 2)
    driver = Driver(tmp_path / "checkpoints", define).start(1500)
    driver.tick(1)
    driver.stop()
    assert results.read("lines") == [[0, ["good"]], [1, []], [2, ["late"]]]
    assert results.read("windows") == [[0, ["good"]], [1, ["good"]], [2, ["good", "late"]]]


def test_upgraded_driver_reads_by_identity_what_came_while_none_ran(
    sc: SparkContext, tmp_path: Path, results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sc.conf._pairs, "headwater.streaming.fileStream.selection", "identity")
    monkeypatch.setitem(sc.conf._pairs, "headwater.streaming.fileStream.stabilityDuration", "0s")

    def define(ssc: StreamingContext) -> None:
        ssc.textFileStream(str(tmp_path / "in")).foreachRDD(results.of("lines"))

    (tmp_path / "in").mkdir()
    driver = Driver(tmp_path / "checkpoints", define).start()
    driver.tick(2)  # nothing is there, so nothing is known
    driver.stop()
    put(tmp_path / "in", "a", "one\n", 1200)
    driver = Driver(tmp_path / "checkpoints", define, upgrade=True).start(1500)
    driver.tick(1)
    driver.stop()
    assert results.records("lines") == ["one"]
