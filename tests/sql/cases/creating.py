"""DataFrames made of Python's values, pandas, NumPy and Arrow."""

# mypy: ignore-errors

from __future__ import annotations

from collections import namedtuple
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from headwater.sql import Row
from headwater.sql.types import DoubleType, IntegerType, LongType, StringType, StructField, StructType

Reading = namedtuple("Reading", ["sensor", "value"])


@dataclass
class Click:
    user: str
    n: int


def from_tuples_without_names(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("a", 1), ("b", 2)]).show()


def from_tuples_with_too_few_names(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([("a", 1, True)], ["x"]).columns


def from_tuples_with_a_schema(spark: Any, tmp: str) -> Any:
    schema = StructType([StructField("name", StringType(), False), StructField("x", DoubleType())])
    frame = spark.createDataFrame([("a", 1.5), ("b", None)], schema)
    frame.printSchema()
    return frame.collect()


def from_single_values(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame(["a", "b"], "string").collect(), spark.createDataFrame([1, 2], IntegerType()).collect()


def from_dicts(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([{"b": 1, "a": "x"}, {"b": 2, "a": None}]).collect()


def from_dicts_that_lack_keys(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([{"a": 1}, {"b": "x"}]).collect()


def from_dicts_with_a_schema(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([{"a": 1, "more": 3}, {"b": "x"}], "b string, a long").collect()


def from_rows(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([Row(word="a", n=1), Row(word="b", n=2)])
    return frame.schema.simpleString(), frame.collect()


def from_namedtuples(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([Reading("s1", 1.5), Reading("s2", 2.5)]).collect()


def from_dataclasses(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([Click("ann", 1), Click("bob", 2)]).collect()


def types_inferred_from_python_values(spark: Any, tmp: str) -> Any:
    values = (
        "s",
        1,
        1.5,
        True,
        b"x",
        Decimal("1.25"),
        date(2024, 1, 2),
        datetime(2024, 1, 2, 3),
        timedelta(days=1),
        [1],
        {"k": 1},
        (1, "x"),
    )
    return spark.createDataFrame([values]).schema


def every_type_comes_back_as_it_was(spark: Any, tmp: str) -> Any:
    values = (
        "s",
        1,
        1.5,
        True,
        Decimal("1.25"),
        date(2024, 1, 2),
        datetime(2024, 1, 2, 3, 4, 5, 6),
        [1, None],
        {"k": None},
        bytearray(b"x"),
    )
    ddl = "a string, b byte, c float, d boolean, e decimal(5,2), f date, g timestamp, h array<short>"
    ddl += ", i map<string,int>, j binary"
    return spark.createDataFrame([values], ddl).collect()


def integers_are_longs_and_mixed_numbers_do_not_merge(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(1,), (2.5,)], ["x"]).collect()


def nulls_are_looked_past_when_types_are_inferred(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(None, 1), ("a", None)], ["s", "n"]).schema


def only_nulls_have_no_type(spark: Any, tmp: str) -> None:
    spark.createDataFrame([(None,), (None,)], ["x"])


def nested_values_inferred(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([({"a": [1, 2]}, [("x", 1)], Row(p=Row(q=1.0)))], ["m", "l", "r"])
    return frame.schema.simpleString(), frame.first()


def empty_with_a_schema(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([], StructType([StructField("n", LongType())]))
    frame.show()
    return frame.count(), frame.first(), frame.isEmpty(), frame.collect()


def empty_without_a_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame([], ["a"])


def from_pandas(spark: Any, tmp: str) -> Any:
    import pandas as pd

    pdf = pd.DataFrame({"n": [1, 2], "x": [0.5, None], "s": ["a", None], "t": pd.to_datetime(["2024-01-01", None])})
    frame = spark.createDataFrame(pdf)
    return frame.schema.simpleString(), frame.collect()


def to_pandas(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([(1, 0.5, "a", datetime(2024, 1, 1)), (2, None, None, None)], ["n", "x", "s", "t"])
    pdf = frame.toPandas()
    return [str(kind) for kind in pdf.dtypes], pdf.to_csv(index=False)


def from_numpy(spark: Any, tmp: str) -> Any:
    import numpy as np

    frame = spark.createDataFrame(np.array([[1, 2], [3, 4]]))
    return frame.schema.simpleString(), frame.collect()


def types_of_numpy_scalars_are_not_inferred(spark: Any, tmp: str) -> Any:
    import numpy as np

    return spark.createDataFrame([(np.int64(3), "a")], ["n", "s"]).schema


def from_arrow(spark: Any, tmp: str) -> Any:
    import pyarrow as pa

    frame = spark.createDataFrame(pa.table({"n": pa.array([1, None], pa.int32()), "s": ["a", "b"]}))
    return frame.schema.simpleString(), frame.collect()


def to_arrow(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(1, "a")], "n int, s string").toArrow().to_pylist()


def ranges(spark: Any, tmp: str) -> Any:
    return (
        [row.id for row in spark.range(3).collect()],
        [row.id for row in spark.range(1, 10, 4).collect()],
        spark.range(2).schema,
    )


def rows_are_tuples_with_names(spark: Any, tmp: str) -> Any:
    row = spark.createDataFrame([("ann", 3)], ["name", "age"]).first()
    name, _ = row
    return name, row.age, row["name"], row[1], row.asDict(), len(row), "age" in row, row == ("ann", 3), row.__fields__


def local_iteration_take_head_and_tail(spark: Any, tmp: str) -> Any:
    numbers = spark.range(5).orderBy("id")
    return (
        [row.id for row in numbers.toLocalIterator()],
        numbers.take(2),
        numbers.head(),
        numbers.head(1),
        numbers.tail(2),
        numbers.first(),
    )
