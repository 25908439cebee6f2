"""DataFrames and SQL, with PySpark's names: sessions, rows, frames, columns. Streams have them by `toDF` and `sql`.

All of it is imported when it is first used: a program without SQL pays nothing. What isn't a session or a row needs the
packages of the extra `sql`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.base.lazy import lazy_names

if TYPE_CHECKING:
    from headwater.sql.catalog import Catalog
    from headwater.sql.column import Column
    from headwater.sql.context import HiveContext, SQLContext
    from headwater.sql.dataframe import DataFrame, DataFrameNaFunctions, DataFrameStatFunctions
    from headwater.sql.group import GroupedData
    from headwater.sql.readwriter import DataFrameReader, DataFrameWriter, DataFrameWriterV2
    from headwater.sql.rows import Row
    from headwater.sql.session import SparkSession
    from headwater.sql.streams import FrameStream
    from headwater.sql.udf import UDFRegistration, UserDefinedFunction
    from headwater.sql.window import Window, WindowSpec

__all__ = [
    "Catalog",
    "Column",
    "DataFrame",
    "DataFrameNaFunctions",
    "DataFrameReader",
    "DataFrameStatFunctions",
    "DataFrameWriter",
    "DataFrameWriterV2",
    "FrameStream",
    "GroupedData",
    "HiveContext",
    "Row",
    "SQLContext",
    "SparkSession",
    "UDFRegistration",
    "UserDefinedFunction",
    "Window",
    "WindowSpec",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Catalog": "catalog",
        "Column": "column",
        "DataFrame": "dataframe",
        "DataFrameNaFunctions": "dataframe",
        "DataFrameReader": "readwriter",
        "DataFrameStatFunctions": "dataframe",
        "DataFrameWriter": "readwriter",
        "DataFrameWriterV2": "readwriter",
        "FrameStream": "streams",
        "GroupedData": "group",
        "HiveContext": "context",
        "Row": "rows",
        "SQLContext": "context",
        "SparkSession": "session",
        "UDFRegistration": "udf",
        "UserDefinedFunction": "udf",
        "Window": "window",
        "WindowSpec": "window",
    },
)
