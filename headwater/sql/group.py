"""Groups of rows, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.group import GroupedData  # noqa: E402

__all__ = ["GroupedData"]
