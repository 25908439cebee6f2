"""Any kind of callable does in every operator, and what several outputs read is computed once a batch."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import pytest

from headwater import SparkConf, StorageLevel
from headwater.streaming import DStream
from headwater.testing import StreamHarness


# ------------------------------------------------------------------------------------------------ kinds of callables
class OfOne:
    """A function of one argument as an object and as a method."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self._f = f

    def __call__(self, a: Any) -> Any:
        return self._f(a)

    def method(self, a: Any) -> Any:
        return self._f(a)


class OfTwo:
    """A function of two arguments as an object and as a method."""

    def __init__(self, f: Callable[[Any, Any], Any]) -> None:
        self._f = f

    def __call__(self, a: Any, b: Any) -> Any:
        return self._f(a, b)

    def method(self, a: Any, b: Any) -> Any:
        return self._f(a, b)


def apply_one(f: Callable[[Any], Any], a: Any) -> Any:
    return f(a)


def apply_two(f: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    return f(a, b)


def def_of_one(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def function(a: Any) -> Any:
        return f(a)

    return function


def def_of_two(f: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    def function(a: Any, b: Any) -> Any:
        return f(a, b)

    return function


# Each kind makes a callable of a function of one argument, or of two.
KINDS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "lambda": (lambda f: lambda a: f(a), lambda f: lambda a, b: f(a, b)),
    "def": (def_of_one, def_of_two),
    "partial": (lambda f: functools.partial(apply_one, f), lambda f: functools.partial(apply_two, f)),
    "object": (OfOne, OfTwo),
    "method": (lambda f: OfOne(f).method, lambda f: OfTwo(f).method),
    "as it is": (lambda f: f, lambda f: f),
}
PAIRS = [("a", 1), ("b", 2), ("a", 3)]


def tail(_: int, records: Any) -> Any:
    return records


def unite(here: Any, there: Any) -> Any:
    return here.union(there)


# An operator, given makers of a kind; what they are given is a builtin wherever there is one.
OPERATORS: dict[str, tuple[list[Any], Callable[[DStream, Any, Any], DStream], list[Any]]] = {
    "map": ([1, 2], lambda s, one, two: s.map(one(str)), ["1", "2"]),
    "flatMap": (["ab", "c"], lambda s, one, two: s.flatMap(one(list)), ["a", "b", "c"]),
    "filter": ([0, 1], lambda s, one, two: s.filter(one(bool)), [1]),
    "mapPartitions": ([2, 1], lambda s, one, two: s.repartition(1).mapPartitions(one(sorted)), [1, 2]),
    "mapPartitionsWithIndex": ([7, 8], lambda s, one, two: s.mapPartitionsWithIndex(two(tail)), [7, 8]),
    "mapValues": ([("a", -1)], lambda s, one, two: s.mapValues(one(abs)), [("a", 1)]),
    "flatMapValues": ([("a", 2)], lambda s, one, two: s.flatMapValues(one(range)), [("a", 0), ("a", 1)]),
    "reduce": ([1, 3, 2], lambda s, one, two: s.reduce(two(max)), [3]),
    "reduceByKey": (PAIRS, lambda s, one, two: s.reduceByKey(two(operator.add)), [("a", 4), ("b", 2)]),
    "combineByKey": (
        PAIRS,
        lambda s, one, two: s.combineByKey(one(abs), two(max), two(max)),
        [("a", 3), ("b", 2)],
    ),
    "partitionBy": (PAIRS, lambda s, one, two: s.partitionBy(2, one(len)), sorted(PAIRS)),
    "reduceByWindow": ([1, 3], lambda s, one, two: s.reduceByWindow(two(operator.add), None, 2, 1), [4]),
    "reduceByKeyAndWindow": (
        PAIRS,
        lambda s, one, two: s.reduceByKeyAndWindow(two(operator.add), None, 2, filterFunc=one(all)),
        [("a", 4), ("b", 2)],
    ),
    "transform": ([1, 1], lambda s, one, two: s.transform(one(operator.methodcaller("distinct"))), [1]),
    "transform with time": ([1], lambda s, one, two: s.transform(two(tail)), [1]),
    "transformWith": ([1], lambda s, one, two: s.transformWith(two(unite), s), [1, 1]),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", OPERATORS)
def test_operator_takes_any_callable(harness: Any, name: str, kind: str) -> None:
    records, operation, expected = OPERATORS[name]
    out = harness.collect(operation(harness.stream([records]), *KINDS[kind]), sorted)
    harness.start()
    info = harness.runBatch()
    assert [output.failureReason() for output in info.outputOperationInfos().values()] == [None, None]
    assert out == [expected]


@pytest.mark.parametrize("kind", KINDS)
def test_foreach_rdd_takes_any_callable(harness: Any, kind: str) -> None:
    one, two = KINDS[kind]
    seen: list[Any] = []
    timed: list[Any] = []
    stream = harness.stream([[1]])
    stream.foreachRDD(one(seen.append))
    stream.foreachRDD(two(lambda time, rdd: timed.append((time, rdd))))
    harness.run(1)
    assert [rdd.collect() for rdd in seen] == [[1]]
    assert [rdd for _, rdd in timed] == seen


# ------------------------------------------------------------------------------------------------ computed once
def computed_twice(harness: StreamHarness) -> int:
    """How many records a function sees whose stream two outputs read, of three records in two batches."""
    seen = harness.sc.accumulator(0)

    def count(record: Any) -> Any:
        seen.add(1)
        return record

    shared = harness.stream([[1, 2], [3]]).map(count)
    first, second = harness.collect(shared.map(abs)), harness.collect(shared.filter(bool))
    harness.run(2)
    assert first == second == [[1, 2], [3]]
    return int(seen.value)


def test_stream_that_several_streams_read_is_computed_once(harness: Any) -> None:
    assert computed_twice(harness) == 3


def test_stream_that_several_streams_read_is_computed_by_each_when_told_so(no_context: None) -> None:
    conf = SparkConf(loadDefaults=False).set("headwater.streaming.persistShared", "false")
    with StreamHarness(conf=conf) as harness:
        assert computed_twice(harness) == 6


def levels_of(harness: StreamHarness, *streams: DStream) -> list[StorageLevel]:
    """The levels that the streams' RDDs have in the first batch."""
    levels: list[StorageLevel] = []
    for stream in streams:
        stream.foreachRDD(lambda rdd: levels.append(rdd.getStorageLevel()))
    harness.run(1)
    return levels


def test_only_shared_streams_are_kept(harness: Any) -> None:
    source = harness.stream([[1]])
    shared = source.map(abs)
    left, right = shared.map(abs), shared.map(abs)
    none = StorageLevel.NONE
    assert levels_of(harness, source, left, right, shared) == [none, none, none, StorageLevel.MEMORY_ONLY]


def test_streams_that_no_output_needs_do_not_count(harness: Any) -> None:
    stream = harness.stream([[1]]).map(abs)
    stream.map(abs)
    assert levels_of(harness, stream) == [StorageLevel.NONE]


def test_shared_stream_keeps_the_level_that_it_was_given(harness: Any) -> None:
    shared = harness.stream([[1]]).map(abs).persist(StorageLevel.DISK_ONLY)
    assert levels_of(harness, shared, shared) == [StorageLevel.DISK_ONLY] * 2


def test_window_that_is_shared_is_not_kept_itself(harness: Any) -> None:
    batches = harness.stream([[1]]).map(abs)
    window = batches.window(2)
    assert levels_of(harness, window, window, batches) == [StorageLevel.NONE] * 2 + [StorageLevel.MEMORY_ONLY]


def test_kept_batches_are_forgotten(harness: Any) -> None:
    kept: list[Any] = []
    shared = harness.stream([[n] for n in range(5)]).map(abs)
    shared.foreachRDD(kept.append)
    harness.collect(shared)
    harness.run(5)
    cached = [rdd.is_cached for rdd in kept]
    # What the last batch lets go may still be there: that comes just after it.
    assert (cached[:3], cached[4]) == ([False] * 3, True)
