"""Rows as Arrow's record batches, and back.

- What a value must be for a column is Spark's rule, see `infer_schema` for the types: an int is no double, a bool no
  int; a string column takes anything, as text. Structs take tuples, lists, dicts and objects with a `__dict__`.
- A column is converted as a whole, nested ones part by part. Only where it holds something unusual its values are
  looked at one by one; only where one doesn't fit, its row is looked for.
- A datetime without a zone is a time of this process's zone, as in Spark; in a column of type timestamp without a zone
  it's what the clock shows, and so is one with a zone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa

from headwater.sql.columns import Misfit, TooLarge, Columns
from headwater.sql.rows import Row, row_maker

__all__ = ["batches", "from_stream", "rows_of", "to_stream", "write_file"]

_ROWS_MAX = 64 << 10  # in a batch
_ROWS_FIRST = 1 << 10  # in the first, which tells how large rows are
_BYTES = 64 << 20  # that a batch should not exceed
