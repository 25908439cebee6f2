"""Arrays, maps, structs and JSON in columns."""

# mypy: ignore-errors

from __future__ import annotations

from typing import Any

from headwater.sql import Row
from headwater.sql import functions as F
from headwater.sql.types import ArrayType, IntegerType, LongType, StringType, StructField, StructType

_EVENTS = [('{"user": "ann", "n": 3, "tags": ["x", "y"]}',), ('{"user": "bob", "geo": {"lat": 1.5}}',), ("no json",)]


def explode_of_arrays_drops_empty_ones_unless_outer(spark: Any, tmp: str) -> None:
    orders = spark.createDataFrame([(1, ["a", "b"]), (2, []), (3, None)], "id int, items array<string>")
    orders.select("id", F.explode("items").alias("item")).show()
    orders.select("id", F.explode_outer("items").alias("item")).orderBy("id", "item").show()


def explode_of_maps_gives_key_and_value(spark: Any, tmp: str) -> None:
    counts = spark.createDataFrame([(1, {"a": 1}), (2, {"b": 2})], ["id", "counts"])
    counts.select("id", F.explode("counts")).orderBy("id").show()


def functions_of_arrays(spark: Any, tmp: str) -> Any:
    arrays = spark.createDataFrame([([3, 1, 2, 3], [3, 4])], ["a", "b"])
    return arrays.select(
        F.size("a"),
        F.array_contains("a", 2),
        F.sort_array("a", asc=False),
        F.array_distinct("a"),
        F.array_union("a", "b"),
        F.array_intersect("a", "b"),
        F.array_except("a", "b"),
        F.array_max("a"),
        F.slice("a", 2, 2),
        F.element_at("a", -1),
        F.array_position("a", 2),
        F.array_remove("a", 3),
    ).first()


def arrays_joined_flattened_and_zipped(spark: Any, tmp: str) -> Any:
    arrays = spark.createDataFrame([([["a"], ["b", "c"]], ["x", None])], ["a", "b"])
    return arrays.select(
        F.flatten("a").alias("f"), F.array_join("b", "-", "?").alias("j"), F.arrays_zip("b", F.flatten("a")).alias("z")
    ).first()


def higher_order_functions_of_arrays(spark: Any, tmp: str) -> Any:
    arrays = spark.createDataFrame([([1, 2, 3, 4],)], ["a"])
    return arrays.select(
        F.transform("a", lambda x: x * 10).alias("t"),
        F.filter("a", lambda x: x % 2 == 0).alias("f"),
        F.exists("a", lambda x: x > 3).alias("e"),
        F.forall("a", lambda x: x > 3).alias("all"),
        F.aggregate("a", F.lit(0).cast("bigint"), lambda total, x: total + x).alias("sum"),
    ).first()


def functions_of_maps(spark: Any, tmp: str) -> Any:
    maps = spark.createDataFrame([({"a": 1},)], ["m"])
    return maps.select(
        F.map_keys("m"), F.map_values("m"), F.size("m"), maps.m["a"], maps.m.getItem("b"), F.map_entries("m")
    ).first()


def maps_are_created_and_concatenated(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame([("k", 1)], ["k", "v"])
    return rows.select(
        F.create_map("k", "v").alias("c"),
        F.sort_array(F.map_keys(F.map_concat(F.create_map("k", "v"), F.create_map(F.lit("z"), F.lit(9))))).alias("cc"),
        F.map_from_arrays(F.array(F.lit("p")), F.array("v")).alias("a"),
        F.expr("str_to_map('a:1,b:2')").alias("s"),
    ).first()


def maps_filtered_and_transformed(spark: Any, tmp: str) -> Any:
    maps = spark.createDataFrame([({"a": 1, "b": 2},)], ["m"])
    kept = F.map_filter("m", lambda key, value: value > 1).alias("kept")
    return maps.select(kept, F.transform_values("m", lambda key, value: value * 10).alias("tens")).first()


def structs_and_their_fields(spark: Any, tmp: str) -> Any:
    people = spark.createDataFrame([Row(name="ann", home=Row(city="Rome", zip=10))])
    made = people.select(F.struct("name", "home.city").alias("s"), people.home.zip, people.home["city"].alias("c"))
    return made.collect(), people.select("home.*").columns, people.where("home.zip = 10").count()


def a_field_of_a_struct_is_replaced_or_dropped(spark: Any, tmp: str) -> Any:
    people = spark.createDataFrame([Row(home=Row(city="Rome", zip=10))])
    changed = people.withColumn("home", F.col("home").withField("zip", F.lit(11)))
    return changed.first(), people.select(people.home.dropFields("zip").alias("h")).first()


def json_events_parsed_with_a_schema(spark: Any, tmp: str) -> None:
    fields = [("user", StringType()), ("n", IntegerType()), ("tags", ArrayType(StringType()))]
    schema = StructType([StructField(name, kind) for name, kind in fields])
    events = spark.createDataFrame(_EVENTS, ["value"]).select(F.from_json("value", schema).alias("e"))
    events.select("e.*").show()


def json_events_parsed_with_ddl(spark: Any, tmp: str) -> Any:
    events = spark.createDataFrame(_EVENTS, ["value"])
    parsed = events.select(F.from_json("value", "user string, geo struct<lat: double>").alias("e"))
    return parsed.select("e.user", "e.geo.lat").collect()


def paths_into_json(spark: Any, tmp: str) -> Any:
    events = spark.createDataFrame(_EVENTS, ["value"])
    return events.select(
        F.get_json_object("value", "$.user").alias("u"),
        F.get_json_object("value", "$.tags[0]").alias("t"),
        F.get_json_object("value", "$.geo").alias("g"),
    ).collect()


def structs_become_json(spark: Any, tmp: str) -> Any:
    rows = spark.createDataFrame(
        [Row(a=1, b=None, c=[1, 2], d={"k": 1.0})], "a int, b string, c array<int>, d map<string,double>"
    )
    return rows.select(F.to_json(F.struct("*")).alias("j")).first()


def schema_of_json_is_inferred(spark: Any, tmp: str) -> Any:
    return spark.range(1).select(F.schema_of_json(F.lit('{"a": 1, "b": ["x"]}')).alias("s")).first()


def collected_structs_are_rows(spark: Any, tmp: str) -> Any:
    words = spark.createDataFrame([("a", 1), ("a", 2)], ["k", "v"]).coalesce(1)
    row = words.groupBy("k").agg(F.sort_array(F.collect_list(F.struct("v", "k"))).alias("all")).first()
    return row, row["all"][0].v, row.asDict(recursive=True)


def schema_of_nested_columns(spark: Any, tmp: str) -> Any:
    element = StructType([StructField("n", LongType(), False)])
    schema = StructType([StructField("list", ArrayType(element, False), False)])
    frame = spark.createDataFrame([([(1,)],)], schema)
    frame.printSchema()
    return frame.schema
