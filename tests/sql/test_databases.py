"""Tables of databases as DataFrames, and DataFrames as tables: on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt
import traceback
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pysail")

from pyspark.errors import AnalysisException

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException, UnsupportedOperationException
from headwater.sql import SparkSession, databases
from headwater.sql.dialects import Column
from headwater.sql.readwriter import Reader, Writer
from tests.conftest import stop_active_context
from tests.sql.stores import Store, new_store

SCHEMA = (
    "id INT, size BIGINT, share DOUBLE, name STRING, code BINARY, ok BOOLEAN, day DATE, at TIMESTAMP, "
    "price DECIMAL(10,2)"
)
ROWS: list[tuple[Any, ...]] = [
    (
        i,
        2**40 + i,
        i / 3,
        f'it\'s "{i}" %s {{}}' if i % 2 else None,
        b"\x00\xff",
        i % 2 == 0,
        dt.date(2024, 1, 1 + i),
        dt.datetime(2024, 5, 31, 12, 30, i, 123456),
        Decimal(i) + Decimal("0.25"),
    )
    for i in range(10)
] + [(None,) * 9]


@pytest.fixture(scope="module")
def spark() -> Iterator[SparkSession]:
    stop_active_context()
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("databases")) as sc:
        yield SparkSession(sc)


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store(request.param, request, tmp_path)


@pytest.fixture
def sqlite(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return new_store("sqlite", request, tmp_path)


def read(spark: SparkSession, store: Store, **options: Any) -> Any:
    return databases.read(spark.connected, {"url": store.url, **{key: str(value) for key, value in options.items()}})


def write(frame: Any, store: Store, mode: str = "error", **options: Any) -> None:
    given = {"url": store.url, "dbtable": "t", **{key: str(value) for key, value in options.items()}}
    databases.write(frame, mode, given)


def numbers(spark: SparkSession, *values: int | None, names: str = "n BIGINT") -> Any:
    return spark.createDataFrame([(value,) for value in values], names)


def ns(frame: Any) -> list[Any]:
    return sorted(row.n for row in frame.collect())


# ------------------------------------------------------------------------------------------------ rows
def test_rows_come_back_as_they_were_written(spark: SparkSession, store: Store) -> None:
    write(spark.createDataFrame(ROWS, SCHEMA), store)
    back = read(spark, store, dbtable="t")
    assert sorted(map(repr, map(tuple, back.collect()))) == sorted(map(repr, ROWS))
    assert back.columns == [part.split()[0] for part in SCHEMA.split(", ")]


def test_names_of_columns_may_be_anything(spark: SparkSession, store: Store) -> None:
    name = 'a "b" %s {} select'
    write(numbers(spark, 1, names=f"`{name}` BIGINT"), store)
    assert read(spark, store, dbtable="t").columns == [name]
    assert store.rows("SELECT * FROM t") == [(1,)]


def test_long_decimals_keep_their_digits(spark: SparkSession, store: Store) -> None:
    value = Decimal("12345678901234567890123.45678")
    write(spark.createDataFrame([(value,)], "d DECIMAL(30,5)"), store)
    back = read(spark, store, dbtable="t")
    assert (back.schema.simpleString(), back.collect()) == ("struct<d:decimal(30,5)>", [(value,)])


def test_types_of_sqlite_are_those_that_its_columns_declare(spark: SparkSession, sqlite: Store) -> None:
    sqlite.execute(
        "CREATE TABLE t (i INTEGER, v VARCHAR(9), r FLOAT, m DECIMAL(9,3), w NUMERIC(5), b BOOL, d DATE, at DATETIME,"
        " x BLOB)",
        "INSERT INTO t VALUES (1, 'a', 1, 2.5, 7, 1, '2024-05-01', '2024-05-01T10:00:00.500', x'00')",
    )
    back = read(spark, sqlite, dbtable="t")
    assert back.schema.simpleString() == (
        "struct<i:bigint,v:string,r:double,m:decimal(9,3),w:decimal(5,0),b:boolean,d:date,at:timestamp,x:binary>"
    )
    at = dt.datetime(2024, 5, 1, 10, 0, 0, 500000)
    assert back.collect() == [(1, "a", 1.0, Decimal("2.500"), Decimal(7), True, dt.date(2024, 5, 1), at, b"\0")]


def test_types_that_sqlite_does_not_know_are_those_of_the_first_rows(spark: SparkSession, sqlite: Store) -> None:
    sqlite.execute("CREATE TABLE t (a)", "INSERT INTO t VALUES (NULL), (1), (2.5)")
    back = read(spark, sqlite, query="SELECT a, count(*) OVER () AS n, 'x' || a AS s, NULL AS void FROM t")
    assert back.schema.simpleString() == "struct<a:double,n:bigint,s:string,void:string>"
    assert back.collect() == [(None, 3, None, None), (1.0, 3, "x1", None), (2.5, 3, "x2.5", None)]


def test_types_of_postgres_that_spark_has_not_are_texts(
    spark: SparkSession, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    store = new_store("postgres", request, tmp_path)
    store.execute(
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE TABLE t (s SMALLINT, r REAL, n NUMERIC, u UUID, j JSONB, m mood, l INT[], us UUID[], at TIMESTAMP)",
        "INSERT INTO t VALUES (1, 0.5, 1.5, '00000000-0000-0000-0000-000000000001', '{\"a\": 1}', 'good', '{1,NULL}',"
        " '{00000000-0000-0000-0000-000000000001}', '2024-05-01 10:00')",
    )
    back = read(spark, store, dbtable="t")
    assert back.schema.simpleString() == (
        "struct<s:smallint,r:float,n:decimal(38,18),u:string,j:string,m:string,l:array<int>,us:array<string>,"
        "at:timestamp>"
    )
    uuid = "00000000-0000-0000-0000-000000000001"
    at = dt.datetime(2024, 5, 1, 10)
    assert back.collect() == [(1, 0.5, Decimal("1.5"), uuid, '{"a": 1}', "good", [1, None], [uuid], at)]


def test_arrays_are_written_to_postgres_and_refused_by_sqlite(spark: SparkSession, store: Store) -> None:
    frame = spark.createDataFrame([([1, None],)], "l ARRAY<INT>")
    if store.kind == "postgres":
        write(frame, store)
        assert store.rows("SELECT * FROM t") == [([1, None],)]
    else:
        with pytest.raises(IllegalArgumentException, match="Can't get JDBC type for array<int>: column l. .*to_json"):
            write(frame, store)


def test_a_value_that_is_not_of_its_column_is_an_error_that_names_both(spark: SparkSession, sqlite: Store) -> None:
    sqlite.execute("CREATE TABLE t (n INTEGER)", "INSERT INTO t VALUES ('many')")
    with pytest.raises(ValueError, match="column n: 'many' of type str"):
        read(spark, sqlite, dbtable="t").collect()


def test_types_may_be_given(spark: SparkSession, store: Store) -> None:
    write(spark.createDataFrame([(1, "a")], "n INT, s STRING"), store, createTableColumnTypes="N CHAR(3), s VARCHAR(9)")
    back = read(spark, store, dbtable="t", customSchema="N INT")
    assert (back.schema.simpleString(), back.collect()) == ("struct<n:int,s:string>", [(1, "a")])
    if store.kind == "postgres":
        types = "SELECT data_type FROM information_schema.columns WHERE table_name = 't' ORDER BY ordinal_position"
        assert store.rows(types) == [("character",), ("character varying",)]


@pytest.mark.parametrize("types", ["other INT", "n", "n INT); DROP TABLE t; --"])
def test_given_types_must_be_columns_and_types(spark: SparkSession, sqlite: Store, types: str) -> None:
    with pytest.raises(IllegalArgumentException, match="createTableColumnTypes.* columns are n"):
        write(numbers(spark, 1), sqlite, createTableColumnTypes=types)


# ------------------------------------------------------------------------------------------------ what is read
def test_a_query_is_read_by_either_option(spark: SparkSession, store: Store) -> None:
    write(numbers(spark, 1, 2, 3), store)
    assert ns(read(spark, store, query="SELECT n FROM t WHERE n > 1")) == [2, 3]
    assert ns(read(spark, store, dbtable="(SELECT n + 1 AS n FROM t) AS more", fetchsize=2)) == [2, 3, 4]


def test_an_empty_table_has_its_columns(spark: SparkSession, store: Store) -> None:
    write(numbers(spark), store)
    back = read(spark, store, dbtable="t")
    assert (back.schema.simpleString(), back.collect()) == ("struct<n:bigint>", [])


@pytest.mark.parametrize("upper", [10, 2, 0])
def test_bounds_of_a_range_leave_no_row_out(spark: SparkSession, store: Store, upper: int) -> None:
    write(numbers(spark, *range(-5, 20), None), store)
    bounds = {"partitionColumn": "N", "lowerBound": 0, "upperBound": upper, "numPartitions": 4}
    back = read(spark, store, dbtable="t", **bounds)
    assert sorted(row.n for row in back.collect() if row.n is not None) == list(range(-5, 20))
    assert back.where("n IS NULL").count() == 1


def test_a_range_may_be_of_days_or_moments(spark: SparkSession, store: Store) -> None:
    write(spark.createDataFrame(ROWS, SCHEMA), store)
    for column, lower, upper in [("day", "2024-01-02", "2024-01-09"), ("at", "2024-05-31", "2024-05-31 13:00:00")]:
        bounds = {"partitionColumn": column, "lowerBound": lower, "upperBound": upper, "numPartitions": 3}
        assert read(spark, store, dbtable="t", **bounds).count() == len(ROWS)


@pytest.mark.parametrize(
    ("lower", "upper", "partitions", "conditions"),
    [
        ("0", "9", 3, ['"n" < 3 OR "n" IS NULL', '"n" >= 3 AND "n" < 6', '"n" >= 6']),
        ("0", "10", 3, ['"n" < 4 OR "n" IS NULL', '"n" >= 4 AND "n" < 7', '"n" >= 7']),
        ("-4", "4", 2, ['"n" < 0 OR "n" IS NULL', '"n" >= 0']),
        ("5", "5", 3, [""]),
        ("0", "9", 1, [""]),
    ],
)
def test_tasks_share_a_range_as_in_spark(lower: str, upper: str, partitions: int, conditions: list[str]) -> None:
    assert databases.conditions(Column("n", "long", "n"), lower, upper, partitions) == conditions


def test_a_range_of_days_is_shared_at_days() -> None:
    conditions = databases.conditions(Column("d", "date", "d"), "2024-01-01", "2024-01-03", 2)
    assert conditions == ['"d" < \'2024-01-02\' OR "d" IS NULL', "\"d\" >= '2024-01-02'"]


def test_reader_and_writer_have_jdbc(spark: SparkSession, store: Store) -> None:
    Writer(numbers(spark, 1, 2, 3), None).jdbc(store.url, "t", properties={"batchsize": "2"})
    Writer(numbers(spark, 4), None).format("jdbc").options(url=store.url, dbtable="t").mode("append").save()
    assert ns(Reader(spark.connected).jdbc(store.url, "t")) == [1, 2, 3, 4]
    assert ns(Reader(spark.connected).jdbc(store.url, "t", "n", 0, 4, 2)) == [1, 2, 3, 4]
    assert ns(Reader(spark.connected).jdbc(store.url, "t", predicates=["n < 2", "n > 3"])) == [1, 4]
    assert ns(Reader(spark.connected).format("jdbc").options(url=store.url, DBTABLE="t").load()) == [1, 2, 3, 4]


# ------------------------------------------------------------------------------------------------ modes
def test_modes_say_what_becomes_of_a_table_that_is_there(spark: SparkSession, store: Store) -> None:
    for mode, rows in [("ignore", [1]), ("append", [1, 2]), ("ignore", [1, 2]), ("Overwrite", [2])]:
        write(numbers(spark, rows[-1]), store, mode)
        assert ns(read(spark, store, dbtable="t")) == rows
    for mode in ("error", "errorIfExists"):
        with pytest.raises(AnalysisException) as caught:
            write(numbers(spark, 9), store, mode)
        assert str(caught.value).startswith(
            "[TABLE_OR_VIEW_ALREADY_EXISTS] Cannot create table or view `t` because it already exists."
        )
    assert ns(read(spark, store, dbtable="t")) == [2]
    with pytest.raises(IllegalArgumentException, match="mode is one of append, .*; got 'replace'"):
        write(numbers(spark, 9), store, "replace")


def test_overwriting_makes_the_table_anew_unless_it_is_truncated(spark: SparkSession, store: Store) -> None:
    store.execute("CREATE TABLE t (n BIGINT, s VARCHAR(9) DEFAULT 'new')", "INSERT INTO t VALUES (1, 'old')")
    write(numbers(spark, 2, names="N BIGINT"), store, "overwrite", truncate=True)
    assert store.rows("SELECT * FROM t") == [(2, "new")]
    write(numbers(spark, 3), store, "overwrite")
    assert store.rows("SELECT * FROM t") == [(3,)]


def test_a_table_may_be_overwritten_with_what_was_read_of_it(spark: SparkSession, store: Store) -> None:
    write(numbers(spark, 1, 2, 3), store)
    write(read(spark, store, dbtable="t").where("n > 1"), store, "overwrite")
    assert ns(read(spark, store, dbtable="t")) == [2, 3]


def test_a_frame_that_fails_leaves_the_table_that_it_was_to_replace(spark: SparkSession, store: Store) -> None:
    write(numbers(spark, 1), store)
    broken = spark.createDataFrame(spark.sparkContext.parallelize([1]).map(lambda n: (n // 0,)), "n BIGINT")
    with pytest.raises(ZeroDivisionError):
        write(broken, store, "overwrite")
    assert ns(read(spark, store, dbtable="t")) == [1]


def test_columns_that_a_table_has_not_are_refused(spark: SparkSession, store: Store) -> None:
    write(numbers(spark, 1), store)
    with pytest.raises(AnalysisException, match="Column 'm' not found in the table t, which has the columns n"):
        write(numbers(spark, 1, names="m BIGINT"), store, "append")


def test_a_partition_that_fails_leaves_nothing_of_itself(spark: SparkSession, store: Store) -> None:
    store.execute("CREATE TABLE t (n BIGINT CHECK (n <> 7))")
    with pytest.raises(Exception, match=r"(?i)check constraint"):
        write(numbers(spark, *range(10)), store, "append", batchsize=1)  # two partitions: 0 to 4, and 5 to 9
    assert ns(read(spark, store, dbtable="t")) in ([], list(range(5)))
    write(numbers(spark, 5, 6, 8), store, "append", numPartitions=1)


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "Option 'dbtable' or 'query' is required"),
        ({"dbtable": "t", "query": "SELECT 1"}, "Both 'dbtable' and 'query' can not be specified at the same time"),
        ({"dbtable": "t", "partitionColumn": "n", "numPartitions": "2"}, "all or none .* 'lowerBound', 'upperBound'"),
        ({"dbtable": "t", "lowerBound": "1", "upperBound": "2", "numPartitions": "2"}, "all or none"),
        ({"query": "SELECT 1", "partitionColumn": "n"}, "'query' and 'partitionColumn' can not be specified together"),
        ({"dbtable": "t", "fetchsize": "-1"}, "Option 'fetchsize' is a number, at least 0, got '-1'"),
        ({"dbtable": "t", "isolationLevel": "NONE"}, "option isolationlevel of databases isn't supported"),
        ({"dbtable": "t", "speed": "high"}, "SQLite takes no such option: speed"),
        ({"dbtable": "t", "customSchema": "m INT"}, "'customSchema' names columns that aren't there: m"),
        ({"dbtable": "t", **dict.fromkeys(("lowerBound", "upperBound", "numPartitions"), "1"), "partitionColumn": "m"},
         r"partition column m not found in the JDBC relation: \['n', 's'\]"),
        ({"dbtable": "t", **dict.fromkeys(("lowerBound", "upperBound", "numPartitions"), "1"), "partitionColumn": "s"},
         "Partition column type should be numeric, date, or timestamp, but string found"),
        ({"dbtable": "t", "lowerBound": "2", "upperBound": "1", "numPartitions": "1", "partitionColumn": "n"},
         "lower bound of partitioning column is larger than the upper bound. Lower bound: 2; Upper bound: 1"),
        ({"dbtable": "t", "lowerBound": "x", "upperBound": "1", "numPartitions": "1", "partitionColumn": "n"},
         "lowerBound and upperBound: 'x' is no bound of n"),
    ],
)  # fmt: skip
def test_options_that_can_not_be_honoured_are_refused(
    spark: SparkSession, sqlite: Store, options: dict[str, str], message: str
) -> None:
    sqlite.execute("CREATE TABLE t (n INTEGER, s TEXT)")
    with pytest.raises((IllegalArgumentException, UnsupportedOperationException), match=message):
        read(spark, sqlite, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"query": "SELECT 1"}, "Option 'dbtable' is required, and 'query' is for reading alone"),
        ({"dbtable": "t; DROP TABLE t"}, "is no name of a table"),
        ({"dbtable": "(SELECT 1) AS x"}, "is no name of a table"),
        ({"batchsize": "0"}, "Option 'batchsize' is a number, at least 1, got '0'"),
        ({"truncate": "perhaps"}, "Option 'truncate' is true or false, got 'perhaps'"),
        ({"url": "jdbc:sqlite::memory:"}, "a path of a file has to stand there"),
    ],
)
def test_a_write_that_can_not_be_is_refused(
    spark: SparkSession, sqlite: Store, options: dict[str, str], message: str
) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        databases.write(numbers(spark, 1), "append", {"url": sqlite.url, "dbtable": "t", **options})


def test_another_kind_of_database_is_refused_with_what_to_do(spark: SparkSession) -> None:
    with pytest.raises(UnsupportedOperationException) as caught:
        databases.read(spark.connected, {"url": "jdbc:mysql://root:s3cret@host/db", "dbtable": "t"})
    assert "kind 'mysql'" in str(caught.value)
    assert "df.foreachPartition(function)" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_not_made_by_reading(spark: SparkSession, tmp_path: Path) -> None:
    with pytest.raises(IllegalArgumentException, match="none.db: there is no such file"):
        databases.read(spark.connected, {"url": f"sqlite:{tmp_path}/none.db", "dbtable": "t"})
    assert not list(tmp_path.iterdir())
    with pytest.raises(SparkException, match="unable to open database file"):
        databases.write(numbers(spark, 1), "error", {"url": f"sqlite:{tmp_path}/none/x.db", "dbtable": "t"})


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("jdbc:postgresql://ann:s3cret@localhost:1/shop", {}),
        ("postgresql://localhost:1/shop", {"user": "ann", "password": "s3cret"}),
        ("jdbc:postgresql://localhost:1/shop?user=ann&password=s3cret&no_such=1", {}),
    ],
)
def test_passwords_are_in_no_error(spark: SparkSession, url: str, options: dict[str, str]) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(Exception, match="localhost:1/shop: ") as caught:
        databases.read(spark.connected, {"url": url, "dbtable": "t", **options})
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
