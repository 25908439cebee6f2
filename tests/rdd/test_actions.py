"""Actions: what they return, and in which order they look at partitions."""

from __future__ import annotations

import heapq
import time
from collections import Counter
from functools import partial, reduce
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import SparkContext

numbers = st.lists(st.integers(-20, 20), max_size=30)
slices = st.integers(1, 6)


@given(data=numbers, n=slices, few=st.integers(-1, 12))
def test_actions_are_those_of_lists(sc: SparkContext, data: list[int], n: int, few: int) -> None:
    rdd = sc.parallelize(data, n)
    assert rdd.count() == len(data)
    assert rdd.sum() == sum(data)
    assert rdd.take(few) == data[: max(few, 0)]
    assert rdd.isEmpty() == (not data)
    assert rdd.countByValue() == Counter(data)
    assert rdd.top(few) == sorted(data, reverse=True)[: max(few, 0)]
    assert rdd.takeOrdered(few, key=lambda x: -x) == heapq.nsmallest(few, data, key=lambda x: -x)
    assert list(rdd.toLocalIterator()) == data
    assert list(rdd.toLocalIterator(prefetchPartitions=True)) == data
    assert rdd.fold(0, add) == sum(data)
    assert rdd.aggregate((0, 0), lambda a, x: (a[0] + x, a[1] + 1), _add_pairs) == (sum(data), len(data))


@given(data=st.lists(st.integers(-20, 20), min_size=1, max_size=30), n=st.integers(1, 12), depth=st.integers(1, 4))
def test_reducing_actions_are_those_of_lists(sc: SparkContext, data: list[int], n: int, depth: int) -> None:
    rdd = sc.parallelize(data, n)
    assert rdd.first() == data[0]
    assert rdd.reduce(add) == rdd.treeReduce(add, depth) == reduce(add, data)
    assert rdd.treeAggregate(0, add, add, depth) == sum(data)
    assert (rdd.max(), rdd.min()) == (max(data), min(data))
    assert rdd.max(key=abs) in data
    assert abs(rdd.max(key=abs)) == max(map(abs, data))
    assert rdd.min(lambda x: -x) == max(data)


def test_a_tree_is_as_deep_as_was_asked_for(sc: SparkContext) -> None:
    flat = sc.parallelize(range(40), 40)
    jobs_of = {
        depth: _stages_of_last_job(sc, lambda d=depth: flat.treeAggregate(0, add, add, d)) for depth in (1, 2, 3)
    }
    assert jobs_of == {1: 1, 2: 2, 3: 3}


def _stages_of_last_job(sc: SparkContext, action: Any) -> int:
    sc.setJobGroup(f"tree {time.time_ns()}", "")
    group = sc.getLocalProperty("spark.jobGroup.id")
    action()
    tracker = sc.statusTracker()
    (job,) = tracker.getJobIdsForGroup(group)
    info = tracker.getJobInfo(job)
    assert info is not None
    return len(info.stageIds)


def test_take_scans_one_partition_then_four_times_as_many(sc: SparkContext) -> None:
    scanned = sc.accumulator(0)

    def counted(records: Any) -> Any:
        scanned.add(1)
        return records

    rdd = sc.parallelize(range(100), 100).mapPartitions(counted)
    assert rdd.take(1) == [0]
    assert scanned.value == 1
    assert rdd.take(6) == [0, 1, 2, 3, 4, 5]
    assert scanned.value == 1 + 1 + 4 + 20


def test_fold_uses_its_zero_for_each_partition_and_once_more(sc: SparkContext) -> None:
    assert sc.parallelize([1, 2], 3).fold(10, add) == 3 + 4 * 10


def test_a_mutable_zero_is_left_alone(sc: SparkContext) -> None:
    zero: list[int] = []
    rdd = sc.parallelize(range(4), 2)
    for _ in range(2):
        assert rdd.aggregate(zero, lambda acc, x: acc.append(x) or acc, add) == [0, 1, 2, 3]
        assert rdd.treeAggregate(zero, lambda acc, x: acc.append(x) or acc, add) == [0, 1, 2, 3]
    assert zero == []


