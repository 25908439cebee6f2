"""Nulls, NaN and what takes their place."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F

_ROWS = [("a", 1, 1.0), ("b", None, float("nan")), (None, 3, None), (None, None, None)]
_SCHEMA = "s string, n int, x double"


def nulls_found_and_filtered(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, _SCHEMA)
    return (
        rows.filter(rows.s.isNull()).count(),
        rows.where(F.col("n").isNotNull()).count(),
        rows.where("n <> 1").count(),
    )


def rows_with_nulls_dropped(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, _SCHEMA)
    return (
        rows.dropna().collect(),
        rows.na.drop("all").count(),
        rows.dropna(subset=["s"]).count(),
        rows.na.drop(thresh=2).count(),
    )


def nulls_filled_by_type(spark: Any, tmp: str) -> None:
    rows = spark.createDataFrame(_ROWS, _SCHEMA)
    rows.fillna(0).show()
    rows.fillna("?").show()


def values_replaced(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, _SCHEMA)
    return (
        rows.replace("a", "z").first(),
        rows.na.replace({1: 100}, subset=["n"]).first(),
        rows.replace(["a", "b"], ["1", "2"], "s").first(),
    )


def coalesce_nvl_and_friends(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(None, 2)], "a int, b int")
    return rows.select(
        F.coalesce("a", "b", F.lit(0)), F.expr("nvl(a, 9)"), F.expr("nullif(b, 2)"), F.expr("ifnull(a, b)")
    ).first()


def nan_is_not_null(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(float("nan"),), (None,), (1.0,)], "x double")
    return rows.select(
        F.isnan("x").alias("nan"), F.isnull("x").alias("null"), F.nanvl("x", F.lit(0.0)).alias("v")
    ).collect()


def nulls_sort_first_unless_told_otherwise(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(2,), (None,), (1,)], "n int")
    orders = [rows.n.asc(), rows.n.desc(), rows.n.asc_nulls_last(), rows.n.desc_nulls_first()]
    return [[row.n for row in rows.orderBy(order).collect()] for order in orders]


def aggregates_skip_nulls(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, _SCHEMA)
    return rows.agg(
        F.count("s"), F.count("*"), F.sum("n"), F.avg("n"), F.collect_list("n"), F.first("s", ignorenulls=True)
    ).first()


def logic_with_nulls(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select null and false a, null or true b, null = null c, null <=> null d, not null e, 1 in (2, null) f"
    ).first()
