"""Functions of users, row by row and on pandas."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

import pandas as pd

from headwater.sql.functions import pandas_udf, udf
from headwater.sql.types import ArrayType, IntegerType, StringType, StructField, StructType


def udf_by_decorator_and_by_call(spark: Any, tmp: str) -> None:
    @udf(returnType=IntegerType())
    def length(text):
        return len(text) if text is not None else -1

    shout = udf(lambda text: text and text.upper() + "!", StringType())
    words = spark.createDataFrame([("a",), ("bcd",), (None,)], ["w"])
    words.select("w", length("w").alias("n"), shout(words.w).alias("s")).show()


def udf_without_a_type_gives_strings(spark: Any, tmp: str) -> Any:
    plain = udf(lambda n: n + 1)
    frame = spark.createDataFrame([(1,)], ["n"]).select(plain("n").alias("m"))
    return frame.schema.simpleString(), frame.collect()


def name_of_an_unnamed_udf_column(spark: Any, tmp: str) -> Any:
    def double(n):
        return n * 2

    numbers = spark.createDataFrame([(1,)], ["n"])
    return numbers.select(udf(double, "int")("n"), udf(lambda n: n, "long")("n")).columns


def udf_registered_for_sql(spark: Any, tmp: str) -> Any:
    spark.udf.register("plus_one_case", lambda n: n + 1, "int")
    registered = spark.udf.register("shout_case", udf(lambda text: text.upper()))
    spark.createDataFrame([(1, "a")], ["n", "s"]).createOrReplaceTempView("t")
    return spark.sql("select plus_one_case(n) p, shout_case(s) s from t").collect(), spark.table("t").select(
        registered("s").alias("r")
    ).first()


def udf_that_gives_arrays_and_structs(spark: Any, tmp: str) -> Any:
    pair = StructType([StructField("first", StringType()), StructField("n", IntegerType())])
    split = udf(lambda text: text.split(), ArrayType(StringType()))
    describe = udf(lambda text: (text[0], len(text)), pair)
    rows = spark.createDataFrame([("to be",)], ["s"])
    return rows.select(split("s").alias("words"), describe("s").alias("d")).select("words", "d.first", "d.n").collect()


def udf_whose_value_is_not_of_its_type(spark: Any, tmp: str) -> Any:
    wrong = udf(lambda n: 1.5, IntegerType())
    return spark.createDataFrame([(1,)], ["n"]).select(wrong("n").alias("w")).collect()


def udf_with_what_is_outside_of_it(spark: Any, tmp: str) -> Any:
    names = spark.sparkContext.broadcast({1: "one"})
    named = udf(lambda n: names.value.get(n, "many"), "string")
    return spark.createDataFrame([(1,), (2,)], ["n"]).select(named("n").alias("name")).collect()


def udf_on_nested_values(spark: Any, tmp: str) -> Any:
    total = udf(lambda items, person: f"{sum(items)} {person.name} {type(person).__name__}", "string")
    rows = spark.createDataFrame([([1, 2], ("ann",))], "items array<int>, person struct<name:string>")
    return rows.select(total("items", "person").alias("t")).collect()


def pandas_udf_on_series(spark: Any, tmp: str) -> Any:
    @pandas_udf("double")
    def half(numbers: pd.Series) -> pd.Series:
        return numbers / 2

    return spark.createDataFrame([(1,), (3,)], ["n"]).select(half("n").alias("h")).collect()


def pandas_udf_that_aggregates(spark: Any, tmp: str) -> Any:
    @pandas_udf("double")
    def mean(numbers: pd.Series) -> float:
        return numbers.mean()

    rows = spark.createDataFrame([("a", 1.0), ("a", 3.0), ("b", 5.0)], ["k", "x"])
    return rows.groupBy("k").agg(mean("x").alias("m")).orderBy("k").collect()


def groups_and_partitions_in_pandas(spark: Any, tmp: str) -> Any:
    def centred(group):
        return group.assign(x=group.x - group.x.mean())

    rows = spark.createDataFrame([("a", 1.0), ("a", 3.0), ("b", 5.0)], ["k", "x"])
    in_groups = rows.groupBy("k").applyInPandas(centred, "k string, x double").orderBy("k", "x").collect()
    return in_groups, rows.mapInPandas(lambda parts: (part[part.x > 2] for part in parts), rows.schema).orderBy(
        "x"
    ).collect()


def udf_that_raises(spark: Any, tmp: str) -> None:
    broken = udf(lambda n: 1 // n, "int")
    spark.createDataFrame([(0,)], ["n"]).select(broken("n")).collect()
