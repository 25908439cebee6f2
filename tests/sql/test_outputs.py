"""Outputs of DataFrames: each row once in files and tables, whoever is killed between whichever steps."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pysail")

import pyarrow.dataset
import pyarrow.parquet

from headwater import SparkConf, SparkContext, filesystem
from headwater.errors import IllegalArgumentException, UnsupportedOperationException
from headwater.filesystem import LocalFileSystem
from headwater.sql import SparkSession
from headwater.sql.outputs import FilesOutput, TableOutput
from headwater.streaming import OutputBatch
from headwater.testing import StreamHarness
from tests.conftest import stop_active_context
from tests.sql.stores import Store, new_store
from tests.streaming.outputs.killing import KILLED_MS, LINES, copy_lines, kill_at, put_lines, run_at_each

DAY_MS = 86_400_000
SCHEMA = "n INT, s STRING"


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    stop_active_context()
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("outputs")) as sc:
        yield sc


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, request, tmp_path)


def frame_of(rdd: Any, schema: str = SCHEMA) -> Any:
    return SparkSession.builder.getOrCreate().createDataFrame(rdd, schema)


def run(sc: SparkContext, sink: Any, *batches: list[Any]) -> None:
    """A program that writes these batches; each call is the program started again, at the same batch times."""
    with StreamHarness(1.0, sc) as harness:
        harness.stream([*batches]).output(sink)
        harness.run(len(batches))


def batch(time_ms: int, oldest_pending_ms: int | None = None) -> OutputBatch:
    return OutputBatch("rows", time_ms, time_ms if oldest_pending_ms is None else oldest_pending_ms)


def seen(path: Path) -> list[Any]:
    """The rows as readers of the directory see them."""
    rows = SparkSession.builder.getOrCreate().connected.read.parquet(str(path)).collect()
    return sorted(map(tuple, rows), key=repr)


def names(path: Path) -> list[str]:
    """The files below a directory that readers see, by relative path."""
    files = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    return sorted(str(file) for file in files if not any(part.startswith(("_", ".")) for part in file.parts))


# ------------------------------------------------------------------------------------------------ files
def test_batches_are_added_to_a_directory_each_with_files_of_its_own(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "out"
    run(sc, FilesOutput(frame_of, str(path), name="rows"), [(1, "a"), (2, "b")], [], [(3, None)])
    assert seen(path) == [(1, "a"), (2, "b"), (3, None)]
    assert {tuple(name.split("-")[:2]) for name in names(path)} == {("part", "1000000000"), ("part", "1000002000")}


def test_a_batch_that_runs_again_is_written_once(sc: SparkContext, tmp_path: Path) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), name="rows")
    for _ in range(3):
        sink.write(batch(1000), sc.parallelize([(1, "a"), (2, "b")]))
    assert seen(tmp_path / "out") == [(1, "a"), (2, "b")]


def test_notes_are_kept_as_long_as_a_batch_may_run_again(sc: SparkContext, tmp_path: Path) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), name="rows")
    for time_ms, oldest_pending_ms in [(1000, 1000), (2000, 1000), (3000, 1000), (1000, 1000), (4000, 3000)]:
        sink.write(batch(time_ms, oldest_pending_ms), sc.parallelize([(time_ms, "")]))
    assert seen(tmp_path / "out") == [(1000, ""), (2000, ""), (3000, ""), (4000, "")]
    notes = os.listdir(tmp_path / "out" / "_batches")
    assert sorted(note.partition("-")[2] for note in notes) == ["3000", "4000"]
    assert os.listdir(tmp_path / "out" / "_staging") == []


def test_values_of_columns_become_names_of_directories(sc: SparkContext, tmp_path: Path) -> None:
    path = tmp_path / "out"
    sink = FilesOutput(frame_of, str(path), partition_by=["S"], name="rows")
    sink.write(batch(1000), sc.parallelize([(1, "a"), (2, "b/=c"), (3, None), (4, "")]))
    sink.write(batch(2000), sc.parallelize([(5, "a")]))
    table = pyarrow.dataset.dataset(path, partitioning="hive").to_table().to_pylist()
    assert sorted((row["n"], row["s"]) for row in table) == [(1, "a"), (2, "b/=c"), (3, None), (4, None), (5, "a")]
    directories = {name.partition("/")[0] for name in names(path)}
    assert directories >= {"s=a", "s=__HIVE_DEFAULT_PARTITION__"}
    assert len([name for name in names(path) if name.startswith("s=a/")]) == 2


def test_a_null_number_is_not_written_as_zero(sc: SparkContext, tmp_path: Path) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), partition_by=["n"], name="rows")
    sink.write(batch(1000), sc.parallelize([(0, "a"), (None, "b")]))
    assert sorted(os.path.dirname(name) for name in names(tmp_path / "out")) == ["n=0", "n=__HIVE_DEFAULT_PARTITION__"]


@pytest.mark.parametrize(
    ("format", "options", "text"), [("json", {}, '{"n":1,"s":"a"}\n'), ("csv", {"header": True}, "n,s\n1,a\n")]
)
def test_files_may_be_of_other_formats(
    sc: SparkContext, tmp_path: Path, format: str, options: dict[str, Any], text: str
) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), format, name="rows", options=options)
    sink.write(batch(1000), sc.parallelize([(1, "a")], 2))
    sink.write(batch(2000), sc.parallelize([], 2))
    (name,) = names(tmp_path / "out")  # none for a partition without rows
    assert name.endswith(f"-00000.{format}")
    assert (tmp_path / "out" / name).read_text() == text


def test_outputs_of_other_names_may_share_a_directory(sc: SparkContext, tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    for name, row in [("one", (1, "a")), ("two", (2, "b")), ("one", (1, "a"))]:
        FilesOutput(frame_of, path, name=name).write(batch(1000), sc.parallelize([row]))
    assert seen(tmp_path / "out") == [(1, "a"), (2, "b")]


def test_readers_see_nothing_of_a_batch_that_failed_before_its_note(
    sc: SparkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), name="rows")
    sink.write(batch(1000), sc.parallelize([(1, "a")]))
    with monkeypatch.context() as broken:
        broken.setattr(filesystem, "write_whole", _no_space)
        with pytest.raises(OSError, match="no space"):
            sink.write(batch(2000), sc.parallelize([(2, "b")]))
    assert os.listdir(tmp_path / "out" / "_staging") != []
    assert seen(tmp_path / "out") == [(1, "a")]
    sink.write(batch(3000, 2000), sc.parallelize([(3, "c")]))
    sink.write(batch(2000), sc.parallelize([(2, "b")]))
    assert seen(tmp_path / "out") == [(1, "a"), (2, "b"), (3, "c")]
    assert os.listdir(tmp_path / "out" / "_staging") == []


def _no_space(path: str, content: bytes) -> None:
    raise OSError("no space")


def test_files_that_another_attempt_still_writes_are_not_taken(
    sc: SparkContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine of a driver that was killed writes on for a moment, into what the next one has cleaned."""
    staging = tmp_path / "out" / "_staging"
    sink = FilesOutput(partial(frame_beside_a_straggler, staging), str(tmp_path / "out"), name="rows")
    with monkeypatch.context() as broken:
        broken.setattr(filesystem, "write_whole", _no_space)
        with pytest.raises(OSError, match="no space"):
            sink.write(batch(1000), sc.parallelize([(1, "a")]))
    (tmp_path / "straggler").write_text(os.listdir(staging)[0])
    sink.write(batch(1000), sc.parallelize([(1, "a")]))
    (tmp_path / "straggler").unlink()
    assert seen(tmp_path / "out") == [(1, "a")]
    assert len(os.listdir(staging)) == 1
    sink.write(batch(2000), sc.parallelize([(2, "b")]))
    assert os.listdir(staging) == []


