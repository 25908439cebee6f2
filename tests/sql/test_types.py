"""The types of columns, written as Spark writes them."""

from __future__ import annotations

import json
import pickle

import pytest

from headwater.errors import IllegalArgumentException
from headwater.sql.types import *  # noqa: F403
from headwater.sql.types import (
    ArrayType,
    ByteType,
    CharType,
    DataType,
    DecimalType,
    IntegerType,
    LongType,
    MapType,
    NullType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
    VarcharType,
)

SCHEMA = StructType(
    [
        StructField("word", StringType(), False),
        StructField("seen", ArrayType(TimestampType(), False)),
        StructField("by", MapType(StringType(), DecimalType(5, 2))),
        StructField("code", CharType(3), True, {"note": "ISO"}),
    ]
)


@pytest.mark.parametrize(
    ("kind", "name", "sql", "program"),
    [
        (NullType(), "void", "void", "NullType()"),
        (StringType(), "string", "string", "StringType()"),
        (ByteType(), "byte", "tinyint", "ByteType()"),
        (ShortType(), "short", "smallint", "ShortType()"),
        (IntegerType(), "integer", "int", "IntegerType()"),
        (LongType(), "long", "bigint", "LongType()"),
        (TimestampNTZType(), "timestamp_ntz", "timestamp_ntz", "TimestampNTZType()"),
        (DecimalType(), "decimal", "decimal(10,0)", "DecimalType(10,0)"),
        (VarcharType(9), "varchar", "varchar(9)", "VarcharType(9)"),
        (ArrayType(LongType()), "array", "array<bigint>", "ArrayType(LongType(), True)"),
        (
            MapType(StringType(), ByteType(), False),
            "map",
            "map<string,tinyint>",
            "MapType(StringType(), ByteType(), False)",
        ),
        (
            StructType([StructField("a", IntegerType())]),
            "struct",
            "struct<a:int>",
            "StructType([StructField('a', IntegerType(), True)])",
        ),
    ],
)
def test_a_type_has_three_names(kind: DataType, name: str, sql: str, program: str) -> None:
    assert (kind.typeName(), kind.simpleString(), repr(kind)) == (name, sql, program)
    assert eval(program) == kind


def test_a_schema_is_written_as_spark_s_json() -> None:
    assert StructType([StructField("a", DecimalType(5, 2))]).json() == (
        '{"fields":[{"metadata":{},"name":"a","nullable":true,"type":"decimal(5,2)"}],"type":"struct"}'
    )


def test_a_schema_comes_back_from_its_json() -> None:
    again = StructType.fromJson(json.loads(SCHEMA.json()))
    assert again == SCHEMA
    assert again["code"].metadata == {"note": "ISO"}


def test_types_are_equal_by_value_and_can_be_keys() -> None:
    assert ArrayType(StringType()) == ArrayType(StringType())
    assert ArrayType(StringType()) != ArrayType(StringType(), False)
    assert CharType(3) != VarcharType(3)
    assert len({DecimalType(5, 2), DecimalType(5, 2), DecimalType(5, 3)}) == 2
    assert pickle.loads(pickle.dumps(SCHEMA)) == SCHEMA


def test_a_schema_is_built_field_by_field() -> None:
    schema = StructType().add("word", "string", False).add("price", "decimal(5,2)").add(StructField("n", LongType()))
    assert [(field.name, field.dataType, field.nullable) for field in schema] == [
        ("word", StringType(), False),
        ("price", DecimalType(5, 2), True),
        ("n", LongType(), True),
    ]
    assert schema.fieldNames() == schema.names == ["word", "price", "n"]


def test_a_schema_is_indexed_by_name_position_and_slice() -> None:
    assert SCHEMA["word"] is SCHEMA[0] is SCHEMA.fields[0]
    assert SCHEMA[1:3].names == ["seen", "by"]
    assert len(SCHEMA) == 4
    with pytest.raises(KeyError, match="No StructField named size"):
        _ = SCHEMA["size"]


def test_what_is_no_type_is_refused_where_it_is_given() -> None:
    with pytest.raises(TypeError, match=r"elementType should be a DataType, got .*Did you mean StringType\(\)\?"):
        ArrayType(StringType)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Must specify DataType if passing name of struct_field to create"):
        StructType().add("a")
    with pytest.raises(IllegalArgumentException, match="Could not parse datatype: 'text'. A simple type is one of vo"):
        StructType().add("a", "text")
    with pytest.raises(TypeError, match="fields should be a list of StructField, got 'a'"):
        StructType(["a"])  # type: ignore[list-item]
