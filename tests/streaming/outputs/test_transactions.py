"""foreachTransaction on real databases: every record once, whoever is killed between whichever steps."""

from __future__ import annotations

import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming import ConnectionPool
from headwater.streaming.durations import local_datetime
from headwater.streaming.outputs.transactions import Note, Notes, bind
from headwater.testing import StreamHarness
from tests.streaming.outputs.killing import run_code
from tests.waiting import wait_for

FIRST_MS = 1_000_000_000
PATIENCE_SECONDS = 60.0
PARTITIONS = 4
RECORDS = [(partition, n) for partition in range(PARTITIONS) for n in range(3)]


class Database(NamedTuple):
    """An empty database with a table `written` without any key: what is written twice is there twice."""

    kind: str
    place: str  # a path, or connection parameters
    insert: str

    def connect(self) -> Any:
        """A connection; any thread may close it."""
        if self.kind == "sqlite":
            return sqlite3.connect(self.place, timeout=PATIENCE_SECONDS, check_same_thread=False)
        import psycopg

        return psycopg.connect(self.place)

    def rows(self, sql: str) -> list[Any]:
        with closing(self.connect()) as connection:
            return connection.cursor().execute(sql).fetchall()

    def execute(self, sql: str) -> None:
        with closing(self.connect()) as connection:
            connection.cursor().execute(sql)
            connection.commit()

    def written(self) -> list[Any]:
        return self.rows("SELECT batch_ms, part, n FROM written ORDER BY batch_ms, part, n")

    def notes(self) -> list[Any]:
        """(batch, partition) of all notes, the mark left out."""
        return self.rows(
            "SELECT batch_ms, partition_id FROM headwater_commits WHERE partition_id >= 0 ORDER BY batch_ms, 2"
        )

    def writer(self) -> Callable[..., None]:
        return partial(write_rows, self.insert)


def write_rows(insert: str, time: Any, cursor: Any, records: Any) -> None:
    batch_ms = round(time.timestamp() * 1000)
    cursor.executemany(insert, [(batch_ms, part, n) for part, n in records])


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        made = Database("sqlite", str(tmp_path / "out.db"), "INSERT INTO written VALUES (?, ?, ?)")
    else:
        place = request.getfixturevalue("postgres").new_database()
        made = Database("postgres", place, "INSERT INTO written VALUES (%s, %s, %s)")
    made.execute("CREATE TABLE written (batch_ms BIGINT, part INTEGER, n INTEGER)")
    return made


@pytest.fixture
def two_workers(no_context: None) -> Iterator[SparkContext]:
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("outputs")) as sc:
        yield sc


def run(sc: SparkContext, database: Database, batches: int = 1, **changes: Any) -> None:
    """A program that writes so many batches; each call is the program started again, at the same batch times."""
    arguments = {"connect": database.connect, "write": database.writer(), "name": "rows", **changes}
    with StreamHarness(1.0, sc) as harness:
        batch = sc.parallelize(RECORDS, PARTITIONS)
        harness.ssc.queueStream([batch] * batches).foreachTransaction(**arguments)
        harness.run(batches)


def all_rows(*times_ms: int) -> list[Any]:
    return [(time_ms, part, n) for time_ms in times_ms for part, n in RECORDS]


def all_notes(*times_ms: int) -> list[Any]:
    return [(time_ms, partition) for time_ms in times_ms for partition in range(PARTITIONS)]


# ------------------------------------------------------------------------------------------------ batches
def test_each_partition_of_each_batch_is_written_with_its_note(two_workers: SparkContext, database: Database) -> None:
    run(two_workers, database, batches=3)
    times = (FIRST_MS, FIRST_MS + 1000, FIRST_MS + 2000)
    assert database.written() == all_rows(*times)
    assert database.notes() == all_notes(*times)


def test_batch_writes_nothing_when_it_runs_again(two_workers: SparkContext, database: Database) -> None:
    run(two_workers, database)
    run(two_workers, database, batches=2)
    assert database.written() == all_rows(FIRST_MS, FIRST_MS + 1000)


def test_batch_is_written_again_when_the_output_has_another_name(two_workers: SparkContext, database: Database) -> None:
    run(two_workers, database)
    run(two_workers, database, name="more rows")
    assert database.written() == sorted(2 * all_rows(FIRST_MS))


