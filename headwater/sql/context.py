"""SQLContext and HiveContext: the entries to SQL from before SparkSession, over a session."""

from __future__ import annotations

from typing import Any

from headwater.context import SparkContext
from headwater.errors import sql_needed
from headwater.sql.conf import NO_DEFAULT
from headwater.sql.session import SparkSession

__all__ = ["HiveContext", "SQLContext"]

# What PySpark's have, and ours can't give without an engine.
_OF_THE_ENGINE = frozenset(
    [
        "applySchema",
        "cacheTable",
        "clearCache",
        "createDataFrame",
        "createExternalTable",
        "dropTempTable",
        "inferSchema",
        "jsonFile",
        "jsonRDD",
        "load",
        "parquetFile",
        "range",
        "read",
        "readStream",
        "refreshTable",
        "registerDataFrameAsTable",
        "registerFunction",
        "registerJavaFunction",
        "sql",
        "streams",
        "table",
        "tableNames",
        "tables",
        "udf",
        "udtf",
        "uncacheTable",
    ]
)


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

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_ENGINE:
            raise sql_needed(f"{type(self).__name__}.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")


class HiveContext(SQLContext):
    """Another name of `SQLContext`: there is no Hive."""
