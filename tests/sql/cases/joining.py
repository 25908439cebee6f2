"""Events are enriched by joins."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F

_CLICKS = [(1, "home"), (2, "cart"), (3, "home"), (9, "help")]
_USERS = [(1, "ann"), (2, "bob"), (3, "cid"), (4, "dan")]


def inner_join_on_a_name(spark: Any, tmp: str) -> None:
    clicks, users = spark.createDataFrame(_CLICKS, ["id", "page"]), spark.createDataFrame(_USERS, ["id", "name"])
    clicks.join(users, "id").orderBy("id").show()


def inner_join_on_a_condition_keeps_both_columns(spark: Any, tmp: str) -> Any:
    clicks, users = spark.createDataFrame(_CLICKS, ["user", "page"]), spark.createDataFrame(_USERS, ["id", "name"])
    joined = clicks.join(users, clicks.user == users.id)
    return joined.columns, joined.orderBy("id").collect()


def left_join_leaves_nulls(spark: Any, tmp: str) -> None:
    clicks, users = spark.createDataFrame(_CLICKS, ["id", "page"]), spark.createDataFrame(_USERS, ["id", "name"])
    clicks.join(users, on="id", how="left").na.fill("unknown", ["name"]).orderBy("id").show()


def outer_join_keeps_both_sides(spark: Any, tmp: str) -> None:
    clicks, users = spark.createDataFrame(_CLICKS, ["id", "page"]), spark.createDataFrame(_USERS, ["id", "name"])
    clicks.join(users, ["id"], "outer").orderBy("id").show()


def semi_and_anti_joins(spark: Any, tmp: str) -> Any:
    clicks, users = spark.createDataFrame(_CLICKS, ["id", "page"]), spark.createDataFrame(_USERS, ["id", "name"])
    semi, anti = clicks.join(users, "id", "left_semi"), clicks.join(users, "id", "left_anti")
    return semi.orderBy("id").collect(), anti.collect()


def self_join_by_aliases(spark: Any, tmp: str) -> None:
    staff = spark.createDataFrame([(1, "ann", None), (2, "bob", 1), (3, "cid", 1)], "id int, name string, boss int")
    e, b = staff.alias("e"), staff.alias("b")
    e.join(b, F.col("e.boss") == F.col("b.id")).select("e.name", F.col("b.name").alias("boss")).orderBy("name").show()


def join_with_a_range_condition(spark: Any, tmp: str) -> Any:
    readings = spark.createDataFrame([("s1", 15), ("s2", 35)], ["sensor", "value"])
    bands = spark.createDataFrame([("low", 0, 20), ("high", 20, 50)], ["band", "lo", "hi"])
    condition = (readings.value >= bands.lo) & (readings.value < bands.hi)
    return readings.join(bands, condition).select("sensor", "band").orderBy("sensor").collect()


def broadcast_join_in_sql(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_CLICKS, ["id", "page"]).createOrReplaceTempView("clicks")
    F.broadcast(spark.createDataFrame(_USERS, ["id", "name"])).createOrReplaceTempView("users")
    spark.sql("SELECT c.page, u.name FROM clicks c LEFT JOIN users u ON c.id = u.id ORDER BY c.page, u.name").show()


def null_keys_do_not_match_unless_null_safe(spark: Any, tmp: str) -> Any:
    a, b = spark.createDataFrame([(None,), (1,)], "x int"), spark.createDataFrame([(None,), (1,)], "y int")
    return a.join(b, a.x == b.y).count(), a.join(b, a.x.eqNullSafe(b.y)).count()
