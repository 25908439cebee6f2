"""Rows and columns are put together, taken apart, renamed and pivoted."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F

_ROWS = [("a", 1), ("b", 2), ("a", 1), ("a", 3)]
_SALES = [("ann", "q1", 1), ("ann", "q2", 2), ("bob", "q1", 3)]


def union_by_position_and_by_name(spark: Any, tmp: str) -> Any:
    a, b = spark.createDataFrame([("x", 1)], ["s", "n"]), spark.createDataFrame([(2, "y")], ["n", "s"])
    missing = a.unionByName(spark.createDataFrame([("z",)], ["s"]), allowMissingColumns=True)
    return a.unionByName(b).orderBy("n").collect(), a.union(a).count(), missing.orderBy("s").collect()


def duplicates_dropped(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, ["k", "n"])
    return rows.distinct().orderBy("k", "n").collect(), rows.dropDuplicates(["k"]).select("k").orderBy("k").collect()


def sets_of_rows(spark: Any, tmp: str) -> Any:
    rows, other = spark.createDataFrame(_ROWS, ["k", "n"]), spark.createDataFrame([("a", 1), ("c", 9)], ["k", "n"])
    return rows.intersect(other).collect(), rows.subtract(other).orderBy("k").collect(), rows.exceptAll(other).count()


def columns_added_renamed_and_dropped(spark: Any, tmp: str) -> None:
    rows = spark.createDataFrame(_ROWS, ["k", "n"]).withColumn("twice", F.col("n") * 2).withColumn("n", F.lit("new"))
    rows.withColumnRenamed("k", "key").withColumnRenamed("none", "x").drop("twice", "absent").orderBy("key").show()
    rows.withColumns({"p": F.lit(1), "q": F.col("twice")}).toDF("a", "b", "c", "d", "e").orderBy("c").limit(1).show()


def sorted_by_several_columns(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, ["k", "n"])
    by_names = rows.orderBy(["k", "n"], ascending=[False, True]).collect()
    return by_names, rows.sort("n", ascending=False).first(), rows.orderBy("n").offset(1).limit(2).collect()


def pivot_with_and_without_values(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "quarter", "n"]).groupBy("who")
    sales.pivot("quarter").sum("n").orderBy("who").show()
    sales.pivot("quarter", ["q2", "q3"]).agg(F.sum("n").alias("s"), F.count("n").alias("c")).orderBy("who").show()


def columns_unpivoted(spark: Any, tmp: str) -> None:
    wide = spark.createDataFrame([("ann", 1, 2)], ["who", "q1", "q2"])
    wide.unpivot("who", ["q1", "q2"], "quarter", "n").orderBy("quarter").show()
    wide.selectExpr("who", "stack(2, 'q1', q1, 'q2', q2) as (quarter, n)").orderBy("quarter").show()


def names_are_found_whatever_their_case(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(1, 2)], ["Name", "other"])
    return (
        rows.select("NAME", rows["name"], F.col("Other")).columns,
        rows.withColumn("NAME", F.lit(5)).columns,
        rows.drop("OTHER").columns,
    )


def names_with_dots_and_spaces(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(1, 2)], ["a.b", "c d"])
    return rows.select("`a.b`", F.col("c d")).collect(), rows["`a.b`"], rows.selectExpr("`c d` + 1 as e").first()


def ways_to_select(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, ["k", "n"])
    ways = [
        rows.select("*"),
        rows.select(["k", rows.n]),
        rows[["n"]],
        rows.select(rows["n"] + 1),
        rows.select(F.col("*")),
        rows.select(rows[0]),
    ]
    return [way.columns for way in ways]


def ways_to_filter(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(_ROWS, ["k", "n"])
    ways = [
        rows.filter("n > 1"),
        rows.where(rows.n > 1),
        rows[rows.n > 1],
        rows.filter((rows.k == "a") | (rows["n"] == 2)),
        rows.filter(~rows.k.isin("a")),
    ]
    return [way.count() for way in ways]


def steps_chained_by_transform(spark: Any, tmp: str) -> Any:
    def doubled(frame, by):
        return frame.withColumn("n", F.col("n") * by)

    return (
        spark.createDataFrame([("a", 1)], ["k", "n"])
        .transform(doubled, 3)
        .transform(lambda frame: frame.drop("k"))
        .collect()
    )


def ids_increase(spark: Any, tmp: str) -> Any:
    return spark.range(0, 4, 1, 2).select("id", F.monotonically_increasing_id().alias("m")).orderBy("id").collect()