def test_empty_rdds_answer_or_raise_as_in_spark(sc: SparkContext) -> None:
    for empty in (sc.emptyRDD(), sc.parallelize([], 3), sc.parallelize([1], 2).filter(lambda x: False)):
        assert (empty.count(), empty.sum(), empty.take(2), empty.isEmpty(), empty.top(1)) == (0, 0, [], True, [])
        assert empty.fold(0, add) == 0
        assert empty.treeAggregate(5, add, add) == 5 * max(1, empty.getNumPartitions())
        assert empty.collectAsMap() == {}
        assert empty.zipWithIndex().collect() == []
        with pytest.raises(ValueError, match="RDD is empty"):
            empty.first()
        for action in (partial(empty.reduce, add), partial(empty.treeReduce, add), empty.max, empty.min):
            with pytest.raises(ValueError, match=r"Can not reduce\(\) empty RDD"):
                action()


def test_a_tree_of_no_depth_is_refused(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="Depth cannot be smaller than 1 but got 0."):
        sc.parallelize([1]).treeReduce(add, 0)


def test_collect_as_map_keeps_the_last_value(sc: SparkContext) -> None:
    assert sc.parallelize([(1, "a"), (2, "b"), (1, "c")], 3).collectAsMap() == {1: "c", 2: "b"}


def test_foreach_runs_in_tasks(sc: SparkContext) -> None:
    total, partitions = sc.accumulator(0), sc.accumulator(0)
    rdd = sc.parallelize(range(5), 3)

    def each_partition(records: Any) -> Any:
        partitions.add(1)
        for record in records:
            total.add(record)
            yield record  # a generator function must run as well

    rdd.foreach(lambda x: total.add(100 * x))
    rdd.foreachPartition(each_partition)
    assert (total.value, partitions.value) == (1010, 3)


def test_an_exception_of_the_users_function_reaches_the_caller_as_itself(sc: SparkContext) -> None:
    def fails(x: int) -> int:
        raise LookupError(f"no {x}")

    with pytest.raises(LookupError, match="no 1") as raised:
        sc.parallelize([1], 1).map(fails).collect()
    assert "in fails" in str(raised.value.__cause__)


# ------------------------------------------------------------------------------------------------ approximate
def test_approximate_actions_are_exact_when_there_is_time(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(100), 4)
    total, mean = rdd.sumApprox(60_000), rdd.meanApprox(60_000)
    assert (total, total.low, total.high, total.confidence) == (4950.0, 4950.0, 4950.0, 1.0)
    assert (mean, mean.confidence) == (49.5, 1.0)
    assert rdd.countApprox(60_000) == 100


def test_timeout_error_of_a_task_is_not_taken_for_the_time_that_an_estimate_has(sc: SparkContext) -> None:
    def call_nobody(record: int) -> int:
        raise TimeoutError("nobody answered")

    with pytest.raises(TimeoutError, match="nobody answered"):
        sc.parallelize([1, 2, 3]).map(call_nobody).countApprox(60_000)


def test_approximate_actions_estimate_when_time_runs_out(sc: SparkContext) -> None:
    def slow_at_the_end(partition: int, records: Any) -> Any:
        for _ in range(6000 if partition == 3 else 0):
            time.sleep(0.01)  # in small steps: a thread can only be ended between two of them
        return records

    rdd = sc.parallelize(range(1000), 4).map(lambda x: x % 10).mapPartitionsWithIndex(slow_at_the_end)
    started = time.monotonic()
    total = rdd.sumApprox(700, 0.9)
    assert time.monotonic() - started < 30
    assert total.low <= 4500 <= total.high
    assert total.confidence == 0.9
    sc.cancelAllJobs()


@pytest.mark.parametrize("distinct", [0, 1, 50, 500, 5000, 20000])
def test_count_approx_distinct_is_within_three_deviations(sc: SparkContext, distinct: int) -> None:
    rdd = sc.range(2 * distinct, numSlices=3).map(lambda x: f"record {x // 2}")
    assert abs(rdd.countApproxDistinct(0.02) - distinct) <= 3 * 0.02 * distinct


def test_count_approx_distinct_refuses_an_error_too_small(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="relativeSD should be greater than 0.000017"):
        sc.parallelize([1]).countApproxDistinct(0.00000001)


def _add_pairs(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]
