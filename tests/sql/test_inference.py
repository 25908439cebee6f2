"""Inference: the schema of rows that say none, by Spark's rules."""

from __future__ import annotations

from array import array
from collections import namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.sql import Row
from headwater.sql.inference import infer_from, infer_schema, is_undetermined, merge_schemas, name_of, renamed

INSTANT = pa.timestamp("us", tz="UTC")
Point = namedtuple("Point", ["x", "y"])


def list_of(element: pa.DataType, nullable: bool = True) -> pa.DataType:
    return pa.list_(pa.field("element", element, nullable=nullable))


def type_of(value: object) -> pa.DataType:
    return infer_schema((value,)).field(0).type


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, pa.null()),
        (True, pa.bool_()),
        (1, pa.int64()),
        (1.0, pa.float64()),
        ("a", pa.string()),
        (b"a", pa.binary()),
        (bytearray(b"a"), pa.binary()),
        (Decimal("1.5"), pa.decimal128(38, 18)),
        (date(2026, 1, 2), pa.date32()),
        (datetime(2026, 1, 2), INSTANT),
        (datetime(2026, 1, 2, tzinfo=timezone.utc), INSTANT),
        (time(1, 2), pa.time64("ns")),
        (timedelta(1), pa.duration("us")),
        ([1, None, 2], list_of(pa.int64())),
        ([None, [None], [1]], list_of(list_of(pa.int64()))),
        ([1, "a"], list_of(pa.string())),
        ([], list_of(pa.null())),
        ({"a": 1, "b": None}, pa.map_(pa.string(), pa.int64())),
        ({"a": None, "b": [1]}, pa.map_(pa.string(), list_of(pa.int64()))),
        ({}, pa.null()),  # Arrow has no map without a type of keys
        (("a", 1), pa.struct({"_1": pa.string(), "_2": pa.int64()})),
        (Row(b=1, a="x"), pa.struct({"b": pa.int64(), "a": pa.string()})),
        (Point(1, 2.0), pa.struct({"x": pa.int64(), "y": pa.float64()})),
        (SimpleNamespace(b=1, a="x"), pa.struct({"a": pa.string(), "b": pa.int64()})),
        ([{"a": 1}, {"b": 2}], list_of(pa.map_(pa.string(), pa.int64()))),
        ([Row(a=1), Row(a=None, b="x")], list_of(pa.struct({"a": pa.int64(), "b": pa.string()}))),
        (array("d", [1.0]), list_of(pa.float64(), nullable=False)),
        (array("i", [1]), list_of(pa.int32(), nullable=False)),
        (array("H", [1]), list_of(pa.int32(), nullable=False)),
        (np.float64(1), pa.float64()),
        (np.int16(1), pa.int16()),
        (np.bool_(True), pa.bool_()),
        (np.str_("a"), pa.string()),
        (np.array([1.0, 2.0], "float32"), list_of(pa.float32())),
        (np.array([[1], [2]]), list_of(list_of(pa.int64()))),
    ],
    ids=repr,
)
def test_type_of_a_value(value: Any, expected: pa.DataType) -> None:
    assert type_of(value) == expected


@pytest.mark.parametrize(
    ("row", "names", "expected"),
    [
        (("a", 1), None, ["_1", "_2"]),
        (["a", 1], None, ["_1", "_2"]),
        (("a", 1, 2), ["word"], ["word", "_2", "_3"]),
        (("a", 1), ["word", "n", "more"], ["word", "n"]),
        (Row(b=1, a=2), ["x", "y"], ["b", "a"]),
        (Row(1, 2), ["x", "y"], ["x", "y"]),
        (Point(1, 2), None, ["x", "y"]),
        ({"b": 1, "a": 2}, ["x", "y"], ["a", "b"]),
        (SimpleNamespace(b=1, a=2), None, ["a", "b"]),
        (Row("a", "a")(1, 2), None, ["a", "a"]),
    ],
    ids=repr,
)
def test_names_of_a_row(row: Any, names: list[str] | None, expected: list[str]) -> None:
    assert infer_schema(row, names).names == expected
    assert names is None or "_3" not in names  # a caller's list stays as it is


