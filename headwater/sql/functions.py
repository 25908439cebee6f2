"""The functions of SQL over columns, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.connect import functions as _functions  # noqa: E402
from pyspark.sql.connect.functions import *  # noqa: E402, F403
from pyspark.sql.connect.udf import UserDefinedFunction  # noqa: E402, F401

__all__ = [name for name in dir(_functions) if not name.startswith("_")]
