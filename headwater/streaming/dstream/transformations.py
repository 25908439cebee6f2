"""Transformations of a DStream that may have any records: record by record, a batch as a whole, with another stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import add
from typing import TYPE_CHECKING, Any, TypeVar, cast

from headwater.base.callables import takes_time
from headwater.rdd.checks import check_function
from headwater.streaming.dstream.core import StreamCore
from headwater.streaming.graph.joined import TransformedWith, United
from headwater.streaming.graph.mapped import Reduced, Transformed

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

    from headwater.rdd import RDD
    from headwater.sql.session import SparkSession
    from headwater.sql.streams import FrameStream
    from headwater.streaming.dstream import DStream

T = TypeVar("T")
U = TypeVar("U")
T_co = TypeVar("T_co", covariant=True)


class Transformations(StreamCore[T_co]):
    """The methods of `DStream` that make another stream of its batches."""

    # -------------------------------------------------------------------------------------------- record by record
    def map(self, f: Callable[[T_co], U], preservesPartitioning: bool = False) -> DStream[U]:
        """Each record by `f`.

        Args:
            f: record -> new record.
            preservesPartitioning: `f` leaves keys as they are, so that a later operation by key needn't move pairs.

        >>> harness.results(harness.stream([[1, 2], [3]]).map(lambda n: n * 10))
        [[10, 20], [30]]
        """
        return self._mapped("map", f, preservesPartitioning)

    def flatMap(self, f: Callable[[T_co], Iterable[U]], preservesPartitioning: bool = False) -> DStream[U]:
        """All that `f` gives for each record, one after the other.

        Args:
            f: record -> an iterable of new records.
            preservesPartitioning: as for `map`.

        >>> harness.results(harness.stream([["to be", "or"], ["not"]]).flatMap(str.split))
        [['to', 'be', 'or'], ['not']]
        """
        return self._mapped("flatMap", f, preservesPartitioning)

    def filter(self, f: Callable[[T_co], Any]) -> DStream[T_co]:
        """The records for which `f` is true.

        Args:
            f: record -> whether to keep it, as by `if`.

        >>> harness.results(harness.stream([[1, 2, 3], [4, 5]]).filter(lambda n: n % 2))
        [[1, 3], [5]]
        """
        return self._mapped("filter", f)

    def mapPartitions(
        self, f: Callable[[Iterator[T_co]], Iterable[U]], preservesPartitioning: bool = False
    ) -> DStream[U]:
        """Each partition by `f`: for work that is better done once for many records, such as connecting to something.

        Args:
            f: an iterator over a partition's records -> an iterable of new records; called for empty partitions too.
            preservesPartitioning: as for `map`.

        >>> harness.results(harness.stream([[1, 2], [3]]).mapPartitions(lambda records: [sum(records)]), sum)
        [3, 3]
        """
        return self._mapped("mapPartitions", f, preservesPartitioning)

    def mapPartitionsWithIndex(
        self, f: Callable[[int, Iterator[T_co]], Iterable[U]], preservesPartitioning: bool = False
    ) -> DStream[U]:
        """Each partition by `f`, which is told which one it is.

        Args:
            f: (the partition's number from 0, an iterator over its records) -> an iterable of new records.
            preservesPartitioning: as for `map`.

        >>> numbers = harness.stream([[1, 2]]).repartition(1)
        >>> harness.results(numbers.mapPartitionsWithIndex(lambda index, records: [(index, n) for n in records]))
        [[(0, 1), (0, 2)]]
        """
        return self._mapped("mapPartitionsWithIndex", f, preservesPartitioning)

    def glom(self) -> DStream[list[T_co]]:
        """Each partition as one list, empty ones too.

        >>> harness.results(harness.stream([[1, 2, 3]]).repartition(1).glom())
        [[[1, 2, 3]]]
        """
        return self._mapped("glom")

    # -------------------------------------------------------------------------------------------- a batch as a whole
    def reduce(self: Transformations[T], func: Callable[[T, T], T]) -> DStream[T]:
        """One record a batch: all of its records, combined. An empty batch gives none.

        Args:
            func: (record, record) -> record of the same kind; associative and commutative.

        >>> harness.results(harness.stream([[5, 3, 8], []]).reduce(max))
        [[8], []]
        """
        check_function("func", func)
        return self._new(Reduced(self._node, func))

    def countByValue(self) -> DStream[tuple[T_co, int]]:
        """`(record, how often it is there)` for each different record of a batch. Records are hashable.

        >>> harness.results(harness.stream([["a", "b", "a"]]).countByValue(), sorted)
        [[('a', 2), ('b', 1)]]
        """
        return self.map(with_one).reduceByKey(add)

    def repartition(self, numPartitions: int) -> DStream[T_co]:
        """The same records, distributed evenly over other partitions; to use more cores, or to save fewer files.

        Args:
            numPartitions: at least 1.

        Raises:
            IllegalArgumentException: it is less.

        >>> harness.results(harness.stream([range(100)]).repartition(3).glom(), len)
        [3]
        """
        return self._mapped("repartition", numPartitions)

    def transform(self, func: Callable[..., RDD[U] | None]) -> DStream[U]:
        """The RDDs that `func` makes of this stream's RDDs, by any operation of RDDs.

        Args:
            func: `func(rdd)` or `func(time, rdd)`, called in the driver when a batch is generated; returns an RDD, or
                None for none in this batch.

        Raises:
            AssertionError: it takes neither one nor two arguments.

        >>> harness.results(harness.stream([[3, 1, 2]]).transform(lambda rdd: rdd.sortBy(lambda n: n)))
        [[1, 2, 3]]
        """
        return self._new(Transformed(self._node, func, with_time=takes_time(func, 1)))

    # -------------------------------------------------------------------------------------------- DataFrames
    def toDF(self, schema: Any = None, format: str = "rows", mode: str = "PERMISSIVE") -> FrameStream:
        """The batches as DataFrames. Needs `headwater[sql]`.

        Args:
            schema: a `StructType`, a text such as `"word STRING, count INT"`, or a list of names; None infers it from
                each batch.
            format: what the records are. `"rows"`: `Row`, tuples, dicts and so on, as for
                `SparkSession.createDataFrame`. `"json"`: lines of JSON, str or bytes, which become columns in the
                workers, without a Python object for each. `"text"`: lines, as a column `value`.
            mode: what becomes of a line that isn't JSON, in any case of letters. `"PERMISSIVE"`: a row of nulls.
                `"DROPMALFORMED"`: it is left out. `"FAILFAST"`: the batch fails.

        Raises:
            IllegalArgumentException: `format` or `mode` is none of these; or text has a schema.

        >>> lines = harness.stream([['{"user": "ann", "amount": 3}', '{"user": "bob", "amount": 4}']])
        >>> harness.results(lines.toDF("user STRING, amount INT", format="json"))
        [[Row(user='ann', amount=3), Row(user='bob', amount=4)]]
        """
        from headwater.sql.streams import frames_of

        return frames_of(cast("DStream[Any]", self), schema, format, mode)

    def sql(
        self,
        query: str,
        schema: Any = None,
        name: str = "stream",
        tables: Mapping[str, Callable[[SparkSession], DataFrame]] | None = None,
    ) -> FrameStream:
        """What a query of SQL gives for each batch. Needs `headwater[sql]`.

        Args:
            query: a SELECT, over the batch as a table.
            schema: of the batch's rows, as for `toDF`.
            name: by which the query knows the batch.
            tables: by which names the query knows other DataFrames, and functions of a session that make them: called
                once a driver, so also after it has gone on from a checkpoint.

        Raises:
            IllegalArgumentException: the query is empty, or a name is none.

        >>> words = harness.stream([["to", "be", "or", "not", "to", "be"]]).map(lambda word: Row(word=word))
        >>> harness.results(words.sql("SELECT word, count(*) AS n FROM stream GROUP BY word"), sorted)
        [[Row(word='be', n=2), Row(word='not', n=1), Row(word='or', n=1), Row(word='to', n=2)]]
        """
        from headwater.sql.streams import query_over

        return query_over(cast("DStream[Any]", self), query, schema, name, tables)

    # -------------------------------------------------------------------------------------------- with another stream
    def union(self, other: DStream[U]) -> DStream[T_co | U]:
        """The records of both streams.

        Args:
            other: a stream of the same slide.

        Raises:
            ValueError: their slides differ.

        >>> harness.results(harness.stream([[1, 2]]).union(harness.stream([["a"]])))
        [[1, 2, 'a']]
        """
        self._check_stream(other, "union")
        if self._node.slide_ms != other._node.slide_ms:
            raise ValueError(
                f"the two DStream should have same slide duration, not {self._slideDuration} and "
                f"{other._slideDuration} seconds"
            )
        return self._new(United(self._sc, (self._node, other._node)))

    def transformWith(
        self, func: Callable[..., RDD[U] | None], other: DStream[Any], keepSerializer: bool = False
    ) -> DStream[U]:
        """The RDDs that `func` makes of the RDDs of two streams.

        Args:
            func: `func(rdd, other's rdd)` or `func(time, rdd, other's rdd)`, called as that of `transform`.
            other: a stream without an RDD in some batch gives an empty one.
            keepSerializer: accepted for PySpark's sake.

        Raises:
            AssertionError: `func` takes neither two nor three arguments.

        >>> seen, banned = harness.stream([["a", "b"]]), harness.stream([["b"]])
        >>> harness.results(seen.transformWith(lambda rdd, others: rdd.subtract(others), banned))
        [['a']]
        """
        self._check_stream(other, "transformWith")
        node = TransformedWith(self._sc, (self._node, other._node), func, with_time=takes_time(func, 2))
        return self._new(node)


def with_one(record: Any) -> tuple[Any, int]:
    """A pair whose second half `countByValue` sums up."""
    return record, 1
