"""What `headwater migrate` says of a program's lines."""

from __future__ import annotations

import pytest

from headwater.errors import SparkException
from headwater.migrate.remarks import remarks
from headwater.migrate.rewriting import rewritten
from headwater.sql import requirements


def said(program: str) -> list[tuple[int, str]]:
    """The lines, and what the remarks begin with."""
    return [(remark.line, remark.text.partition(":")[0]) for remark in remarks(program)]


@pytest.mark.parametrize(
    ("program", "what"),
    [
        ("from pyspark.mllib.clustering import StreamingKMeans", "pyspark.mllib.clustering"),
        ("import pyspark.ml as ml", "pyspark.ml"),
        ("from pyspark import pandas", "pyspark.pandas"),
        ("from pyspark.streaming import Nothing", "pyspark.streaming.Nothing"),
        ("from pyspark.sql.functions import nothing", "pyspark.sql.functions.nothing"),
        ("from pyspark.sql.streaming import StreamingQuery", "pyspark.sql.streaming"),
        ("import findspark", "findspark"),
        ("from graphframes import GraphFrame", "graphframes"),
        ("spark.readStream.format('rate')", "readStream"),
        ("df.writeStream.start()", "writeStream"),
        ("sc._jvm.java.lang.System.exit(1)", "_jvm"),
        ("sc._jsc.hadoopConfiguration().set('a', 'b')", "_jsc"),
        ("conf.set('spark.jars.packages', 'a:b:1')", "spark.jars.packages"),
        ("conf.set('spark.speculation', 'true')", "spark.speculation"),
        ("conf.setMaster('yarn')", "spark.master"),
        ("SparkContext('spark://host:7077', 'a')", "spark.master"),
        ("SparkContext(appName='a', master='mesos://host')", "spark.master"),
        ("importlib.import_module('pyspark.sql')", "'pyspark.sql'"),
    ],
)
def test_what_will_not_work_is_said_with_its_line(program: str, what: str) -> None:
    assert said(f"import os\n{program}") == [(2, what)]


@pytest.mark.parametrize(
    "program",
    [
        "from pyspark import SparkContext, SparkConf, RDD, StorageLevel, keyword_only",
        "from pyspark.sql import SparkSession, Row, SQLContext, types\nfrom pyspark.sql.types import StructType",
        "from pyspark.sql import functions as F, Window, DataFrame\nfrom pyspark.sql.functions import *",
        "rdd.toDF(['a']).createOrReplaceTempView('a'); spark.sql('select 1'); SQLContext(sc).read.json('a')",
        "from pyspark.streaming.kafka import KafkaUtils, TopicAndPartition, OffsetRange",
        "from pyspark.streaming.mqtt import MQTTUtils\nfrom pyspark.streaming.util import rddToFileName",
        "from pyspark.serializers import PickleSerializer, BatchedSerializer",
        "SparkSession.builder.master('local[2]').config('spark.executor.memory', '2g').getOrCreate().sparkContext",
        "sc._jvm.org.apache.log4j.LogManager.getLogger('org').setLevel(sc._jvm.org.apache.log4j.Level.ERROR)",
        "log4j = sc._jvm.org.apache.log4j",
        "file.read(); random.range(3); cursor.table",
        "SparkContext('local[2]', 'spark.speculation of prices')",
        "import numpy, pandas\nfrom .pyspark import x",
    ],
)
def test_what_works_is_not_spoken_of(program: str) -> None:
    assert said(program) == []


def test_each_line_is_spoken_of_once_and_in_order() -> None:
    program = "df._jdf; df._jdf\nimport findspark\n\nspark.readStream; df._jrdd"
    assert said(program) == [(1, "_jdf"), (2, "findspark"), (4, "_jrdd"), (4, "readStream")]


def test_a_program_that_is_rewritten_is_still_spoken_of() -> None:
    program = "from pyspark.ml import Pipeline\nfrom pyspark.mllib import stat\ndf.writeStream"
    assert [line for line, _ in said(rewritten(program))] == [line for line, _ in said(program)] == [1, 2, 3]


def test_sql_without_its_packages_is_spoken_of(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise SparkException("SQL needs the packages pysail and pyspark-client: pip install 'headwater[sql]'")

    monkeypatch.setattr(requirements, "check", missing)
    program = "from pyspark.sql import SparkSession, functions as F\nfrom pyspark.sql.types import StructType"
    assert [(line, "headwater[sql]" in text) for line, text in remarks(program)] == [(1, True), (2, True)]
