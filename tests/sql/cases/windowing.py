"""Rows are ranked and compared in windows, events are grouped by windows of time."""

# mypy: ignore-errors

from __future__ import annotations

from datetime import datetime
from typing import Any

from headwater.sql import Window
from headwater.sql import functions as F

_SCORES = [("a", 1, 10), ("a", 2, 30), ("a", 3, 30), ("b", 1, 5), ("b", 2, 7)]
_EVENTS = [
    ("s1", datetime(2024, 5, 1, 10, minute, second), value)
    for minute, second, value in [(0, 5, 1.0), (4, 59, 3.0), (5, 0, 5.0), (11, 30, 7.0)]
]


def ranks_in_partitions(spark: Any, tmp: str) -> None:
    scores = spark.createDataFrame(_SCORES, ["team", "day", "score"])
    by_score = Window.partitionBy("team").orderBy(F.desc("score"))
    ranked = scores.withColumn("rank", F.rank().over(by_score)).withColumn("dense", F.dense_rank().over(by_score))
    ranked.withColumn("pct", F.percent_rank().over(by_score)).orderBy("team", "day").show()


def the_latest_row_of_each_key(spark: Any, tmp: str) -> Any:
    scores = spark.createDataFrame(_SCORES, ["team", "day", "score"])
    latest = F.row_number().over(Window.partitionBy("team").orderBy(F.col("day").desc()))
    return scores.withColumn("n", latest).where("n = 1").drop("n").orderBy("team").collect()


def difference_to_the_previous_row(spark: Any, tmp: str) -> Any:
    scores = spark.createDataFrame(_SCORES, ["team", "day", "score"])
    days = Window.partitionBy("team").orderBy("day")
    change = (F.col("score") - F.lag("score", 1).over(days)).alias("change")
    return (
        scores.select("team", "day", change, F.lead("score", 1, 0).over(days).alias("next"))
        .orderBy("team", "day")
        .collect()
    )


def running_total(spark: Any, tmp: str) -> None:
    scores = spark.createDataFrame(_SCORES, ["team", "day", "score"])
    so_far = Window.partitionBy("team").orderBy("day").rowsBetween(Window.unboundedPreceding, Window.currentRow)
    scores.withColumn("total", F.sum("score").over(so_far)).orderBy("team", "day").show()


def windows_in_sql(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_SCORES, ["team", "day", "score"]).createOrReplaceTempView("scores")
    spark.sql(
        """SELECT team, day, ntile(2) OVER (PARTITION BY team ORDER BY day) AS half,
                  first_value(score) OVER (PARTITION BY team ORDER BY day) AS first
           FROM scores ORDER BY team, day"""
    ).show()


def tumbling_windows_of_time(spark: Any, tmp: str) -> None:
    events = spark.createDataFrame(_EVENTS, ["sensor", "at", "value"])
    means = events.groupBy(F.window("at", "5 minutes"), "sensor").agg(F.avg("value").alias("mean"))
    means.orderBy("window").show(truncate=False)


def start_and_end_of_time_windows(spark: Any, tmp: str) -> Any:
    events = spark.createDataFrame(_EVENTS, ["sensor", "at", "value"])
    counts = events.groupBy(F.window("at", "10 minutes").alias("w")).count()
    return counts.select("w.start", "w.end", "count").orderBy("start").collect()


def sliding_windows_of_time_overlap(spark: Any, tmp: str) -> Any:
    events = spark.createDataFrame(_EVENTS, ["sensor", "at", "value"])
    counts = events.groupBy(F.window("at", "10 minutes", "5 minutes")).agg(F.sum("value").alias("sum"))
    return counts.select(F.date_format("window.start", "HH:mm").alias("from"), "sum").orderBy("from").collect()


def session_windows_of_time(spark: Any, tmp: str) -> Any:
    events = spark.createDataFrame(_EVENTS, ["sensor", "at", "value"])
    return (
        events.groupBy(F.session_window("at", "5 minutes"), "sensor").count().select("count").orderBy("count").collect()
    )
