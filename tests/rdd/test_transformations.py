"""RDD transformations are their list versions, whatever the partitions."""

from __future__ import annotations

import random
from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import RDD, SparkContext
from headwater.errors import IllegalArgumentException, SerializationError
from headwater.rdd import Partitioner, portable_hash

numbers = st.lists(st.integers(-20, 20), max_size=30)
texts = st.lists(st.text("ab ", max_size=5), max_size=10)
slices = st.integers(1, 5)


# ------------------------------------------------------------------------------------------------ record by record
@given(data=numbers, n=slices)
def test_collect_gives_what_was_parallelized(sc: SparkContext, data: list[int], n: int) -> None:
    assert sc.parallelize(data, n).collect() == data


@given(data=numbers, n=slices)
def test_a_chain_of_map_filter_and_flat_map_is_that_of_lists(sc: SparkContext, data: list[int], n: int) -> None:
    rdd = sc.parallelize(data, n).map(lambda x: x + 1).filter(lambda x: x % 2).flatMap(lambda x: [x] * (x % 3))
    assert rdd.collect() == [y for x in data if (x + 1) % 2 for y in [x + 1] * ((x + 1) % 3)]


@given(data=texts, n=slices)
def test_map_values_and_flat_map_values_keep_keys(sc: SparkContext, data: list[str], n: int) -> None:
    pairs = sc.parallelize(data, n).keyBy(len)
    assert pairs.collect() == [(len(text), text) for text in data]
    assert pairs.mapValues(str.upper).collect() == [(len(text), text.upper()) for text in data]
    assert pairs.flatMapValues(str.split).collect() == [(len(text), word) for text in data for word in text.split()]
    assert pairs.keys().collect() == list(map(len, data))
    assert pairs.values().collect() == data


def test_functions_may_be_builtins_methods_partials_and_closures(sc: SparkContext) -> None:
    class Adder:
        def __init__(self, term: int) -> None:
            self.term = term

        def __call__(self, x: int) -> int:
            return x + self.term

    offset = 5
    rdd = sc.parallelize([1, 2], 2)
    assert rdd.map(str).collect() == ["1", "2"]
    assert rdd.map(Adder(10)).collect() == [11, 12]
    assert rdd.map(lambda x: x + offset).collect() == [6, 7]


def test_records_of_a_local_class_come_back_as_that_class(sc: SparkContext) -> None:
    class Point:
        def __init__(self, x: int) -> None:
            self.x = x

    points = sc.parallelize([1, 2], 2).map(Point).collect()
    assert [type(point) for point in points] == [Point, Point]
    assert [point.x for point in points] == [1, 2]


def test_mutable_records_are_isolated_from_the_driver(sc: SparkContext) -> None:
    record = [1]
    rdd = sc.parallelize([record], 1)
    record.append(2)
    assert rdd.map(lambda r: r.append(3) or r).collect() == [[1, 3]]
    assert rdd.collect() == [[1]]
    assert record == [1, 2]


