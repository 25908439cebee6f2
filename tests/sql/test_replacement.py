"""What a session has told its engine outlives the engine: it is killed, or has grown too large, and nobody notices."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from headwater.errors import IllegalStateException
from headwater.sql import SparkSession
from headwater.sql import functions as F
from headwater.sql.application import Application
from headwater.sql.connection import EngineLost
from headwater.sql.engine import Engine, SailEngine
from headwater.sql.engines import Engines
from headwater.sql.utils import AnalysisException
from tests.engine.processes import alive
from tests.waiting import wait_for


def pid_of(engines: Engines) -> int:
    with engines.lease() as lease:
        assert isinstance(lease.engine, SailEngine)
        return lease.engine.pid


def kill(engines: Engines) -> None:
    """kill -9 of the engine that there is, and wait until it's gone with all of its threads."""
    with engines.lease() as lease:
        engine = lease.engine
        assert isinstance(engine, SailEngine)
        os.kill(engine.pid, signal.SIGKILL)
        wait_for(lambda: not engine.is_alive(), "the engine's end")


# ------------------------------------------------------------------------------------------------ what is told again
def test_views_functions_and_settings_are_there_after_a_kill(spark: SparkSession, engines: Engines) -> None:
    spark.createDataFrame([("a", 1), ("b", 2)], "word STRING, n INT").createOrReplaceTempView("words")
    spark.sql("CREATE OR REPLACE TEMP VIEW large AS SELECT * FROM words WHERE n > 1")
    spark.udf.register("shout", lambda word: word.upper() + "!", "string")
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    kill(engines)
    assert spark.sql("SELECT shout(word) AS word FROM large").collect() == [("B!",)]
    assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
    assert spark.sql("SELECT from_unixtime(0) AS time").collect() == [("1970-01-01 09:00:00",)]


def test_a_view_that_was_replaced_or_dropped_is_so_after_a_kill(spark: SparkSession, engines: Engines) -> None:
    for n in range(3):
        spark.range(n).createOrReplaceTempView("replaced")
        spark.range(n).createOrReplaceTempView("dropped")
    spark.sql("CREATE TEMP VIEW dropped_by_sql AS SELECT 1 AS one")
    spark.catalog.dropTempView("dropped")
    spark.sql("DROP VIEW dropped_by_sql")
    kill(engines)
    assert spark.table("replaced").count() == 2
    for name in ("dropped", "dropped_by_sql"):
        with pytest.raises(AnalysisException, match=name):
            spark.table(name).collect()


def test_a_view_over_a_view_that_was_replaced_later_is_there_after_a_kill(
    spark: SparkSession, engines: Engines
) -> None:
    spark.range(1).createOrReplaceTempView("below")
    spark.sql("CREATE OR REPLACE TEMP VIEW above AS SELECT count(*) AS n FROM below")
    spark.range(5).createOrReplaceTempView("below")  # so it is told after the one that needs it
    kill(engines)
    assert spark.table("above").collect() == [(5,)]


def test_dataframes_that_a_program_holds_answer_after_a_kill(spark: SparkSession, engines: Engines) -> None:
    small = spark.createDataFrame([(1,), (2,)], ["n"])
    large = spark.sparkContext.range(200_000).map(lambda n: (n, str(n))).toDF(["n", "text"])
    cached = spark.range(10).withColumn("twice", F.col("id") * 2).cache()
    assert (large.count(), cached.count()) == (200_000, 10)
    kill(engines)
    assert small.agg(F.sum("n")).collect() == [(3,)]
    assert large.agg(F.sum("n")).collect() == [(sum(range(200_000)),)]
    assert cached.agg(F.sum("twice")).collect() == [(90,)]


