"""Which session PySpark's client takes where a program names none: the one that programs share.

`udf` asks one how functions are run, and what type a text names: also where SQL hasn't been used yet.
"""

from __future__ import annotations

from typing import Any

from pyspark.sql.connect import session as connect

from headwater.sql.session import SparkSession

__all__: list[str] = []


def _default_session(_: type[connect.SparkSession]) -> Any:
    session = SparkSession.getActiveSession()
    return None if session is None else session.connected


connect.SparkSession._get_default_session = classmethod(_default_session)  # type: ignore[method-assign, assignment]
