"""Windows that are computed from the one before, against what a recomputation gives."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.testing import StreamHarness
from tests.streaming.conftest import Harness

KEYS = st.one_of(st.integers(0, 3), st.sampled_from([True, 1.0, None, "a", (1, "a")]))
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.integers(-4, 4)), max_size=5), min_size=1, max_size=10)
SIZES = st.tuples(st.integers(1, 5), st.integers(1, 5))  # window, slide, in batches


@pytest.fixture(scope="session", params=["local", "local[2]"])
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def windows(batches: list[list[Any]], window: int, slide: int) -> list[list[Any]]:
    """What each window holds."""
    return [
        [record for batch in batches[max(0, end - window) : end] for record in batch]
        for end in range(slide, len(batches) + 1, slide)
    ]


def add(a: Any, b: Any) -> Any:
    return a + b


def subtract(a: Any, b: Any) -> Any:
    return a - b


def merged(a: list[int], b: list[int]) -> list[int]:
    return sorted(a + b)


def without(a: list[int], b: list[int]) -> list[int]:
    return sorted((Counter(a) - Counter(b)).elements())


VALUES: dict[str, tuple[Callable[[int], Any], Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    "ints": (int, add, subtract),
    "floats": (float, add, subtract),  # whole numbers: exact in any order
    "lists": (lambda value: [value], merged, without),
}


def reduced(pairs: list[Any], function: Callable[[Any, Any], Any]) -> dict[Any, Any]:
    totals: dict[Any, Any] = {}
    for key, value in pairs:
        totals[key] = function(totals[key], value) if key in totals else value
    return totals


# ------------------------------------------------------------------------------------------------ what they compute
@pytest.mark.parametrize("kind", VALUES)
@settings(max_examples=15)
@given(batches=BATCHES, sizes=SIZES, partitions=st.integers(1, 3), only_positive=st.booleans())
def test_window_by_inverse_is_what_a_recomputation_gives(
    sc: SparkContext, kind: str, batches: Any, sizes: tuple[int, int], partitions: int, only_positive: bool
) -> None:
    (window, slide), (make, function, inverse) = sizes, VALUES[kind]
    wanted = (lambda pair: bool(pair[1])) if only_positive else None
    batches = [[(key, make(value)) for key, value in batch] for batch in batches]
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        totals = harness.stream(batches).reduceByKeyAndWindow(function, inverse, window, slide, partitions, wanted)
        out = harness.collect(totals, dict)
        harness.run(len(batches) + 6)
    expected = [reduced(pairs, function) for pairs in windows([*batches, *[[]] * 6], window, slide)]
    if only_positive:
        expected = [{key: value for key, value in total.items() if value} for total in expected]
    assert out == expected


@settings(max_examples=15)
@given(batches=BATCHES, sizes=SIZES)
def test_counts_of_windows_are_those_of_a_recomputation(sc: SparkContext, batches: Any, sizes: tuple[int, int]) -> None:
    window, slide = sizes
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        stream = harness.stream(batches)
        counts = harness.collect(stream.countByWindow(window, slide))
        of_windows = harness.collect(stream.window(window, slide).count())
        by_value = harness.collect(stream.countByValueAndWindow(window, slide, 2), dict)
        sums = harness.collect(stream.map(lambda pair: pair[1]).reduceByWindow(add, subtract, window, slide))
        harness.run(len(batches) + 6)
    expected = windows([*batches, *[[]] * 6], window, slide)
    assert counts == of_windows == [[len(records)] for records in expected]
    assert by_value == [dict(Counter(records)) for records in expected]
    assert sums == [[sum(value for _, value in records)] if records else [] for records in expected]


@settings(max_examples=10)
@given(batches=BATCHES, window=st.integers(1, 3), again=SIZES)
def test_window_of_windows_by_inverse_misses_no_batch(
    sc: SparkContext, batches: Any, window: int, again: tuple[int, int]
) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        inner = harness.stream(batches).reduceByKeyAndWindow(add, subtract, window, 1)
        out = harness.collect(inner.window(*again), Counter)
        harness.run(len(batches))
    totals = [list(reduced(pairs, add).items()) for pairs in windows(batches, window, 1)]
    assert out == [Counter(pairs) for pairs in windows(totals, *again)]


def test_count_by_window_gives_pysparks_numbers(sc: SparkContext) -> None:
    with StreamHarness(0.5, sc) as harness:
        harness.checkpoint()
        out = harness.collect(harness.stream([range(n) for n in range(1, 7)]).countByWindow(2.5, 0.5))
        harness.run(12)
    assert out == [[n] for n in (1, 3, 6, 10, 15, 20, 18, 15, 11, 6, 0, 0)]


def test_window_by_inverse_adds_nothing_for_a_batch_without_an_rdd(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        odd = harness.stream([[("a", 1)], [], [("a", 3)]]).transform(lambda rdd: None if rdd.isEmpty() else rdd)
        out = harness.collect(odd.reduceByKeyAndWindow(add, subtract, 2, 1))
        counts = harness.collect(odd.countByWindow(2, 1))
        harness.run(5)
    assert out == [[("a", 1)], [("a", 1)], [("a", 3)], [("a", 3)], []]
    assert counts == [[1], [1], [1], [1], [0]]


def test_filter_hides_a_key_and_does_not_forget_it(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        stream = harness.stream([[("a", 1)], [("a", -1)], [("a", 2)]])
        out = harness.collect(stream.reduceByKeyAndWindow(add, subtract, 3, 1, filterFunc=lambda pair: pair[1] > 0))
        harness.run(5)
    assert out == [[("a", 1)], [], [("a", 2)], [("a", 1)], [("a", 2)]]


# ------------------------------------------------------------------------------------------------ what they cost
def test_batch_is_reduced_once_however_long_the_window_is(sc: SparkContext) -> None:
    calls = sc.accumulator(0)

    def counting_add(a: int, b: int) -> int:
        calls.add(1)
        return a + b

    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        out = harness.collect(
            harness.stream([[("a", 1)]] * 40).reduceByKeyAndWindow(counting_add, subtract, 30, 1), dict
        )
        harness.run(40)
    assert out[-1] == {"a": 30}
    assert calls.value <= 40


# ------------------------------------------------------------------------------------------------ faults
def test_window_leaves_out_a_batch_that_could_not_be_added_and_nothing_else(sc: SparkContext) -> None:
    def careful_add(a: int, b: int) -> int:
        if 13 in (a, b):
            raise ValueError("unlucky")
        return a + b

    with Harness(sc) as harness:
        harness.checkpoint()
        batches = [[("a", 1)], [("a", 2)], [("a", 13)], [("a", 3)], [("a", 4)], [("a", 5)]]
        out = harness.collect(harness.stream(batches).reduceByKeyAndWindow(careful_add, subtract, 2, 1), dict)
        harness.run(8)
    assert out == [{"a": 1}, {"a": 3}, {"a": 3}, {"a": 7}, {"a": 9}, {"a": 5}, {}]


@pytest.mark.parametrize("name", ["local[2]", "local-cluster[2,1,512]"])
@pytest.mark.parametrize("limit", ["1g", "1b"], ids=["in memory", "on disk"])
def test_windows_are_exact_when_the_worker_that_holds_them_is_killed(
    no_context: None, name: str, limit: str, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"

    def deadly(a: int, b: int) -> int:
        if a + b == 12 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return a + b

    conf = SparkConf(loadDefaults=False).setMaster(name).setAppName("windows")
    conf.set("headwater.streaming.state.memoryLimit", limit)
    batches = [[(key, n) for key in range(5)] for n in range(10)]
    with SparkContext(conf=conf) as sc, StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        out = harness.collect(harness.stream(batches).reduceByKeyAndWindow(deadly, subtract, 3, 1, 4), dict)
        counts = harness.collect(harness.stream(batches).window(2, 1).count())
        harness.run(12)
    assert killed.exists()
    assert out == [reduced(pairs, add) for pairs in windows([*batches, [], []], 3, 1)]
    assert counts == [[len(records)] for records in windows([*batches, [], []], 2, 1)]


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    "define",
    [
        lambda stream: stream.reduceByKeyAndWindow(add, subtract, 2, 1),
        lambda stream: stream.reduceByWindow(add, subtract, 2, 1),
        lambda stream: stream.countByWindow(2, 1),
        lambda stream: stream.countByValueAndWindow(2, 1),
    ],
)
def test_start_without_a_checkpoint_directory_says_how_to_set_it(sc: SparkContext, define: Any) -> None:
    ssc = StreamingContext(sc, 1)
    define(ssc.queueStream([])).pprint()
    with pytest.raises(IllegalArgumentException, match="The checkpoint directory has not been set. Please set it by"):
        ssc.start()
    ssc.stop(stopSparkContext=False)


def test_windows_refuse_durations_that_do_not_fit_the_slide(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 2)
    stream = ssc.queueStream([])
    with pytest.raises(ValueError, match="windowDuration must be multiple of the slide duration \\(2000 ms\\)"):
        stream.reduceByKeyAndWindow(add, subtract, 3, 2)
    with pytest.raises(ValueError, match="slideDuration must be multiple of the slide duration \\(2000 ms\\)"):
        stream.countByWindow(4, 3)
    ssc.stop(stopSparkContext=False)
