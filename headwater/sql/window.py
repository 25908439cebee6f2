"""Windows over columns, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.connect.window import Window, WindowSpec  # noqa: E402

__all__ = ["Window", "WindowSpec"]