def test_only_missing_partitions_are_written_when_a_batch_was_half_done(
    two_workers: SparkContext, database: Database
) -> None:
    def fail_at_2(time: Any, cursor: Any, records: Any) -> None:
        rows = list(records)
        write(time, cursor, rows)
        if rows[0][0] == 2:
            raise ZeroDivisionError("on purpose")

    write = database.writer()
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        run(two_workers, database, write=fail_at_2)
    assert {part for _, part, _ in database.written()} <= {0, 1, 3}
    assert (FIRST_MS, 2) not in database.notes()
    run(two_workers, database)
    assert database.written() == all_rows(FIRST_MS)


def test_empty_partitions_are_written_too(two_workers: SparkContext, database: Database) -> None:
    def count(cursor: Any, records: Any) -> None:
        cursor.executemany(insert, [(0, len(list(records)), 0)])

    insert = database.insert
    with StreamHarness(1.0, two_workers) as harness:
        harness.ssc.queueStream([two_workers.parallelize([1], 3)]).foreachTransaction(database.connect, count, "counts")
        harness.run(1)
    assert database.written() == [(0, 0, 0), (0, 0, 0), (0, 1, 0)]


def test_pool_of_the_program_is_used(two_workers: SparkContext, database: Database) -> None:
    run(two_workers, database, connect=ConnectionPool(database.connect, maxSize=1))
    assert database.written() == all_rows(FIRST_MS)


def test_driver_is_found_in_a_worker_that_has_not_imported_it(two_workers: SparkContext, database: Database) -> None:
    if database.kind == "sqlite":
        connect = partial(sqlite3.connect, database.place, timeout=PATIENCE_SECONDS, check_same_thread=False)
    else:
        import psycopg

        connect = partial(psycopg.connect, database.place)
    run(two_workers, database, connect=connect)
    assert database.written() == all_rows(FIRST_MS)


def test_write_gets_the_batch_time_when_it_asks_for_it(two_workers: SparkContext, tmp_path: Path) -> None:
    def note_time(time: Any, cursor: Any, records: Any) -> None:
        cursor.execute("CREATE TABLE IF NOT EXISTS times (time TEXT)")
        cursor.execute("INSERT INTO times VALUES (?)", (str(time),))

    database = Database("sqlite", str(tmp_path / "out.db"), "")
    run(two_workers, database, write=note_time)
    assert set(database.rows("SELECT time FROM times")) == {(str(local_datetime(FIRST_MS)),)}


# ------------------------------------------------------------------------------------------------ kills
PROGRAM = """
import os, signal, sqlite3, sys
from headwater import SparkConf
from headwater.testing import StreamHarness
from tests.streaming.outputs.test_transactions import RECORDS, Database, write_rows

kind, place, insert, victim, step, once = sys.argv[1:]
driver = os.getpid()

def kill_at(this_step):
    if this_step != step or (once and os.path.exists(once)):
        return
    if once:
        open(once, "w").close()
    os.kill(driver if victim != "worker" else os.getpid(), signal.SIGKILL)
    while victim == "driver":
        signal.pause()  # what the driver's death ends

def crashing(kind):
    class Crashing(kind):
        of_victim = False  # has it written the partition whose task is the victim?
        def commit(self):
            if not self.of_victim:
                return super().commit()
            kill_at("before commit")
            super().commit()
            self.of_victim = False
            kill_at("after commit")
    return Crashing

def connect():
    kill_at("before begin")
    if kind == "sqlite":
        return sqlite3.connect(place, timeout=60, check_same_thread=False, factory=crashing(sqlite3.Connection))
    import psycopg
    return crashing(psycopg.Connection).connect(place)

def write(time, cursor, records):
    rows = list(records)
    if rows[0][0] != 1:
        return write_rows(insert, time, cursor, rows)
    cursor.connection.of_victim = True
    kill_at("begun")
    write_rows(insert, time, cursor, rows[:2])
    kill_at("half written")
    write_rows(insert, time, cursor, rows[2:])
    kill_at("written")

with StreamHarness(conf=SparkConf().setMaster("local[2]")) as harness:
    batch = harness.sc.parallelize(RECORDS, 4)
    harness.ssc.queueStream([batch]).foreachTransaction(connect, write, "rows")
    harness.run()
"""
STEPS = ["before begin", "begun", "half written", "written", "before commit", "after commit"]


