"""SQL on streams: the guide's example and its recovery, DataFrames of batches, windows, states, queries beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException
from headwater.sql import DataFrame, Row, SparkSession
from headwater.sql.batchframes import session_of
from headwater.sql.types import StringType, StructField, StructType
from headwater.streaming import State, StateSpec
from headwater.testing import StreamHarness
from tests.engine.processes import alive, descendants
from tests.waiting import wait_for


@pytest.fixture
def spark(spark: SparkSession) -> SparkSession:
    """The session that streams use: the one that programs share."""
    return session_of(spark.sparkContext)


@pytest.fixture
def harness(spark: SparkSession) -> Iterator[StreamHarness]:
    with StreamHarness(sparkContext=spark.sparkContext) as harness:
        yield harness


WORDS = [["to", "be", "or", "not", "to", "be"], [], ["that", "is"]]
COUNTS = [[("be", 2), ("not", 1), ("or", 1), ("to", 2)], [], [("is", 1), ("that", 1)]]
COUNT = "SELECT word, count(*) AS n FROM stream GROUP BY word"


# ------------------------------------------------------------------------------------------------ the guide's example
PROGRAM = """
import sys
from headwater import SparkContext
from headwater.sql import Row, SparkSession
from headwater.streaming import StreamingContext

directory, lines = sys.argv[1:]

def getSparkSessionInstance(sparkConf):
    if "sparkSessionSingletonInstance" not in globals():
        globals()["sparkSessionSingletonInstance"] = SparkSession.builder.config(conf=sparkConf).getOrCreate()
    return globals()["sparkSessionSingletonInstance"]

def process(time, rdd):
    if rdd.isEmpty():
        return
    spark = getSparkSessionInstance(rdd.context.getConf())
    wordsDataFrame = spark.createDataFrame(rdd.map(lambda w: Row(word=w)))
    wordsDataFrame.createOrReplaceTempView("words")
    wordCounts = spark.sql("select word, count(*) as total from words group by word order by word")
    wordCounts.show()
    sys.stdout.flush()

def createContext():
    ssc = StreamingContext(SparkContext("local[2]", "sql"), 0.2)
    ssc.checkpoint(directory)
    ssc.textFileStream(lines).flatMap(lambda line: line.split(" ")).foreachRDD(process)
    return ssc

ssc = StreamingContext.getOrCreate(directory, createContext)
ssc.start()
print("started", flush=True)
ssc.awaitTermination()
"""

SHOWN = """+----+-----+
|word|total|
+----+-----+
|  be|    2|
|  or|    1|
|  to|    1|
+----+-----+
"""


def write(directory: Path, name: str, text: str) -> None:
    """A file that is there at once."""
    (directory.parent / name).write_text(text)
    (directory.parent / name).rename(directory / name)


def shown(process: subprocess.Popen[str]) -> str:
    """The next table that a program shows."""
    assert process.stdout is not None
    lines: list[str] = []
    while sum(line.startswith("+") for line in lines) < 3:
        line = process.stdout.readline()
        assert line, "the program has ended"
        if line.startswith(("+", "|")):
            lines.append(line)
    return "".join(lines)


def test_the_guides_word_count_prints_tables_also_after_its_driver_was_killed(tmp_path: Path) -> None:
    (tmp_path / "lines").mkdir()
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "checkpoint"), str(tmp_path / "lines")]
    for number in range(2):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "started\n"
            write(tmp_path / "lines", f"file{number}", "to be or be\n")
            assert shown(driver) == SHOWN
            children = descendants(driver.pid)
            assert len(children) > 2
            driver.send_signal(signal.SIGKILL)
        wait_for(lambda children=children: not alive(children), "the end of all that the driver had started")


LAST_BATCH = """
import sys
from headwater import SparkConf, SparkContext
from headwater.sql import SparkSession
from headwater.streaming import StreamingContext

conf = SparkConf().setMaster("local[2]").set("spark.streaming.stopGracefullyOnShutdown", "true")
ssc = StreamingContext(SparkContext(conf=conf), 0.5)
seen = 0

def process(rdd):
    global seen
    if not rdd.isEmpty():
        rdd.map(lambda n: (n,)).toDF(["n"]).createOrReplaceTempView("numbers")
        spark = SparkSession.builder.getOrCreate()
        seen += spark.sql("SELECT count(*) AS n FROM numbers").collect()[0].n
        print(seen, flush=True)