def test_tables_are_there_after_a_kill_and_in_other_sessions(
    spark: SparkSession, engines: Engines, tmp_path: Path
) -> None:
    frame = spark.createDataFrame([("a", 1), ("b", 2), ("c", 2)], "word STRING, n INT")
    frame.write.partitionBy("n").mode("overwrite").saveAsTable("kept")
    frame.write.format("csv").option("header", "true").mode("overwrite").saveAsTable("kept_csv")
    spark.sql(f"CREATE TABLE IF NOT EXISTS outside (x INT) USING parquet LOCATION '{tmp_path}/outside'")
    spark.sql("INSERT INTO outside VALUES (7)")
    spark.sql("CREATE OR REPLACE TABLE from_query AS SELECT word FROM kept WHERE n = 2")
    kill(engines)
    frame.write.insertInto("kept_csv")
    for session in (spark, spark.newSession()):
        assert session.sql("SELECT n, count(*) FROM kept GROUP BY n ORDER BY n").collect() == [(1, 1), (2, 2)]
        assert session.table("kept_csv").count() == 6
        assert session.table("outside").collect() == [(7,)]
        assert sorted(session.table("from_query").collect()) == [("b",), ("c",)]
    for name in ("kept", "kept_csv", "outside", "from_query"):
        spark.sql(f"DROP TABLE {name}")
    assert (tmp_path / "outside").is_dir()  # its data are the program's
    kill(engines)
    with pytest.raises(AnalysisException, match="kept"):
        spark.table("kept").collect()


def test_another_session_sees_a_table_that_was_made_after_its_start(spark: SparkSession, engines: Engines) -> None:
    other = spark.newSession()
    assert other.sql("SELECT 1").count() == 1
    spark.range(3).write.mode("overwrite").saveAsTable("late")
    assert other.table("late").count() == 3
    spark.sql("DROP TABLE late")
    with pytest.raises(AnalysisException, match="late"):
        other.table("late").count()


def test_sessions_have_views_of_their_own(spark: SparkSession, engines: Engines) -> None:
    one, two = spark.newSession(), spark.newSession()
    one.range(1).createOrReplaceTempView("mine")
    two.range(2).createOrReplaceTempView("mine")
    kill(engines)
    assert (one.table("mine").count(), two.table("mine").count()) == (1, 2)


# ------------------------------------------------------------------------------------------------ a kill in mid-query
@contextmanager
def killed_in_the_middle(engines: Engines, begun: Path) -> Iterator[None]:
    """Kill the engine once a file is there that the query makes."""
    pid = pid_of(engines)

    def wait_and_kill() -> None:
        wait_for(begun.exists, "the query's beginning")
        os.kill(pid, signal.SIGKILL)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    yield
    thread.join()


