"""What stands in for the JVM where programs reach into it: log4j's levels work, all else names the way in Python.

`sc._jvm` is a tree of packages, as Py4J's is: a name that begins small leads on, one with a capital is a class.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar, NoReturn

from headwater.base import logs
from headwater.errors import UnsupportedOperationException

_LOG4J = ("org.apache.log4j", "org.apache.logging.log4j")

# Beginning of a path -> what a Python program uses instead. The first that fits counts.
_INSTEAD = {
    "java.lang.System": "os.environ and time",
    "java.lang": "Python's own types and modules",
    "java.util": "Python's own collections, and datetime",
    "java.net": "socket and urllib",
    "java.sql": "a DB-API driver in foreachPartition or a ConnectionPool (docs/how-to/outputs.md)",
    "org.apache.hadoop": "sc.textFile, saveAsTextFile and fsspec (docs/how-to/filesystems.md, docs/how-to/hadoop.md)",
    "org.apache.spark.streaming.kafka": "headwater.streaming.kafka (docs/how-to/kafka.md)",
    "org.apache.spark.streaming": "headwater.streaming (docs/getting-started.md)",
    "org.apache.spark.sql": "RDDs: there is no SQL engine yet (docs/coming-from-pyspark.md)",
    "org.apache.spark": "SparkContext, SparkConf and RDD",
    "org.apache.log4j": "Python's logging, and sc.setLogLevel",
    "org.apache.logging.log4j": "Python's logging, and sc.setLogLevel",
    "org.apache.kafka": "headwater.streaming.kafka (docs/how-to/kafka.md)",
    "kafka": "headwater.streaming.kafka (docs/how-to/kafka.md)",
    "hadoopConfiguration": "the settings spark.hadoop.*, set in the SparkConf before the context starts",
    "sc": "the methods of SparkContext",
}


def refuse(root: str, path: str) -> NoReturn:
    """Raise what says that a path leads into a JVM that isn't there.

    Args:
        root: where it begins, such as `sc._jvm`.
        path: the names from there on, with dots in between.

    Raises:
        UnsupportedOperationException: always.
    """
    fitting = (way for beginning, way in _INSTEAD.items() if f"{path}.".startswith(f"{beginning}."))
    way = next(fitting, "a Python package that does the same")
    raise UnsupportedOperationException(f"{root}.{path}: Headwater has no JVM. Use {way} instead.")


class Package:
    """A package of Java's, or an object that hands out methods: `_jvm`, `_jsc`."""

    def __init__(self, root: str, path: str = "") -> None:
        self._root = root
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path = f"{self._path}.{name}" if self._path else name
        package, _, cls = path.rpartition(".")
        if package in _LOG4J and cls in _CLASSES:
            return _CLASSES[cls]
        if name[0].isupper():
            refuse(self._root, path)
        return Package(self._root, path)

    def __call__(self, *args: Any) -> NoReturn:
        refuse(self._root, self._path)

    def __repr__(self) -> str:
        return f"<{'.'.join(filter(None, [self._root, self._path]))}: there is no JVM>"


# ------------------------------------------------------------------------------------------------ log4j
class Level:
    """A level of log4j's."""

    ALL: ClassVar[Level]
    TRACE: ClassVar[Level]
    DEBUG: ClassVar[Level]
    INFO: ClassVar[Level]
    WARN: ClassVar[Level]
    ERROR: ClassVar[Level]
    FATAL: ClassVar[Level]
    OFF: ClassVar[Level]

    def __init__(self, name: str) -> None:
        self._name = name

    @staticmethod
    def toLevel(name: str) -> Level:
        """The level of a name."""
        logs.level_of(name)
        level: Level = getattr(Level, name.upper())
        return level

    def toString(self) -> str:
        """The level's name."""
        return self._name

    def __repr__(self) -> str:
        return self._name


for _name in logs.LEVELS:
    setattr(Level, _name, Level(_name))


class Logger:
    """A logger of log4j's: Python's of that name, or ours where Spark's was meant."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger("headwater" if _is_spark_s(name) else name)
        self._name = name
        self.trace, self.debug, self.info = self._at("TRACE"), self._at("DEBUG"), self._at("INFO")
        self.warn, self.error, self.fatal = self._at("WARN"), self._at("ERROR"), self._at("FATAL")

    @staticmethod
    def getLogger(name: object) -> Logger:
        """The logger of a name."""
        return Logger(str(name))

    @staticmethod
    def getRootLogger() -> Logger:
        """The logger of all that Spark logs. What Python's other loggers do is not for log4j to say."""
        return Logger("org")

    def getName(self) -> str:
        """The logger's name."""
        return self._name

    def setLevel(self, level: Level) -> None:
        """Log from this level on."""
        self._logger.setLevel(logs.level_of(level))

    def isEnabledFor(self, level: Level) -> bool:
        """Whether something of this level is logged."""
        return self._logger.isEnabledFor(logs.level_of(level))

    def _at(self, level: str) -> Any:
        number, logger = logs.level_of(level), self._logger
        return lambda message, *rest: logger.log(number, "%s", message)


def _is_spark_s(name: str) -> bool:
    return f"{name}.".startswith("org.apache.spark.") or name in ("org", "org.apache")


_CLASSES = {"Level": Level, "Logger": Logger, "LogManager": Logger}