def program(database: Database, victim: str = "", step: str = "", once: str = "") -> int:
    """Run the program that writes one batch, with somebody killed at a step; returns its exit code."""
    return run_code(PROGRAM, *database, victim, step, once)


@pytest.mark.parametrize("step", STEPS)
def test_every_record_is_written_once_when_the_driver_is_killed_and_its_worker_goes_on(
    database: Database, step: str
) -> None:
    assert program(database, "driver, while its worker goes on", step) == -signal.SIGKILL
    assert program(database) == 0
    assert database.written() == all_rows(FIRST_MS)
    assert database.notes() == all_notes(FIRST_MS)


def test_every_record_is_written_once_when_the_driver_is_killed_at_each_step_in_turn(database: Database) -> None:
    for step in STEPS:
        assert program(database, "driver", step) == -signal.SIGKILL
        ours = [row for row in database.written() if row[1] == 1]
        assert len(ours) == (3 if step == "after commit" else 0)
    assert program(database) == 0
    assert database.written() == all_rows(FIRST_MS)
    assert database.notes() == all_notes(FIRST_MS)


@pytest.mark.parametrize("step", STEPS)
def test_every_record_is_written_once_when_a_worker_is_killed(database: Database, step: str, tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    assert program(database, "worker", step, str(killed)) == 0
    assert killed.exists()
    assert database.written() == all_rows(FIRST_MS)


# ------------------------------------------------------------------------------------------------ attempts side by side
def note(batch_ms: int = 1000, partition: int = 0, partitions: int = 2) -> Note:
    return Note("rows", batch_ms, partition, partitions)


def claim(database: Database, wanted: Note) -> bool:
    """Write nothing, with a note."""
    with closing(database.connect()) as connection:
        notes = Notes(connection, "notes")
        claimed = notes.claim(wanted)
        if claimed:
            notes.finish(wanted)
        connection.commit()
        return claimed


@pytest.mark.parametrize("first_commits", [True, False], ids=["and commits", "and gives up"])
def test_second_attempt_waits_while_the_first_one_writes(database: Database, first_commits: bool) -> None:
    assert claim(database, note(partition=1))
    claims: list[bool] = []
    second = threading.Thread(target=lambda: claims.append(claim(database, note())), daemon=True)
    with closing(database.connect()) as connection:
        notes = Notes(connection, "notes")
        assert notes.claim(note())
        second.start()
        if database.kind == "postgres":
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            wait_for(lambda: bool(database.rows(waiting)), "the second attempt waits")
        assert claims == []
        if first_commits:
            notes.finish(note())
            connection.commit()
        else:
            connection.rollback()
        second.join(PATIENCE_SECONDS)
    assert claims == [not first_commits]
    assert database.rows("SELECT count(*) FROM notes") == [(2,)]


def test_connection_is_free_of_a_transaction_when_there_is_nothing_to_do(database: Database) -> None:
    assert claim(database, note())
    with closing(database.connect()) as connection:
        assert not Notes(connection, "notes").claim(note())
        assert claim(database, note(partition=1))  # so no lock is held


def test_rows_may_have_the_form_that_the_program_likes(database: Database) -> None:
    assert claim(database, note())
    with closing(database.connect()) as connection:
        if database.kind == "sqlite":
            connection.row_factory = sqlite3.Row
        else:
            from psycopg.rows import dict_row

            connection.row_factory = dict_row
        assert not Notes(connection, "notes").claim(note())
        with pytest.raises(SparkException, match="in 2 partitions"):
            Notes(connection, "notes").claim(note(partitions=3))


def test_violation_of_another_constraint_is_an_error(database: Database) -> None:
    database.execute(
        "CREATE TABLE notes (output_name VARCHAR(9), batch_ms BIGINT, partition_id INTEGER, num_partitions INTEGER, "
        "CHECK (partition_id < 1))"
    )
    assert claim(database, note(partition=0))
    with pytest.raises(Exception, match="(?i)check constraint"):
        claim(database, note(partition=1))


def test_table_that_cannot_be_made_is_an_error(database: Database) -> None:
    with (
        closing(database.connect()) as connection,
        pytest.raises(Exception, match="schema .?nowhere|unknown database nowhere"),
    ):
        Notes(connection, "nowhere.notes").claim(note())


def test_error_of_the_note_is_raised_when_the_table_is_another_one(database: Database) -> None:
    database.execute("CREATE TABLE notes (title TEXT)")
    with pytest.raises(Exception, match="output_name"):
        claim(database, note())


# ------------------------------------------------------------------------------------------------ useless notes
def test_batch_is_refused_when_it_is_partitioned_otherwise_than_before(database: Database) -> None:
    assert claim(database, note(partition=0, partitions=2))
    assert claim(database, note(batch_ms=2000, partition=0, partitions=3))
    for partition in (0, 1):
        with pytest.raises(SparkException, match="'rows', batch 1000 ms, .* has committed this batch in 2 partitions"):
            claim(database, note(partition=partition, partitions=3))
    assert claim(database, note(partition=1, partitions=2))


def forget(database: Database, until_ms: int) -> None:
    with closing(database.connect()) as connection:
        Notes(connection, "notes").forget("rows", until_ms)
        connection.commit()


def test_batch_is_refused_when_its_notes_are_forgotten(database: Database) -> None:
    for batch_ms in (1000, 2000, 3000):
        assert claim(database, note(batch_ms))
    forget(database, 2000)
    with pytest.raises(SparkException, match="batch 1000 ms, .* not known any more, .* batches from 2000 ms on"):
        claim(database, note(1000))
    assert not claim(database, note(2000))
    assert claim(database, note(2000, partition=1))
    assert not claim(database, note(3000))


def test_mark_never_goes_back(database: Database) -> None:
    assert claim(database, note(4000))
    for until_ms in (2000, 3000, 3000, 1000):
        forget(database, until_ms)
    marks = "SELECT batch_ms FROM notes WHERE partition_id = -1"
    assert database.rows(marks) == [(3000,)]


def test_notes_of_other_outputs_are_not_forgotten(database: Database) -> None:
    assert claim(database, Note("others", 1000, 0, 1))
    forget(database, 5000)
    assert not claim(database, Note("others", 1000, 0, 1))


@pytest.fixture
def three_batches_kept(no_context: None) -> Iterator[StreamHarness]:
    conf = SparkConf(loadDefaults=False).set("headwater.streaming.output.commitRetention", "3s")
    with StreamHarness(1.0, conf=conf) as harness:
        yield harness


def batches_with_notes(database: Database) -> list[int]:
    return sorted({batch_ms - FIRST_MS for batch_ms, _ in database.notes()})


def test_notes_are_forgotten_after_their_retention(three_batches_kept: StreamHarness, database: Database) -> None:
    harness = three_batches_kept
    stream = harness.ssc.queueStream([harness.sc.parallelize(RECORDS, PARTITIONS)] * 8)
    stream.foreachTransaction(database.connect, database.writer(), "rows")
    harness.run(8)
    assert batches_with_notes(database) == [4000, 5000, 6000, 7000]
    assert len(database.written()) == 8 * len(RECORDS)


def test_notes_are_kept_while_a_restart_would_run_their_batch_again(
    three_batches_kept: StreamHarness, database: Database
) -> None:
    def fail(time: Any, rdd: Any) -> None:
        if time == local_datetime(FIRST_MS + 2000):
            raise ZeroDivisionError("on purpose")

    harness = three_batches_kept
    stream = harness.ssc.queueStream([harness.sc.parallelize(RECORDS, PARTITIONS)] * 8)
    stream.foreachTransaction(database.connect, database.writer(), "rows")
    stream.foreachRDD(fail)
    harness.start()
    for _ in range(8):
        harness.runBatch()
    assert batches_with_notes(database) == [2000, 3000, 4000, 5000, 6000, 7000]


# ------------------------------------------------------------------------------------------------ mistakes of programs
def committing(write: Callable[..., None], time: Any, cursor: Any, records: Any) -> None:
    write(time, cursor, records)
    cursor.connection.commit()


def test_write_that_commits_is_refused(two_workers: SparkContext, database: Database) -> None:
    with pytest.raises(IllegalArgumentException, match="partition . of 4: write has ended the transaction itself"):
        run(two_workers, database, write=partial(committing, database.writer()))


def test_transaction_that_was_ended_half_way_is_not_trusted(two_workers: SparkContext, database: Database) -> None:
    def commit_and_fail(time: Any, cursor: Any, records: Any) -> None:
        committing(write, time, cursor, records)
        raise ZeroDivisionError("on purpose")

    write = database.writer()
    with pytest.raises(ZeroDivisionError):
        run(two_workers, database, write=commit_and_fail)
    for _ in range(2):
        with pytest.raises(
            SparkException, match="partition . of 4: an earlier attempt was committed before it had end"
        ):
            run(two_workers, database)


def test_write_that_rolls_back_is_refused(two_workers: SparkContext, database: Database) -> None:
    def roll_back(time: Any, cursor: Any, records: Any) -> None:
        cursor.connection.rollback()
        write(time, cursor, records)

    write = database.writer()
    with pytest.raises(IllegalArgumentException, match="partition . of 4: write has ended the transaction itself"):
        run(two_workers, database, write=roll_back)
    assert (database.written(), database.notes()) == ([], [])
    run(two_workers, database)
    assert database.written() == all_rows(FIRST_MS)


def autocommitting(database: Database) -> Any:
    connection = database.connect()
    if database.kind == "sqlite":
        connection.isolation_level = None
    else:
        connection.autocommit = True
    return connection


def test_connection_that_commits_by_itself_is_refused(two_workers: SparkContext, database: Database) -> None:
    with pytest.raises(IllegalArgumentException, match="partition . of 4: the connection commits each statement by i"):
        run(two_workers, database, connect=partial(autocommitting, database))
    run(two_workers, database)
    assert database.written() == all_rows(FIRST_MS)


def test_what_is_no_connection_is_refused() -> None:
    with pytest.raises(IllegalArgumentException, match="connect returned builtins.object, which belongs to no DB-API"):
        Notes(object(), "notes")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"connect": "out.db"}, TypeError, "connect should be a function, got 'out.db'"),
        ({"write": lambda cursor: None}, AssertionError, "func should take two or three arguments"),
        ({"name": None}, TypeError, "name should be a str, got None"),
        ({"name": ""}, IllegalArgumentException, "name must have 1 to 200 characters, got 0"),
        ({"name": "n" * 201}, IllegalArgumentException, "name must have 1 to 200 characters, got 201"),
        ({"table": "a; DROP TABLE b"}, IllegalArgumentException, "table must be a name, or a schema's and a name"),
        ({"name": "taken"}, IllegalArgumentException, "another foreachTransaction has the name 'taken'"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    two_workers: SparkContext, arguments: dict[str, Any], error: type, text: str
) -> None:
    valid = {"connect": object, "write": lambda cursor, records: None, "name": "rows"}
    with StreamHarness(1.0, two_workers) as harness:
        stream = harness.stream()
        stream.foreachTransaction(**{**valid, "name": "taken"})
        with pytest.raises(error, match=text):
            stream.foreachTransaction(**{**valid, **arguments})


