"""Readers and writers of files, tables and databases: PySpark's client's, with what the engine lacks.

- A path that isn't there is an error, as in Spark: the engine would see no rows.
- A directory that was written whole has a file `_SUCCESS` in the end.
- Databases are read and written by tasks, over Python's DB-API (`databases.py`).
"""

from __future__ import annotations

import glob
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.readwriter import DataFrameReader, DataFrameWriter, DataFrameWriterV2

from headwater.errors import UnsupportedOperationException
from headwater.rdd import RDD

if TYPE_CHECKING:
    from headwater.sql.connected import Session

__all__ = ["DataFrameReader", "DataFrameWriter", "DataFrameWriterV2", "Reader", "Writer"]

_FORMATS_OF_FILES = frozenset({"arrow", "avro", "csv", "json", "parquet", "text"})
_NOT_READ = {"orc": "convert them to Parquet", "xml": "read them with sc.wholeTextFiles and xml.etree"}


class Reader(DataFrameReader):
    """What `SparkSession.read` gives."""

    _client: Session

    def load(self, path: Any = None, format: str | None = None, schema: Any = None, **options: Any) -> DataFrame:
        kind = (format or self._format or "parquet").lower()
        if kind in _NOT_READ:
            raise UnsupportedOperationException(f"The engine reads no {kind} files: {_NOT_READ[kind]}")
        self.options(**options)
        if kind == "jdbc":
            from headwater.sql import databases

            return databases.read(self._client, self._options)
        if kind in _FORMATS_OF_FILES:
            given = path if path is not None else self._options.get("path")
            for each in [given] if isinstance(given, str) else given or ():
                _check_there(each)
        return super().load(path, kind, schema)

    def json(self, path: Any, schema: Any = None, *arguments: Any, **options: Any) -> DataFrame:
        if isinstance(path, RDD):
            return self._client.of_json(path, schema, options.get("mode") or self._options.get("mode", "PERMISSIVE"))
        return super().json(path, schema, *arguments, **options)

    def csv(self, path: Any, schema: Any = None, *arguments: Any, **options: Any) -> DataFrame:
        lines: Any = self._client.createDataFrame(path, "value STRING") if isinstance(path, RDD) else path
        return super().csv(lines, schema, *arguments, **options)

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
        return databases.read(self._client, options, predicates)


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
            databases.write(self._frame, self._write.mode or "errorifexists", self._write.options)
            return
        if kind in _NOT_READ:
            raise UnsupportedOperationException(f"The engine writes no {kind} files: write Parquet")
        super().save(path, kind, mode, partitionBy, **options)
        local = _local(path or self._write.options.get("path") or "")
        if local is not None and os.path.isdir(local):
            open(os.path.join(local, "_SUCCESS"), "w").close()


def _local(path: str) -> str | None:
    """A URL's or path's file on this machine; None if it's elsewhere."""
    url = urlsplit(path)
    return {"": path, "file": unquote(url.path)}.get(url.scheme) or None


def _check_there(path: str) -> None:
    """Raise AnalysisException if there is no such file; what isn't on this machine is left to the engine."""
    local = _local(path)
    if local is not None and not glob.glob(local):
        raise AnalysisException(f"[PATH_NOT_FOUND] Path does not exist: {os.path.abspath(local)}. SQLSTATE: 42K03")
