"""Readers and writers of files, tables and databases: PySpark's client's, with what the engine lacks.

- A path that isn't there is an error, as in Spark: the engine would see no rows.
- A directory that was written whole has a file `_SUCCESS` in the end.
- Databases are read and written by tasks, over Python's DB-API (`databases.py`).
"""

from __future__ import annotations

import glob
import inspect
import operator
import os
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.readwriter import DataFrameReader, DataFrameWriter, DataFrameWriterV2

from headwater.errors import UnsupportedOperationException
from headwater.rdd import RDD
from headwater.sql.directories import has_files, name_as_parts, partition_types, with_names_of_directories, with_values
from headwater.sql.fileoptions import refuse_unheard
from headwater.sql.statements import quoted_part

if TYPE_CHECKING:
    from headwater.sql.sessionview import SessionView

__all__ = ["DataFrameReader", "DataFrameWriter", "DataFrameWriterV2", "Reader", "Writer"]

_FORMATS_OF_FILES = frozenset({"arrow", "avro", "csv", "json", "parquet", "text"})
_NOT_READ = {"orc": "convert them to Parquet", "xml": "read them with sc.wholeTextFiles and xml.etree"}


class Reader(DataFrameReader):
    """What `SparkSession.read` gives."""

    @property
    def _session(self) -> SessionView:
        return cast("SessionView", self._client)

    def load(self, path: Any = None, format: str | None = None, schema: Any = None, **options: Any) -> DataFrame:
        kind = (format or self._format or "parquet").lower()
        if kind in _NOT_READ:
            raise UnsupportedOperationException(f"The engine reads no {kind} files: {_NOT_READ[kind]}")
        self.options(**options)
        if kind == "jdbc":
            from headwater.sql import databases

            return cast("DataFrame", databases.read(self._session, self._options))
        if kind not in _FORMATS_OF_FILES:
            return super().load(path, kind, schema)
        refuse_unheard("read", kind, self._options)
        given = path if path is not None else self._options.get("path")
        paths = [given] if isinstance(given, str) else list(given or ())
        known = schema is not None or bool(self._schema)
        for each in paths:
            _check_there(each, kind, needs_files=not known and kind != "text")
        frame = super().load(path, kind, schema)
        return frame if known else _as_spark_infers(frame, kind, paths)

    def json(self, path: Any, schema: Any = None, *arguments: Any, **options: Any) -> DataFrame:
        self._take(super().json, path, schema, *arguments, **options)
        mode = self._option("mode")
        if isinstance(path, RDD):
            return self._of_json_lines(path, mode or "PERMISSIVE", of_rdd=True)
        if mode is None or not isinstance(path, (str, list)):
            return super().json(path)
        paths = [path] if isinstance(path, str) else path  # the engine has no modes: an error is all that it knows
        for each in paths:
            _check_there(each, "json", needs_files=False)
        return self._of_json_lines(self._session.facade.sparkContext.textFile(",".join(paths)), mode, of_rdd=False)

    def _of_json_lines(self, lines: RDD[Any], mode: str, *, of_rdd: bool) -> DataFrame:
        refuse_unheard("read", "json", self._options, of_rdd=of_rdd)
        corrupt_column = self._option("columnNameOfCorruptRecord") or "_corrupt_record"
        return self._session.of_json(lines, self._schema or None, mode, corrupt_column)

    def csv(self, path: Any, schema: Any = None, *arguments: Any, **options: Any) -> DataFrame:
        self._take(super().csv, path, schema, *arguments, **options)
        if not isinstance(path, RDD):
            return super().csv(path)
        lines = path.filter(str.strip)  # blank ones are none, which the engine doesn't know
        if (self._option("header") or "").lower() == "true":
            lines = _with_headers(lines)
        directory = self._session.directory()  # the engine parses files alone
        lines.saveAsTextFile(directory.path)
        frame = super().csv(directory.path)
        frame._plan.directory = directory  # type: ignore[attr-defined] # it stays as long as the plan
        return frame

    def _take(self, method: Callable[..., DataFrame], *arguments: Any, **options: Any) -> None:
        """Keep what a method was told, as if it had been told before."""
        given = inspect.signature(method).bind(*arguments, **options).arguments
        given.pop("path")
        self._set_opts(**given)

    def _option(self, name: str) -> str | None:
        """An option's value, whatever case its name was given in; the last one."""
        found = [value for key, value in self._options.items() if key.lower() == name.lower()]
        return found[-1] if found else None

    def jdbc(
        self,
        url: str,
        table: str,
        column: str | None = None,
        lowerBound: int | str | None = None,
        upperBound: int | str | None = None,
        numPartitions: int | None = None,
        predicates: list[str] | None = None,
        properties: dict[str, str] | None = None,
    ) -> DataFrame:
        from headwater.sql import databases

        bounds = {"lowerBound": lowerBound, "upperBound": upperBound, "numPartitions": numPartitions}
        given = {
            **self._options,
            **(properties or {}),
            "partitionColumn": column,
            **bounds,
            "url": url,
            "dbtable": table,
        }
        options = {key: str(value) for key, value in given.items() if value is not None}
        return cast("DataFrame", databases.read(self._session, options, predicates))