@pytest.mark.parametrize("row", [1, "a", None, 1.5, {1, 2}])
def test_value_that_is_no_record_has_no_schema(row: object) -> None:
    kind = type(row).__name__
    with pytest.raises(TypeError, match=rf"\[CANNOT_INFER_SCHEMA_FOR_TYPE\] Can not infer schema for type: `{kind}`\."):
        infer_schema(row)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({1, 2}, r"\[UNSUPPORTED_DATA_TYPE\] Unsupported DataType `set`"),
        (array("Q", [1]), r"\[UNSUPPORTED_DATA_TYPE\] Unsupported DataType `array\(Q\)`"),
        ([1, [2]], r"\[CANNOT_MERGE_TYPE\] Can not merge type `LongType` and `ArrayType`"),
        ({"a": 1, "b": 1.5}, r"\[CANNOT_MERGE_TYPE\] Can not merge type `LongType` and `DoubleType`"),
        ((1, {2}), r"\[CANNOT_INFER_TYPE_FOR_FIELD\] Unable to infer the type of the field `_2`"),
    ],
    ids=repr,
)
def test_field_without_a_type_is_named_with_the_reason(value: object, why: str) -> None:
    text = r"\[CANNOT_INFER_TYPE_FOR_FIELD\] Unable to infer the type of the field `odd`\. .*"
    with pytest.raises(TypeError, match=text + why):
        infer_schema(Row(odd=value))


# ------------------------------------------------------------------------------------------------ many rows
def test_first_row_decides_unless_a_type_is_open() -> None:
    assert infer_from([("a", 1), (1, "b")]) == pa.schema({"_1": "string", "_2": "int64"})
    assert infer_from([("a", None), (None, None), ("c", 1), ("d", {})]) == pa.schema({"_1": "string", "_2": "int64"})


def test_a_hundred_rows_are_looked_at_for_an_open_type() -> None:
    for nones, undetermined in ((99, False), (100, True)):
        schema = infer_from([(None,)] * nones + [(1,)])
        assert is_undetermined(schema) is undetermined
    assert is_undetermined(infer_from([([],)]))
    assert is_undetermined(infer_from([((1, None),)]))


def test_all_rows_count_if_asked_to() -> None:
    rows = [(1, None), ("a", None)] + [(2, None)] * 200 + [(3, Row(x=1)), (3, Row(x=1, y="b"))]
    both = pa.struct({"x": pa.int64(), "y": pa.string()})
    assert infer_from(rows, ["k", "v"], all_rows=True) == pa.schema({"k": pa.string(), "v": both})
    dicts = [{"b": 1}, {"a": "x", "b": None}, {"b": 2}]
    assert infer_from(dicts, all_rows=True) == pa.schema({"b": pa.int64(), "a": pa.string()})
    objects = [SimpleNamespace(a=None), SimpleNamespace(a=1)]
    assert infer_from(objects, all_rows=True) == pa.schema({"a": pa.int64()})


@pytest.mark.parametrize("rows", [[], [()], [{}], [[]]], ids=repr)
def test_nothing_has_no_schema(rows: list[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"^\[CANNOT_INFER_EMPTY_SCHEMA\] Can not infer schema from an empty dataset\."
    ):
        infer_from(rows)


def test_first_fields_are_renamed() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False), ("b", pa.string())])
    assert renamed(schema, ["x"]) == pa.schema([pa.field("x", pa.int64(), nullable=False), ("b", pa.string())])
    with pytest.raises(
        ValueError, match=r"\[AXIS_LENGTH_MISMATCH\] Length mismatch: Expected axis has 2 elements, new"
    ):
        renamed(schema, ["x", "y", "z"])


