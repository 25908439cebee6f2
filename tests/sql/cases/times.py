"""Dates and timestamps, in a session whose time zone is UTC."""

# mypy: ignore-errors

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from headwater.sql import functions as F


def strings_become_dates_and_timestamps(spark: Any, tmp: str) -> None:
    text = spark.createDataFrame([("2024-02-29", "2024-02-29 13:14:15.678")], ["d", "t"])
    text.select(F.to_date("d"), F.to_timestamp("t"), F.col("t").cast("date"), F.col("d").cast("timestamp")).show(
        truncate=False
    )


def patterns_of_dates(spark: Any, tmp: str) -> Any:
    text = spark.createDataFrame([("29/02/2024 01:02 PM",)], ["s"])
    return text.select(
        F.to_timestamp("s", "dd/MM/yyyy hh:mm a").alias("t"), F.to_date("s", "dd/MM/yyyy hh:mm a").alias("d")
    ).first()


def time_of_an_apache_log(spark: Any, tmp: str) -> Any:
    log = spark.createDataFrame([("10/Oct/2000:13:55:36 -0700",)], ["s"])
    return log.select(F.to_timestamp("s", "dd/MMM/yyyy:HH:mm:ss Z").alias("t")).first()


def timestamps_formatted(spark: Any, tmp: str) -> Any:
    times = spark.createDataFrame([(datetime(2024, 5, 7, 8, 9, 10),)], ["t"])
    patterns = ["yyyy-MM-dd HH:mm", "EEE, d MMM yyyy", "hh:mm:ss a", "D", "yyyyMMdd'T'HHmmss"]
    return times.select(*[F.date_format("t", p).alias(str(n)) for n, p in enumerate(patterns)]).first()


def fields_of_a_timestamp(spark: Any, tmp: str) -> Any:
    times = spark.createDataFrame([(datetime(2024, 5, 7, 8, 9, 10),)], ["t"])
    fields = [
        F.year,
        F.quarter,
        F.month,
        F.dayofmonth,
        F.dayofweek,
        F.dayofyear,
        F.weekofyear,
        F.hour,
        F.minute,
        F.second,
    ]
    return tuple(times.select(*[field("t") for field in fields]).first())


def unix_timestamps(spark: Any, tmp: str) -> Any:
    seconds = spark.createDataFrame([(1700000000,)], ["s"])
    return seconds.select(
        F.from_unixtime("s").alias("text"),
        F.from_unixtime("s", "yyyy-MM-dd").alias("day"),
        F.col("s").cast("timestamp").alias("t"),
        F.unix_timestamp(F.lit("2023-11-14 22:13:20")).alias("back"),
    ).first()


def milliseconds_become_timestamps(spark: Any, tmp: str) -> Any:
    millis = spark.createDataFrame([(1700000000123,)], ["ms"])
    return millis.select(F.timestamp_millis("ms").alias("a"), (F.col("ms") / 1000).cast("timestamp").alias("b")).first()


def arithmetic_of_dates(spark: Any, tmp: str) -> Any:
    days = spark.createDataFrame([(date(2024, 1, 31), date(2024, 3, 1))], ["a", "b"])
    return days.select(
        F.date_add("a", 1),
        F.date_sub("a", 31),
        F.datediff("b", "a"),
        F.add_months("a", 1),
        F.last_day("b"),
        F.next_day("a", "Mon"),
        F.months_between("b", "a"),
    ).first()


def timestamps_truncated(spark: Any, tmp: str) -> Any:
    times = spark.createDataFrame([(datetime(2024, 5, 7, 8, 9, 10, 11),)], ["t"])
    return times.select(
        *[F.date_trunc(unit, "t").alias(unit) for unit in ("hour", "day", "week", "month")], F.trunc("t", "year")
    ).first()


def intervals_are_added_in_sql(spark: Any, tmp: str) -> Any:
    return spark.sql(
        "select timestamp'2024-01-31 10:00:00' + interval 1 day 2 hours a, date'2024-01-31' + interval 1 month b"
    ).first()


def difference_of_timestamps(spark: Any, tmp: str) -> Any:
    return spark.sql("select timestamp'2024-01-02 01:00:00' - timestamp'2024-01-01 00:00:00' d").first()


def time_zones(spark: Any, tmp: str) -> Any:
    times = spark.createDataFrame([(datetime(2024, 7, 1, 12, 0),)], ["t"])
    return times.select(
        F.from_utc_timestamp("t", "Europe/Paris").alias("p"), F.to_utc_timestamp("t", "PST8PDT").alias("u")
    ).first()


def session_time_zone_decides_how_a_timestamp_is_shown(spark: Any, tmp: str) -> None:
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    spark.createDataFrame([(1700000000,)], ["s"]).select(F.col("s").cast("timestamp").alias("t")).show()


def a_string_that_is_no_date_raises(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("yesterday",)], ["d"]).select(F.to_date("d")).collect()


def a_string_that_is_no_date_can_be_null(spark: Any, tmp: str) -> Any:
    return spark.sql("select try_to_timestamp('yesterday', 'yyyy-MM-dd') t, try_cast('x' as date) d").first()


def fraction_of_a_second_is_shown_as_far_as_needed(spark: Any, tmp: str) -> None:
    times = [(datetime(2024, 1, 1, 0, 0, 0, micros),) for micros in (0, 500_000, 123_456)]
    spark.createDataFrame(times, ["t"]).orderBy("t").show(truncate=False)
