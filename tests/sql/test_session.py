"""SparkSession and its elders: what works without an engine for SQL, and what says that there is none."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from headwater import HiveContext, Row, SparkConf, SparkContext, SQLContext
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    NoSuchElementException,
    UnsupportedOperationException,
)
from headwater.sql import Column, DataFrame, SparkSession, Window
from headwater.sql import functions as F
from headwater.sql.types import StringType


def test_a_session_starts_a_context_with_what_its_builder_was_told(no_context: None) -> None:
    builder = SparkSession.builder.appName("clicks").master("local[1]").config("spark.ui.port", 4050)
    with builder.config("spark.rdd.compress", False).enableHiveSupport().getOrCreate() as spark:
        sc = spark.sparkContext
        assert (sc.appName, sc.master, spark.version) == ("clicks", "local[1]", sc.version)
        assert spark.conf.get("spark.ui.port") == sc.getConf().get("spark.ui.port") == "4050"
        assert sc.getConf().get("spark.rdd.compress") == "false"
        assert sc.parallelize([1, 2]).sum() == 3
    assert SparkSession.getActiveSession() is None
    SparkContext("local", "the next").stop()


def test_a_builder_takes_a_conf_and_a_dict(no_context: None) -> None:
    conf = SparkConf().setMaster("local").setAppName("conf")
    with SparkSession.builder.config(conf=conf).config(map={"my.flag": True}).getOrCreate() as spark:
        assert (spark.sparkContext.appName, spark.conf.get("my.flag")) == ("conf", "true")


def test_a_session_stands_on_the_context_that_lives(sc: SparkContext) -> None:
    spark = SparkSession.builder.appName("another").config("my.key", 1).getOrCreate()
    assert spark.sparkContext is sc
    assert sc.appName == "tests"
    assert spark.conf.get("my.key") == "1"
    assert SparkSession.builder.getOrCreate() is spark is SparkSession.getActiveSession() is SparkSession.active()


def test_a_builder_does_not_remember_what_another_one_was_told(sc: SparkContext) -> None:
    SparkSession.builder.config("my.other", 1)
    assert SparkSession.builder.getOrCreate().conf.get("my.other", None) is None


def test_a_new_session_shares_the_context_and_has_its_own_settings(sc: SparkContext) -> None:
    one = SparkSession(sc)
    two = one.newSession()
    one.conf.set("my.key", "one")
    assert two.sparkContext is sc
    assert (one.conf.get("my.key"), two.conf.get("my.key", "none")) == ("one", "none")


def test_stopping_a_session_stops_its_context(no_context: None) -> None:
    spark = SparkSession.builder.master("local").getOrCreate()
    spark.stop()
    with pytest.raises(IllegalStateException, match="Cannot use a stopped SparkContext"):
        spark.sparkContext.parallelize([1])
    with pytest.raises(IllegalStateException, match="There is no active session"):
        SparkSession.active()


def test_settings_of_a_context_that_runs_can_not_be_changed(sc: SparkContext) -> None:
    conf = SparkSession(sc).conf
    with pytest.raises(IllegalArgumentException, match="Cannot modify the value of a Spark config: spark.executor.mem"):
        conf.set("spark.executor.memory", "2g")
    conf.set("spark.sql.shuffle.partitions", 3)
    assert conf.get("spark.sql.shuffle.partitions") == "3"
    conf.unset("spark.sql.shuffle.partitions")
    with pytest.raises(NoSuchElementException, match="'spark.sql.shuffle.partitions' cannot be found"):
        conf.get("spark.sql.shuffle.partitions")


@pytest.mark.parametrize("kind", [SQLContext, HiveContext])
def test_an_sql_context_is_an_entry_over_a_session(sc: SparkContext, kind: type[SQLContext]) -> None:
    sql = kind(sc)
    assert sql.sparkSession.sparkContext is sc
    sql.setConf("spark.sql.x", True)
    assert (sql.getConf("spark.sql.x"), sql.getConf("spark.sql.y", "no")) == ("true", "no")
    assert kind.getOrCreate(sc).newSession().getConf("spark.sql.x", None) is None
    with pytest.raises(UnsupportedOperationException, match=f"{kind.__name__}.sql needs the SQL engine"):
        sql.sql("select 1")
    with pytest.raises(TypeError, match="sparkContext should be a SparkContext, got 'sc'"):
        kind("sc")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "use"),
    [
        ("SparkSession.sql", lambda sc: SparkSession(sc).sql("select 1")),
        ("SparkSession.createDataFrame", lambda sc: SparkSession(sc).createDataFrame([Row(a=1)])),
        ("SparkSession.read", lambda sc: SparkSession(sc).read.json("x")),
        ("SparkSession.readStream", lambda sc: SparkSession(sc).readStream),
        ("SparkSession.table", lambda sc: SparkSession(sc).table("x")),
        ("SparkSession.range", lambda sc: SparkSession(sc).range(3)),
        ("RDD.toDF", lambda sc: sc.parallelize([Row(a=1)]).toDF()),
        ("functions.explode", lambda sc: F.explode("words")),
        ("functions.udf", lambda sc: F.udf(str, StringType())),
        ("Window.partitionBy", lambda sc: Window.partitionBy("a")),
        ("DataFrame", lambda sc: DataFrame()),
        ("Column", lambda sc: Column()),
    ],
)
def test_what_needs_the_engine_says_so_and_what_to_use(
    sc: SparkContext, what: str, use: Callable[[SparkContext], Any]
) -> None:
    with pytest.raises(UnsupportedOperationException) as caught:
        use(sc)
    assert str(caught.value).startswith(f"{what} needs the SQL engine, which this version of Headwater doesn't have")
    assert "use RDDs" in str(caught.value)
    assert isinstance(caught.value, NotImplementedError)


def test_a_name_that_pyspark_has_not_is_no_attribute(sc: SparkContext) -> None:
    assert not hasattr(SparkSession(sc), "sqll")
    with pytest.raises(ImportError, match="cannot import name 'explod'"):
        from headwater.sql.functions import explod  # noqa: F401


def test_programs_that_only_import_sql_run() -> None:
    program = (
        "from headwater.sql import SparkSession, SQLContext, Row, DataFrame, Window\n"
        "import headwater.sql.functions as F, headwater.sql.types as T\n"
        "from headwater.sql.functions import col, explode, from_json\n"
        "from headwater.sql.functions import *\n"
        "from headwater.sql.types import *\n"
        "def words(df: DataFrame) -> DataFrame: return df.select(explode(split(df.value, ' ')))\n"
        "print(StructType([StructField('a', IntegerType())]).simpleString())"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "struct<a:int>\n"