class Writer(DataFrameWriter):
    """What `DataFrame.write` gives."""

    def __init__(self, frame: DataFrame, done: Any) -> None:
        super().__init__(frame._plan, frame._session, done)
        self._frame = frame

    def save(
        self,
        path: str | None = None,
        format: str | None = None,
        mode: str | None = None,
        partitionBy: str | list[str] | None = None,
        **options: Any,
    ) -> None:
        kind = (format or self._write.source or "parquet").lower()
        if kind == "jdbc":
            from headwater.sql import databases

            self.mode(mode).options(**options)
            given = {key: value for key, value in self._write.options.items() if value is not None}
            databases.write(self._frame, self._write.mode or "errorifexists", given)
            return
        if kind in _NOT_READ:
            raise UnsupportedOperationException(f"The engine writes no {kind} files: write Parquet")
        self.options(**options)
        refuse_unheard("written", kind, self._write.options)
        self._name_partitions(partitionBy)
        super().save(path, kind, mode, partitionBy)
        local = _local(path or self._write.options.get("path") or "")
        if local is not None and os.path.isdir(local):
            name_as_parts(local)
            open(os.path.join(local, "_SUCCESS"), "w").close()

    def _name_partitions(self, columns: str | list[str] | None) -> None:
        """Have the values of columns, which will be names of directories, be these."""
        given = [columns] if isinstance(columns, str) else columns
        if names := given or self._write.partitioning_cols:
            self._write._child = cast("DataFrame", with_names_of_directories(self._frame, names))._plan


def _with_headers(lines: RDD[str]) -> RDD[str]:
    """Each partition will be a file, with a header: the first line, which is no row wherever it stands, as in Spark."""
    first = lines.take(1)
    return lines.filter(partial(operator.ne, *first)).mapPartitions(partial(chain, first)) if first else lines


def _local(path: str) -> str | None:
    """A URL's or path's file on this machine; None if it's elsewhere."""
    url = urlsplit(path)
    return {"": path, "file": unquote(url.path)}.get(url.scheme) or None


def _check_there(path: str, kind: str, *, needs_files: bool) -> None:
    """Raise AnalysisException if there is nothing at a path; what isn't on this machine is left to the engine."""
    local = _local(path)
    if local is None:
        return
    found = glob.glob(local)
    if not found:
        raise AnalysisException(f"[PATH_NOT_FOUND] Path does not exist: {os.path.abspath(local)}. SQLSTATE: 42K03")
    if needs_files and not any(os.path.isfile(each) or has_files(each) for each in found):
        raise AnalysisException(
            f"[UNABLE_TO_INFER_SCHEMA] Unable to infer schema for {kind.capitalize()}: there are no files in "
            f"{os.path.abspath(local)}. It must be specified manually. SQLSTATE: 42KD9"
        )


def _as_spark_infers(frame: DataFrame, kind: str, paths: Iterable[str]) -> DataFrame:
    """A DataFrame of files: JSON's columns by name, and those in names of directories last, with types of their own."""
    types: dict[str, str] = {}
    for path in paths:
        local = _local(path)
        if local is not None and os.path.isdir(local):
            types.update(partition_types(local))
    if kind == "json":
        names = sorted(set(frame.columns) - types.keys()) + list(types)
        frame = cast("DataFrame", frame.select(*map(quoted_part, names)))
    return cast("DataFrame", with_values(frame, types)) if types else frame