def frame_beside_a_straggler(staging: Path, rdd: Any) -> Any:
    """A DataFrame; while it is made an earlier attempt of its batch leaves a file, if there was one."""
    straggler = staging.parents[1] / "straggler"
    if straggler.exists():
        directory = staging / straggler.read_text()
        directory.mkdir()
        pyarrow.parquet.write_table(pyarrow.table({"n": [9], "s": ["late"]}), directory / "late.parquet")
    return frame_of(rdd)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"path": "s3a://bucket/out"}, UnsupportedOperationException, "can't be written over a network yet"),
        ({"path": 7}, TypeError, "path should be a str, got 7"),
        ({"format": "orc"}, IllegalArgumentException, "format is one of csv, json, parquet, text; got 'orc'"),
        ({"partition_by": "day"}, TypeError, "partition_by should be a list of names"),
        ({"partition_by": ["day", "Day"]}, IllegalArgumentException, "partition_by names a column twice: day, Day"),
        ({"name": ""}, IllegalArgumentException, "name must have 1 character"),
        ({"name": 7}, TypeError, "name should be a str, got 7"),
        ({"frame_of": 7}, TypeError, "frame_of"),
    ],
)
def test_files_that_can_not_be_written_are_refused(arguments: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        FilesOutput(**{"frame_of": frame_of, "path": "out", **arguments})


@pytest.mark.parametrize(
    ("columns", "message"), [(["m"], "there is no column 'm', but n, s"), (["s", "n"], "names all")]
)
def test_columns_for_directories_must_be_some_of_the_frame(
    sc: SparkContext, tmp_path: Path, columns: list[str], message: str
) -> None:
    sink = FilesOutput(frame_of, str(tmp_path / "out"), partition_by=columns, name="rows")
    with pytest.raises(IllegalArgumentException, match=message):
        sink.write(batch(1000), sc.parallelize([(1, "a")]))


# ------------------------------------------------------------------------------------------------ tables
def table_output(store: Store, table: str = "t", **changes: Any) -> TableOutput:
    arguments = {"frame_of": frame_of, "connect": store.connect, "name": "rows", "retention_ms": DAY_MS, **changes}
    return TableOutput(table=table, **arguments)


def test_batches_are_inserted_once(sc: SparkContext, store: Store) -> None:
    store.execute("CREATE TABLE t (s VARCHAR(9), n INTEGER, more INTEGER DEFAULT 5)")
    for _ in range(2):
        run(sc, table_output(store), [(1, "a"), (2, "b")], [], [(1, "a")])
    assert store.rows("SELECT n, s, more FROM t ORDER BY n") == [(1, "a", 5), (1, "a", 5), (2, "b", 5)]
    notes = "SELECT batch_ms, partition_id FROM headwater_commits WHERE partition_id >= 0 ORDER BY batch_ms"
    assert store.rows(notes) == [(1_000_000_000 + i * 1000, 0) for i in range(3)]


def test_rows_take_the_place_of_those_with_the_same_key(sc: SparkContext, store: Store) -> None:
    store.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, s VARCHAR(9))")
    run(sc, table_output(store, upsert_on=["n"]), [(1, "a"), (2, "b")], [(2, "c"), (3, "d")])
    assert store.rows("SELECT * FROM t ORDER BY n") == [(1, "a"), (2, "c"), (3, "d")]
    run(sc, table_output(store, upsert_on=["n"], frame_of=partial(frame_of, schema="n INT"), name="keys"), [(3,), (4,)])
    assert store.rows("SELECT * FROM t ORDER BY n") == [(1, "a"), (2, "c"), (3, "d"), (4, None)]


