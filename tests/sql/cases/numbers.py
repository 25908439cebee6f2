"""Casts, decimals, overflow and other arithmetic."""

# mypy: ignore-errors

from __future__ import annotations

from decimal import Decimal
from typing import Any

from headwater.sql import functions as F


def casts(spark: Any, tmp: str) -> Any:
    row = spark.createDataFrame([("12", 3.99, True, 7)], ["s", "x", "b", "n"])
    return row.select(
        F.col("s").cast("int").alias("a"),
        F.col("x").cast("int").alias("b"),
        F.col("b").cast("int").alias("c"),
        F.col("n").cast("string").alias("d"),
        F.col("x").cast("string").alias("e"),
        F.col("n").cast("boolean").alias("f"),
        F.col("s").cast("decimal(5,1)").alias("g"),
        F.col("x").cast("float").alias("h"),
    ).first()


def doubles_as_strings(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select string(1e10) a, string(1d) b, string(1e-4) c, string(123456789.5d) d, string(0.1f) e"
    ).first()


def a_string_that_is_no_number_raises(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("x",)], ["s"]).select(F.col("s").cast("int")).collect()


def a_string_that_is_no_number_can_be_null(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([("x",), ("7",)], ["s"])
    return rows.select(F.expr("try_cast(s as int)").alias("n"), rows.s.try_cast("double").alias("x")).collect()


def decimals_added_and_multiplied(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([(Decimal("10.50"), Decimal("3.00"))], "a decimal(10,2), b decimal(10,2)")
    results = frame.selectExpr("a + b", "a * b", "a % b", "cast(a as decimal(4,1)) c", "round(a, 1) r")
    return results.schema.simpleString(), results.first(), frame.agg(F.sum("a"), F.avg("a")).first()


def decimals_divided(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([(Decimal("10.50"), Decimal("3.00"))], "a decimal(10,2), b decimal(10,2)")
    return frame.selectExpr("a / b as q").schema, frame.selectExpr("a / b as q").first()


def literals_have_types(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select 1 a, 1.5 b, 1e0 c, 1L d, 1.5D e, 2147483648 f, 'x' g, null h, true i, 1.50BD j, X'41' k"
    ).schema


def division_is_of_doubles_and_div_of_integers(spark: Any, tmp: str) -> Any:
    return spark.sql("select 7 / 2 a, 7 div 2 b, 7 % 3 c, -7 % 3 d, pmod(-7, 3) e, 6 / 3 f").first()


def division_by_zero_raises(spark: Any, tmp: str) -> None:
    spark.createDataFrame([(1, 0)], ["a", "b"]).selectExpr("a / b").collect()


def overflow_raises(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(2147483647,)], "n int").selectExpr("n + 1").collect()


def without_ansi_errors_are_nulls_and_overflow_wraps(spark: Any, tmp: str) -> Any:
    spark.conf.set("spark.sql.ansi.enabled", "false")
    frame = spark.createDataFrame([(1, 0, "x", 2147483647)], "a int, b int, s string, n int")
    return frame.selectExpr("a / b q", "cast(s as int) c", "n + 1 o").first()


def try_functions_give_nulls(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select try_divide(1, 0) a, try_add(2147483647, 1) b, try_subtract(5, 3) c, try_multiply(2, 3) d"
    ).first()


def sum_of_longs_overflows(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(2**63 - 1,), (1,)], ["n"]).agg(F.sum("n").alias("s")).collect()


def rounding(spark: Any, tmp: str) -> Any:
    x = spark.createDataFrame([(2.5, -1.25)], ["x", "y"])
    return x.select(
        F.round("x"), F.bround("x"), F.round("y", 1), F.floor("y"), F.ceil("y"), F.abs("y"), F.signum("y")
    ).first()


def rint_rounds_halves_to_even_numbers(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([(2.5,), (3.5,)], ["x"]).select(F.rint("x")).collect()


def powers_roots_and_logarithms(spark: Any, tmp: str) -> Any:
    x = spark.createDataFrame([(8.0, 2)], ["x", "n"])
    return x.select(
        F.pow("n", F.lit(3)),
        F.sqrt("x"),
        F.cbrt("x"),
        F.log2("x"),
        F.log(10.0, F.lit(100.0)),
        F.exp(F.lit(0.0)),
        F.greatest("x", "n"),
        F.least("x", "n"),
    ).first()


def bits_and_bases(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select 5 & 3 a, 5 | 3 b, 5 ^ 3 c, ~5 d, shiftleft(1, 4) e, conv('ff', 16, 10) f, bit_count(7) g"
    ).first()


def numbers_compared_with_strings(spark: Any, tmp: str) -> Any:
    return spark.sql("select 1 = '1' a, '10' > 9 b, '2' + 3 c, 1 = 1.0 d").first()