# ------------------------------------------------------------------------------------------------ by partition
@given(data=numbers, n=slices)
def test_glom_shows_even_slices_in_order(sc: SparkContext, data: list[int], n: int) -> None:
    expected = [data[i * len(data) // n : (i + 1) * len(data) // n] for i in range(n)]
    assert sc.parallelize(data, n).glom().collect() == expected


@pytest.mark.parametrize(
    ("data", "n", "expected"),
    [
        ([1, 2], 4, [[], [1], [], [2]]),
        (range(7), 3, [[0, 1], [2, 3], [4, 5, 6]]),
        (range(0, 6, 2), 5, [[], [0], [], [2], [4]]),
        ("abc", 1, [["a", "b", "c"]]),
        ({1: "one", 2: "two"}.keys(), 2, [[1], [2]]),
        ([], 2, [[], []]),
    ],
)
def test_parallelize_slices_as_spark_does(sc: SparkContext, data: object, n: int, expected: object) -> None:
    assert sc.parallelize(data, n).glom().collect() == expected


def test_parallelize_takes_a_generator(sc: SparkContext) -> None:
    assert sc.parallelize((x * x for x in range(3)), 2).collect() == [0, 1, 4]


def test_a_huge_range_is_not_materialised_in_the_driver(sc: SparkContext) -> None:
    assert sc.range(10**15, numSlices=10**3).take(2) == [0, 1]
    assert sc.range(5, 10, 2).collect() == [5, 7, 9]
    assert sc.range(3).collect() == [0, 1, 2]


def test_map_partitions_gets_an_iterator_of_each_partition(sc: SparkContext) -> None:
    rdd = sc.parallelize(range(5), 2)
    assert rdd.mapPartitions(lambda records: [next(records), sum(records)]).collect() == [0, 1, 2, 7]
    indexed = rdd.mapPartitionsWithIndex(lambda i, records: ((i, x) for x in records))
    assert indexed.collect() == [(0, 0), (0, 1), (1, 2), (1, 3), (1, 4)]
    with pytest.deprecated_call():
        assert rdd.mapPartitionsWithSplit(lambda i, records: [i]).collect() == [0, 1]


def test_pipe_gives_the_lines_of_the_command(sc: SparkContext) -> None:
    rdd = sc.parallelize(["b", "a", "", "c"], 2)
    assert rdd.pipe("cat").collect() == ["b", "a", "", "c"]
    assert rdd.pipe("sort -r").collect() == ["b", "a", "c", ""]
    assert sc.parallelize([1], 1).pipe("sh -c 'echo $WHO'", {"WHO": "me"}).collect() == ["me"]
    assert rdd.pipe("head -n 1").collect() == ["b", ""]


def test_pipe_fails_the_job_on_an_exit_code_only_if_asked(sc: SparkContext) -> None:
    rdd = sc.parallelize([1], 1)
    assert rdd.pipe("sh -c 'exit 3'").collect() == []
    with pytest.raises(Exception, match="exited with error code 3"):
        rdd.pipe("sh -c 'exit 3'", checkCode=True).collect()


def test_pipe_fails_the_job_when_its_records_do(sc: SparkContext) -> None:
    with pytest.raises(ZeroDivisionError):
        sc.parallelize([0], 1).map(lambda x: 1 // x).pipe("cat").collect()


# ------------------------------------------------------------------------------------------------ shape
@given(a=numbers, b=numbers, n=slices, m=slices)
def test_union_puts_one_after_the_other(sc: SparkContext, a: list[int], b: list[int], n: int, m: int) -> None:
    left, right = sc.parallelize(a, n), sc.parallelize(b, m)
    assert (left + right).collect() == a + b
    assert left.union(right).getNumPartitions() == n + m
    assert sc.union([left, right, left]).collect() == a + b + a


def test_union_of_equally_partitioned_rdds_keeps_their_partitioner(sc: SparkContext) -> None:
    left, right = (sc.parallelize([(i, side) for i in range(6)], 2).partitionBy(3) for side in "lr")
    united = left.union(right)
    assert united.getNumPartitions() == 3
    assert united.partitioner == Partitioner(3, portable_hash)
    assert sorted(united.collect()) == sorted((i, side) for i in range(6) for side in "lr")


def test_union_refuses_what_is_no_rdd(sc: SparkContext) -> None:
    with pytest.raises(TypeError, match="list"):
        sc.parallelize([1]) + [2]  # noqa: RUF005
    assert sc.union([]).collect() == []


@given(a=numbers, b=numbers)
def test_cartesian_is_all_pairs(sc: SparkContext, a: list[int], b: list[int]) -> None:
    rdd = sc.parallelize(a, 2).cartesian(sc.parallelize(b, 3))
    assert rdd.getNumPartitions() == 6
    assert sorted(rdd.collect()) == sorted((x, y) for x in a for y in b)


@given(data=numbers, n=slices, to=slices)
def test_coalesce_joins_neighbours_and_never_grows(sc: SparkContext, data: list[int], n: int, to: int) -> None:
    rdd = sc.parallelize(data, n).coalesce(to)
    assert rdd.getNumPartitions() == min(n, to)
    assert rdd.collect() == data


@given(length=st.integers(0, 3000), n=slices, to=slices)
def test_repartition_is_even_and_deterministic(sc: SparkContext, length: int, n: int, to: int) -> None:
    rdd = sc.range(length, numSlices=n).repartition(to)
    parts = rdd.glom().collect()
    assert sorted(chain.from_iterable(parts)) == list(range(length))
    assert max(map(len, parts)) - min(map(len, parts)) <= max(n, length // to // 4)
    assert rdd.glom().collect() == parts


@given(data=numbers, n=slices)
def test_zip_variants_number_records_as_lists_do(sc: SparkContext, data: list[int], n: int) -> None:
    rdd = sc.parallelize(data, n)
    assert rdd.zip(rdd.map(str)).collect() == list(zip(data, map(str, data)))
    assert rdd.zipWithIndex().collect() == list(zip(data, range(len(data))))
    ids = [number for _, number in rdd.zipWithUniqueId().collect()]
    expected = [[p + n * i for i in range(len(part))] for p, part in enumerate(rdd.glom().collect())]
    assert ids == list(chain.from_iterable(expected))


def test_zip_refuses_unequal_partitions(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="Can only zip with RDD which has the same number of partitions"):
        sc.parallelize([1, 2], 1).zip(sc.parallelize([1, 2], 2))
    for left, right in ([1, 2], [3]), ([1], [2, 3]):
        with pytest.raises(ValueError, match="same number of elements"):
            sc.parallelize(left, 1).zip(sc.parallelize(right, 1)).collect()


# ------------------------------------------------------------------------------------------------ sets and sorting
@given(a=numbers, b=numbers, n=slices)
def test_sets_are_those_of_python(sc: SparkContext, a: list[int], b: list[int], n: int) -> None:
    left, right = sc.parallelize(a, n), sc.parallelize(b, 2)
    assert sorted(left.distinct().collect()) == sorted(set(a))
    assert sorted(left.distinct(3).collect()) == sorted(set(a))
    assert sorted(left.intersection(right).collect()) == sorted(set(a) & set(b))
    assert sorted(left.subtract(right).collect()) == sorted(x for x in a if x not in b)


@given(data=numbers, n=slices, to=slices, ascending=st.booleans())
def test_sort_by_orders_from_partition_to_partition(
    sc: SparkContext, data: list[int], n: int, to: int, ascending: bool
) -> None:
    rdd = sc.parallelize(data, n)
    assert rdd.sortBy(lambda x: x, ascending, to).collect() == sorted(data, reverse=not ascending)
    assert rdd.keyBy(abs).sortByKey(ascending, to).keys().collect() == sorted(map(abs, data), reverse=not ascending)
    by_last_digit = rdd.keyBy(lambda x: x).sortByKey(ascending, to, keyfunc=lambda x: x % 10).keys().collect()
    assert [x % 10 for x in by_last_digit] == sorted((x % 10 for x in data), reverse=not ascending)


def test_sort_spreads_skewed_data_over_its_partitions(sc: SparkContext) -> None:
    data = [(random.Random(i).random(), i) for i in range(5000)]
    sizes = sc.parallelize(data, 4).sortByKey(numPartitions=5).glom().map(len).collect()
    assert len(sizes) == 5
    assert max(sizes) < 1600
    one_key = sc.parallelize([(1, i) for i in range(100)], 3).sortByKey(numPartitions=4)
    assert sorted(one_key.values().collect()) == list(range(100))


def test_repartition_and_sort_sorts_each_partition_by_key(sc: SparkContext) -> None:
    pairs = sc.parallelize([(0, 5), (3, 8), (2, 6), (0, 8), (3, 8), (1, 3)], 2)
    by_parity = pairs.repartitionAndSortWithinPartitions(2, lambda key: key % 2)
    assert by_parity.glom().collect() == [[(0, 5), (0, 8), (2, 6)], [(1, 3), (3, 8), (3, 8)]]
    falling = pairs.repartitionAndSortWithinPartitions(2, lambda key: key % 2, False)
    assert falling.keys().glom().collect() == [[2, 0, 0], [3, 3, 1]]


# ------------------------------------------------------------------------------------------------ misuse
@pytest.mark.parametrize(
    ("misuse", "argument"),
    [
        (lambda rdd: rdd.map(1), "f"),
        (lambda rdd: rdd.flatMap(None), "f"),
        (lambda rdd: rdd.filter("x"), "f"),
        (lambda rdd: rdd.mapPartitions([]), "f"),
        (lambda rdd: rdd.foreach(1), "f"),
        (lambda rdd: rdd.reduce(1), "f"),
        (lambda rdd: rdd.fold(0, 1), "op"),
        (lambda rdd: rdd.reduceByKey(1), "func"),
        (lambda rdd: rdd.combineByKey(1, max, max), "createCombiner"),
        (lambda rdd: rdd.groupByKey("2"), "numPartitions"),
        (lambda rdd: rdd.partitionBy(1.5), "numPartitions"),
        (lambda rdd: rdd.partitionBy(2, 3), "partitionFunc"),
        (lambda rdd: rdd.coalesce("1"), "numPartitions"),
        (lambda rdd: rdd.take("1"), "num"),
        (lambda rdd: rdd.sortBy(1), "keyfunc"),
        (lambda rdd: rdd.join([1]), "join"),
        (lambda rdd: rdd.persist("memory"), "storageLevel"),
        (lambda rdd: rdd.sample(False, "half"), "fraction"),
    ],
)
def test_an_argument_of_a_wrong_type_is_named_at_once(sc: SparkContext, misuse: object, argument: str) -> None:
    with pytest.raises(TypeError, match=argument):
        misuse(sc.parallelize([(1, 2)]))


@pytest.mark.parametrize(
    "misuse",
    [
        lambda rdd: rdd.coalesce(0),
        lambda rdd: rdd.repartition(-1),
        lambda rdd: rdd.reduceByKey(max, -1),
        lambda rdd: rdd.sample(False, -0.5),
        lambda rdd: rdd.sample(False, 1.5),
        lambda rdd: rdd.randomSplit([1, -1]),
        lambda rdd: rdd.context.parallelize([1], 0),
    ],
)
def test_a_number_out_of_bounds_is_refused(sc: SparkContext, misuse: object) -> None:
    with pytest.raises(IllegalArgumentException):
        misuse(sc.parallelize([(1, 2)]))


def test_an_rdd_in_a_closure_is_refused_with_sparks_words(sc: SparkContext) -> None:
    other = sc.parallelize([1])
    with pytest.raises(SerializationError, match="attempting to broadcast an RDD or reference an RDD from an action"):
        sc.parallelize([1]).map(lambda x: other.count()).collect()
    with pytest.raises(SerializationError, match="attempting to broadcast an RDD"):
        sc.broadcast(other)


def test_an_rdd_is_true_even_if_it_is_empty(sc: SparkContext) -> None:
    empty = sc.emptyRDD()
    assert empty
    assert isinstance(empty, RDD)
    assert not hasattr(empty, "__len__")
    assert empty.map(str).collect() == []
    assert empty.map(lambda x: (x, 1)).reduceByKey(max).collect() == []
    assert empty.map(lambda x: (x, 1)).groupByKey(3).collect() == []
    assert empty.sortBy(lambda x: x).collect() == []
