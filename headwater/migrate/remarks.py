"""What in a PySpark program won't work here, line by line.

It looks at names, as a reader would: at what is imported, at attributes that only PySpark's objects have, at settings
and masters that are written out. What a program makes at run time it doesn't see.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from typing import NamedTuple

from headwater.errors import IllegalArgumentException, SparkException
from headwater.migrate.rewriting import NEW, OLD
from headwater.settings.setting import Standing
from headwater.settings.table import find


class Remark(NamedTuple):
    """What is to be said of a line."""

    line: int
    text: str


# What Structured Streaming is reached by: of a session, and of a DataFrame.
_STRUCTURED_STREAMING = frozenset({"readStream", "writeStream"})
# What needs the extra for SQL to be installed, wherever it's imported from.
_OF_THE_EXTRA = ("headwater.sql.functions", "headwater.sql.window", "headwater.sql.types", "headwater.sql.utils")

# Attributes behind which PySpark has objects of the JVM.
_JAVA_ATTRIBUTES = {
    "_jvm": "only log4j's levels work there; each other use says what to use instead",
    "_jsc": "Hadoop's settings are spark.hadoop.* in the SparkConf, the rest is SparkContext's methods",
    "_gateway": "use Python's own packages",
    "_jrdd": "use RDD's methods",
    "_jdstream": "use DStream's methods",
    "_jssc": "use StreamingContext's methods",
    "_jconf": "use SparkConf's methods",
    "_jdf": "use DataFrame's methods",
    "_jsparkSession": "use SparkSession's methods",
}
_LOG4J = ("org.apache.log4j", "org.apache.logging.log4j")

# Packages on top of PySpark, or of its JVM.
_PACKAGES = {
    "findspark": "not needed: remove it and findspark.init(), which fails where there is no Spark",
    "py4j": "there is no JVM to reach",
    "graphframes": "needs PySpark's DataFrames and its JVM",
    "delta": "needs PySpark's DataFrames and its JVM",
    "sparknlp": "needs PySpark's DataFrames and its JVM",
    "pyspark_cassandra": "needs PySpark's JVM; use a Python driver in foreachPartition or a ConnectionPool",
}


def remarks(source: str) -> list[Remark]:
    """What is to be said of a program, by its lines.

    Raises:
        SyntaxError: it's no program of Python 3.

    >>> remarks("from pyspark.mllib.stat import Statistics\\nsc._jsc.sc()")[0]
    Remark(line=1, text='pyspark.mllib.stat: not in this version of Headwater')
    """
    return sorted(set(_Reader(ast.parse(source)).read()))


class _Reader:
    """Reads one program."""

    def __init__(self, tree: ast.Module) -> None:
        self._nodes = list(ast.walk(tree))

    def read(self) -> Iterator[Remark]:
        for node in self._nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    yield from self._module(node.lineno, alias.name)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield from self._names(node, node.module)
            elif isinstance(node, ast.Attribute):
                yield from self._attribute(node)
            elif isinstance(node, ast.Call):
                yield from self._call(node)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield from self._string(node.lineno, node.value)

    # -------------------------------------------------------------------------------------------- imports
    def _module(self, line: int, module: str) -> Iterator[Remark]:
        package = module.partition(".")[0]
        if package in _PACKAGES:
            yield Remark(line, f"{package}: {_PACKAGES[package]}")
        elif ours := _ours(module):
            if not _is_there(ours):
                yield Remark(line, f"{module}: not in this version of Headwater")
            elif ours in _OF_THE_EXTRA and (missing := _missing_for_sql()):
                yield Remark(line, f"{module}: {missing}")

    def _names(self, node: ast.ImportFrom, module: str) -> Iterator[Remark]:
        found = list(self._module(node.lineno, module))
        yield from found
        ours = _ours(module)
        if found or not ours:
            return
        for alias in node.names:
            if f"{ours}.{alias.name}" in _OF_THE_EXTRA and (missing := _missing_for_sql()):
                yield Remark(node.lineno, f"{module}.{alias.name}: {missing}")
            elif alias.name != "*" and not _has(ours, alias.name):
                yield Remark(node.lineno, f"{module}.{alias.name}: not in this version of Headwater")

    # -------------------------------------------------------------------------------------------- uses
    def _attribute(self, node: ast.Attribute) -> Iterator[Remark]:
        name = node.attr
        if name in _JAVA_ATTRIBUTES:
            if name != "_jvm" or not self._leads_to_log4j(node):
                yield Remark(node.lineno, f"{name}: there is no JVM; {_JAVA_ATTRIBUTES[name]}")
        elif name in _STRUCTURED_STREAMING:
            yield Remark(
                node.lineno, f"{name}: Structured Streaming isn't part of Headwater; DStreams have toDF and sql"
            )

    def _leads_to_log4j(self, jvm: ast.Attribute) -> bool:
        """Whether what follows `_jvm` is a name of log4j's."""
        paths = (path for node in self._nodes if isinstance(node, ast.Attribute) and (path := _path_from(node, jvm)))
        return max(paths, key=len, default="").startswith(_LOG4J)

    def _call(self, node: ast.Call) -> Iterator[Remark]:
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        given = [*node.args[:1], *(keyword.value for keyword in node.keywords if keyword.arg == "master")]
        if function not in ("setMaster", "master", "SparkContext"):
            return
        for argument in given:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                from headwater.engine.backends.masters import parse_master

                try:
                    parse_master(argument.value)
                except IllegalArgumentException as error:
                    yield Remark(node.lineno, str(error))

    def _string(self, line: int, text: str) -> Iterator[Remark]:
        if text.startswith(f"{OLD}.") and text.replace(".", "").isidentifier():
            yield Remark(line, f"{text!r}: names in strings aren't changed")
        setting = find(text) if text.startswith("spark.") else None
        if setting is None:
            return
        if text.startswith("spark.jars"):
            yield Remark(
                line, f"{text}: there is no JVM; headwater has Kafka, Kinesis, Flume and MQTT as extras of pip"
            )
        elif setting.standing is Standing.NO_EFFECT:
            yield Remark(line, f"{text}: has no effect yet")


def _path_from(node: ast.expr, start: ast.Attribute) -> str:
    """The names that lead from one attribute to another that stands on it, with dots; none if it doesn't."""
    names: list[str] = []
    while node is not start:
        if not isinstance(node, ast.Attribute):
            return ""
        names.append(node.attr)
        node = node.value
    return ".".join(reversed(names))


def _ours(module: str) -> str:
    """The module of ours that a module of PySpark's becomes, or has become; empty if it's neither's."""
    package, dot, rest = module.partition(".")
    return f"{NEW}{dot}{rest}" if package in (OLD, NEW) else ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _has(module: str, name: str) -> bool:
    try:
        found = hasattr(importlib.import_module(module), name)
    except (ImportError, SparkException):
        return True  # of an extra that isn't installed: its own message says so
    return found or _is_there(f"{module}.{name}")


def _missing_for_sql() -> str:
    """What SQL's packages want; empty if they are there."""
    from headwater.sql import requirements

    try:
        requirements.check()
    except SparkException as error:
        return str(error)
    return ""
