"""Pair operations: combining by key, grouping, joining; and which of them shuffle."""

from __future__ import annotations

from collections import Counter, defaultdict
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import RDD, SparkContext
from headwater.engine.lineage import Dataset
from headwater.errors import IllegalArgumentException
from headwater.rdd import Partitioner, ResultIterable, portable_hash

# Keys of many types; 1, 1.0 and True are one key.
keys = st.one_of(
    st.integers(-3, 3), st.sampled_from(["a", "b", "", "ü"]), st.none(), st.booleans(), st.sampled_from([0.5, 1.0]),
    st.tuples(st.integers(0, 1), st.sampled_from("xy")),
)  # fmt: skip
pairs = st.lists(st.tuples(keys, st.integers(-9, 9)), max_size=30)
slices = st.integers(1, 4)


def grouped(data: list[tuple[Any, Any]]) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for key, value in data:
        groups[key].append(value)
    return dict(groups)


def sorted_groups(groups: dict[Any, Any]) -> dict[Any, list[Any]]:
    return {key: sorted(values) for key, values in groups.items()}


def shuffles(rdd: Dataset) -> int:
    """The shuffles of a lineage."""
    parents = [*rdd.parents, *([rdd.shuffle.parent] if rdd.shuffle else [])]
    return bool(rdd.shuffle) + sum(map(shuffles, parents))


# ------------------------------------------------------------------------------------------------ combining
@given(data=pairs, n=slices, to=slices)
def test_by_key_operations_are_those_of_dicts(sc: SparkContext, data: list[Any], n: int, to: int) -> None:
    rdd = sc.parallelize(data, n)
    sums = {key: sum(values) for key, values in grouped(data).items()}
    assert dict(rdd.reduceByKey(add, to).collect()) == sums
    assert rdd.foldByKey(0, add, to).collectAsMap() == sums
    assert rdd.aggregateByKey(0, add, add, to).collectAsMap() == sums
    assert rdd.reduceByKeyLocally(add) == sums
    lists = rdd.combineByKey(lambda v: [v], lambda c, v: [*c, v], add, to).collectAsMap()
    assert sorted_groups(lists) == sorted_groups(grouped(data))
    assert rdd.countByKey() == Counter(key for key, _ in data)


@given(data=pairs, n=slices, to=slices)
def test_group_by_key_keeps_the_order_of_values(sc: SparkContext, data: list[Any], n: int, to: int) -> None:
    groups = sc.parallelize(data, n).groupByKey(to).collectAsMap()
    assert all(isinstance(values, ResultIterable) for values in groups.values())
    assert {key: list(values) for key, values in groups.items()} == grouped(data)


def test_a_mutable_zero_is_copied_for_each_key(sc: SparkContext) -> None:
    rdd = sc.parallelize([("a", 1), ("b", 2), ("a", 3)], 2)
    lists = rdd.aggregateByKey([], lambda c, v: c.append(v) or c, lambda a, b: a + b).collectAsMap()
    assert {key: sorted(values) for key, values in lists.items()} == {"a": [1, 3], "b": [2]}


def test_group_by_groups_records_by_a_function(sc: SparkContext) -> None:
    groups = sc.parallelize([1, 1, 2, 3, 5, 8], 3).groupBy(lambda x: x % 2).collect()
    assert sorted((key, sorted(values)) for key, values in groups) == [(0, [2, 8]), (1, [1, 1, 3, 5])]


def test_a_skewed_key_comes_whole(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(20000), 4).map(lambda x: (0 if x % 10 else x, 1))
    counts = rdd.reduceByKey(add, 3).collectAsMap()
    assert counts[0] == 18001
    assert len(counts) == 2000


def test_keys_lie_in_the_partition_that_the_function_says(sc: SparkContext) -> None:
    rdd = sc.parallelize([(i, i) for i in range(10)], 3).partitionBy(4, lambda key: key + 1)
    assert [sorted(part) for part in rdd.keys().glom().collect()] == [[3, 7], [0, 4, 8], [1, 5, 9], [2, 6]]
    negative = sc.parallelize([(1, 1)], 1).partitionBy(3, lambda key: -1)
    assert negative.glom().map(len).collect() == [0, 0, 1]


def test_lookup_runs_one_task_where_the_partitioner_is_known(sc: SparkContext) -> None:
    tasks = sc.accumulator(0)

    def counted(records: Any) -> Any:
        tasks.add(1)
        return records

    rdd = sc.parallelize([(i % 5, i) for i in range(10)], 2).partitionBy(3)
    assert rdd.mapPartitions(counted, preservesPartitioning=True).lookup(3) == [3, 8]
    assert tasks.value == 1
    assert rdd.mapPartitions(counted).lookup(3) == [3, 8]
    assert tasks.value == 4
    assert rdd.lookup(77) == []


def test_an_unhashable_key_is_the_users_error(sc: SparkContext) -> None:
    with pytest.raises(TypeError, match="unhashable"):
        sc.parallelize([([1], 1)], 1).reduceByKey(add, 2).collect()


