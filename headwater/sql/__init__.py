"""PySpark's names for SQL: sessions, rows and types work; what needs an engine says that there is none yet.

All of it is imported when it is first used: a program without SQL pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.base.lazy import lazy_names

if TYPE_CHECKING:
    from headwater.sql.column import Column
    from headwater.sql.context import HiveContext, SQLContext
    from headwater.sql.dataframe import DataFrame
    from headwater.sql.rows import Row
    from headwater.sql.session import SparkSession
    from headwater.sql.window import Window, WindowSpec

__all__ = ["Column", "DataFrame", "HiveContext", "Row", "SQLContext", "SparkSession", "Window", "WindowSpec"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Column": "column",
        "DataFrame": "dataframe",
        "HiveContext": "context",
        "Row": "rows",
        "SQLContext": "context",
        "SparkSession": "session",
        "Window": "window",
        "WindowSpec": "window",
    },
)
