"""Readers and writers of lines: what was told before counts as what a call says; what can't be done is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.errors import UnsupportedOperationException
from headwater.sql import Row, SparkSession
from headwater.sql.types import IntegerType, StructField, StructType

LINES = ['{"n": 1, "s": "x"}', '{"n": 2}']


@pytest.mark.parametrize("of_files", [False, True])
@pytest.mark.parametrize("schema", ["n INT", StructType([StructField("n", IntegerType())])], ids=["text", "type"])
@pytest.mark.parametrize(
    "read",
    [
        lambda reader, source, schema: reader.schema(schema).json(source, mode="DROPMALFORMED"),
        lambda reader, source, schema: reader.option("mode", "dropmalformed").json(source, schema),
    ],
    ids=["before", "with the call"],
)
def test_lines_are_read_by_the_schema_and_the_mode_whether_given_before_or_with_the_call(
    spark: SparkSession, tmp_path: Path, of_files: bool, schema: Any, read: Callable[[Any, Any, Any], Any]
) -> None:
    lines = [*LINES, "no JSON"]
    (tmp_path / "lines.json").write_text("\n".join(lines))
    source = str(tmp_path / "lines.json") if of_files else spark.sparkContext.parallelize(lines)
    assert read(spark.read, source, schema).orderBy("n").collect() == [Row(n=1), Row(n=2)]


def test_a_schema_of_a_call_goes_before_one_that_was_given_to_the_reader(spark: SparkSession) -> None:
    frame = spark.read.schema("s STRING").json(spark.sparkContext.parallelize(LINES), "n INT")
    assert frame.columns == ["n"]


@pytest.mark.parametrize(
    "read",
    [
        lambda reader, lines: reader.option("header", "true").csv(lines),
        lambda reader, lines: reader.csv(lines, None, ",", None, None, None, None, True),
    ],
    ids=["before", "with the call"],
)
@pytest.mark.parametrize("partitions", [1, 2, 5])
def test_the_header_of_an_rdd_of_csv_stands_in_its_first_line_alone(
    spark: SparkSession, read: Callable[[Any, Any], Any], partitions: int
) -> None:
    lines = spark.sparkContext.parallelize(["  ", "n,s", "1,x", "2,y", "n,s", "3,z"], partitions)
    assert read(spark.read, lines).orderBy("n").collect() == [Row(n="1", s="x"), Row(n="2", s="y"), Row(n="3", s="z")]


def test_an_rdd_of_csv_without_lines_has_no_rows(spark: SparkSession) -> None:
    frame = spark.read.csv(spark.sparkContext.parallelize([], 2), "n INT", header=True)
    assert (frame.columns, frame.collect()) == (["n"], [])


# ------------------------------------------------------------------------------------------------ options
@pytest.mark.parametrize(
    ("kind", "option", "value", "instead"),
    [
        ("csv", "nullValue", "NA", "nullif"),
        ("csv", "ignoreLeadingWhiteSpace", True, "trim"),
        ("csv", "encoding", "latin1", "sc.binaryFiles"),
        ("csv", "mode", "DROPMALFORMED", "sc.textFile"),
        ("json", "multiLine", True, r"spark.read.json\(sc.wholeTextFiles\(path\).values\(\)\)"),
        ("json", "dateFormat", "dd/MM/yyyy", "to_date"),
        ("json", "primitivesAsString", "true", "a schema of strings"),
    ],
)
def test_an_option_that_would_change_what_is_read_and_is_not_followed_is_refused(
    spark: SparkSession, tmp_path: Path, kind: str, option: str, value: Any, instead: str
) -> None:
    (tmp_path / "lines").write_text('{"n": 1}\n')
    with pytest.raises(
        UnsupportedOperationException, match=f"{option}=.*what is read.*for {kind}. Instead: .*{instead}"
    ):
        spark.read.format(kind).option(option, value).load(str(tmp_path / "lines"))
    with pytest.raises(UnsupportedOperationException, match=f"{option}="):
        getattr(spark.read, kind)(str(tmp_path / "lines"), **{option: value})


@pytest.mark.parametrize(
    ("kind", "option", "value"),
    [("csv", "quoteAll", True), ("csv", "DATEFORMAT", "dd/MM/yyyy"), ("json", "ignoreNullFields", False)],
)
def test_an_option_that_would_change_what_is_written_and_is_not_followed_is_refused_before_a_file_is_there(
    spark: SparkSession, tmp_path: Path, kind: str, option: str, value: Any
) -> None:
    frame, out = spark.createDataFrame([(1,)], "n INT"), tmp_path / "out"
    with pytest.raises(UnsupportedOperationException, match=f"{option}=.*what is written.*for {kind}"):
        frame.write.format(kind).option(option, value).save(str(out))
    with pytest.raises(UnsupportedOperationException, match=f"{option}="):
        frame.write.save(str(out), kind, **{option: value})
    assert not out.exists()


def test_options_that_say_what_happens_anyway_are_taken(spark: SparkSession, tmp_path: Path) -> None:
    spark.createDataFrame([(1,)], "n INT").write.csv(str(tmp_path / "out"), quoteAll=False, dateFormat="yyyy-MM-dd")
    frame = spark.read.csv(str(tmp_path / "out"), "n INT", encoding="UTF-8", lineSep="\n", mode="FAILFAST")
    assert frame.collect() == [Row(n=1)]


def test_a_document_of_json_over_many_lines_is_a_record_of_an_rdd(spark: SparkSession, tmp_path: Path) -> None:
    (tmp_path / "document.json").write_text('[{"n": 1},\n {"n":\n 2}]')
    documents = spark.sparkContext.wholeTextFiles(str(tmp_path)).values()
    assert spark.read.json(documents, multiLine=True).orderBy("n").collect() == [Row(n=1), Row(n=2)]
