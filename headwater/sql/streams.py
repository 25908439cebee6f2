"""Streams whose batches are DataFrames: what `DStream.toDF` and `DStream.sql` return."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from headwater.base.callables import takes_time
from headwater.engine.lineage import Deferred
from headwater.errors import IllegalArgumentException
from headwater.rdd import RDD
from headwater.rdd.checks import check_function
from headwater.rdd.sources import Reading
from headwater.sql.batchframes import FORMATS, BatchFrames, Query, schema_text
from headwater.sql.jsonmodes import check_mode
from headwater.sql.parts import rows_of_stream
from headwater.streaming.dstream import DStream
from headwater.streaming.graph.mapped import Transformed

if TYPE_CHECKING:
    from datetime import datetime

    from pyspark.sql.dataframe import DataFrame

    from headwater.sql.rows import Row
    from headwater.sql.session import SparkSession
    from headwater.streaming.pool import ConnectionPool

__all__ = ["FrameStream", "frames_of", "query_over"]


class FrameStream(DStream["Row"]):
    """A stream of DataFrames; to all that streams can do, a stream of their rows.

    A batch's query runs when one of its outputs first needs it, in the engine, and not when the batch is generated.

    >>> sales = harness.stream([[("tea", 3), ("milk", 1), ("tea", 2)], [("milk", 5)]])
    >>> totals = sales.toDF("item STRING, price INT").sql("SELECT item, sum(price) AS total FROM stream GROUP BY item")
    >>> harness.results(totals, sorted)
    [[Row(item='milk', total=1), Row(item='tea', total=5)], [Row(item='milk', total=5)]]
    """

    def __init__(self, source: DStream[Any], frames: BatchFrames) -> None:
        super().__init__(Transformed(source.node, partial(_rows, frames), with_time=False), source.context())
        self._source = source
        self._frames = frames

    # -------------------------------------------------------------------------------------------- transformations
    def sql(
        self,
        query: str,
        schema: Any = None,
        name: str = "stream",
        tables: Mapping[str, Callable[[SparkSession], DataFrame]] | None = None,
    ) -> FrameStream:
        """What a query gives for each batch; see `DStream.sql`.

        Args:
            query: a SELECT.
            schema: None; the batches have one.
            name: by which the query knows the batch.
            tables: by which names the query knows other DataFrames, and functions of a session that make them.

        >>> numbers = harness.stream([[(1,), (2,)]]).toDF(["n"])
        >>> total = numbers.sql("SELECT sum(n) AS total FROM stream")
        >>> harness.results(total.sql("SELECT total * 10 AS ten FROM stream"))
        [[Row(ten=30)]]
        """
        if schema is not None:
            raise IllegalArgumentException("sql: the stream's batches have a schema already, so none can be given")
        return self.transformFrame(_query(query, name, tables))

    def transformFrame(self, func: Callable[[DataFrame], DataFrame]) -> FrameStream:
        """What a function makes of each batch's DataFrame.

        Args:
            func: takes a DataFrame and returns one; called in the driver when the batch's rows are first needed.

        >>> numbers = harness.stream([[(3,), (1,), (2,)]]).toDF(["n"])
        >>> harness.results(numbers.transformFrame(lambda frame: frame.orderBy("n").limit(2)))
        [[Row(n=1), Row(n=2)]]
        """
        check_function("func", func)
        return FrameStream(self._source, self._frames.then(func))

    # -------------------------------------------------------------------------------------------- outputs
    def foreachFrame(self, func: Callable[..., Any]) -> None:
        """Call a function with each batch's DataFrame, in order.

        A batch without records is left out if no schema was given and none was inferred before.

        Args:
            func: `func(frame)` or `func(time, frame)`, called in the driver.

        >>> harness.stream([[("to", 2), ("be", 2)]]).toDF(["word", "count"]).foreachFrame(lambda frame: frame.show())
        >>> _ = harness.run()
        +----+-----+
        |word|count|
        +----+-----+
        |  to|    2|
        |  be|    2|
        +----+-----+
        """
        if takes_time(func, 1):
            self._source.foreachRDD(partial(_call_with_time, self._frames, func))
        else:
            self._source.foreachRDD(partial(_call, self._frames, func))

    def createOrReplaceTempView(self, name: str) -> None:
        """Make each batch a view, in place of the batch before: queries from other threads see one batch, whole.

        Args:
            name: of the view.

        >>> harness.stream([[("a", 1)], [("b", 2), ("c", 3)]]).toDF(["word", "n"]).createOrReplaceTempView("latest")
        >>> _ = harness.run(2)
        >>> spark.sql("SELECT count(*) AS words FROM latest").collect()
        [Row(words=2)]
        """
        if not isinstance(name, str) or not name.isidentifier():
            raise IllegalArgumentException(f"createOrReplaceTempView: {name!r} is no name for a view")
        self.foreachFrame(partial(_show_as, name))

    def writeFiles(
        self,
        path: str,
        format: str = "parquet",
        partitionBy: str | Sequence[str] = (),
        name: str | None = None,
        **options: Any,
    ) -> None:
        """Add the rows of each batch to a directory of files, each row exactly once.

        A batch that runs again, in this driver or the next, writes what isn't written yet of it, and nothing twice.

        Args:
            path: of the directory, on this machine or mounted on it.
            format: `"parquet"`, `"json"`, `"csv"` or `"text"`.
            partitionBy: columns whose values become names of directories, as in `day=2024-05-01`.
            name: of the output, which stays over restarts: under another one all batches count as not written. None
                makes one of the path. Other outputs, also of other programs, may share the directory if their names
                differ.
            options: of the format, as for `DataFrameWriter.options`.

        Raises:
            IllegalArgumentException: the format isn't one of these, or another output has the name.
            UnsupportedOperationException: the path is that of a file system over a network.

        >>> sales = harness.stream([[("tea", 3), ("milk", 1)], [("tea", 2)]]).toDF("item STRING, price INT")
        >>> sales.writeFiles(f"{directory}/sales", partitionBy="item")
        >>> _ = harness.run(2)
        >>> spark.read.parquet(f"{directory}/sales").groupBy("item").sum("price").orderBy("item").collect()
        [Row(item='milk', sum(price)=1), Row(item='tea', sum(price)=5)]
        """
        from headwater.sql.outputs import FilesOutput

        columns = [partitionBy] if isinstance(partitionBy, str) else partitionBy
        self._source.output(FilesOutput(self._frames.of, path, format, columns, name=name, options=options))

    def writeTable(
        self,
        connect: Callable[[], Any] | ConnectionPool[Any],
        table: str,
        name: str,
        upsertOn: Sequence[str] | None = None,
    ) -> None:
        """Insert the rows of each batch into a table of a database, each row exactly once.

        A batch is one transaction, together with a note that it's written: see `foreachTransaction` for what `connect`
        must see to, and for the table of notes.

        Args:
            connect: makes a DB-API connection, such as `partial(psycopg.connect, ...)`; or a pool of them.
            table: the table's name; it must be there, with columns of the batches' names.
            name: of the output: no other one that writes to this database has it, and it stays over restarts.
            upsertOn: columns with a unique index: a row takes the place of one that has the same values there. None:
                rows are only added.

        Raises:
            IllegalArgumentException: a name is none, or another output's.

        >>> import sqlite3
        >>> from functools import partial
        >>> connect = partial(sqlite3.connect, f"{directory}/shop.db", timeout=60, check_same_thread=False)
        >>> _ = connect().execute("CREATE TABLE totals (item TEXT PRIMARY KEY, total INTEGER)")
        >>> sales = harness.stream([[("tea", 3)], [("tea", 2)]]).toDF("item STRING, price INT")
        >>> totals = sales.sql("SELECT item, sum(price) AS total FROM stream GROUP BY item")
        >>> totals.writeTable(connect, "totals", "totals", upsertOn=["item"])
        >>> _ = harness.run(2)
        >>> connect().execute("SELECT * FROM totals").fetchall()
        [('tea', 2)]
        """
        from headwater.sql.outputs import TableOutput

        retention_ms: int = self._sc.conf.read("headwater.streaming.output.commitRetention")
        sink = TableOutput(self._frames.of, connect, table, name=name, upsert_on=upsertOn, retention_ms=retention_ms)
        self._source.output(sink)


def frames_of(stream: DStream[Any], schema: Any, format: str, mode: str) -> FrameStream:
    """A stream's batches as DataFrames; see `DStream.toDF`."""
    if format not in FORMATS:
        raise IllegalArgumentException(f"toDF: format must be one of {', '.join(FORMATS)}, not {format!r}")
    if schema is not None and format == "text":
        raise IllegalArgumentException("toDF: lines of text have one column, value: no schema can be given")
    return FrameStream(stream, BatchFrames(schema_text(schema), format, check_mode(mode)))  # type: ignore[arg-type]