# ------------------------------------------------------------------------------------------------ merging
@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (pa.null(), pa.int64(), pa.int64()),
        (pa.int64(), pa.null(), pa.int64()),
        (pa.int64(), pa.string(), pa.string()),
        (pa.string(), INSTANT, pa.string()),
        (INSTANT, pa.timestamp("us"), INSTANT),
        (pa.timestamp("us"), INSTANT, INSTANT),
        (list_of(pa.null()), list_of(pa.int64()), list_of(pa.int64())),
        (list_of(pa.int8(), nullable=False), list_of(pa.int8()), list_of(pa.int8())),
        (pa.map_(pa.int64(), pa.null()), pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.int64())),
        (
            pa.struct({"a": pa.null(), "b": pa.int64()}),
            pa.struct({"c": pa.bool_(), "a": pa.date32()}),
            pa.struct({"a": pa.date32(), "b": pa.int64(), "c": pa.bool_()}),
        ),
    ],
    ids=str,
)
def test_merged_type(a: pa.DataType, b: pa.DataType, expected: pa.DataType) -> None:
    assert merge_schemas(pa.schema({"f": a}), pa.schema({"f": b})) == pa.schema({"f": expected})


@pytest.mark.parametrize(
    ("a", "b", "kinds", "where"),
    [
        (pa.int64(), pa.float64(), ("LongType", "DoubleType"), "field f"),
        (pa.int32(), pa.int64(), ("IntegerType", "LongType"), "field f"),
        (pa.string(), list_of(pa.string()), ("StringType", "ArrayType"), "field f"),
        (list_of(pa.int64()), list_of(pa.bool_()), ("LongType", "BooleanType"), "element in array in field f"),
        (
            pa.struct({"g": pa.map_(pa.string(), pa.int64())}),
            pa.struct({"g": pa.map_(pa.string(), pa.date32())}),
            ("LongType", "DateType"),
            "value of map in field g in field f",
        ),
    ],
    ids=str,
)
def test_types_that_do_not_merge_are_named_with_their_field(
    a: pa.DataType, b: pa.DataType, kinds: tuple[str, str], where: str
) -> None:
    text = rf"^\[CANNOT_MERGE_TYPE\] Can not merge type `{kinds[0]}` and `{kinds[1]}`\. Rows have both in {where}$"
    with pytest.raises(TypeError, match=text):
        merge_schemas(pa.schema({"f": a}), pa.schema({"f": b}))


# ------------------------------------------------------------------------------------------------ as PySpark
types = pytest.importorskip("pyspark.sql.types")
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema  # noqa: E402

atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=3),
    st.binary(max_size=3),
    st.decimals(),
    st.dates(),
    st.datetimes(),
    st.timedeltas(),
)
names = st.sampled_from("abc")
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(names, st.integers()), inner, min_size=1, max_size=3),
        st.tuples(inner, inner),
        st.dictionaries(names, inner, max_size=3).map(lambda fields: SimpleNamespace(**fields)),
        st.dictionaries(names, inner, min_size=1, max_size=3).map(lambda fields: Row(**fields)),
    ),
    max_leaves=8,
)
records = st.one_of(
    atoms, st.dictionaries(names, values, min_size=1, max_size=3), st.lists(values, min_size=1, max_size=3)
)


def outcome(infer: Any, *args: Any) -> Any:
    """The schema, or the beginning of the error."""
    try:
        return infer(*args)
    except TypeError as e:
        return str(e).split(".")[0]


@given(records)
def test_schema_is_the_one_that_pyspark_infers(row: Any) -> None:
    theirs = outcome(lambda: to_arrow_schema(types._infer_schema(row), timezone="UTC"))
    assert outcome(infer_schema, row) == theirs


@given(records, records)
def test_schemas_merge_as_pysparks(a: Any, b: Any) -> None:
    def theirs() -> pa.Schema:
        return to_arrow_schema(types._merge_type(types._infer_schema(a), types._infer_schema(b)), timezone="UTC")

    assert outcome(lambda: merge_schemas(infer_schema(a), infer_schema(b))) == outcome(theirs)


@given(records)
def test_types_show_themselves_as_pysparks(row: Any) -> None:
    schema = outcome(infer_schema, row)
    if not isinstance(schema, str):
        assert [name_of(field.type) for field in schema] == [str(from_arrow_type(field.type)) for field in schema]
