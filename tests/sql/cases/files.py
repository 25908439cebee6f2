"""Files and tables are written and read."""

# mypy: ignore-errors

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path
from typing import Any

_ROWS = [("ann", 1, 1.5), ("bob", 2, None), (None, 3, 2.5)]
_SCHEMA = "name string, n int, x double"


def _written(tmp: str, text: str) -> str:
    path = Path(tmp, "file.txt")
    path.write_text(text)
    return str(path)


def _contents(directory: str) -> str:
    files = sorted(path for path in Path(directory).iterdir() if path.name[0] not in "._")
    return "".join(path.read_text() for path in files)


def json_there_and_back(spark: Any, tmp: str) -> Any:
    spark.createDataFrame(_ROWS, _SCHEMA).coalesce(1).write.json(f"{tmp}/out")
    return (
        _contents(f"{tmp}/out"),
        spark.read.json(f"{tmp}/out").schema.simpleString(),
        spark.read.json(f"{tmp}/out").orderBy("n").collect(),
    )


def json_events_with_nested_fields_inferred(spark: Any, tmp: str) -> Any:
    path = _written(tmp, '{"b": {"c": [1, 2]}, "a": "x"}\n{"a": null, "d": 1.5, "e": true}\n')
    return spark.read.json(path).schema.simpleString(), spark.read.json(path).collect()


def json_with_a_schema_and_a_broken_line(spark: Any, tmp: str) -> Any:
    path = _written(tmp, '{"a": 1, "b": "x"}\nbroken\n{"a": 2}\n')
    frame = spark.read.schema("a int, b string")
    return frame.json(path).collect(), frame.option("mode", "DROPMALFORMED").json(path).collect()


def csv_with_a_header_and_inferred_types(spark: Any, tmp: str) -> Any:
    path = _written(tmp, 'city,n,x,when\nRome,1,1.5,2024-01-02 03:04:05\n"Paris, France",2,,2024-01-02 00:00:00\n')
    frame = spark.read.option("header", True).csv(path, inferSchema=True)
    return frame.schema.simpleString(), frame.collect()


def csv_without_a_header_is_strings(spark: Any, tmp: str) -> None:
    spark.read.csv(_written(tmp, "a;1\nb;2\n"), sep=";").show()


def csv_with_a_schema(spark: Any, tmp: str) -> Any:
    path = _written(tmp, "a,1\nb,x\n")
    return spark.read.schema("k string, v int").csv(path).collect(), spark.read.csv(
        path, schema="k string, v string"
    ).count()


def csv_there_and_back(spark: Any, tmp: str) -> Any:
    rows = [("a, b", 1, None), ("plain", 3, "x")]
    spark.createDataFrame(rows, "s string, n int, t string").coalesce(1).write.option("header", "true").csv(
        f"{tmp}/out"
    )
    return _contents(f"{tmp}/out"), spark.read.csv(
        f"{tmp}/out", header=True, schema="s string, n int, t string"
    ).collect()


def quotes_and_empty_strings_in_csv(spark: Any, tmp: str) -> Any:
    spark.createDataFrame([('say "hi"', "")], ["s", "t"]).write.csv(f"{tmp}/out")
    return _contents(f"{tmp}/out"), spark.read.csv(f"{tmp}/out").collect()


def parquet_there_and_back(spark: Any, tmp: str) -> Any:
    rows = spark.sql(
        """SELECT 'a' s, array(1, 2) l, map('k', 1.5D) m, timestamp'2024-01-02 03:04:05' t, 1.25BD d,
                  named_struct('a', 1) st"""
    )
    rows.write.parquet(f"{tmp}/out")
    frame = spark.read.parquet(f"{tmp}/out")
    return frame.schema.simpleString(), frame.collect()


def text_there_and_back(spark: Any, tmp: str) -> Any:
    path = _written(tmp, "one\n\ntwo\n")
    lines = spark.read.text(path)
    lines.where("value <> ''").coalesce(1).write.text(f"{tmp}/out")
    return lines.collect(), spark.read.text(f"{tmp}/out").collect(), spark.read.text(path, wholetext=True).collect()


