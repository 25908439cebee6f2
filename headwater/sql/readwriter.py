"""Readers and writers of files, tables and databases: PySpark's client's, with what the engine lacks.

- A path that isn't there is an error, as in Spark: the engine would see no rows.
- A directory that was written whole has a file `_SUCCESS` in the end.
- Databases are read and written by tasks, over Python's DB-API (`databases.py`).
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from pyspark.errors import AnalysisException
from pyspark.sql.connect.readwriter import DataFrameReader, DataFrameWriter, DataFrameWriterV2

from headwater.errors import UnsupportedOperationException
from headwater.rdd import RDD

if TYPE_CHECKING:
    from pyspark.sql.connect.dataframe import DataFrame

__all__ = ["DataFrameReader", "DataFrameWriter", "DataFrameWriterV2", "Reader", "Writer"]

_FORMATS_OF_FILES = frozenset({"arrow", "avro", "csv", "json", "parquet", "text"})
_NOT_READ = {"orc": "convert them to Parquet", "xml": "read them with sc.wholeTextFiles and xml.etree"}


class Reader(DataFrameReader):  # type: ignore[misc]
    """What `SparkSession.read` gives."""

    def load(
        self, path: str | list[str] | None = None, format: str | None = None, schema: Any = None, **options: Any
    ) -> DataFrame:
        kind = (format or self._format or "parquet").lower()
        if kind in _NOT_READ:
            raise UnsupportedOperationException(f"The engine reads no {kind} files: {_NOT_READ[kind]}")
        if kind == "jdbc":
            from headwater.sql import databases

            return databases.read(self._client, {**self._options, **{key: str(value) for key, value in options.items()}})
        if kind in _FORMATS_OF_FILES:
            given = path if path is not None else self._options.get("path", options.get("path"))
            for each in [given] if isinstance(given, str) else given or ():
                _check_there(each)
        return super().load(path, kind, schema, **options)

    def json(self, path: Any, schema: Any = None, **options: Any) -> DataFrame:
        if not isinstance(path, RDD):
            return super().json(path, schema, **options)
        lines = self._client.createDataFrame(path, "value STRING")
        return super().json(lines, schema if schema is not None else _schema_of(lines), **options)

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

    def csv(self, path: Any, schema: Any = None, **options: Any) -> DataFrame:
        if not isinstance(path, RDD):
            return super().csv(path, schema, **options)
        return super().csv(self._client.createDataFrame(path, "value STRING"), schema, **options)


class Writer(DataFrameWriter):  # type: ignore[misc]
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
        local = _local(path or self._write.path)
        if local is not None and os.path.isdir(local):
            with open(os.path.join(local, "_SUCCESS"), "w"):
                pass
