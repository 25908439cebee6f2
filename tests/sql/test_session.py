"""SparkSession and its elders: entries to one application, which costs nothing until SQL is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from headwater import HiveContext, Row, SparkConf, SparkContext, SQLContext
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    NoSuchElementException,
    SerializationError,
    UnsupportedOperationException,
)
from headwater.sql import SparkSession, functions
from headwater.sql.types import IntegerType


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
    with pytest.raises(NoSuchElementException, match='"spark.sql.shuffle.partitions" cannot be found'):
        conf.get("spark.sql.shuffle.partitions")


@pytest.mark.parametrize("kind", [SQLContext, HiveContext])
def test_an_sql_context_is_an_entry_over_a_session(sc: SparkContext, kind: type[SQLContext]) -> None:
    sql = kind(sc)
    assert sql.sparkSession.sparkContext is sc
    sql.setConf("spark.sql.x", True)
    assert (sql.getConf("spark.sql.x"), sql.getConf("spark.sql.y", "no")) == ("true", "no")
    assert kind.getOrCreate(sc).newSession().getConf("spark.sql.x", None) is None
    assert sql.sql("SELECT 1 AS one").collect() == [(1,)]
    with pytest.raises(TypeError, match="sparkContext should be a SparkContext, got 'sc'"):
        kind("sc")  # type: ignore[arg-type]


def test_session_context_and_rdds_share_one_application(sc: SparkContext) -> None:
    spark = SparkSession(sc)
    sc.parallelize([Row(word="to", n=2), Row(word="be", n=3)]).toDF().createOrReplaceTempView("words")
    assert SparkSession.builder.getOrCreate().table("words").count() == 2  # the session that toDF has taken
    frame = spark.createDataFrame(sc.range(5).map(lambda n: (n,)), ["n"])
    assert frame.rdd.context is sc
    assert frame.rdd.map(lambda row: row.n).sum() == 10
    assert frame.sparkSession is spark is frame.filter("n > 2").sparkSession


def test_older_names_of_contexts_lead_to_the_same(sc: SparkContext, tmp_path: Path) -> None:
    sql = SQLContext(sc, SparkSession(sc))
    people = sql.createDataFrame([("ann", 7), ("bob", 8)], ["name", "age"])
    sql.registerDataFrameAsTable(people, "people")
    assert ("people" in sql.tableNames(), sql.table("people").count()) == (True, 2)
    assert [row.tableName for row in sql.tables().collect() if row.isTemporary] == ["people"]
    sql.registerFunction("older", lambda age: age + 1, IntegerType())
    assert sql.sql("SELECT older(age) AS age FROM people ORDER BY 1").collect() == [(8,), (9,)]
    sql.cacheTable("people")
    sql.uncacheTable("people")
    people.write.parquet(str(tmp_path / "people"))
    assert sql.parquetFile(str(tmp_path / "people")).count() == sql.load(str(tmp_path / "people")).count() == 2
    assert (
        sql.applySchema(sc.parallelize([(1,)]), "n INT").collect() == sql.inferSchema(sc.parallelize([(1,)])).collect()
    )
    sql.dropTempTable("people")
    assert sql.tableNames() == []


def test_structured_streaming_says_what_to_use(sc: SparkContext) -> None:
    for what in (lambda: SparkSession(sc).readStream, lambda: SparkSession(sc).streams, lambda: SQLContext(sc).streams):
        with pytest.raises(UnsupportedOperationException, match=r"Its streams are DStreams, whose batches are DataFr"):
            what()


def test_a_session_can_not_be_taken_into_tasks(sc: SparkContext) -> None:
    spark = SparkSession(sc)
    frame = spark.range(3)
    for function in (lambda n: spark.range(n), lambda n: frame.count()):
        with pytest.raises(SerializationError, match="attempting to reference a SparkSession, or a DataFrame"):
            sc.parallelize([1]).map(function).collect()


def test_a_session_that_has_stopped_says_so(no_context: None) -> None:
    spark = SparkSession.builder.master("local").getOrCreate()
    frame = spark.range(3)
    assert frame.count() == 3
    spark.stop()
    with pytest.raises(IllegalStateException, match="has stopped with its application"):
        frame.count()
    with pytest.raises(IllegalStateException, match="Cannot use a stopped SparkContext"):
        spark.newSession().range(3)


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


def test_a_session_whose_sql_is_not_used_imports_nothing_of_it() -> None:
    program = (
        "import sys\n"
        "from headwater.sql import Row, SparkSession\n"
        "with SparkSession.builder.master('local').getOrCreate() as spark:\n"
        "    assert spark.sparkContext.parallelize([Row(a=1)]).collect() == [(1,)]\n"
        "print(sorted({'pyspark', 'pyarrow', 'pandas', 'grpc', 'pysail'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[]\n"


def test_workers_do_without_pysparks_client(no_context: None) -> None:
    def imported(rows: object) -> list[bool]:
        return ["pyspark" in sys.modules]

    with SparkSession.builder.master("local[1]").getOrCreate() as spark:
        rows = spark.createDataFrame(spark.sparkContext.parallelize([(1, "a")]), "n INT, word STRING").rdd
        assert rows.collect() == [(1, "a")]
        assert rows.mapPartitions(imported).collect() == [False]


def test_all_functions_of_pyspark_are_there_and_nothing_else_comes_with_a_star() -> None:
    from pyspark.sql import functions as pysparks

    only_typed = {"OrderingColumn", "PartitioningColumn", "SelectedColumn"}  # arguments of UDTFs
    assert set(pysparks.__all__) - set(functions.__all__) <= only_typed
    namespace: dict[str, object] = {}
    exec("from headwater.sql.functions import *", namespace)
    assert {"sys", "np", "warnings", "Any", "random", "decimal"} & namespace.keys() == set()
    assert {"col", "udf", "pandas_udf", "window", "explode", "sum"} <= namespace.keys()
    assert functions.countDistinct is not None


def test_functions_can_be_made_when_a_session_has_stopped_and_another_is_not_used_yet(no_context: None) -> None:
    """PySpark's client asks the latest session how functions are run."""
    with SparkSession.builder.master("local").getOrCreate() as spark:
        assert spark.range(1).count() == 1
    with SparkSession.builder.master("local").getOrCreate() as spark:
        twice = functions.udf(lambda n: 2 * n, "bigint")
        assert spark.range(3).select(twice("id").alias("n")).collect() == [(0,), (2,), (4,)]