def test_values_are_written_as_their_types_want_it(sc: SparkContext, store: Store) -> None:
    kinds = ("VARCHAR(99)",) * 3 if store.kind == "sqlite" else ("DATE", "TIMESTAMP WITH TIME ZONE", "NUMERIC(9,2)")
    store.execute('CREATE TABLE t ("d {{%s" {}, at {}, m {})'.format(*kinds).replace("{{", "{"))
    schema = "`d {%s` DATE, at TIMESTAMP, m DECIMAL(9,2)"
    row = (dt.date(2024, 5, 1), dt.datetime(2024, 5, 1, 10, 30), Decimal("1.50"))
    run(sc, table_output(store, frame_of=partial(frame_of, schema=schema)), [row, (None, None, None)])
    written, nothing = store.rows("SELECT * FROM t ORDER BY m IS NULL")
    if store.kind == "sqlite":
        assert written == ("2024-05-01", "2024-05-01 10:30:00", "1.50")
    else:
        assert written == (row[0], row[1].astimezone(), row[2])
    assert nothing == (None, None, None)


def test_a_batch_that_fails_leaves_nothing_and_can_run_again(sc: SparkContext, store: Store) -> None:
    store.execute("CREATE TABLE t (n INTEGER NOT NULL, s VARCHAR(9))")
    with pytest.raises(Exception, match=r"(?i)not.null"):
        table_output(store).write(batch(1000), sc.parallelize([(1, "a"), (None, "b")]))
    assert store.rows("SELECT * FROM t") == []
    table_output(store).write(batch(1000), sc.parallelize([(1, "a")]))
    assert store.rows("SELECT * FROM t") == [(1, "a")]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"table": "t; DROP"}, IllegalArgumentException, "is no name of a table"),
        ({"table": 7}, TypeError, "table should be a str, got 7"),
        ({"upsert_on": "n"}, TypeError, "upsert_on should be a list of names"),
        ({"name": "x" * 201}, IllegalArgumentException, "name must have 1 to 200 characters"),
        ({"connect": "here"}, TypeError, "connect"),
    ],
)
def test_tables_that_can_not_be_written_are_refused(changes: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        table_output(Store("sqlite", "out.db"), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"upsert_on": ["m"]}, "upsert_on: there is no column 'm', but n, s"),
        ({"frame_of": partial(frame_of, schema="n INT, s MAP<STRING, INT>")}, "column s: .* is no type of sqlite3"),
    ],
)
def test_frames_that_do_not_fit_a_table_are_refused(
    sc: SparkContext, tmp_path: Path, changes: Any, message: str
) -> None:
    store = Store("sqlite", str(tmp_path / "out.db"))
    store.execute("CREATE TABLE t (n INTEGER, s TEXT)")
    with pytest.raises(IllegalArgumentException, match=message):
        table_output(store, **changes).write(batch(1000), sc.parallelize([(1, {"a": 1})]))


