"""Python functions in SQL, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.udf import UDFRegistration, UserDefinedFunction  # noqa: E402

__all__ = ["UDFRegistration", "UserDefinedFunction"]