# ------------------------------------------------------------------------------------------------ joining
@given(a=pairs, b=pairs, n=slices, to=st.one_of(st.none(), slices))
def test_joins_are_those_of_nested_loops(sc: SparkContext, a: list[Any], b: list[Any], n: int, to: int | None) -> None:
    x, y = sc.parallelize(a, n), sc.parallelize(b, 2)
    both = [(k, (v, w)) for k, v in a for other, w in b if k == other]
    only_left = [(k, (v, None)) for k, v in a if k not in grouped(b)]
    only_right = [(k, (None, w)) for k, w in b if k not in grouped(a)]
    assert Counter(x.join(y, to).collect()) == Counter(both)
    assert Counter(x.leftOuterJoin(y, to).collect()) == Counter(both + only_left)
    assert Counter(x.rightOuterJoin(y, to).collect()) == Counter(both + only_right)
    assert Counter(x.fullOuterJoin(y, to).collect()) == Counter(both + only_left + only_right)
    assert Counter(x.subtractByKey(y, to).collect()) == Counter((k, v) for k, v in a if k not in grouped(b))


@given(a=pairs, b=pairs)
def test_cogroup_has_each_key_of_any_side(sc: SparkContext, a: list[Any], b: list[Any]) -> None:
    x, y = sc.parallelize(a, 2), sc.parallelize(b, 3)
    left, right = grouped(a), grouped(b)
    expected = {key: (left.get(key, []), right.get(key, [])) for key in {**left, **right}}
    assert {k: tuple(map(list, sides)) for k, sides in x.cogroup(y).collect()} == expected
    three = {k: tuple(map(list, sides)) for k, sides in x.groupWith(y, x).collect()}
    assert three == {key: (*sides, sides[0]) for key, sides in expected.items()}


def test_default_partitions_of_a_join_are_the_sum(sc: SparkContext) -> None:
    x, y = sc.parallelize([(1, 1)], 2), sc.parallelize([(1, 1)], 3)
    assert x.join(y).getNumPartitions() == 5
    assert x.join(y, 2).getNumPartitions() == 2
    assert x.reduceByKey(add).getNumPartitions() == 2
    assert x.partitionBy(4).join(y.partitionBy(4)).getNumPartitions() == 4


# ------------------------------------------------------------------------------------------------ shuffles saved
@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (lambda x, y: x.join(y), 4),  # the two partitionBy of the RDDs themselves, and one for each side
        (lambda x, y: x.join(y, 3), 2),
        (lambda x, y: x.partitionBy(3), 1),
        (lambda x, y: x.reduceByKey(add, 3), 1),
        (lambda x, y: x.groupByKey(3), 1),
        (lambda x, y: x.mapValues(str).reduceByKey(add, 3), 1),
        (lambda x, y: x.map(lambda pair: pair).reduceByKey(add, 3), 2),
        (lambda x, y: x.filter(bool).leftOuterJoin(y, 3), 2),
        (lambda x, y: x.union(y).reduceByKey(add, 3), 2),
        (lambda x, y: x.reduceByKey(add, 4), 2),
    ],
)
def test_what_lies_right_already_is_not_shuffled(sc: SparkContext, operation: Any, expected: int) -> None:
    data = [(i % 7, str(i)) for i in range(30)]
    x, y = (sc.parallelize(data, 2).partitionBy(3) for _ in range(2))
    if expected == 4:
        y = sc.parallelize(data, 2).partitionBy(5)
    result: RDD[Any] = operation(x, y)
    assert shuffles(result) == expected
    plain: RDD[Any] = operation(sc.parallelize(data, 2), sc.parallelize(data, 3))
    assert sorted(map(_comparable, result.collect())) == sorted(map(_comparable, plain.collect()))


def _comparable(pair: tuple[Any, Any]) -> Any:
    """Values whose order isn't defined, in some order."""
    value = pair[1]
    return pair[0], sorted(value) if isinstance(value, (str, ResultIterable)) else value


def test_records_are_not_regrouped_into_no_partition(sc: SparkContext) -> None:
    none, some = sc.emptyRDD(), sc.parallelize([(1, 2)], 2)
    assert none.reduceByKey(add, none.getNumPartitions()).collect() == []
    for regroup in (
        lambda: some.reduceByKey(add, 0),
        lambda: some.partitionBy(0),
        lambda: some.distinct(0),
        lambda: none.join(some, 0),
    ):
        with pytest.raises(IllegalArgumentException, match="numPartitions is 0, so the records of .* give 1 or more"):
            regroup()


def test_partitioners_are_equal_by_number_and_function() -> None:
    assert Partitioner(2) == Partitioner(2, portable_hash)
    assert hash(Partitioner(2)) == hash(Partitioner(2, portable_hash))
    assert Partitioner(2) != Partitioner(3)
    assert Partitioner(2, len) != Partitioner(2)
    assert Partitioner(2)(5) == 1