# ------------------------------------------------------------------------------------------------ kills
STEPS_OF_FILES = ["frame made", "before the note", "noted", "one file moved", "all moved", "staging removed", "written"]
STEPS_OF_TABLES = ["frame made", "inserted", "committed", "written"]


def lines_frame(root: str, rdd: Any) -> Any:
    """Lines such as "a1 again", by their first letter."""
    frame = frame_of(rdd.map(lambda line: (line[0], line)), "letter STRING, line STRING")
    if rdd.filter(lambda line: line == "b1").count():
        kill_at(root, "frame made")
    return frame


class KilledFiles(FilesOutput):
    """Its driver is killed at a step of writing a batch."""

    def __init__(self, root: str) -> None:
        super().__init__(partial(lines_frame, root), f"{root}/out", partition_by=["letter"], name="lines")
        self.root = root

    def write(self, batch: OutputBatch, rdd: Any) -> None:
        super().write(batch, rdd)
        if batch.time_ms == KILLED_MS:
            kill_at(self.root, "written")


def watch_files(root: str) -> None:
    """Have this process's file system tell of the steps."""
    whole, rename, remove = filesystem.write_whole, LocalFileSystem.rename, LocalFileSystem.remove

    def write_whole(path: str, content: bytes) -> None:
        of_batch = f"{root}/out/_batches/" in path and path.endswith(f"-{KILLED_MS}")
        if of_batch:
            kill_at(root, "before the note")
        whole(path, content)
        if of_batch:
            kill_at(root, "noted")

    def rename_and_tell(self: LocalFileSystem, source: str, target: str) -> None:
        rename(self, source, target)
        if f"/part-{KILLED_MS}-" in target:
            kill_at(root, "one file moved")

    def remove_and_tell(self: LocalFileSystem, path: str) -> None:
        of_batch = (
            "/_staging/" in path and f"-{KILLED_MS}-" in path and any(Path(root, "out").glob(f"_batches/*-{KILLED_MS}"))
        )
        if of_batch:
            kill_at(root, "all moved")
        remove(self, path)
        if of_batch:
            kill_at(root, "staging removed")

    filesystem.write_whole = write_whole
    LocalFileSystem.rename = rename_and_tell  # type: ignore[method-assign]
    LocalFileSystem.remove = remove_and_tell  # type: ignore[method-assign]


