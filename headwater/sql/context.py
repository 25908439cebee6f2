"""SQLContext and HiveContext: the entries to SQL from before SparkSession, over a session."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from headwater.context import SparkContext
from headwater.errors import UnsupportedOperationException
from headwater.sql.conf import NO_DEFAULT
from headwater.sql.session import SparkSession, structured_streaming

if TYPE_CHECKING:
    from pyspark.sql.connect.readwriter import DataFrameReader
    from pyspark.sql.connect.udf import UDFRegistration
    from pyspark.sql.connect.udtf import UDTFRegistration
    from pyspark.sql.dataframe import DataFrame

__all__ = ["HiveContext", "SQLContext"]


class SQLContext:
    """An entry to SQL.

    Args:
        sparkContext: the context on which it stands.
        sparkSession: the session whose settings it shows; None takes the active one, or makes one.
    """

    def __init__(
        self, sparkContext: SparkContext, sparkSession: SparkSession | None = None, jsqlContext: object = None
    ) -> None:
        if not isinstance(sparkContext, SparkContext):
            raise TypeError(f"sparkContext should be a SparkContext, got {sparkContext!r}")
        self._sc = sparkContext
        active = SparkSession.getActiveSession()
        if sparkSession is None:
            sparkSession = active if active is not None and active.sparkContext is sparkContext else None
        self.sparkSession = sparkSession or SparkSession(sparkContext)

    @classmethod
    def getOrCreate(cls, sc: SparkContext) -> SQLContext:
        """An entry over the session that lives, or over a new one."""
        return cls(sc)

    def newSession(self) -> SQLContext:
        """Another one on the same context, with settings of its own."""
        return type(self)(self._sc, self.sparkSession.newSession())

    def setConf(self, key: str, value: str | int | bool) -> None:
        """Set a setting of the session."""
        self.sparkSession.conf.set(key, value)

    def getConf(self, key: str, defaultValue: Any = NO_DEFAULT) -> Any:
        """The text of a setting, or the default if one is given.

        Raises:
            NoSuchElementException: it isn't set, and there's no default.
        """
        return self.sparkSession.conf.get(key, defaultValue)

    # -------------------------------------------------------------------------------------------- DataFrames
    def sql(self, sqlQuery: str) -> DataFrame:
        """What a statement of SQL gives; see `SparkSession.sql`.

        >>> SQLContext(sc).sql("SELECT 1 AS one").collect()
        [Row(one=1)]
        """
        return self.sparkSession.sql(sqlQuery)

    def table(self, tableName: str) -> DataFrame:
        """A table or a view."""
        return self.sparkSession.table(tableName)

    def range(self, start: int, end: int | None = None, step: int = 1, numPartitions: int | None = None) -> DataFrame:
        """One column, `id`, of numbers; see `SparkSession.range`."""
        return self.sparkSession.range(start, end, step, numPartitions)

    def createDataFrame(
        self, data: Any, schema: Any = None, samplingRatio: float | None = None, verifySchema: bool = True
    ) -> DataFrame:
        """A DataFrame of rows; see `SparkSession.createDataFrame`."""
        return self.sparkSession.createDataFrame(data, schema, samplingRatio, verifySchema)

    def inferSchema(self, rdd: Any, samplingRatio: float | None = None) -> DataFrame:
        """An older name of `createDataFrame` without a schema."""
        return self.createDataFrame(rdd, None, samplingRatio)

    def applySchema(self, rdd: Any, schema: Any) -> DataFrame:
        """An older name of `createDataFrame` with a schema."""
        return self.createDataFrame(rdd, schema)

    @property
    def read(self) -> DataFrameReader:
        """Reads files and tables."""
        return self.sparkSession.read

    def jsonFile(self, path: str, schema: Any = None) -> DataFrame:
        """An older name of `read.json`."""
        return self.read.json(path, schema)

    def jsonRDD(self, rdd: Any, schema: Any = None) -> DataFrame:
        """An older name of `read.json` with an RDD of lines."""
        return self.read.json(rdd, schema)

    def parquetFile(self, *paths: str) -> DataFrame:
        """An older name of `read.parquet`."""
        return self.read.parquet(*paths)

    def load(self, path: str | None = None, source: str | None = None, schema: Any = None, **options: Any) -> DataFrame:
        """An older name of `read.load`."""
        return self.read.load(path, source, schema, **options)

    # -------------------------------------------------------------------------------------------- tables
    def registerDataFrameAsTable(self, df: DataFrame, tableName: str) -> None:
        """Make a DataFrame a view of this session."""
        df.createOrReplaceTempView(tableName)

    def dropTempTable(self, tableName: str) -> None:
        """Drop a view of this session, if it's there."""
        self.sparkSession.catalog.dropTempView(tableName)

    def tables(self, dbName: str | None = None) -> DataFrame:
        """The tables and views, with columns `namespace`, `tableName` and `isTemporary`."""
        rows = [
            (".".join(table.namespace or []), table.name, table.isTemporary)
            for table in self.sparkSession.catalog.listTables(dbName)
        ]
        return self.createDataFrame(rows, "namespace STRING, tableName STRING, isTemporary BOOLEAN")

    def tableNames(self, dbName: str | None = None) -> list[str]:
        """The names of the tables and views."""
        return [table.name for table in self.sparkSession.catalog.listTables(dbName)]

    def cacheTable(self, tableName: str) -> None:
        """Keep a view's rows once they were computed."""
        self.sparkSession.catalog.cacheTable(tableName)

    def uncacheTable(self, tableName: str) -> None:
        """Compute a view's rows anew each time."""
        self.sparkSession.catalog.uncacheTable(tableName)

    def clearCache(self) -> None:
        """Compute all views' rows anew each time."""
        self.sparkSession.catalog.clearCache()

    def refreshTable(self, tableName: str) -> None:
        """Nothing: files are looked up again by each query."""

    # -------------------------------------------------------------------------------------------- functions
    @property
    def udf(self) -> UDFRegistration:
        """Registers Python functions for use in SQL."""
        return self.sparkSession.udf

    @property
    def udtf(self) -> UDTFRegistration:
        """Registers Python functions that give tables."""
        return self.sparkSession.udtf

    def registerFunction(self, name: str, f: Callable[..., Any], returnType: Any = None) -> Callable[..., Any]:
        """An older name of `udf.register`."""
        return self.udf.register(name, f, returnType)

    def registerJavaFunction(self, name: str, javaClassName: str, returnType: Any = None) -> NoReturn:
        """Not supported.

        Raises:
            UnsupportedOperationException: always.
        """
        raise UnsupportedOperationException(f"registerJavaFunction({name!r}, {javaClassName!r}): there is no JVM")

    @property
    def readStream(self) -> NoReturn:
        """Not supported; see `SparkSession.readStream`."""
        raise structured_streaming("readStream")

    @property
    def streams(self) -> NoReturn:
        """Not supported; see `SparkSession.streams`."""
        raise structured_streaming("streams")


class HiveContext(SQLContext):
    """Another name of `SQLContext`: there is no Hive."""
