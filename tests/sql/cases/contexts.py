"""SQLContext, HiveContext and other names that older programs use."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import HiveContext, Row, SparkSession, SQLContext
from headwater.sql.types import IntegerType


def sqlcontext_creates_registers_and_queries(spark: Any, tmp: str) -> None:
    sqlContext = SQLContext(spark.sparkContext)
    frame = sqlContext.createDataFrame(spark.sparkContext.parallelize([("a", 1), ("b", 2)]), ["word", "n"])
    sqlContext.registerDataFrameAsTable(frame, "words")
    sqlContext.sql("select word from words where n > 1").show()


def sqlcontext_tables(spark: Any, tmp: str) -> Any:
    sqlContext = SQLContext(spark.sparkContext)
    sqlContext.registerDataFrameAsTable(sqlContext.range(3), "numbers")
    names = (
        sqlContext.tableNames(),
        [row.tableName for row in sqlContext.tables().collect()],
        sqlContext.table("numbers").count(),
    )
    sqlContext.dropTempTable("numbers")
    return names, sqlContext.tableNames()


def sqlcontext_functions_and_settings(spark: Any, tmp: str) -> Any:
    sqlContext = SQLContext.getOrCreate(spark.sparkContext)
    sqlContext.registerFunction("length_of_case", lambda text: len(text), IntegerType())
    sqlContext.setConf("my.sqlcontext.key", "v")
    return (
        sqlContext.sql("select length_of_case('four') n").collect(),
        sqlContext.getConf("my.sqlcontext.key"),
        sqlContext.getConf("no.key", "d"),
    )


def registertemptable(spark: Any, tmp: str) -> Any:
    spark.createDataFrame([Row(word="a")]).registerTempTable("words")
    return spark.sql("select * from words").collect()


def hivecontext_queries(spark: Any, tmp: str) -> Any:
    hive = HiveContext(spark.sparkContext)
    hive.createDataFrame([("a", 1)], ["k", "v"]).createOrReplaceTempView("kv")
    return hive.sql("select k, v from kv").collect()


def session_of_a_batch_is_got_or_created(spark: Any, tmp: str) -> Any:
    again = SparkSession.builder.config(conf=spark.sparkContext.getConf()).getOrCreate()
    again.createDataFrame(["x", "y"], "string").createOrReplaceTempView("values_of_batch")
    return (
        again is spark,
        spark.sql("select count(*) n from values_of_batch").collect(),
        SparkSession.getActiveSession() is spark,
    )


def sessions_share_a_context_but_not_views(spark: Any, tmp: str) -> Any:
    other = spark.newSession()
    spark.range(1).createOrReplaceTempView("mine")
    return (
        other.sparkContext is spark.sparkContext,
        other.catalog.tableExists("mine"),
        spark.catalog.tableExists("mine"),
    )