def names_of_written_files(spark: Any, tmp: str) -> Any:
    spark.range(0, 4, 1, 2).write.csv(f"{tmp}/out")
    names = sorted(name for name in os.listdir(f"{tmp}/out") if not name.startswith("."))
    return [name.split("-")[0] + Path(name).suffix for name in names]


def a_directory_that_exists_is_an_error(spark: Any, tmp: str) -> None:
    spark.range(1).write.parquet(f"{tmp}/out")
    spark.range(1).write.parquet(f"{tmp}/out")


def modes_of_writing(spark: Any, tmp: str) -> Any:
    counts = []
    for mode in ("append", "append", "ignore", "overwrite"):
        spark.range(2).write.mode(mode).parquet(f"{tmp}/out")
        counts.append(spark.read.parquet(f"{tmp}/out").count())
    return counts


def partitions_are_directories(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([("a", 1, "x"), ("b", 2, "y"), (None, 3, "z")], "k string, n int, v string")
    rows.write.partitionBy("k").json(f"{tmp}/out")
    frame = spark.read.json(f"{tmp}/out")
    return sorted(path.name for path in Path(tmp, "out").glob("k=*")), frame.columns, frame.orderBy("n").collect()


def numbers_in_names_of_directories_are_ints(spark: Any, tmp: str) -> Any:
    spark.createDataFrame([(2023, "a"), (2024, "b")], ["year", "v"]).write.partitionBy("year").parquet(f"{tmp}/out")
    frame = spark.read.parquet(f"{tmp}/out")
    return frame.schema.simpleString(), frame.where("year = 2024").collect()


def several_paths_and_patterns(spark: Any, tmp: str) -> Any:
    for name in ("a", "b", "c"):
        Path(tmp, f"{name}.txt").write_text(f"{name}\n")
    several = spark.read.text([f"{tmp}/a.txt", f"{tmp}/b.txt"])
    return (
        sorted(row.value for row in several.collect()),
        spark.read.text(f"{tmp}/[bc].txt").count(),
        spark.read.text(tmp).count(),
    )


def generic_load_and_save(spark: Any, tmp: str) -> Any:
    spark.createDataFrame(_ROWS, _SCHEMA).write.format("json").mode("overwrite").save(f"{tmp}/out")
    frame = spark.read.format("json").schema(_SCHEMA).load(f"{tmp}/out")
    spark.range(2).write.save(f"{tmp}/default")
    return (
        frame.count(),
        spark.read.load(f"{tmp}/default").count(),
        spark.sql(f"select count(*) n from parquet.`{tmp}/default`").first(),
    )


def compressed_files(spark: Any, tmp: str) -> Any:
    spark.range(2).coalesce(1).write.option("compression", "gzip").json(f"{tmp}/out")
    [name] = [name for name in os.listdir(f"{tmp}/out") if name[0] not in "._"]
    return name.endswith(".json.gz"), spark.read.json(f"{tmp}/out").orderBy("id").collect()


def a_path_that_does_not_exist(spark: Any, tmp: str) -> None:
    spark.read.json(f"{tmp}/missing").show()


def a_directory_without_files_has_no_schema(spark: Any, tmp: str) -> None:
    spark.read.parquet(tmp).show()


def tables_are_saved_appended_and_inserted_into(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([("a", 1)], ["k", "v"])
    rows.write.saveAsTable("saved")
    rows.write.mode("append").saveAsTable("saved")
    rows.write.insertInto("saved")
    counted = spark.table("saved").count()
    rows.write.mode("overwrite").saveAsTable("saved")
    return counted, spark.sql("select * from saved").collect(), [table.name for table in spark.catalog.listTables()]


def a_table_that_exists_is_an_error(spark: Any, tmp: str) -> None:
    spark.range(1).write.saveAsTable("twice")
    spark.range(1).write.saveAsTable("twice")


def timestamps_in_json_and_csv(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([(datetime(2024, 1, 2, 3, 4, 5, 678_000), datetime(2024, 1, 2).date())], ["t", "d"])
    texts = []
    for kind in ("json", "csv"):
        rows.coalesce(1).write.format(kind).save(f"{tmp}/{kind}")
        texts.append(_contents(f"{tmp}/{kind}"))
    return texts
