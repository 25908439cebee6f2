"""RDDs become DataFrames, and DataFrames RDDs."""

# mypy: ignore-errors

from __future__ import annotations

import json
from operator import add
from typing import Any

from headwater.sql import Row
from headwater.sql.types import LongType, StringType, StructField, StructType

_PAIR = StructType([StructField("word", StringType()), StructField("n", LongType())])


def counted_words_become_a_dataframe(spark: Any, tmp: str) -> None:
    lines = spark.sparkContext.parallelize(["to be or", "not to be"], 2)
    counts = lines.flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(add)
    counts.toDF(["word", "n"]).orderBy("word").show()


def rdd_of_rows_becomes_a_view(spark: Any, tmp: str) -> Any:
    words = spark.sparkContext.parallelize(["a", "b", "a"]).map(lambda word: Row(word=word))
    spark.createDataFrame(words).createOrReplaceTempView("words")
    return spark.sql("select word, count(*) as total from words group by word order by word").collect()


def todf_with_a_schema_ddl_or_nothing(spark: Any, tmp: str) -> Any:
    pairs = spark.sparkContext.parallelize([("a", 1), ("b", 2)])
    return (
        pairs.toDF(_PAIR).schema.simpleString(),
        pairs.toDF("x string, y int").schema.simpleString(),
        pairs.toDF().collect(),
    )


def rdd_of_dicts(spark: Any, tmp: str) -> Any:
    lines = spark.sparkContext.parallelize(['{"b": 1, "a": "x"}', '{"b": 2, "a": "y"}'])
    return spark.createDataFrame(lines.map(json.loads)).orderBy("b").collect()


def rdd_of_single_values(spark: Any, tmp: str) -> Any:
    return spark.createDataFrame(spark.sparkContext.parallelize(["a", "b"]), StringType()).collect()


def rdd_of_single_values_has_no_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame(spark.sparkContext.parallelize([1, 2]), ["n"])


def empty_rdds(spark: Any, tmp: str) -> Any:
    empty = spark.createDataFrame(spark.sparkContext.emptyRDD(), _PAIR)
    empty.show()
    return (
        empty.count(),
        empty.rdd.isEmpty(),
        spark.sparkContext.parallelize([("a", 1)]).filter(lambda x: False).toDF(_PAIR).collect(),
    )


def empty_rdd_without_a_schema(spark: Any, tmp: str) -> None:
    spark.sparkContext.parallelize([]).toDF(["a", "b"])


def rows_of_another_length_than_the_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame(spark.sparkContext.parallelize([("a", 1), ("b",)]), _PAIR).collect()


def values_of_another_type_than_the_schema(spark: Any, tmp: str) -> None:
    spark.createDataFrame(spark.sparkContext.parallelize([("a", "one")]), _PAIR).collect()


def dataframe_becomes_an_rdd_of_rows(spark: Any, tmp: str) -> Any:
    frame = spark.createDataFrame([("a", 1), ("b", 2)], ["word", "n"])
    doubled = frame.rdd.map(lambda row: (row.word, row["n"] * 2)).collect()
    return (
        sorted(doubled),
        frame.rdd.map(tuple).collect(),
        frame.rdd.first(),
        frame.rdd.map(lambda row: row.asDict()).first(),
    )


def there_and_back_by_pairs(spark: Any, tmp: str) -> Any:
    sales = spark.createDataFrame([("ann", 3), ("bob", 4), ("ann", 5)], ["who", "n"])
    totals = sales.rdd.map(lambda row: (row.who, row.n)).reduceByKey(add).toDF(["who", "total"])
    return totals.orderBy("who").collect()


def foreach_and_foreachpartition_run_in_tasks(spark: Any, tmp: str) -> Any:
    total, partitions = spark.sparkContext.accumulator(0), spark.sparkContext.accumulator(0)
    numbers = spark.range(0, 10, 1, 3)
    numbers.foreach(lambda row: total.add(row.id))
    numbers.foreachPartition(lambda rows: partitions.add(1 if list(rows) else 0))
    return total.value, partitions.value


def partitions_counted_and_changed(spark: Any, tmp: str) -> Any:
    numbers = spark.range(0, 8, 1, 4)
    return (
        numbers.rdd.getNumPartitions(),
        numbers.repartition(3).rdd.getNumPartitions(),
        numbers.coalesce(1).rdd.glom().map(len).collect(),
    )


def tojson_gives_an_rdd_of_strings(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([("a", 1, [1.5]), ("b", None, None)], "s string, n int, l array<double>")
    return rows.toJSON().collect(), rows.toJSON().map(json.loads).first()


def json_read_from_an_rdd(spark: Any, tmp: str) -> Any:
    events = spark.sparkContext.parallelize(['{"user": "ann", "n": 1}', '{"user": "bob", "x": 1.5}'])
    frame = spark.read.json(events)
    return frame.schema.simpleString(), frame.orderBy("user").collect()


def csv_read_from_an_rdd(spark: Any, tmp: str) -> Any:
    lines = spark.sparkContext.parallelize(["ann,1", "bob,2"])
    return spark.read.csv(lines, schema="name string, n int").orderBy("name").collect()
