"""Column, by the path that PySpark has for it."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.column import Column  # noqa: E402

__all__ = ["Column"]
