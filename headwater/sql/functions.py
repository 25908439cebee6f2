"""The functions of SQL over columns, by the path that PySpark has for them."""

from __future__ import annotations

from headwater.sql import requirements

requirements.import_client()

from pyspark.sql import functions as _pysparks  # noqa: E402
from pyspark.sql.connect.functions import *  # noqa: E402, F403 - those that don't ask which kind of session there is
from pyspark.sql.pandas.functions import ArrowUDFType, PandasUDFType  # noqa: E402, F401
from pyspark.sql.udf import UserDefinedFunction  # noqa: E402, F401
from pyspark.sql.udtf import SkipRestOfInputTableException, UserDefinedTableFunction  # noqa: E402, F401

from headwater.sql import defaults as _defaults  # noqa: E402, F401 - says which session functions are made for

__all__ = [name for name in _pysparks.__all__ if name in globals()]