def test_a_query_whose_engine_is_killed_gives_its_rows_all_the_same(
    spark: SparkSession, engines: Engines, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"

    def slow_once(n: int) -> int:
        if not begun.exists():
            begun.touch()
            time.sleep(60)
        return n * 10

    frame = spark.range(5).select(F.udf(slow_once, "bigint")("id").alias("tens"))
    with killed_in_the_middle(engines, begun):
        assert [row.tens for row in frame.collect()] == [0, 10, 20, 30, 40]


def test_a_write_whose_engine_is_killed_is_an_error_and_not_run_twice(
    spark: SparkSession, engines: Engines, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"

    def slow(n: int) -> int:
        with begun.open("a") as file:
            file.write("x")
        time.sleep(60)
        return n

    frame = spark.range(1).select(F.udf(slow, "bigint")("id").alias("n"))
    with killed_in_the_middle(engines, begun), pytest.raises(EngineLost, match="may have written a part of its output"):
        frame.write.parquet(str(tmp_path / "out"))
    assert begun.read_text() == "x"
    assert spark.range(3).count() == 3


# ------------------------------------------------------------------------------------------------ garbled answers
class Garbling:
    """A channel whose answers to a method can't be read, from the one with a number on."""

    def __init__(self, channel: Any, method: str, first: int) -> None:
        self.channel = channel
        self.method = method
        self.first = first

    def unary_unary(self, method: str, *arguments: Any) -> Any:
        call = self.channel.unary_unary(method, *arguments)

        def garbled(request: Any, **options: Any) -> bytes:
            call(request, **options)
            return GARBLED

        return garbled if method.endswith(self.method) else call

    def unary_stream(self, method: str, *arguments: Any) -> Any:
        call = self.channel.unary_stream(method, *arguments)

        def garbled(request: Any, **options: Any) -> Iterator[bytes]:
            for n, answer in enumerate(call(request, **options)):
                yield answer if n < self.first else GARBLED

        return garbled if method.endswith(self.method) else call

    def close(self) -> None:
        self.channel.close()


GARBLED = b"\xff" * 40  # of a type of field that there isn't


@contextmanager
def garbled(engines: Engines, method: str, first: int = 0) -> Iterator[None]:
    """The engine that there is answers a method with nonsense; after the block it's another engine."""
    pid = pid_of(engines)
    with engines.lease() as lease:
        assert isinstance(lease.engine, SailEngine)
        lease.engine.channel = cast(grpc.Channel, Garbling(lease.engine.channel, method, first))
        yield
    assert pid_of(engines) != pid
    wait_for(lambda: not alive([pid]), "the engine's end, with its last lease")


def test_a_setting_whose_answer_cannot_be_read_is_set_on_another_engine(
    spark: SparkSession, engines: Engines, caplog: pytest.LogCaptureFixture
) -> None:
    spark.range(3).createOrReplaceTempView("kept")
    with garbled(engines, "/Config"):
        spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    assert spark.conf.get("spark.sql.session.timeZone") == "Asia/Tokyo"
    assert spark.sql("SELECT from_unixtime(0) AS time").collect() == [("1970-01-01 09:00:00",)]
    assert spark.table("kept").count() == 3
    assert "answered /spark.connect.SparkConnectService/Config with what can't be read: 40 bytes" in caplog.text


def test_a_query_whose_answer_cannot_be_read_runs_on_another_engine(spark: SparkSession, engines: Engines) -> None:
    with garbled(engines, "/ExecutePlan"):
        assert spark.range(3).collect() == [(0,), (1,), (2,)]


def test_a_query_whose_later_answers_cannot_be_read_gives_its_rows_all_the_same(
    spark: SparkSession, engines: Engines
) -> None:
    with garbled(engines, "/ExecutePlan", first=1):
        assert spark.range(3).collect() == [(0,), (1,), (2,)]


def test_a_session_that_cannot_be_told_for_answers_that_cannot_be_read_is_told_on_another_engine(
    spark: SparkSession, engines: Engines
) -> None:
    other = spark.newSession()
    with garbled(engines, "/ExecutePlan"):
        assert other.sql("SELECT 1 AS one").collect() == [(1,)]


def test_a_write_whose_answer_cannot_be_read_is_an_error_and_not_run_twice(
    spark: SparkSession, engines: Engines, tmp_path: Path
) -> None:
    spark.sql(f"CREATE TABLE numbers (n BIGINT) USING parquet LOCATION '{tmp_path}/out'")
    with garbled(engines, "/ExecutePlan"), pytest.raises(EngineLost, match="may have written a part of its output"):
        spark.sql("INSERT INTO numbers SELECT id FROM range(3)")
    assert spark.table("numbers").count() == 3  # only the answer was lost
    spark.sql("DROP TABLE numbers")


def test_a_table_of_which_nothing_can_be_read_once_it_is_made_is_an_error(
    spark: SparkSession, engines: Engines
) -> None:
    with garbled(engines, "/ExecutePlan"), pytest.raises(EngineLost):
        spark.range(3).write.mode("overwrite").saveAsTable("unknown")
    assert not spark.catalog.tableExists("unknown")
    spark.range(3).write.mode("overwrite").saveAsTable("unknown")
    assert spark.table("unknown").count() == 3
    spark.sql("DROP TABLE unknown")


# ------------------------------------------------------------------------------------------------ growth
class FakeEngine:
    """An engine that is as large as it's told to be."""

    channel: grpc.Channel

    def __init__(self, number: int) -> None:
        self.number = number
        self.bytes = 0
        self.stopped = 0
        self.dead = False

    def is_alive(self) -> bool:
        return not self.dead and not self.stopped

    def memory(self) -> int:
        return self.bytes

    def follow(self) -> None:
        raise AssertionError("nobody asks for that here")

    def stop(self) -> None:
        self.stopped += 1


class Fakes:
    def __init__(self) -> None:
        self.made: list[FakeEngine] = []

    def __call__(self) -> Engine:
        self.made.append(FakeEngine(len(self.made)))
        return self.made[-1]


def leased(engines: Engines) -> int:
    with engines.lease() as lease:
        assert isinstance(lease.engine, FakeEngine)
        return lease.engine.number


def test_an_engine_is_started_by_the_first_lease_and_kept() -> None:
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    assert fakes.made == []
    assert {leased(engines) for _ in range(200)} == {0}
    engines.stop()
    assert [engine.stopped for engine in fakes.made] == [1]


def test_an_engine_that_has_grown_is_replaced_and_ends_with_its_last_lease() -> None:
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    with engines.lease() as query:
        fakes.made[0].bytes = 101
        wait_for(lambda: leased(engines) == 1, "another engine")
        assert query.engine.is_alive()
        assert fakes.made[0].stopped == 0
    assert [engine.stopped for engine in fakes.made] == [1, 0]
    engines.stop()
    assert [engine.stopped for engine in fakes.made] == [1, 1]


def test_an_engine_that_has_died_is_replaced_at_once_and_stopped_once() -> None:
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    with engines.lease():
        fakes.made[0].dead = True
        assert leased(engines) == 1
    assert [engine.stopped for engine in fakes.made] == [1, 0]
    engines.stop()


def test_an_engine_that_was_given_up_is_replaced_at_once_and_ends_with_its_last_lease() -> None:
    """A process that was killed may look alive for a while."""
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    with engines.lease() as lost, engines.lease():
        engines.give_up(lost)
        engines.give_up(lost)
        assert leased(engines) == 1
    assert [engine.stopped for engine in fakes.made] == [1, 0]
    engines.stop()


def test_many_threads_start_one_engine() -> None:
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: leased(engines), range(100))) == {0}
    engines.stop()


