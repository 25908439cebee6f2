"""PySpark's names for SQL: sessions, rows and types work; what needs an engine says that there is none yet.

All of it is imported when it is first used: a program without SQL pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.sql.column import Column
    from headwater.sql.context import HiveContext, SQLContext
    from headwater.sql.dataframe import DataFrame
    from headwater.sql.rows import Row
    from headwater.sql.session import SparkSession
    from headwater.sql.window import Window, WindowSpec

__all__ = ["Column", "DataFrame", "HiveContext", "Row", "SQLContext", "SparkSession", "Window", "WindowSpec"]

_HOMES = {
    "Column": "headwater.sql.column",
    "DataFrame": "headwater.sql.dataframe",
    "HiveContext": "headwater.sql.context",
    "Row": "headwater.sql.rows",
    "SQLContext": "headwater.sql.context",
    "SparkSession": "headwater.sql.session",
    "Window": "headwater.sql.window",
    "WindowSpec": "headwater.sql.window",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
