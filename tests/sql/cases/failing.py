"""Mistakes, and what they raise."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F
from headwater.sql.types import IntegerType, StringType, StructField, StructType

_ROWS = [("a", 1), ("b", 2)]


def unknown_column(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).select("wrod").show()


def unknown_column_in_sql(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).createOrReplaceTempView("words")
    spark.sql("SELECT wrod FROM words").show()


def unknown_column_as_an_attribute(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame(_ROWS, ["word", "n"]).wrod


def unknown_column_as_an_item(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame(_ROWS, ["word", "n"])["wrod"]


def unknown_table(spark: Any, tmp: str) -> None:
    spark.sql("SELECT * FROM nowhere").show()


def unknown_table_by_name(spark: Any, tmp: str) -> None:
    spark.table("nowhere").show()


def unknown_function(spark: Any, tmp: str) -> None:
    spark.sql("SELECT no_such_function(1)").show()


def syntax_error(spark: Any, tmp: str) -> None:
    spark.sql("SELEC 1").show()


def syntax_error_at_the_end(spark: Any, tmp: str) -> None:
    spark.sql("SELECT (1").show()


def syntax_error_in_an_expression(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).filter("n >").show()


def syntax_error_in_a_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, "word strin, n int").show()


def column_that_is_not_grouped_by(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).createOrReplaceTempView("words")
    spark.sql("SELECT word, sum(n) FROM words").show()


def argument_of_a_wrong_type(spark: Any, tmp: str) -> None:
    spark.createDataFrame([(True,)], ["flag"]).agg(F.sum("flag")).show()


def condition_that_is_not_a_boolean(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).filter("n + 1").show()


def ambiguous_column(spark: Any, tmp: str) -> None:
    a, b = spark.createDataFrame(_ROWS, ["word", "n"]), spark.createDataFrame(_ROWS, ["word", "m"])
    a.join(b, a.word == b.word).select("word").show()


def union_of_different_widths(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).union(spark.range(1)).show()


def value_of_another_type_than_the_schema(spark: Any, tmp: str) -> None:
    schema = StructType([StructField("word", StringType()), StructField("n", IntegerType())])
    spark.createDataFrame([("a", "one")], schema)


def null_where_the_schema_allows_none(spark: Any, tmp: str) -> None:
    spark.createDataFrame([(None,)], StructType([StructField("word", StringType(), False)]))


def integer_out_of_range_of_the_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame([(2**31,)], "n int")


def row_of_another_length_than_the_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("a", 1), ("b",)], "word string, n int")


def rows_of_different_lengths_without_a_schema(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame([("a", 1), ("b",)], ["word", "n"]).collect()


def column_taken_for_a_boolean(spark: Any, tmp: str) -> None:
    words = spark.createDataFrame(_ROWS, ["word", "n"])
    words.filter(words.n > 1 and words.word == "b")


def method_that_columns_lack(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).n.contain("a")("b")


def wrong_arguments(spark: Any, tmp: str) -> None:
    spark.createDataFrame(_ROWS, ["word", "n"]).fillna([1])


def unknown_way_to_join(spark: Any, tmp: str) -> None:
    a = spark.createDataFrame(_ROWS, ["word", "n"])
    a.join(a, "word", "sideways").show()


def unknown_setting(spark: Any, tmp: str) -> None:
    spark.conf.get("no.such.setting")


def index_out_of_an_array(spark: Any, tmp: str) -> None:
    spark.sql("SELECT array(1, 2)[5]").collect()


def error_raised_in_sql(spark: Any, tmp: str) -> None:
    spark.sql("SELECT raise_error('not today')").collect()
