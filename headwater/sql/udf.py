"""Python functions in SQL, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.udf import UDFRegistration, UserDefinedFunction  # noqa: E402

from headwater.sql import defaults as _defaults  # noqa: E402, F401 - says which session functions are made for

__all__ = ["UDFRegistration", "UserDefinedFunction"]
