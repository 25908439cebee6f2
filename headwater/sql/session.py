"""SparkSession: a program's entry to SQL. It costs nothing until SQL is used: then its engine is started.

What it does stands elsewhere: `connected.py` is the session as its engine has it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from headwater.conf import SparkConf
from headwater.context import SparkContext
from headwater.errors import IllegalStateException, SerializationError, UnsupportedOperationException, see
from headwater.sql import requirements
from headwater.sql.conf import RuntimeConfig, local_zone

if TYPE_CHECKING:
    from pyspark.sql.connect.catalog import Catalog
    from pyspark.sql.connect.datasource import DataSourceRegistration
    from pyspark.sql.connect.readwriter import DataFrameReader
    from pyspark.sql.connect.tvf import TableValuedFunction
    from pyspark.sql.connect.udf import UDFRegistration
    from pyspark.sql.connect.udtf import UDTFRegistration
    from pyspark.sql.dataframe import DataFrame

    from headwater.sql.connected import Session

__all__ = ["SparkSession"]


class SparkSession:
    """A program's entry to SQL; `sparkContext` leads to everything else.

    Args:
        sparkContext: the context on which the session stands.
        options: settings of the session.

    >>> spark = SparkSession.builder.master("local[2]").appName("examples").getOrCreate()
    >>> spark.sparkContext.parallelize([1, 2, 3]).sum()
    6
    >>> words = spark.createDataFrame([("to", 2), ("be", 2), ("or", 1)], ["word", "count"])
    >>> words.createOrReplaceTempView("words")
    >>> spark.sql("SELECT count, count(*) AS words FROM words GROUP BY count ORDER BY count").show()
    +-----+-----+
    |count|words|
    +-----+-----+
    |    1|    1|
    |    2|    2|
    +-----+-----+
    """

    _active: ClassVar[SparkSession | None] = None  # the latest; it counts while its context runs
    _lock: ClassVar[threading.RLock] = threading.RLock()  # guards the field above

    def __init__(
        self, sparkContext: SparkContext, jsparkSession: object = None, options: Mapping[str, str] | None = None
    ) -> None:
        self._sc = sparkContext
        self._options = dict(options or {})
        self._connected: Session | None = None
        self._connecting = threading.Lock()  # guards the field above
        with SparkSession._lock:
            if SparkSession.getActiveSession() is None:
                SparkSession._active = self

    class Builder:
        """Collects settings, and makes the session. `SparkSession.builder` is a new one each time."""

        def __init__(self) -> None:
            self._options: dict[str, str] = {}

        def appName(self, name: str) -> SparkSession.Builder:
            """The application's name; else it is the script's."""
            return self.config("spark.app.name", name)

        def master(self, master: str) -> SparkSession.Builder:
            """Where tasks run, see `SparkContext`."""
            return self.config("spark.master", master)

        def config(
            self,
            key: str | None = None,
            value: Any = None,
            conf: SparkConf | None = None,
            *,
            map: Mapping[str, Any] | None = None,
        ) -> SparkSession.Builder:
            """Set one setting, all of a conf, or all of a dict."""
            pairs = dict(conf.getAll()) if conf is not None else dict(map or {})
            if key is not None:
                pairs[key] = value
            for name, setting in pairs.items():
                self._options[name] = str(setting).lower() if isinstance(setting, bool) else str(setting)
            return self

        def enableHiveSupport(self) -> SparkSession.Builder:
            """Accepted for PySpark's sake, and ignored: there is no Hive."""
            return self

        def remote(self, url: str) -> SparkSession.Builder:
            """Not supported.

            Raises:
                UnsupportedOperationException: always.
            """
            raise UnsupportedOperationException(f"remote({url!r}): Headwater is no client of Spark Connect's servers")

        def getOrCreate(self) -> SparkSession:
            """The session that lives, or else a new one; and so its context.

            Settings reach a context that this call starts. One that runs has read its own, and keeps them.
            """
            with SparkSession._lock:
                session = SparkSession.getActiveSession()
                if session is None:
                    sc = SparkContext.getOrCreate(SparkConf().setAll(self._options.items()))
                    session = SparkSession(sc)
                for key, value in self._options.items():
                    if session.conf.isModifiable(key):
                        session.conf.set(key, value)
                return session

        create = getOrCreate

    class _NewBuilder:
        def __get__(self, instance: object, owner: type[SparkSession]) -> SparkSession.Builder:
            return owner.Builder()

    builder: ClassVar[_NewBuilder] = _NewBuilder()

    # -------------------------------------------------------------------------------------------- life
    @classmethod
    def getActiveSession(cls) -> SparkSession | None:
        """The session whose context runs, or None."""
        session = SparkSession._active
        return session if session is not None and session._is_running() else None

    @classmethod
    def active(cls) -> SparkSession:
        """The session whose context runs.

        Raises:
            IllegalStateException: there is none.
        """
        session = cls.getActiveSession()
        if session is None:
            raise IllegalStateException("There is no active session: SparkSession.builder.getOrCreate() makes one")
        return session

    def newSession(self) -> SparkSession:
        """Another session on the same context, with settings of its own."""
        return type(self)(self._sc)

    def stop(self) -> None:
        """Stop the context."""
        self._sc.stop()

    def _is_running(self) -> bool:
        return SparkContext._active_spark_context is self._sc

    def __reduce__(self) -> NoReturn:
        raise SerializationError(
            "It appears that you are attempting to reference a SparkSession, or a DataFrame, from a function that runs "
            "in tasks, or that is kept in a checkpoint. They are the driver's: get the session within the function, by "
            "SparkSession.builder.getOrCreate(), if it is called in the driver (as foreachRDD's is), and else take "
            "what the function needs into a local variable first." + see("cant-be-pickled")
        )

    def __enter__(self) -> SparkSession:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    # -------------------------------------------------------------------------------------------- what it is
    @property
    def sparkContext(self) -> SparkContext:
        """The context on which the session stands."""
        return self._sc

    @property
    def conf(self) -> RuntimeConfig:
        """The session's settings."""
        return RuntimeConfig(self._sc, self._options, lambda: self._connected)

    @property
    def version(self) -> str:
        """Headwater's version."""
        return self._sc.version

    @property
    def connected(self) -> Session:
        """The session as its engine has it, for Headwater's own parts. The first use starts the engine.

        Raises:
            SparkException: the packages of `headwater[sql]` aren't there, or the engine doesn't start.
            IllegalStateException: the context has stopped.
        """
        with self._connecting:
            if self._connected is None:
                self._sc.check_running()
                requirements.check()
                from headwater.sql.application import Application

                Application.of(self._sc).engines.warm()  # it starts while PySpark's client is imported
                requirements.import_client()
                from headwater.sql.connected import Session

                self._connected = Session(self, {**_of_sql(self._sc), **self._options})
            return self._connected

    @property
    def client(self) -> Any:
        """The client of Spark Connect below this session."""
        return self.connected.client

    # -------------------------------------------------------------------------------------------- DataFrames
    def sql(self, sqlQuery: str, args: dict[str, Any] | list[Any] | None = None, **kwargs: Any) -> DataFrame:
        """What a statement of SQL gives.

        Args:
            sqlQuery: the statement. `:name` and `?` stand for arguments, `{name}` for a DataFrame of `kwargs`.
            args: values by name, or in order.
            kwargs: DataFrames and columns by name.

        Raises:
            ParseException: it's no statement.
            AnalysisException: it names a table or a column that isn't there.

        >>> spark.sql("SELECT id * :n AS tens FROM {numbers}", args={"n": 10}, numbers=spark.range(3)).collect()
        [Row(tens=0), Row(tens=10), Row(tens=20)]
        """
        return self.connected.sql(sqlQuery, args, **kwargs)

    def table(self, tableName: str) -> DataFrame:
        """A table or a view.

        Raises:
            AnalysisException: once rows are asked for: there is none of that name.
        """
        return self.connected.table(tableName)

    def range(self, start: int, end: int | None = None, step: int = 1, numPartitions: int | None = None) -> DataFrame:
        """One column, `id`, of the numbers from `start` to before `end`; given one argument, from 0 to before it.

        >>> spark.range(1, 7, 2).collect()
        [Row(id=1), Row(id=3), Row(id=5)]
        """
        return self.connected.range(start, end, step, numPartitions)

    def createDataFrame(
        self,
        data: Any,
        schema: Any = None,
        samplingRatio: float | None = None,
        verifySchema: bool = True,
    ) -> DataFrame:
        """A DataFrame of rows.

        Args:
            data: an RDD or a collection of rows (`Row`, tuples, dicts, named tuples, objects), or of values if `schema`
                is a type that is no struct; or a frame of pandas, an array of NumPy, a table of Arrow.
            schema: a `StructType`, a text such as `"word STRING, count INT"`, a list of names, or None: then names
                and types are those of the first row.
            samplingRatio: which share of an RDD to infer the schema from; None takes the first rows.
            verifySchema: whether a row that doesn't fit a given schema is an error; else what doesn't fit is null.

        Raises:
            TypeError, ValueError: a row doesn't fit the schema, or its type isn't known; or there is no row to infer
                from. For an RDD with a given schema that is found when an action runs.

        >>> spark.createDataFrame(sc.parallelize(["to", "be"]).map(lambda word: Row(word=word))).collect()
        [Row(word='to'), Row(word='be')]
        """
        return self.connected.createDataFrame(data, schema, samplingRatio, verifySchema)

    def emptyDataFrame(self, schema: Any) -> DataFrame:
        """A DataFrame with a schema and without rows."""
        return self.createDataFrame([], schema)

    @property
    def read(self) -> DataFrameReader:
        """Reads files and tables: `spark.read.json(path)`, `.csv`, `.parquet`, `.text`, `.format(...).load(path)`."""
        return self.connected.read

    @property
    def udf(self) -> UDFRegistration:
        """Registers Python functions for use in SQL: `spark.udf.register("twice", lambda x: 2 * x, "int")`.

        They run in the engine's process, one at a time; `DataFrame.rdd` is the way to Python on all cores.
        """
        return self.connected.udf

    @property
    def udtf(self) -> UDTFRegistration:
        """Registers Python functions that give tables."""
        return self.connected.udtf

    @property
    def tvf(self) -> TableValuedFunction:
        """SQL's own functions that give tables."""
        return self.connected.tvf

    @property
    def dataSource(self) -> DataSourceRegistration:
        """Registers data sources that are written in Python."""
        return self.connected.dataSource

    @property
    def catalog(self) -> Catalog:
        """The tables, views and functions that there are."""
        return self.connected.catalog

    @property
    def readStream(self) -> NoReturn:
        """Not supported.

        Raises:
            UnsupportedOperationException: always.
        """
        raise structured_streaming("readStream")

    @property
    def streams(self) -> NoReturn:
        """Not supported.

        Raises:
            UnsupportedOperationException: always.
        """
        raise structured_streaming("streams")

    def __repr__(self) -> str:
        return f"<SparkSession master={self._sc.master} appName={self._sc.appName}>"


def _of_sql(sc: SparkContext) -> dict[str, str]:
    """What a context's settings say of SQL, and the time zone of this process unless they do."""
    settings = {key: value for key, value in sc.conf.getAll() if key.startswith("spark.sql.")}
    return {"spark.sql.session.timeZone": local_zone(), **settings}


def structured_streaming(name: str) -> UnsupportedOperationException:
    """The exception for what isn't part of Headwater.

    Args:
        name: what was called.
    """
    return UnsupportedOperationException(
        f"{name}: Structured Streaming isn't part of Headwater. Its streams are DStreams, whose batches are DataFrames "
        "by toDF and sql: StreamingContext(sc, 1).textFileStream(directory).toDF(...).sql(...)"
    )
