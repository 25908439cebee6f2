"""Windows against what lists of batches give."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import SparkConf, SparkContext, StorageLevel
from headwater.errors import UnsupportedOperationException
from headwater.streaming import DStream
from headwater.testing import StreamHarness

BATCH = 0.5


@pytest.fixture
def half(sc: SparkContext) -> Any:
    """A harness with batches of half a second."""
    with StreamHarness(BATCH, sc) as made:
        yield made


def windows(batches: list[list[Any]], window: int, slide: int) -> list[list[Any]]:
    """What each window holds: the last `window` batches after each `slide` of them."""
    return [
        [record for batch in batches[max(0, end - window) : end] for record in batch]
        for end in range(slide, len(batches) + 1, slide)
    ]


# ------------------------------------------------------------------------------------------------ the windows
@pytest.mark.parametrize(
    ("window", "slide", "expected"),
    [
        (1.5, 1.0, [[1, 2], [2, 3, 4], [4], []]),
        (0.5, None, [[1], [2], [3], [4], [], [], [], []]),
        (1, None, [[1], [1, 2], [2, 3], [3, 4], [4], [], [], []]),
        (0.5, 1, [[2], [4], [], []]),  # a slide longer than the window leaves batches out
        (60, 2, [[1, 2, 3, 4], [1, 2, 3, 4]]),  # a window longer than the stream is old
    ],
)
def test_window_holds_its_batches_from_old_to_new(
    half: StreamHarness, window: float, slide: float | None, expected: list[list[int]]
) -> None:
    out = half.collect(half.stream([[1], [2], [3], [4]]).window(window, slide))
    half.run(8)
    assert out == expected


def test_window_of_a_window_counts_from_the_inner_slide(half: StreamHarness) -> None:
    batches = [[n] for n in range(8)]
    out = half.collect(half.stream(batches).window(1, 1).window(2, 2))
    half.run(8)
    assert out == windows(batches, 4, 4)


def test_count_of_windows_gives_pysparks_numbers(half: StreamHarness) -> None:
    out = half.collect(half.stream([range(n) for n in range(1, 6)]).window(1.5, 0.5).count())
    half.run(7)
    assert out == [[n] for n in (1, 3, 6, 9, 12, 9, 5)]


def test_batch_without_an_rdd_adds_nothing(half: StreamHarness) -> None:
    batches: list[list[int]] = [[1], [], [3], []]
    odd = half.stream(batches).transform(lambda rdd: None if rdd.isEmpty() else rdd)
    out = half.collect(odd.window(1))
    half.run(5)
    assert out == [[1], [1], [3], [3], []]


def test_union_of_windows_with_one_slide(half: StreamHarness) -> None:
    stream = half.stream([[1], [2], [3]])
    out = half.collect(stream.window(1, 1).union(stream.window(0.5, 1)), sorted)
    half.run(4)
    assert out == [[1, 2, 2], [3]]


def test_union_of_windows_with_different_slides_is_refused(half: StreamHarness) -> None:
    stream = half.stream()
    with pytest.raises(ValueError, match="the two DStream should have same slide duration"):
        stream.window(1, 1).union(stream.window(1, 0.5))


# ------------------------------------------------------------------------------------------------ reduced and grouped
def test_reduce_by_key_and_window_filters_its_results(half: StreamHarness) -> None:
    pairs = half.stream([[("a", 1), ("b", 1)], [("a", 1)], []])
    out = half.collect(pairs.reduceByKeyAndWindow(operator.add, None, 1, filterFunc=lambda pair: pair[1] > 1), dict)
    half.run(3)
    assert out == [{}, {"a": 2}, {}]


def test_reducing_a_window_of_reduced_batches_moves_nothing(half: StreamHarness) -> None:
    seen: list[str] = []
    counts = half.stream([[("a", 1)], [("a", 1)]]).reduceByKeyAndWindow(operator.add, None, 1, 0.5, 2)
    counts.foreachRDD(lambda rdd: seen.append(rdd.toDebugString().decode()))
    half.run(2)
    shuffles = seen[1].count("+-")
    assert shuffles == 2, seen[1]  # one a batch, none for the window


def test_reduce_by_window_has_one_record_or_none(half: StreamHarness) -> None:
    out = half.collect(half.stream([[1, 2], [3], [], []]).reduceByWindow(operator.add, None, 1, None))
    half.run(4)
    assert out == [[3], [6], [3], []]


def test_grouped_values_come_in_order_of_arrival(half: StreamHarness) -> None:
    pairs = half.stream([[("a", 3), ("a", 1)], [("a", 2), ("b", 9)], [("a", 0)]])
    grouped = pairs.groupByKeyAndWindow(1, 0.5, 2)
    lengths = half.collect(grouped.mapValues(len), dict)
    values = half.collect(grouped.mapValues(list), dict)
    half.run(3)
    assert values == [{"a": [3, 1]}, {"a": [3, 1, 2], "b": [9]}, {"a": [2, 0], "b": [9]}]
    assert lengths == [{"a": 2}, {"a": 3, "b": 1}, {"a": 2, "b": 1}]


# ------------------------------------------------------------------------------------------------ errors
OPERATIONS: dict[str, Callable[..., DStream]] = {
    "window": lambda stream, w, s: stream.window(w, s),
    "reduceByWindow": lambda stream, w, s: stream.reduceByWindow(operator.add, None, w, s),
    "reduceByKeyAndWindow": lambda stream, w, s: stream.reduceByKeyAndWindow(operator.add, None, w, s),
    "groupByKeyAndWindow": lambda stream, w, s: stream.groupByKeyAndWindow(w, s),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
@pytest.mark.parametrize(
    ("window", "slide", "text"),
    [
        (0.7, 0.5, r"windowDuration must be multiple of the slide duration \(500 ms\)"),
        (0.7, 0.5, r"700 ms is not. Use 0.5 or 1 seconds"),
        (0.2, 0.5, r"200 ms is not. Use 0.5 seconds"),
        (1, 0.7, r"slideDuration must be multiple of the slide duration \(500 ms\)"),
        (0, None, "windowDuration must be at least 0.001 seconds"),
        (-1, None, "windowDuration must be at least 0.001 seconds"),
        (1, 0, "slideDuration must be at least 0.001 seconds"),
        (1, -0.5, "slideDuration must be at least 0.001 seconds"),
        ("1", None, "windowDuration must be a number of seconds, not str"),
        (float("nan"), None, "windowDuration must be finite"),
        (None, None, "windowDuration must be a number of seconds, not NoneType"),
    ],
)
def test_durations_that_make_no_window_are_refused(
    half: StreamHarness, operation: Callable[..., DStream], window: Any, slide: Any, text: str
) -> None:
    with pytest.raises(ValueError, match=text):
        operation(half.stream(), window, slide)


def test_window_of_a_window_must_fit_the_inner_slide(half: StreamHarness) -> None:
    with pytest.raises(ValueError, match=r"multiple of the slide duration \(1000 ms\)"):
        half.stream().window(1, 1).window(1.5)


# ------------------------------------------------------------------------------------------------ keeping
def test_window_computes_each_batch_once(half: StreamHarness) -> None:
    computed = half.sc.accumulator(0)

    def seen(n: int) -> int:
        computed.add(1)
        return n

    out = half.collect(half.stream([[n] for n in range(6)]).map(seen).window(2))
    half.run(6)
    assert (out[-1], computed.value) == ([2, 3, 4, 5], 6)


def test_window_keeps_the_level_that_its_stream_has(half: StreamHarness) -> None:
    stream = half.stream([[1]]).map(abs)
    levels: list[StorageLevel] = []
    stream.foreachRDD(lambda rdd: levels.append(rdd.getStorageLevel()))
    half.collect(stream.window(1))
    stream.persist(StorageLevel.DISK_ONLY)  # also after the window was made
    half.run(1)
    assert levels == [StorageLevel.DISK_ONLY]


def test_window_does_not_persist_what_a_queue_holds(half: StreamHarness) -> None:
    table = half.sc.parallelize([1])
    out = half.collect(half.ssc.queueStream([table]).window(1))
    half.run(2)
    assert (out, table.is_cached) == ([[1], [1]], False)


def test_persist_of_a_window_persists_its_stream(half: StreamHarness) -> None:
    stream = half.stream().map(abs)
    window = stream.window(1).window(1)
    assert not window.is_cached
    assert window.persist(StorageLevel.DISK_ONLY) is window
    assert (window.is_cached, stream.is_cached) == (True, True)
    with pytest.raises(UnsupportedOperationException, match="Cannot change storage level"):
        stream.persist(StorageLevel.MEMORY_ONLY)


def test_batches_are_forgotten_when_the_last_window_has_passed(half: StreamHarness) -> None:
    kept: list[Any] = []
    stream = half.stream([[n] for n in range(12)]).map(abs)
    stream.foreachRDD(kept.append)
    half.collect(stream.window(2, 1))
    half.run(12)
    cached = [rdd.is_cached for rdd in kept]
    # 2 s of the window and 1 s that its own results are remembered: six batches. What the last one lets go may still be
    # there: that comes just after it.
    assert (cached[:5], cached[6:]) == ([False] * 5, [True] * 6)


# ------------------------------------------------------------------------------------------------ by brute force
numbers = st.lists(st.tuples(st.integers(0, 3), st.integers(-9, 9)), max_size=4)


@pytest.fixture(scope="module")
def two_workers() -> Any:
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    made = SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("windows"))
    yield made
    made.stop()


@settings(max_examples=25)
@given(
    batches=st.lists(st.none() | numbers, min_size=1, max_size=9),
    window=st.integers(1, 6),
    slide=st.integers(1, 4),
)
def test_any_windows_hold_what_brute_force_gives(
    two_workers: SparkContext, batches: list[list[Any] | None], window: int, slide: int
) -> None:
    """A batch of None has no RDD."""
    with StreamHarness(BATCH, two_workers) as harness:
        marked = harness.stream([["none"] if batch is None else batch for batch in batches])
        stream = marked.transform(lambda rdd: None if rdd.take(1) == ["none"] else rdd)
        seconds = (window * BATCH, slide * BATCH)
        plain = harness.collect(stream.window(*seconds))
        sums = harness.collect(stream.reduceByKeyAndWindow(operator.add, None, *seconds), dict)
        total = harness.collect(stream.map(lambda p: p[1]).reduceByWindow(operator.add, None, *seconds))
        groups = harness.collect(stream.groupByKeyAndWindow(*seconds).mapValues(list), dict)
        harness.run(len(batches))
    expected = windows([batch or [] for batch in batches], window, slide)
    by_key = [{k: [v for key, v in records if key == k] for k, _ in records} for records in expected]
    assert plain == expected
    assert groups == by_key
    assert sums == [{k: sum(values) for k, values in groups.items()} for groups in by_key]
    assert total == [[sum(v for _, v in records)] if records else [] for records in expected]