def query_over(stream: DStream[Any], query: str, schema: Any, name: str, tables: Any) -> FrameStream:
    """A query over a stream's batches; see `DStream.sql`."""
    return FrameStream(stream, BatchFrames(schema_text(schema)).then(_query(query, name, tables)))


def _query(query: str, name: str, tables: Any) -> Query:
    if not isinstance(query, str) or not query.strip():
        raise IllegalArgumentException(f"sql: expected a query, got {query!r}")
    if not isinstance(name, str) or not name.isidentifier():
        raise IllegalArgumentException(f"sql: {name!r} is no name for a table")
    if not isinstance(tables or {}, Mapping):
        raise TypeError(f"sql: tables should be functions by names of tables, got {tables!r}")
    for table, make in (tables or {}).items():
        if table == name:
            raise IllegalArgumentException(
                f"sql: {name!r} is the stream's own name: give the table, or `name`, another"
            )
        check_function(f"tables[{table!r}]", make)
    return Query(query, name, dict(tables or {}))


# ------------------------------------------------------------------------------------------------ kept with the program
def _rows(frames: BatchFrames, rdd: RDD[Any]) -> RDD[Row]:
    """The rows of a batch's DataFrame, as many partitions as there are cores; computed when a job needs them."""
    sc = rdd.context
    partitions = sc.defaultParallelism
    return RDD(
        sc, Reading(rows_of_stream), (), partitions, payloads=Deferred(partial(_streams, frames, rdd), partitions)
    )


def _streams(frames: BatchFrames, rdd: RDD[Any]) -> list[bytes]:
    from headwater.sql.frames import streams_of

    frame = frames.of(rdd)
    partitions = rdd.context.defaultParallelism
    return [b""] * partitions if frame is None else streams_of(cast("Any", frame), partitions)


def _call(frames: BatchFrames, function: Callable[[DataFrame], Any], rdd: RDD[Any]) -> None:
    if (frame := frames.of(rdd)) is not None:
        function(frame)


def _call_with_time(
    frames: BatchFrames, function: Callable[[datetime, DataFrame], Any], time: datetime, rdd: RDD[Any]
) -> None:
    if (frame := frames.of(rdd)) is not None:
        function(time, frame)


def _show_as(name: str, frame: DataFrame) -> None:
    frame.createOrReplaceTempView(name)
