"""Outputs of a program's own: what they are told of each batch, and once-only writing over kills and restarts."""

from __future__ import annotations

import pickle
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext, TaskContext
from headwater.errors import IllegalArgumentException
from headwater.streaming import BatchOutput, OutputBatch
from headwater.streaming.durations import local_datetime
from headwater.streaming.outputs.batchoutput import FunctionOutput
from headwater.testing import StreamHarness
from tests.streaming.outputs.killing import (
    KILLED_MS,
    LINES,
    PATIENCE_SECONDS,
    copy_lines,
    kill_at,
    put_lines,
    run_at_each,
)
from tests.streaming.recovery.driving import START_MS

FIRST_MS = 1_000_000_000


class Noted(BatchOutput):
    """Keeps what it is handed."""

    def __init__(self, name: str = "", *, must_checkpoint: bool = False) -> None:
        self.unique_name = name
        self.must_checkpoint = must_checkpoint
        self.batches: list[OutputBatch] = []
        self.records: list[list[Any]] = []

    def write(self, batch: OutputBatch, rdd: Any) -> None:
        self.batches.append(batch)
        self.records.append(rdd.collect())


# ------------------------------------------------------------------------------------------------ what it is told
def test_batch_says_what_it_is_in_tasks_too() -> None:
    batch: OutputBatch = pickle.loads(pickle.dumps(OutputBatch("rows", FIRST_MS, FIRST_MS - 1000)))
    assert batch == OutputBatch("rows", FIRST_MS, FIRST_MS - 1000)
    assert batch.identity == ("rows", FIRST_MS)
    assert batch.time == local_datetime(FIRST_MS)


def test_function_is_called_with_the_time_where_it_takes_it(sc: SparkContext) -> None:
    called: list[Any] = []
    batch, rdd = OutputBatch("", FIRST_MS, FIRST_MS), sc.emptyRDD()
    FunctionOutput(lambda *given: called.append(given), with_time=True).write(batch, rdd)
    FunctionOutput(lambda *given: called.append(given), with_time=False).write(batch, rdd)
    assert called == [(local_datetime(FIRST_MS), rdd), (rdd,)]


def test_each_batch_is_handed_over_in_order_empty_ones_too(sc: SparkContext) -> None:
    sink = Noted("rows")
    with StreamHarness(1.0, sc) as harness:
        harness.stream([["a", "b"], [], ["c"]]).output(sink)
        harness.run(3)
    times = (FIRST_MS, FIRST_MS + 1000, FIRST_MS + 2000)
    assert sink.batches == [OutputBatch("rows", time_ms, time_ms) for time_ms in times]
    assert sink.records == [["a", "b"], [], ["c"]]


def test_oldest_pending_batch_is_one_that_failed(sc: SparkContext) -> None:
    def fail_at_2(rdd: Any) -> None:
        assert rdd.collect() != [2]

    sink = Noted()
    with StreamHarness(1.0, sc) as harness:
        stream = harness.stream([[1], [2], [3], [4]])
        stream.foreachRDD(fail_at_2)
        stream.output(sink)
        harness.start()
        for _ in range(4):
            harness.runBatch()
    assert [(each.time_ms - FIRST_MS, each.oldest_pending_ms - FIRST_MS) for each in sink.batches] == [
        (0, 0),
        (1000, 1000),
        (2000, 1000),
        (3000, 1000),
    ]


def test_oldest_pending_batch_may_still_run(no_context: None) -> None:
    seen: dict[int, int] = {}

    class Overtaken(BatchOutput):
        """Waits in the first batch until the second one has been written."""

        def write(self, batch: OutputBatch, rdd: Any) -> None:
            if batch.time_ms == FIRST_MS:
                harness.clock.advance(1000)
                second.wait(PATIENCE_SECONDS)
            seen[batch.time_ms - FIRST_MS] = batch.oldest_pending_ms - FIRST_MS
            if batch.time_ms > FIRST_MS:
                second.set()

    second = threading.Event()
    conf = SparkConf(loadDefaults=False).setMaster("local").set("spark.streaming.concurrentJobs", "2")
    with StreamHarness(1.0, conf=conf) as harness:
        harness.stream([[1], [2]]).output(Overtaken())
        harness.start()
        harness.runBatch()
    assert seen == {0: 0, 1000: 0}


