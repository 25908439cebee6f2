"""DataFrame, by the path that PySpark has for it."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql.dataframe import DataFrame, DataFrameNaFunctions, DataFrameStatFunctions  # noqa: E402

from headwater.sql import frames as _frames  # noqa: E402, F401 - adds the rest of its methods

__all__ = ["DataFrame", "DataFrameNaFunctions", "DataFrameStatFunctions"]
