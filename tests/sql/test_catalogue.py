"""The tables of a warehouse outlive their application: a note of each, by which another one's engine knows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.sql import SparkSession
from headwater.sql.catalogue import Catalogue, Table, described_table
from headwater.sql.statements import change_of, literal, options_of, plain, quoted
from headwater.sql.utils import AnalysisException

WORDS = Table("default.words", "CREATE TABLE words", "/data/words")


def test_a_table_is_there_for_the_next_catalogue(tmp_path: Path) -> None:
    first = Catalogue(str(tmp_path))
    first.add(Table("shop", "CREATE DATABASE shop"))
    first.add(WORDS)
    first.add(Table("shop.odd name/?", "CREATE TABLE odd", "/data/odd"))
    last, statements = Catalogue(str(tmp_path)).statements_since(0)
    assert last == 3
    assert statements[0] == "CREATE DATABASE shop"
    assert set(statements[1:]) == {
        "DROP TABLE IF EXISTS `default`.`words`",
        "CREATE TABLE words",
        "DROP TABLE IF EXISTS `shop`.`odd name/?`",
        "CREATE TABLE odd",
    }


def test_who_knows_all_is_told_what_has_changed_since(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path))
    known = catalogue.add(WORDS)
    assert catalogue.statements_since(known) == (known, [])
    catalogue.drop("default.words")
    assert catalogue.statements_since(known) == (known + 1, ["DROP TABLE IF EXISTS `default`.`words`"])
    assert catalogue.statements_since(0) == (known + 1, [])  # it never was there for a new engine


@pytest.mark.parametrize(("managed", "is_left"), [(True, False), (False, True)])
def test_a_managed_tables_data_go_with_it(tmp_path: Path, managed: bool, is_left: bool) -> None:
    data = tmp_path / "data"
    data.mkdir()
    catalogue = Catalogue(str(tmp_path / "warehouse"))
    catalogue.add(Table("default.t", "CREATE TABLE t", str(data), managed=managed))
    catalogue.drop("default.t")
    assert data.is_dir() is is_left
    assert Catalogue(str(tmp_path / "warehouse")).statements_since(0)[1] == []


def test_a_database_that_is_dropped_takes_its_tables_along(tmp_path: Path) -> None:
    catalogue = Catalogue(str(tmp_path))
    catalogue.add(Table("shop", "CREATE DATABASE shop"))
    catalogue.add(Table("shop.t", "CREATE TABLE t", "/data/t"))
    catalogue.drop("shop")
    assert Catalogue(str(tmp_path)).statements_since(0)[1] == []


def test_a_table_is_made_known_by_what_is_told_of_it() -> None:
    told = [
        ("word", "string"),
        ("it's `odd`", "int"),
        ("# Partition Information", ""),
        ("# col_name", "data_type"),
        ("word", "string"),
        ("", ""),
        ("# Detailed Table Information", ""),
        ("Type", "EXTERNAL"),
        ("Provider", "csv"),
        ("Location", "/data/it's"),
    ]
    table = described_table("a.b", [{"col_name": name, "data_type": kind} for name, kind in told], {"header": "true"})
    assert table == Table(
        "a.b",
        "CREATE TABLE IF NOT EXISTS `a`.`b` (`word` string, `it's ``odd``` int) USING csv OPTIONS ('header' 'true') "
        r"PARTITIONED BY (`word`) LOCATION '/data/it\'s'",
        "/data/it's",
    )


def test_tables_and_databases_are_there_for_the_next_application(no_context: None, tmp_path: Path) -> None:
    builder = SparkSession.builder.master("local").config("spark.sql.warehouse.dir", str(tmp_path / "warehouse"))
    with builder.getOrCreate() as spark:
        spark.sql("CREATE DATABASE shop")
        spark.createDataFrame([("tea", 3), ("milk", 1)], "item STRING, n INT").write.saveAsTable("shop.sales")
        spark.sql("USE shop")
        spark.sql("CREATE TABLE more USING csv OPTIONS (header 'true') AS SELECT * FROM sales WHERE n > 1")
    with builder.getOrCreate() as spark:
        assert spark.table("shop.sales").count() == 2
        assert spark.sql("SELECT item FROM shop.more").collect() == [("tea",)]
        spark.sql("DROP TABLE shop.more")
    with builder.getOrCreate() as spark:
        with pytest.raises(AnalysisException, match="more"):
            spark.table("shop.more").collect()
        assert [path for path in (tmp_path / "warehouse").iterdir() if path.name.startswith("more")] == []


# ------------------------------------------------------------------------------------------------ statements
@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("SELECT 'create table x'", None),
        ("INSERT INTO t VALUES (1)", None),
        ("create or replace temp view v as select 1", ("view", "v", False, False)),
        ("CREATE GLOBAL TEMPORARY VIEW v AS SELECT 1", ("view", "v", False, False)),
        ("/* a */ -- b\n CREATE EXTERNAL TABLE a.b (x INT) LOCATION 'x'", ("table", "a.b", False, False)),
        ("CREATE TABLE t USING parquet AS (SELECT 1)", ("table", "t", False, True)),
        ("create table t as with a as (select 1) select * from a", ("table", "t", False, True)),
        ("DROP TABLE IF EXISTS `a.b`.c", ("table", "a.b.c", True, False)),
        ("drop schema shop cascade", ("database", "shop", True, False)),
        ("USE shop", ("use", "shop", False, False)),
        ("SET spark.sql.ansi.enabled = true", ("set", "spark.sql.ansi.enabled", False, False)),
        ("SET TIME ZONE 'UTC'", ("set", "", False, False)),
    ],
)
def test_a_statement_says_what_it_changes(statement: str, expected: tuple[str, str, bool, bool] | None) -> None:
    change = change_of(statement)
    assert (None if change is None else tuple(change)) == expected


def test_names_options_and_texts_of_statements() -> None:
    assert plain("`a b` . c") == "a b.c"
    assert quoted("a.b`c") == "`a`.`b``c`"
    assert literal("a'b\\c") == r"'a\'b\\c'"
    assert options_of("CREATE TABLE t USING csv OPTIONS ('sep' ';', header = 'true')") == {"sep": ";", "header": "true"}
