"""SQL as text: queries, views, the catalog."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import functions as F

_ROWS = [(1, "ann", 30), (2, "bob", 20), (3, "cid", 30)]


def _people(spark: Any) -> Any:
    people = spark.createDataFrame(_ROWS, ["id", "name", "age"])
    people.createOrReplaceTempView("people")
    return people


def where_order_and_limit(spark: Any, tmp: str) -> None:
    _people(spark)
    spark.sql("SELECT name, age + 1 AS next FROM people WHERE age >= 20 ORDER BY age DESC, name LIMIT 2").show()


def names_of_unnamed_columns(spark: Any, tmp: str) -> Any:
    _people(spark)
    return spark.sql(
        "SELECT count(*), count(1), max(age), upper(name), age * 2, 1, 'x' FROM people GROUP BY name, age"
    ).columns


def names_of_unnamed_column_expressions(spark: Any, tmp: str) -> Any:
    people = _people(spark)
    age = people.age
    return people.select(
        age + 1, -age, age > 3, (age > 3) & (age < 9), age.cast("string"), F.lit("x"), F.when(age > 1, 2)
    ).columns


def common_table_expressions(spark: Any, tmp: str) -> Any:
    _people(spark)
    return spark.sql(
        "WITH old AS (SELECT * FROM people WHERE age = 30) SELECT count(*) n, min(name) m FROM old"
    ).first()


def subqueries(spark: Any, tmp: str) -> Any:
    _people(spark)
    old = spark.sql("SELECT name FROM people WHERE age > (SELECT avg(age) FROM people) ORDER BY name").collect()
    inside = spark.sql("SELECT t.a FROM (SELECT age a FROM people WHERE id IN (SELECT 2)) t").collect()
    return (
        old,
        inside,
        spark.sql(
            "SELECT name FROM people p WHERE EXISTS (SELECT 1 FROM people q WHERE q.age < p.age) ORDER BY 1"
        ).collect(),
    )


def set_operations(spark: Any, tmp: str) -> Any:
    queries = [
        "SELECT 1 x UNION ALL SELECT 1",
        "SELECT 1 x UNION SELECT 1",
        "SELECT 1 x INTERSECT SELECT 2",
        "VALUES (1), (2) EXCEPT SELECT 2",
    ]
    return [spark.sql(query).collect() for query in queries]


def lateral_view_explodes(spark: Any, tmp: str) -> None:
    spark.createDataFrame([("d1", "x y"), ("d2", "z")], ["id", "text"]).createOrReplaceTempView("docs")
    spark.sql("SELECT id, word FROM docs LATERAL VIEW explode(split(text, ' ')) t AS word ORDER BY id, word").show()


def arguments_of_a_query(spark: Any, tmp: str) -> Any:
    _people(spark)
    named = spark.sql("SELECT name FROM people WHERE age = :age AND id < :id", args={"age": 30, "id": 3}).collect()
    frame = spark.createDataFrame([(5,)], ["n"])
    return (
        named,
        spark.sql("SELECT ? + 1 AS n", args=[41]).collect(),
        spark.sql("SELECT n FROM {df}", df=frame).collect(),
    )


def pivot_in_sql(spark: Any, tmp: str) -> None:
    spark.sql(
        """SELECT * FROM (SELECT * FROM VALUES ('a', 'x', 1), ('a', 'y', 2), ('b', 'x', 3) t(k, c, v))
           PIVOT (sum(v) FOR c IN ('x', 'y')) ORDER BY k"""
    ).show()


def expressions_as_text(spark: Any, tmp: str) -> Any:
    people = _people(spark)
    selected = people.selectExpr("id", "upper(name) AS name", "age > 25 old").where("old AND id < 3")
    return selected.collect(), people.select(F.expr("age div 7 AS d")).orderBy("d").collect()


def views_are_listed_and_dropped(spark: Any, tmp: str) -> Any:
    _people(spark)
    before = (
        [(table.name, table.isTemporary) for table in spark.catalog.listTables()],
        spark.catalog.tableExists("people"),
    )
    return (
        before,
        spark.catalog.dropTempView("people"),
        spark.catalog.dropTempView("people"),
        spark.catalog.listTables(),
    )


def global_views_have_a_database_of_their_own(spark: Any, tmp: str) -> Any:
    spark.range(2).createOrReplaceGlobalTempView("everywhere")
    rows = spark.sql("SELECT * FROM global_temp.everywhere ORDER BY id").collect()
    return rows, spark.catalog.dropGlobalTempView("everywhere")


def a_view_exists_already(spark: Any, tmp: str) -> None:
    _people(spark).createTempView("people")


def views_created_in_sql(spark: Any, tmp: str) -> Any:
    _people(spark)
    spark.sql("CREATE OR REPLACE TEMPORARY VIEW old AS SELECT * FROM people WHERE age > 25")
    return spark.table("old").orderBy("id").collect()


def show_tables_and_columns(spark: Any, tmp: str) -> None:
    _people(spark)
    spark.sql("SHOW TABLES").show()
    spark.sql("DESCRIBE people").show()


def columns_of_a_view_in_the_catalog(spark: Any, tmp: str) -> Any:
    _people(spark)
    return [(column.name, column.dataType, column.nullable) for column in spark.catalog.listColumns("people")]


def databases(spark: Any, tmp: str) -> Any:
    spark.sql("CREATE DATABASE IF NOT EXISTS stats")
    names = sorted(database.name for database in spark.catalog.listDatabases())
    spark.sql("DROP DATABASE stats")
    return names, spark.catalog.currentDatabase(), spark.catalog.databaseExists("stats")


def a_table_is_created_filled_and_read(spark: Any, tmp: str) -> None:
    spark.sql("CREATE TABLE scores (name STRING, score INT) USING parquet")
    spark.sql("INSERT INTO scores VALUES ('ann', 3), ('bob', 4)")
    spark.sql("INSERT INTO scores SELECT 'cid', 5")
    spark.sql("SELECT name, score FROM scores ORDER BY score DESC").show()


def settings_in_sql_and_conf(spark: Any, tmp: str) -> Any:
    spark.sql("SET spark.sql.shuffle.partitions=2")
    spark.conf.set("my.flag", True)
    return (
        spark.conf.get("spark.sql.shuffle.partitions"),
        spark.conf.get("my.flag"),
        spark.conf.get("not.there", "default"),
    )


def cached_tables(spark: Any, tmp: str) -> Any:
    people = _people(spark).cache()
    spark.catalog.cacheTable("people")
    cached = spark.catalog.isCached("people"), people.is_cached
    spark.catalog.uncacheTable("people")
    return people.count(), cached, people.unpersist().is_cached
