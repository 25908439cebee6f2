"""What programs do in a batch: logs, sensors, orders, trends."""

# mypy: ignore-errors

from __future__ import annotations

import re
from typing import Any

from headwater.sql import Row, Window
from headwater.sql import functions as F

_LOG = [
    '1.1.1.1 - - [01/May/2024:10:00:01 +0000] "GET / HTTP/1.1" 200 100',
    '2.2.2.2 - - [01/May/2024:10:00:02 +0000] "GET /a HTTP/1.1" 404 0',
    '1.1.1.1 - - [01/May/2024:10:01:00 +0000] "POST /a HTTP/1.1" 200 50',
    "garbage",
]
_PATTERN = re.compile(r'^(\S+) \S+ \S+ \[(.+?)\] "(\S+) (\S+) [^"]*" (\d+) (\d+)$')


def access_log_by_rdd_and_sql(spark: Any, tmp: str) -> None:
    def parsed(line):
        found = _PATTERN.match(line)
        return [Row(host=found[1], path=found[4], status=int(found[5]), size=int(found[6]))] if found else []

    spark.createDataFrame(spark.sparkContext.parallelize(_LOG).flatMap(parsed)).createOrReplaceTempView("logs")
    spark.sql("SELECT host, count(*) n, sum(size) bytes FROM logs GROUP BY host ORDER BY n DESC, host").show()
    spark.sql("SELECT status, collect_set(path) paths FROM logs GROUP BY status HAVING status >= 400").show()


def sensors_averaged_and_alarmed(spark: Any, tmp: str) -> None:
    lines = spark.createDataFrame(
        [('{"id": "s1", "t": 20.5}',), ('{"id": "s1", "t": 99.0}',), ('{"id": "s2", "t": 21.0}',)], ["value"]
    )
    readings = lines.select(F.from_json("value", "id string, t double").alias("r")).select("r.*")
    summary = readings.groupBy("id").agg(F.round(F.avg("t"), 2).alias("mean"), F.max("t").alias("max"))
    summary.withColumn("alarm", F.when(F.col("max") > 90, F.lit("HIGH")).otherwise("ok")).orderBy("id").show()


def orders_enriched_from_a_file(spark: Any, tmp: str) -> None:
    with open(f"{tmp}/products.csv", "w") as file:
        file.write("id,name,price\n1,pear,0.5\n2,fig,1.25\n")
    products = spark.read.csv(f"{tmp}/products.csv", header=True, inferSchema=True)
    orders = spark.sparkContext.parallelize([(1, 4), (2, 2), (3, 1)]).toDF(["product", "n"])
    joined = orders.join(products, orders.product == products.id, "left")
    joined.select(
        "product", F.coalesce("name", F.lit("?")).alias("name"), (F.col("n") * F.col("price")).alias("sum")
    ).orderBy("product").show()


def trends_of_two_batches(spark: Any, tmp: str) -> None:
    counts = spark.createDataFrame([(1, "#a", 3), (1, "#b", 5), (2, "#a", 9), (2, "#b", 4)], ["batch", "tag", "n"])
    previous = F.lag("n").over(Window.partitionBy("tag").orderBy("batch"))
    trends = counts.withColumn("change", F.col("n") - previous).where("change is not null")
    trends.select("tag", "change", F.expr("if(change > 0, 'up', 'down')").alias("way")).orderBy("tag").show()


def batches_appended_to_files_and_read_back(spark: Any, tmp: str) -> Any:
    for batch in range(3):
        events = spark.sparkContext.parallelize([f"user{n},{batch}" for n in range(2)]).map(
            lambda line: line.split(",")
        )
        events.toDF(["user", "batch"]).write.mode("append").partitionBy("batch").parquet(f"{tmp}/events")
    return spark.read.parquet(f"{tmp}/events").groupBy("batch").count().orderBy("batch").collect()