ssc.queueStream([ssc.sparkContext.range(10) for _ in range(1000)]).foreachRDD(process)
ssc.start()
ssc.awaitTermination()
"""


def test_after_ctrl_c_the_last_batch_of_a_graceful_stop_still_has_its_engine(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(LAST_BATCH)
    with subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as driver:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "10\n"
        children = descendants(driver.pid)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal sends it: to all of the program's group
        assert driver.stderr is not None
        output, errors = driver.stdout.read(), driver.stderr.read()  # `communicate` would leave out what is buffered
    assert "EngineLost" not in errors and "ERROR" not in errors, errors
    assert [int(line) for line in output.splitlines()] == list(range(20, 10 * len(output.splitlines()) + 11, 10))
    wait_for(lambda: not alive(children), "the end of all that the driver had started")


# ------------------------------------------------------------------------------------------------ transformations
@pytest.mark.parametrize(
    "schema",
    [
        pytest.param(None, id="inferred"),
        pytest.param("word STRING", id="DDL"),
        pytest.param(["word"], id="names"),
        pytest.param(StructType([StructField("word", StringType())]), id="StructType"),
    ],
)
def test_sql_over_a_stream_gives_each_batchs_rows(harness: StreamHarness, schema: Any) -> None:
    words = harness.stream(WORDS).map(lambda word: Row(word=word) if schema is None else (word,))
    counts = words.sql(COUNT, schema)
    assert harness.results(counts, sorted) == COUNTS


def test_rows_of_a_query_are_records_like_others(harness: StreamHarness) -> None:
    counts = harness.stream(WORDS).map(lambda word: (word,)).sql(COUNT, ["word"])
    twice = counts.filter(lambda row: row.n > 1).map(lambda row: (row.word, row["n"]))
    assert harness.results(twice, sorted) == [[("be", 2), ("to", 2)], [], []]


def test_queries_follow_each_other_without_leaving_the_engine(harness: StreamHarness) -> None:
    frames = harness.stream(WORDS).map(lambda word: (word,)).toDF("word STRING")
    most = frames.sql(COUNT).sql("SELECT max(n) AS most FROM counts", name="counts")
    assert harness.results(most.transformFrame(lambda frame: frame.na.fill(0))) == [[(2,)], [(0,)], [(1,)]]


def test_an_empty_batch_has_the_schema_that_was_given_or_inferred_before(harness: StreamHarness) -> None:
    schemas: list[tuple[str, str]] = []
    words = harness.stream([[], *WORDS]).map(lambda word: (word, 1))
    words.toDF("word STRING, n INT").foreachFrame(lambda frame: schemas.append(("given", frame.schema.simpleString())))
    words.toDF(["word", "n"]).foreachFrame(lambda frame: schemas.append(("inferred", frame.schema.simpleString())))
    harness.run(4)
    given, inferred = "struct<word:string,n:int>", "struct<word:string,n:bigint>"
    assert [text for kind, text in schemas if kind == "given"] == [given] * 4
    assert [text for kind, text in schemas if kind == "inferred"] == [
        inferred
    ] * 3  # of the first batch nothing is known


def test_a_batch_without_lines_of_json_has_the_schema_that_was_inferred_before(harness: StreamHarness) -> None:
    lines = harness.stream([[], ['{"n": 1}'], [], ['{"n": 2, "s": "x"}']])
    assert harness.results(lines.toDF(format="json")) == [[], [Row(n=1)], [], [Row(n=2, s="x")]]


@pytest.mark.parametrize(("mode", "rows"), [("PERMISSIVE", [(1,), (None,)]), ("dropmalformed", [(1,)])])
def test_what_becomes_of_a_line_that_is_no_json_is_said_by_a_mode(
    harness: StreamHarness, mode: str, rows: list[Any]
) -> None:
    frames = harness.stream([['{"n": 1}', "no JSON"]]).toDF("n INT", format="json", mode=mode)
    assert harness.results(frames) == [rows]


def test_a_line_that_is_no_json_fails_its_batch_where_the_mode_says_so(harness: StreamHarness) -> None:
    frames = harness.stream([['{"n": 1}', "no JSON"]]).toDF("n INT", format="json", mode="failfast")
    with pytest.raises(ValueError, match="of the partition is 'no JSON'"):
        harness.results(frames)


def test_sql_over_a_window_sees_the_windows_batches(harness: StreamHarness) -> None:
    words = harness.stream([["a"], ["b", "a"], ["a"], []]).map(lambda word: (word,))
    counts = words.window(2, 1).sql(COUNT, "word STRING")
    assert harness.results(counts, sorted) == [
        [("a", 1)],
        [("a", 2), ("b", 1)],
        [("a", 2), ("b", 1)],
        [("a", 1)],
    ]


def test_a_query_joins_tables_that_are_made_once(harness: StreamHarness, tmp_path: Path, spark: SparkSession) -> None:
    path = str(tmp_path / "countries")
    spark.createDataFrame([("ann", "de"), ("bob", "fr")], ["user", "country"]).write.parquet(path)
    made: list[str] = []

    def countries(session: SparkSession) -> DataFrame:
        made.append("countries")
        return session.read.parquet(path)

    clicks = harness.stream([["ann", "eve"], ["bob", "ann"]]).map(lambda user: (user,))
    joined = clicks.sql(
        "SELECT user, country FROM clicks LEFT JOIN countries USING (user)",
        ["user"],
        name="clicks",
        tables={"countries": countries},
    )
    assert harness.results(joined, sorted) == [[("ann", "de"), ("eve", None)], [("ann", "de"), ("bob", "fr")]]
    assert made == ["countries"]


def test_frames_are_given_with_their_time(harness: StreamHarness) -> None:
    seen: list[tuple[float, int]] = []
    numbers = harness.stream([[1], [2, 3]]).map(lambda n: (n,)).toDF(["n"])
    numbers.foreachFrame(lambda time, frame: seen.append((time.timestamp(), frame.count())))
    times = [info.batchTime().milliseconds() / 1000 for info in harness.run(2)]
    assert seen == [(times[0], 1), (times[1], 2)]


# ------------------------------------------------------------------------------------------------ queries beside them
def test_a_view_of_the_latest_batch_is_there_for_other_threads(harness: StreamHarness, spark: SparkSession) -> None:
    harness.stream(WORDS).map(lambda word: (word,)).toDF("word STRING").createOrReplaceTempView("words")
    for batch in WORDS:
        harness.run()
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(lambda: spark.table("words").count()).result() == len(batch)


def test_a_remembered_batch_answers_a_query_that_comes_late(harness: StreamHarness, spark: SparkSession) -> None:
    """The guide's paragraph: from another thread, on a batch that the context was told to remember."""
    harness.ssc.remember(60)
    frames: list[DataFrame] = []
    harness.stream([["a", "b"], ["c"], []]).foreachRDD(
        lambda rdd: frames.append(spark.createDataFrame(rdd.map(lambda word: (word,)), "word STRING"))
    )
    harness.run(3)  # nothing has been computed yet
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(DataFrame.count, frames)) == [2, 1, 0]


