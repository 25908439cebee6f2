"""StatCounter against the statistics module."""

from __future__ import annotations

import math
import pickle
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import SparkContext
from headwater.statcounter import StatCounter

NUMBERS = st.lists(st.floats(-1e6, 1e6) | st.integers(-(10**6), 10**6), min_size=1, max_size=40)


def close(got: float, expected: float, scale: float = 1e6) -> bool:
    return math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-9 * scale)


def check_against_statistics(counter: StatCounter, numbers: list[float]) -> None:
    assert counter.count() == len(numbers)
    assert close(counter.mean(), statistics.fmean(numbers))
    assert close(counter.sum(), math.fsum(numbers))
    assert (counter.min(), counter.max()) == (min(numbers), max(numbers))
    assert close(counter.variance(), statistics.pvariance(numbers), scale=1e12)
    if len(numbers) > 1:
        assert close(counter.sampleVariance(), statistics.variance(numbers), scale=1e12)
    assert counter.stdev() == math.sqrt(counter.variance())


@settings(deadline=None, max_examples=60)
@given(NUMBERS)
def test_counter_agrees_with_the_statistics_module(numbers: list[float]) -> None:
    check_against_statistics(StatCounter(numbers), numbers)


@settings(deadline=None, max_examples=60)
@given(st.lists(NUMBERS, min_size=1, max_size=5))
def test_counter_merged_from_parts_agrees_with_the_whole(parts: list[list[float]]) -> None:
    counter = StatCounter()
    for part in parts:
        assert counter.mergeStats(StatCounter(part)) is counter
    check_against_statistics(counter, [number for part in parts for number in part])


def test_counter_keeps_precision_far_from_zero() -> None:
    assert StatCounter([1e9 + 4, 1e9 + 7, 1e9 + 13, 1e9 + 16]).sampleVariance() == 30


def test_counter_merged_with_itself_counts_twice() -> None:
    counter = StatCounter([1, 2, 6])
    counter.mergeStats(counter)
    assert (counter.count(), counter.mean(), counter.sum()) == (6, 3, 18)
    assert counter.variance() == pytest.approx(statistics.pvariance([1, 2, 6]))


def test_counter_of_nothing_has_spark_s_values() -> None:
    counter = StatCounter()
    assert (counter.count(), counter.mean(), counter.sum()) == (0, 0.0, 0.0)
    assert (counter.min(), counter.max()) == (math.inf, -math.inf)
    assert math.isnan(counter.variance()) and math.isnan(counter.stdev())
    assert math.isnan(counter.sampleVariance()) and math.isnan(StatCounter([1]).sampleStdev())


def test_counter_merged_with_nothing_stays() -> None:
    counter = StatCounter([1, 2]).mergeStats(StatCounter())
    assert (counter.count(), counter.min(), counter.max()) == (2, 1, 2)


def test_counter_copy_is_independent() -> None:
    counter = StatCounter([1])
    counter.copy().merge(9)
    assert counter.count() == 1


@pytest.mark.parametrize("numbers", [[math.nan, 1.0], [1.0, math.nan]])
def test_counter_spreads_nan(numbers: list[float]) -> None:
    counter = StatCounter(numbers)
    merged = StatCounter([0.0]).mergeStats(counter)
    assert all(math.isnan(x) for c in (counter, merged) for x in (c.mean(), c.min(), c.max(), c.sum()))


def test_counter_as_dict_has_all_statistics() -> None:
    counter = StatCounter([1, 3])
    expected = {"count": 2, "mean": 2.0, "sum": 4.0, "min": 1.0, "max": 3.0, "stdev": 1.0, "variance": 1.0}
    assert counter.asDict() == expected
    assert counter.asDict(sample=True) == expected | {"stdev": math.sqrt(2), "variance": 2.0}


def test_counter_takes_any_iterable_and_travels() -> None:
    counter = pickle.loads(pickle.dumps(StatCounter(iter((1, 2, 3)))))
    assert repr(counter) == "(count: 3, mean: 2.0, stdev: 0.816496580927726, max: 3.0, min: 1.0)"


def test_counter_refuses_to_merge_what_is_no_counter() -> None:
    with pytest.raises(TypeError, match="Can only merge StatCounters, not float"):
        StatCounter().mergeStats(1.0)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ arrays
ARRAYS = [np.array([1.0, 5.0, -2.0]), np.array([2, 7, 9]), np.array([4.0, 4.0, math.inf])]


def test_counter_of_arrays_counts_element_by_element() -> None:
    arrays = [array[:2] for array in ARRAYS]
    counter, table = StatCounter(arrays), np.stack(arrays)
    assert counter.count() == 3
    for got, expected in (
        (counter.mean(), table.mean(0)),
        (counter.sum(), table.sum(0)),
        (counter.min(), table.min(0)),
        (counter.max(), table.max(0)),
        (counter.variance(), table.var(0)),
        (counter.stdev(), table.std(0)),
        (counter.sampleVariance(), table.var(0, ddof=1)),
        (counter.sampleStdev(), table.std(0, ddof=1)),
        (counter.asDict(sample=True)["variance"], table.var(0, ddof=1)),
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_counter_of_arrays_spreads_what_is_not_finite_within_its_element_only() -> None:
    with np.errstate(invalid="ignore"):
        counter = StatCounter(ARRAYS)
    np.testing.assert_array_equal(counter.max(), [4.0, 7.0, math.inf])
    assert np.isfinite(counter.mean()).tolist() == [True, True, False]


def test_counter_of_arrays_leaves_the_arrays_and_its_copies_alone() -> None:
    arrays = [array.copy() for array in ARRAYS[:2]]
    counter = StatCounter(arrays)
    copied = counter.copy()
    counter.merge(np.array([100.0, 100.0, 100.0])).merge(3.0)
    np.testing.assert_array_equal(copied.mean(), [1.5, 6.0, 3.5])
    np.testing.assert_array_equal(arrays, ARRAYS[:2])


def test_statistics_of_an_rdd_of_arrays_are_arrays(sc: SparkContext) -> None:
    rdd = sc.parallelize(ARRAYS[:2], 2)
    np.testing.assert_array_equal(rdd.mean(), [1.5, 6.0, 3.5])
    np.testing.assert_array_equal(rdd.variance(), [0.25, 1.0, 30.25])
    np.testing.assert_array_equal(rdd.stats().max(), [2.0, 7.0, 9.0])
    np.testing.assert_array_equal(rdd.sum(), [3.0, 12.0, 7.0])
