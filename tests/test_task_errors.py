"""What an error of a task says: the operation, the line that asked for it, the record, and no frame of the engine."""

from __future__ import annotations

import logging
import os
import re
import traceback
from collections.abc import Callable
from typing import Any

import pytest

import headwater
from headwater import SparkContext
from headwater.errors import TaskError

HERE = os.path.basename(__file__)
PACKAGE = os.path.dirname(headwater.__file__) + os.sep


def add(a: Any, b: Any) -> Any:
    return a + b


def boom(record: Any) -> Any:
    raise RuntimeError("boom")


def failure(run: Callable[[], Any]) -> tuple[BaseException, TaskError]:
    """What a job raises, and the task's error behind it."""
    with pytest.raises(Exception) as caught:
        run()
    cause = caught.value.__cause__
    assert isinstance(cause, TaskError)
    return caught.value, cause


@pytest.mark.parametrize(
    ("operation", "run"),
    [
        ("reduceByKey", lambda rdd: rdd.reduceByKey(add)),
        ("foldByKey", lambda rdd: rdd.foldByKey(0, add)),
        ("groupByKey", lambda rdd: rdd.groupByKey()),
        ("partitionBy", lambda rdd: rdd.partitionBy(2)),
        ("join", lambda rdd: rdd.join(rdd)),
        ("cogroup", lambda rdd: rdd.cogroup(rdd)),
        ("subtractByKey", lambda rdd: rdd.subtractByKey(rdd)),
        ("mapValues", lambda rdd: rdd.mapValues(str)),
        ("flatMapValues", lambda rdd: rdd.flatMapValues(str)),
        ("keys", lambda rdd: rdd.keys()),
        ("values", lambda rdd: rdd.values()),
        ("repartitionAndSortWithinPartitions", lambda rdd: rdd.repartitionAndSortWithinPartitions(2)),
    ],
)
@pytest.mark.parametrize("prepare", [lambda rdd: rdd, lambda rdd: rdd.map(lambda r: r), lambda rdd: rdd.filter(bool)])
def test_operation_on_pairs_names_itself_and_the_record_that_is_none(
    sc: SparkContext, operation: str, run: Callable[[Any], Any], prepare: Callable[[Any], Any]
) -> None:
    error, cause = failure(lambda: run(prepare(sc.parallelize([7]))).collect())
    assert re.fullmatch(rf"{operation} at {HERE}:\d+ needs \(key, value\) pairs, got 7", str(error))
    assert isinstance(error, TypeError)
    assert cause.operation.startswith(f"{operation} at {HERE}:")
    assert cause.record == "7"
    assert "File" not in cause.traceback_text


def test_operation_on_pairs_says_what_the_function_before_it_made(sc: SparkContext) -> None:
    rdd = sc.parallelize(["a b"], 1).flatMap(lambda line: line.split()).map(lambda word: (word, 1)[0])
    error, _ = failure(lambda: rdd.reduceByKey(add).collect())
    assert str(error).endswith("needs (key, value) pairs, got 'a'")
    assert isinstance(error, ValueError)


@pytest.mark.parametrize(
    ("operation", "run"),
    [
        ("sortByKey", lambda rdd: rdd.sortByKey(numPartitions=2)),
        ("lookup", lambda rdd: rdd.lookup(1)),
        ("reduceByKeyLocally", lambda rdd: rdd.reduceByKeyLocally(add)),
        ("countByKey", lambda rdd: rdd.countByKey()),
    ],
)
def test_action_on_pairs_names_itself(sc: SparkContext, operation: str, run: Callable[[Any], Any]) -> None:
    error, _ = failure(lambda: run(sc.parallelize([7, 8], 2)))
    assert re.match(rf"{operation} at {HERE}:\d+ needs \(key, value\) pairs", str(error))


def test_flat_map_whose_function_returns_no_iterable_says_so(sc: SparkContext) -> None:
    error, _ = failure(lambda: sc.parallelize([7]).flatMap(lambda r: r).collect())
    assert re.fullmatch(
        rf"flatMap at {HERE}:\d+ needs a function that returns an iterable: 'int' object is not iterable, "
        "for the record 7",
        str(error),
    )


