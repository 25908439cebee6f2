"""Statistics, histograms and estimates."""

from __future__ import annotations

import math
import pickle
import statistics
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import SparkContext
from headwater.rdd import BoundedFloat, StatCounter
from headwater.rdd.approximate import estimated_count, estimated_mean, estimated_sum

floats = st.lists(st.integers(-1000, 1000).map(lambda x: x / 8), min_size=2, max_size=30)


@given(data=floats, n=st.integers(1, 4))
def test_statistics_are_those_of_the_standard_library(sc: SparkContext, data: list[float], n: int) -> None:
    rdd = sc.parallelize(data, n)
    stats = rdd.stats()
    assert (stats.count(), stats.max(), stats.min()) == (len(data), max(data), min(data))
    assert math.isclose(rdd.mean(), statistics.fmean(data), abs_tol=1e-9)
    assert math.isclose(rdd.variance(), statistics.pvariance(data), abs_tol=1e-6)
    assert math.isclose(rdd.stdev(), statistics.pstdev(data), abs_tol=1e-6)
    assert math.isclose(rdd.sampleVariance(), statistics.variance(data), abs_tol=1e-6)
    assert math.isclose(rdd.sampleStdev(), statistics.stdev(data), abs_tol=1e-6)


@given(data=floats, n=st.integers(1, 4), buckets=st.integers(1, 6))
def test_a_histogram_counts_every_number_once(sc: SparkContext, data: list[float], n: int, buckets: int) -> None:
    bounds, counts = sc.parallelize(data, n).histogram(buckets)
    assert (bounds[0], bounds[-1]) == (min(data), max(data))
    assert sum(counts) == len(data)
    assert len(bounds) == len(counts) + 1
    if len(set(bounds)) == len(bounds):  # else all numbers are equal
        assert sc.parallelize(data, n).histogram(bounds) == (bounds, counts)


@pytest.mark.parametrize(
    ("data", "buckets", "expected"),
    [
        (range(51), 2, ([0, 25, 50], [25, 26])),
        (range(51), [0, 5, 25, 50], ([0, 5, 25, 50], [5, 20, 26])),
        (range(51), [0, 15, 30, 45, 60], ([0, 15, 30, 45, 60], [15, 15, 15, 6])),
        (["ab", "ac", "b", "bd", "ef"], ("a", "b", "c"), (("a", "b", "c"), [2, 2])),
        ([1, 1, 1], 3, ([1, 1], [3])),
        ([None, 1, math.nan, 3], 2, ([1, 2, 3], [1, 1])),
        ([-5, 5, 15], [0, 10], ([0, 10], [1])),
        ([], [0, 10], ([0, 10], [0])),
    ],
)
def test_histogram_gives_bounds_and_counts(sc: SparkContext, data: Any, buckets: Any, expected: Any) -> None:
    assert sc.parallelize(data, 2).histogram(buckets) == expected


@pytest.mark.parametrize(
    ("data", "buckets", "error", "text"),
    [
        ([1, 2], 0, ValueError, "number of buckets must be >= 1"),
        ([], 2, ValueError, "can not generate buckets from empty RDD"),
        ([1, 2], [1], ValueError, "buckets should have more than one value"),
        ([1, 2], [2, 1], ValueError, "buckets should be sorted"),
        ([1, 2], [1, 1], ValueError, "buckets should not contain duplicated values"),
        ([1, 2], [None, 1], ValueError, "can not have None or NaN in buckets"),
        ([1, 2], 1.5, TypeError, "buckets should be a list or tuple or number"),
        (["a", "b"], 2, TypeError, "Can not generate buckets with non-number in RDD"),
        ([1.0, math.inf], 2, ValueError, "Can not generate buckets with infinite value"),
    ],
)
def test_histogram_refuses_what_can_not_be_counted(
    sc: SparkContext, data: Any, buckets: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        sc.parallelize(data, 2).histogram(buckets)


# ------------------------------------------------------------------------------------------------ estimates
def test_an_estimate_is_a_float_that_pickles() -> None:
    estimate = pickle.loads(pickle.dumps(BoundedFloat(2.0, 0.9, 1.0, 3.0)))
    assert (estimate, estimate.confidence, estimate.low, estimate.high) == (2.0, 0.9, 1.0, 3.0)


def test_estimates_of_a_part_lie_around_the_whole() -> None:
    half = StatCounter(range(50))
    total = estimated_sum(half, 0.5, 0.95)
    assert total.low < 2450.0 == total < total.high
    assert estimated_mean(half, 0.5, 0.95).low < 24.5 < estimated_mean(half, 0.5, 0.95).high
    count = estimated_count([10, 10], 4, 0.95)
    assert count.low < 40 < count.high
    assert 39 < count < 43


def test_more_confidence_means_wider_bounds() -> None:
    stats = StatCounter(range(20))
    widths = [(e := estimated_mean(stats, 0.5, confidence)).high - e.low for confidence in (0.5, 0.9, 0.99, 1.0)]
    assert widths == sorted(widths)
    assert widths[-1] == math.inf


def test_students_quantiles_are_those_of_the_tables() -> None:
    for records, expected in ((11, 2.228), (31, 2.042), (61, 2.000)):
        stats = StatCounter([0.0, 2.0] * (records // 2) + [1.0])
        estimate = estimated_mean(stats, 0.5, 0.95)
        deviation = math.sqrt(stats.sampleVariance() / records)
        assert math.isclose((estimate.high - estimate) / deviation, expected, abs_tol=0.002)


def test_nothing_done_in_time_says_nothing() -> None:
    assert (estimated_sum(StatCounter(), 0.0, 0.95).low, estimated_sum(StatCounter(), 0.0, 0.95).high) == (
        -math.inf,
        math.inf,
    )
    assert estimated_count([], 3, 0.95).high == math.inf
