"""SparkSession: today a way to a SparkContext, and the settings of a session. What needs an engine for SQL says so."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, ClassVar

from headwater.conf import SparkConf
from headwater.context import SparkContext
from headwater.errors import IllegalStateException, UnsupportedOperationException, sql_needed
from headwater.sql.conf import RuntimeConfig

__all__ = ["SparkSession"]

# What PySpark's sessions have, and ours can't give without an engine.
_OF_THE_ENGINE = frozenset(
    [
        "catalog",
        "createDataFrame",
        "dataSource",
        "range",
        "read",
        "readStream",
        "sql",
        "streams",
        "table",
        "tvf",
        "udf",
        "udtf",
    ]
)


class SparkSession:
    """A program's entry to SQL; `sparkContext` leads to everything else.

    Args:
        sparkContext: the context on which the session stands.
        options: settings of the session.

    >>> spark = SparkSession.builder.master("local[2]").appName("examples").getOrCreate()
    >>> spark.sparkContext.parallelize([1, 2, 3]).sum()
    6
    >>> spark.sql("select 1")
    Traceback (most recent call last):
    headwater.errors.UnsupportedOperationException: SparkSession.sql needs the SQL engine, which this version of ...
    """

    _active: ClassVar[SparkSession | None] = None  # the latest; it counts while its context runs
    _lock: ClassVar[threading.RLock] = threading.RLock()  # guards the field above

    def __init__(
        self, sparkContext: SparkContext, jsparkSession: object = None, options: Mapping[str, str] | None = None
    ) -> None:
        self._sc = sparkContext
        self._options = dict(options or {})
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

    builder: ClassVar[Any] = _NewBuilder()

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
        return RuntimeConfig(self._sc, self._options)

    @property
    def version(self) -> str:
        """Headwater's version."""
        return self._sc.version

    def __getattr__(self, name: str) -> Any:
        if name in _OF_THE_ENGINE:
            raise sql_needed(f"SparkSession.{name}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def __repr__(self) -> str:
        return f"<SparkSession master={self._sc.master} appName={self._sc.appName}>"