def test_states_are_a_live_table(harness: StreamHarness, spark: SparkSession) -> None:
    def total(key: str, value: int | None, state: State[int]) -> None:
        state.update((state.getOption() or 0) + (value or 0))

    harness.checkpoint()
    pairs = harness.stream([[("a", 1), ("b", 2)], [("a", 10)], [("c", 5)]])
    snapshots = pairs.mapWithState(StateSpec.function(total)).stateSnapshots()
    snapshots.toDF("key STRING, total INT").createOrReplaceTempView("totals")
    expected = [[("a", 1), ("b", 2)], [("a", 11), ("b", 2)], [("a", 11), ("b", 2), ("c", 5)]]
    for rows in expected:
        harness.run()
        assert spark.sql("SELECT * FROM totals ORDER BY key").collect() == rows


def test_queries_go_on_from_other_threads_while_batches_come(harness: StreamHarness, spark: SparkSession) -> None:
    """Batch n has n rows of the number n: a query never sees a part of one, or two of them."""
    batches = [[(n,)] * n for n in range(1, 31)]
    harness.stream(batches).toDF("n INT").createOrReplaceTempView("batch")
    harness.run()
    done, seen, query = (
        threading.Event(),
        list[Any](),
        "SELECT count(*) AS rows, min(n) AS least, max(n) AS most FROM batch",
    )

    def ask() -> None:
        while not done.is_set():
            seen.append(spark.sql(query).collect()[0])

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        harness.run(len(batches) - 1)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert [row for row in seen if not row.rows == row.least == row.most] == []
    assert len(set(seen)) > 1


# ------------------------------------------------------------------------------------------------ bad input
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("SELECT 1 AS one", None, "not a name"), "is no name for a table"),
        (("  ",), "expected a query"),
        (("SELECT 1", None, "stream", {"stream": print}), "is the stream's own name"),
    ],
)
def test_a_query_that_cannot_be_is_refused_at_once(harness: StreamHarness, arguments: Any, message: str) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        harness.stream().sql(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "xml"}, "format must be one of rows, json, text"),
        ({"mode": "lenient"}, "mode must be one of PERMISSIVE"),
        ({"format": "text", "schema": "a INT"}, "no schema can be given"),
    ],
)
def test_a_format_that_there_is_not_is_refused_at_once(harness: StreamHarness, options: Any, message: str) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        harness.stream().toDF(**options)


def test_a_row_that_does_not_fit_fails_its_batch_and_is_named(harness: StreamHarness) -> None:
    numbers = harness.stream([[("a", 1), ("b", "two")]]).toDF("word STRING, n INT")
    with pytest.raises(TypeError, match=r"field n.*'two'.*\('b', 'two'\)"):
        harness.results(numbers)


def test_a_column_that_is_not_there_fails_its_batch_and_is_named(harness: StreamHarness) -> None:
    with pytest.raises(Exception, match="nope"):
        harness.results(harness.stream([[(1,)]]).sql("SELECT nope FROM stream", ["n"]))