class KilledTable(TableOutput):
    """Its driver is killed at a step of writing a batch."""

    def __init__(self, root: str, store: Store) -> None:
        super().__init__(
            partial(lines_frame, root), partial(connect, root, store), "t", name="lines", retention_ms=DAY_MS
        )
        self.root = root

    def write(self, batch: OutputBatch, rdd: Any) -> None:
        super().write(batch, rdd)
        if batch.time_ms == KILLED_MS:
            kill_at(self.root, "written")


def connect(root: str, store: Store) -> Any:
    """A connection of SQLite that tells of its commits, of those that have "b1" among the new rows."""
    import sqlite3

    class Told(sqlite3.Connection):
        def commit(self) -> None:
            with_b1 = self.in_transaction and bool(self.execute("SELECT 1 FROM t WHERE line = 'b1'").fetchall())
            if with_b1:
                kill_at(root, "inserted")
            super().commit()
            if with_b1:
                kill_at(root, "committed")

    return sqlite3.connect(store.place, timeout=60, check_same_thread=False, factory=Told)


def copy_to_files(root: str, step: str, after_ms: str) -> None:
    watch_files(root)
    copy_lines(root, step, after_ms, lambda: KilledFiles(root))


def copy_to_table(root: str, step: str, after_ms: str) -> None:
    copy_lines(root, step, after_ms, lambda: KilledTable(root, Store("sqlite", f"{root}/out.db")))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Files of lines, and a table that takes a line twice."""
    put_lines(tmp_path)
    Store("sqlite", str(tmp_path / "out.db")).execute("CREATE TABLE t (letter TEXT, line TEXT)")
    return tmp_path


ROWS = sorted((line[0], line) for line in LINES)


def lines_of_files(root: Path) -> list[Any]:
    rows = pyarrow.dataset.dataset(root / "out", partitioning="hive").to_table().to_pylist()
    return sorted((row["letter"], row["line"]) for row in rows)


@pytest.mark.timeout(900)  # a driver for each step, one after the other
def test_every_row_is_in_files_once_when_the_driver_is_killed_at_each_step_of_a_batch_in_turn(root: Path) -> None:
    before: set[Any] = set()

    def look() -> None:
        rows = lines_of_files(root)
        assert before <= set(rows) <= set(ROWS)  # none goes away that readers have seen
        assert len(rows) == len(set(rows))
        before.update(rows)

    run_at_each(STEPS_OF_FILES, copy_to_files, str(root), died=look)
    assert lines_of_files(root) == ROWS
    assert not os.listdir(root / "out" / "_staging")


@pytest.mark.timeout(900)
def test_every_row_is_in_a_table_once_when_the_driver_is_killed_at_each_step_of_a_batch_in_turn(root: Path) -> None:
    run_at_each(STEPS_OF_TABLES, copy_to_table, str(root))
    assert sorted(Store("sqlite", str(root / "out.db")).rows("SELECT letter, line FROM t")) == ROWS
