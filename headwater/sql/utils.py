"""The exceptions of SQL, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.errors import (  # noqa: E402
    AnalysisException,
    IllegalArgumentException,
    ParseException,
    PythonException,
    QueryExecutionException,
    StreamingQueryException,
    UnknownException,
)

__all__ = [
    "AnalysisException",
    "IllegalArgumentException",
    "ParseException",
    "PythonException",
    "QueryExecutionException",
    "StreamingQueryException",
    "UnknownException",
]