def test_batch_that_is_tried_again_is_the_same(no_context: None) -> None:
    class Unlucky(Noted):
        def write(self, batch: OutputBatch, rdd: Any) -> None:
            super().write(batch, rdd)
            assert len(self.batches) > 2

    sink = Unlucky("rows")
    conf = SparkConf(loadDefaults=False).setMaster("local").set("headwater.streaming.failure.policy", "retry")
    conf.set("headwater.streaming.failure.retryWait", "0")
    with StreamHarness(1.0, conf=conf) as harness:
        harness.stream([["a"]]).output(sink)
        harness.run()
    assert sink.batches == [OutputBatch("rows", FIRST_MS, FIRST_MS)] * 3


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("sink", "message"),
    [
        (
            print,
            "expected a headwater.streaming.BatchOutput, got .* A function is called with each batch by foreachRDD",
        ),
        (Noted, "expected a headwater.streaming.BatchOutput, got .* of type ABCMeta"),
        (Noted(name=7), "unique_name should be a str, got 7"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_output_is_refused(sc: SparkContext, sink: Any, message: str) -> None:
    with StreamHarness(1.0, sc) as harness, pytest.raises(TypeError, match=message):
        harness.stream().output(sink)


def test_second_output_of_a_name_is_refused(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.stream().output(Noted("rows"))
        harness.stream().foreachTransaction(lambda: None, lambda cursor, records: None, "rows")  # notes of its own
        with pytest.raises(IllegalArgumentException, match="another output has the name 'rows'. Give each its own"):
            harness.stream().output(Noted("rows"))
        harness.stream().output(Noted())
        harness.stream().output(Noted())


def test_directory_for_checkpoints_is_demanded_where_the_output_says_so(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.stream([["a"]]).output(Noted("rows", must_checkpoint=True))
        message = r"checkpoint directory has not been set.*the output output at test_batchoutput.py:\d+ can write each"
        with pytest.raises(IllegalArgumentException, match=message):
            harness.run()


def test_what_keeps_an_output_from_a_checkpoint_is_named(sc: SparkContext, tmp_path: Path) -> None:
    sink = Noted("rows")
    sink.records = open(tmp_path / "file", "w")  # type: ignore[assignment]  # noqa: SIM115
    with sink.records, StreamHarness(1.0, sc) as harness:  # type: ignore[attr-defined]
        harness.checkpoint()
        harness.stream([["a"]]).output(sink)
        with pytest.raises(Exception, match=r"the output output at test_batchoutput.py:\d+ uses .*'records'"):
            harness.run()


# ------------------------------------------------------------------------------------------------ kills
class Rows(BatchOutput):
    """Writes each partition, and a note that it is written, by one transaction of SQLite.

    Args:
        path: of the database.
        kill_at: is called with each step of the partition that has the line "b1".
    """

    unique_name = "rows"
    must_checkpoint = True

    def __init__(self, path: str, kill_at: Callable[[str], None]) -> None:
        self.path = path
        self.kill_at = kill_at

    def write(self, batch: OutputBatch, rdd: Any) -> None:
        rdd.foreachPartition(partial(self.write_partition, batch))
        if batch.time_ms == KILLED_MS:
            self.kill_at("all written")
        with closing(sqlite3.connect(self.path, timeout=60)) as connection, connection:
            connection.execute("DELETE FROM notes WHERE batch_ms < ?", (batch.oldest_pending_ms,))

    def write_partition(self, batch: OutputBatch, records: Any) -> None:
        rows = [(batch.time_ms, line) for line in records]
        task = TaskContext.get()
        assert task is not None
        note = (*batch.identity, task.partitionId())
        kill_at = self.kill_at if (KILLED_MS, "b1") in rows else lambda step: None
        with closing(sqlite3.connect(self.path, timeout=60)) as connection:
            try:
                connection.execute("INSERT INTO notes VALUES (?, ?, ?)", note)
            except sqlite3.IntegrityError:
                return
            connection.executemany("INSERT INTO written VALUES (?, ?)", rows[:1])
            kill_at("half written")
            connection.executemany("INSERT INTO written VALUES (?, ?)", rows[1:])
            connection.commit()
            kill_at("committed")


def copy(root: str, step: str, after_ms: str) -> None:
    copy_lines(root, step, after_ms, lambda: Rows(f"{root}/out.db", partial(kill_at, root)))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of lines, and an empty database."""
    put_lines(tmp_path)
    with closing(sqlite3.connect(tmp_path / "out.db")) as connection, connection:
        connection.execute("CREATE TABLE written (batch_ms INTEGER, line TEXT)")  # what is written twice is there twice
        connection.execute(
            "CREATE TABLE notes (output TEXT, batch_ms INTEGER, part INTEGER, UNIQUE (output, batch_ms, part))"
        )
    return tmp_path


@pytest.mark.timeout(600)  # four drivers, one after the other
def test_every_record_is_written_once_when_the_driver_is_killed_at_each_step_of_a_batch_in_turn(root: Path) -> None:
    run_at_each(["half written", "committed", "all written"], copy, str(root))
    with closing(sqlite3.connect(root / "out.db")) as connection:
        written = connection.execute("SELECT batch_ms, line FROM written ORDER BY batch_ms, line").fetchall()
        noted = connection.execute("SELECT DISTINCT output, batch_ms - ? FROM notes", (START_MS,)).fetchall()
    assert written == [(START_MS + 1000 * int(line[1]), line) for line in LINES]
    assert {("rows", 3000)} <= set(noted) <= {("rows", 2000), ("rows", 3000)}