def test_an_engine_that_cannot_be_started_is_the_callers_error_each_time() -> None:
    def fail() -> Engine:
        raise OSError("no")

    engines = Engines(fail, memory_max=100)
    for _ in range(2):
        with pytest.raises(OSError, match="no"), engines.lease():
            pass
    engines.stop()


def test_after_stop_there_are_no_leases() -> None:
    fakes = Fakes()
    engines = Engines(fakes, memory_max=100)
    engines.warm()
    engines.stop()
    engines.stop()
    with pytest.raises(IllegalStateException, match="has stopped with its application"), engines.lease():
        pass
    assert [engine.stopped for engine in fakes.made] == [1]


def test_batches_go_on_while_engines_are_replaced(no_context: None) -> None:
    """Each batch's view, and a DataFrame and a view that are held all the time, over several engines."""
    builder = SparkSession.builder.master("local").config("headwater.sql.engine.memoryLimit", "1m")  # always too much
    with builder.getOrCreate() as spark:
        sc = spark.sparkContext
        held = sc.parallelize([(1, "one"), (2, "two")]).toDF(["n", "name"])
        held.createOrReplaceTempView("names")
        engines = Application.of(sc).engines
        seen: set[int] = set()
        for batch in range(5000):
            sc.parallelize([(1 + batch % 2,)], 1).toDF("n INT").createOrReplaceTempView("batch")
            query = "SELECT names.name FROM batch JOIN names USING (n)"
            assert spark.sql(query).collect() == [("one",) if batch % 2 == 0 else ("two",)]
            seen.add(pid_of(engines))
            if len(seen) == 4:
                break
        assert held.count() == 2
        assert len(seen) == 4
        wait_for(lambda: len(alive(seen)) == 1, "the end of those that were replaced")
    wait_for(lambda: not alive(seen), "the end of the last one")


# ------------------------------------------------------------------------------------------------ many threads
def test_queries_from_other_threads_see_whole_batches_while_a_view_is_replaced(
    spark: SparkSession, engines: Engines
) -> None:
    """A view has n rows of the number n, whatever n is just now; also in a query that names it twice."""
    stop = threading.Event()
    query = """SELECT count(*) AS rows, min(one.n) AS least, max(two.n) AS most
               FROM batch AS one JOIN batch AS two ON one.place = two.place"""

    def replace() -> None:
        n = 0
        while not stop.is_set():
            n = n % 50 + 1
            spark.createDataFrame([(n, place) for place in range(n)], ["n", "place"]).createOrReplaceTempView("batch")

    spark.createDataFrame([(1, 0)], ["n", "place"]).createOrReplaceTempView("batch")
    writer = threading.Thread(target=replace)
    writer.start()
    try:
        with ThreadPoolExecutor(3) as pool:
            rows = list(pool.map(lambda _: spark.sql(query).collect()[0], range(150)))
    finally:
        stop.set()
        writer.join()
    assert [row for row in rows if not row.rows == row.least == row.most] == []
    assert len({row.rows for row in rows}) > 1
