"""Words, hashtags and groups are counted and summed up."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import Row
from headwater.sql import functions as F

_LINES = [("to be or not to be",), ("that is the question",), ("to do is to be",)]
_SALES = [("ann", "pear", 3, 1.5), ("bob", "fig", 2, 4.0), ("ann", "fig", 1, 4.0), ("bob", "pear", 5, 1.5)]


def word_count_by_dataframe(spark: Any, tmp: str) -> None:
    lines = spark.createDataFrame(_LINES, ["line"])
    words = lines.select(F.explode(F.split(lines.line, " ")).alias("word"))
    words.groupBy("word").count().orderBy(F.desc("count"), "word").show(5)


def word_count_by_sql(spark: Any, tmp: str) -> None:
    words = [Row(word=word) for line in _LINES for word in line[0].split()]
    spark.createDataFrame(words).createOrReplaceTempView("words")
    spark.sql("select word, count(*) as total from words group by word order by total desc, word limit 3").show()


def hashtags_ranked(spark: Any, tmp: str) -> Any:
    tweets = spark.createDataFrame([("#spark is #fast",), ("we like #spark",), ("no tag",)], "text string")
    tags = tweets.select(F.explode(F.split("text", " ")).alias("tag")).where(F.col("tag").startswith("#"))
    return tags.groupBy("tag").agg(F.count("*").alias("n")).sort(F.col("n").desc()).collect()


def count_distinct_and_approximate(spark: Any, tmp: str) -> Any:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    return sales.agg(F.countDistinct("who"), F.approx_count_distinct("what"), F.count("n")).collect()


def several_aggregates_by_group(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    sales.groupBy("who").agg(F.sum("n"), F.avg("price"), F.max("n"), F.min("n"), F.first("what")).orderBy("who").show()


def dict_of_aggregates(spark: Any, tmp: str) -> Any:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    return sales.groupBy("who").agg({"n": "sum", "price": "max"}).orderBy("who").collect()


def shortcuts_of_grouped_data(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"]).groupBy("who")
    sales.sum("n", "price").orderBy("who").show()
    sales.mean("n").orderBy("who").show()
    sales.max().orderBy("who").show()


def aggregate_without_groups(spark: Any, tmp: str) -> Any:
    numbers = spark.range(1, 11)
    return numbers.agg({"id": "avg"}).collect(), numbers.groupBy().sum().collect(), numbers.count()


def lists_and_sets_collected(spark: Any, tmp: str) -> Any:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"]).coalesce(1)
    grouped = sales.groupBy("who").agg(
        F.collect_list("n").alias("all"), F.sort_array(F.collect_set("what")).alias("set")
    )
    return grouped.orderBy("who").collect()


def rollup_adds_subtotals(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    sales.rollup("who", "what").agg(F.sum("n").alias("n")).orderBy("who", "what").show()


def cube_adds_all_subtotals(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    sales.cube("who", "what").agg(F.sum("n").alias("n"), F.grouping_id()).orderBy("who", "what", "n").show()


def statistics_of_a_column(spark: Any, tmp: str) -> Any:
    numbers = spark.createDataFrame([(float(n),) for n in (2, 4, 4, 4, 5, 5, 7, 9)], ["x"])
    return numbers.select(
        F.stddev_pop("x"), F.round(F.stddev("x"), 6), F.var_pop("x"), F.expr("percentile(x, 0.5) AS p")
    ).first()


def crosstab_counts_pairs(spark: Any, tmp: str) -> None:
    sales = spark.createDataFrame(_SALES, ["who", "what", "n", "price"])
    sales.crosstab("who", "what").select("who_what", "fig", "pear").orderBy("who_what").show()


def describe_shows_statistics(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_SALES, ["who", "what", "n", "price"]).describe("who", "n").show()


def summary_shows_quartiles(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_SALES, ["who", "what", "n", "price"]).select("n").summary().show()


def quantiles_are_approximate(spark: Any, tmp: str) -> Any:
    return spark.range(1, 102).approxQuantile("id", [0.25, 0.5], 0.0)


def correlation_and_covariance(spark: Any, tmp: str) -> Any:
    pairs = spark.createDataFrame([(1, 2.0), (2, 4.0), (3, 6.0)], ["a", "b"])
    return pairs.stat.corr("a", "b"), pairs.cov("a", "b")
