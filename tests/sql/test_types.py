"""The types of columns are PySpark's own, by its path; the row is Headwater's."""

from __future__ import annotations

import pickle

from pyspark.sql import types as pysparks

from headwater.sql import Row, types
from headwater.sql.types import *  # noqa: F403
from headwater.sql.types import LongType, StringType, StructField, StructType


def test_types_are_pysparks() -> None:
    assert set(types.__all__) >= set(pysparks.__all__)
    assert all(getattr(types, name) is getattr(pysparks, name) for name in pysparks.__all__ if name != "Row")


def test_the_row_is_the_one_that_programs_have_by_other_paths() -> None:
    assert types.Row is Row


def test_schemas_are_written_compared_and_pickled() -> None:
    schema = StructType([StructField("word", StringType(), False)]).add("n", "long")
    assert schema.simpleString() == "struct<word:string,n:bigint>"
    assert StructType.fromJson(schema.jsonValue()) == schema == pickle.loads(pickle.dumps(schema))
    assert schema["n"] == StructField("n", LongType())