# ------------------------------------------------------------------------------------------------ styles of parameters
@pytest.mark.parametrize(
    ("style", "sql", "parameters"),
    [
        ("qmark", "a = ? AND b = ?", (7, "x")),
        ("format", "a = %s AND b = %s", (7, "x")),
        ("numeric", "a = :1 AND b = :2", (7, "x")),
        ("named", "a = :first AND b = :second", {"first": 7, "second": "x"}),
        ("pyformat", "a = %(first)s AND b = %(second)s", {"first": 7, "second": "x"}),
    ],
)
def test_parameters_have_the_style_of_their_module(style: str, sql: str, parameters: Any) -> None:
    assert bind(style, "a = {first} AND b = {second}", {"first": 7, "second": "x"}) == (sql, parameters)


def test_notes_are_taken_in_each_style_that_a_database_knows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["sqlite3" if database.kind == "sqlite" else "psycopg"]
    styles = ("qmark", "named") if database.kind == "sqlite" else ("format", "pyformat")
    for batch_ms, style in enumerate(styles, start=1):
        monkeypatch.setattr(module, "paramstyle", style)
        assert claim(database, note(batch_ms))
        assert not claim(database, note(batch_ms))
        forget(database, batch_ms)
    assert database.rows("SELECT batch_ms, partition_id FROM notes ORDER BY partition_id") == [(2, -1), (2, 0)]