def test_key_that_cannot_be_hashed_is_named(sc: SparkContext) -> None:
    error, _ = failure(lambda: sc.parallelize([([1], 2)]).reduceByKey(add).collect())
    assert re.fullmatch(
        rf"reduceByKey at {HERE}:\d+ needs keys that can be hashed, got \[1\]: unhashable type: 'list'", str(error)
    )


@pytest.mark.parametrize(
    ("operation", "record", "run"),
    [
        ("map", "3", lambda rdd: rdd.map(lambda n: boom(n) if n == 3 else n).count()),
        ("map", "'x'", lambda rdd: rdd.map(lambda n: "x").map(int).count()),
        ("filter", "3", lambda rdd: rdd.filter(lambda n: n != 3 or boom(n)).count()),
        ("map", "30", lambda rdd: rdd.flatMap(lambda n: [n, n * 10]).map(lambda m: m if m != 30 else boom(m)).count()),
        ("flatMap", "3", lambda rdd: rdd.flatMap(lambda n: (boom(i) if n == 3 else i for i in range(2))).count()),
        ("mapValues", "(3, 3)", lambda rdd: rdd.map(lambda n: (n, n)).mapValues(lambda v: v != 3 or boom(v)).count()),
        ("map", "3", lambda rdd: rdd.map(lambda n: next(iter([])) if n == 3 else n).count()),
        ("reduceByKey", "(1, 'b')", lambda rdd: pairs(rdd).reduceByKey(lambda a, b: a + b if b != "b" else boom(b))),
        ("foreach", "3", lambda rdd: rdd.foreach(lambda n: n != 3 or boom(n))),
    ],
)
def test_error_of_a_function_names_the_operation_and_its_record(
    sc: SparkContext, operation: str, record: str, run: Callable[[Any], Any]
) -> None:
    def job() -> None:
        result = run(sc.parallelize([1, 2, 3], 1))
        if hasattr(result, "count"):
            result.count()

    _, cause = failure(job)
    assert re.fullmatch(rf"{operation} at {HERE}:\d+", cause.operation)
    assert cause.record == record
    assert f"raised in {cause.operation} on the record {record}:" in str(cause)


def pairs(rdd: Any) -> Any:
    return rdd.flatMap(lambda n: [(1, "a"), (1, "b")])


class Huge:
    def __repr__(self) -> str:
        return "<" + "x" * 10**7 + ">"


class Unspeakable:
    def __repr__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize("record", [list(range(10**6)), "x" * 10**7, {"k": "v" * 10**6}, Huge(), Unspeakable()])
def test_record_is_shown_in_a_line_whatever_it_is(sc: SparkContext, record: Any) -> None:
    _, cause = failure(lambda: sc.parallelize([record], 1).map(boom).collect())
    assert 0 < len(cause.record) <= 120


def test_exception_of_the_user_comes_back_without_a_mark_on_it(sc: SparkContext) -> None:
    error, _ = failure(lambda: sc.parallelize([1]).map(boom).collect())
    assert vars(error) == {}


# ------------------------------------------------------------------------------------------------ frames
def frames_of_ours(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(PACKAGE)]


def test_traceback_of_a_task_has_the_users_frames_only(sc: SparkContext) -> None:
    rdd = sc.parallelize([(1, 2)]).partitionBy(2).mapPartitions(lambda records: map(boom, records)).groupByKey()
    _, cause = failure(rdd.collect)
    assert PACKAGE not in cause.traceback_text
    assert "in boom" in cause.traceback_text


def test_traceback_in_the_driver_leads_from_the_call_to_the_action(sc: SparkContext) -> None:
    error, _ = failure(lambda: sc.parallelize([1]).map(boom).collect())
    assert frames_of_ours(error) == ["collect", "_run", "run_job"]


def test_whole_tracebacks_are_in_the_log_at_debug(sc: SparkContext, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "headwater"):
        error, _ = failure(lambda: sc.parallelize([1]).map(boom).collect())
    assert frames_of_ours(error)[-1] == "result"
    (whole,) = [record.getMessage() for record in caplog.records if "the whole traceback" in record.getMessage()]
    assert PACKAGE in whole and "in boom" in whole
