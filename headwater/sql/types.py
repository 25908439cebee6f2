"""The types of columns, by the path that PySpark has for them; `Row` is Headwater's."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql import types as _types  # noqa: E402
from pyspark.sql.types import *  # noqa: E402, F403

from headwater.sql.rows import Row  # type: ignore[assignment]  # noqa: E402

__all__ = [*(name for name in _types.__all__ if name != "Row"), "Row"]
