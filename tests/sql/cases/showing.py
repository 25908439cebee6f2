"""How DataFrames and schemas are printed."""

# mypy: ignore-errors

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from headwater.sql import Row
from headwater.sql import functions as F

_TEXTS = [("short",), ("exactly twenty chars",), ("more than twenty characters",), ("",), (None,)]


def long_values_are_cut_at_twenty_characters(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_TEXTS, ["text"]).show()


def values_cut_elsewhere_or_not_at_all(spark: Any, tmp: str) -> None:
    texts = spark.createDataFrame(_TEXTS, ["text"])
    texts.show(truncate=False)
    texts.show(3, 10)
    texts.show(2, truncate=3)


def rows_shown_vertically(spark: Any, tmp: str) -> None:
    rows = spark.createDataFrame(
        [("ann", 1.5, None), ("bob", 20.25, "more than twenty characters")], "name string, x double, note string"
    )
    rows.show(vertical=True)
    rows.show(1, vertical=True, truncate=5)


def more_rows_than_shown(spark: Any, tmp: str) -> None:
    spark.range(25).orderBy("id").show()
    spark.range(3).orderBy("id").show(1)


def numbers_shown(spark: Any, tmp: str) -> None:
    columns = "a boolean, b double, c float, d decimal(10,3), e byte, f double"
    rows = [
        (True, 1e10, 0.1, Decimal("1.5"), -1, 1e-5),
        (None, 1.0, 1e20, Decimal("-12345.678"), 1, float("inf")),
        (False, 100.0, None, None, None, float("nan")),
    ]
    spark.createDataFrame(rows, columns).show()


def times_and_bytes_shown(spark: Any, tmp: str) -> None:
    row = (date(2024, 1, 2), datetime(2024, 1, 2, 3, 4, 5, 600_000), b"\x00AB", datetime(1969, 12, 31))
    spark.createDataFrame([row], ["day", "at", "bytes", "old"]).show(truncate=False)


def nested_values_shown(spark: Any, tmp: str) -> None:
    row = Row(list=[1, None], map={"k": 1.5}, struct=Row(a="x", b=None), structs=[Row(c=True)], empty=None)
    schema = "list array<int>, map map<string,double>, struct struct<a:string,b:int>"
    schema += ", structs array<struct<c:boolean>>, empty array<int>"
    spark.createDataFrame([row], schema).show(truncate=False)


def unicode_shown(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("Zürich", 1), ("東京", 2), ("naïve 🙂", 3)], ["Ort", "größe"]).orderBy("größe").show()


def line_breaks_and_tabs_shown(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("a\nb\tc",)], ["text"]).show()


def no_rows_or_no_columns_shown(spark: Any, tmp: str) -> None:
    spark.range(0).select("id", F.lit("x").alias("long_name")).show()
    spark.range(1).select().show()
    spark.range(0).show(vertical=True)


def schema_printed(spark: Any, tmp: str) -> None:
    schema = "a int not null, b array<string>, c map<string,double>, d struct<e:timestamp,f:decimal(5,2)>, g binary"
    frame = spark.createDataFrame([], schema)
    frame.printSchema()
    frame.printSchema(1)


def dataframe_described_by_itself(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([(1, "a", [1.5])], ["n", "s", "l"])
    return frame, frame.columns, frame.dtypes, frame.schema, frame.schema["n"].dataType, frame.schema.fieldNames()


def columns_described_by_themselves(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([(1, "a")], ["n", "s"])
    return frame.n, F.col("n") + 1, frame.s.alias("t"), F.upper("s"), (frame.n > 1) & frame.s.isNull(), F.lit(2)
