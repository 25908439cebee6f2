from __future__ import annotations

import math
import pickle
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.errors import IllegalArgumentException, SparkException
from headwater.formats.writables import (
    class_for,
    decode_vint,
    decode_vints,
    encode_vint,
    java_text,
    writable,
)

_INT64 = st.integers(-(2**63), 2**63 - 1)
_text = st.text(st.characters(exclude_categories=["Cs"]))
_scalars = st.none() | st.booleans() | _INT64 | st.floats(allow_nan=False) | _text | st.binary()
_maps = st.recursive(
    st.dictionaries(_text | _INT64, _scalars, max_size=4),
    lambda inner: st.dictionaries(_text, inner, max_size=3),
    max_leaves=5,
)
_arrays = st.sampled_from(
    [_INT64.filter(lambda n: not -(2**31) <= n < 2**31), _text, st.floats(allow_nan=False)]
).flatmap(lambda inner: st.lists(inner, min_size=1, max_size=5).map(tuple))


@given(_scalars | _maps | _arrays | _arrays.flatmap(lambda array: st.just((array, array))))
def test_value_is_read_as_it_was_written(value: Any) -> None:
    kind = writable(class_for(value))
    assert kind.load(kind.encode(value)) == value


@pytest.mark.parametrize(
    ("name", "value", "data"),
    [
        ("IntWritable", -2, "fffffffe"),
        ("LongWritable", 1, "0000000000000001"),
        ("ShortWritable", -3, "fffd"),
        ("ByteWritable", -1, "ff"),
        ("FloatWritable", 0.5, "3f000000"),
        ("DoubleWritable", 0.5, "3fe0000000000000"),
        ("BooleanWritable", True, "01"),
        ("NullWritable", None, ""),
        ("VIntWritable", 127, "7f"),
        ("VIntWritable", 128, "8f80"),
        ("VIntWritable", -112, "90"),
        ("VIntWritable", -113, "8770"),
        ("VLongWritable", 2**63 - 1, "887fffffffffffffff"),
        ("VLongWritable", -(2**63), "807fffffffffffffff"),
        ("Text", "ü", "02c3bc"),
        ("BytesWritable", bytearray(b"a"), "0000000161"),
        ("ArrayWritable<IntWritable>", (1, 2), "000000020000000100000002"),
        ("ArrayWritable<ArrayWritable<ByteWritable>>", ((1,), ()), "00000002000000010100000000"),
        ("MapWritable", {"a": 1}, "00000000018c016185000000" + "01"),
        ("MapWritable", {1: None}, "0000000001850000000189"),
    ],
)
def test_bytes_are_hadoops(name: str, value: Any, data: str) -> None:
    kind = writable(name)
    assert kind.encode(value).hex() == data
    assert kind.load(bytes.fromhex(data)) == value
    assert writable(kind.name) is kind


def test_map_names_classes_that_hadoop_does_not_number() -> None:
    data = writable("MapWritable").encode({"half": 0.5})
    name = b"org.apache.hadoop.io.DoubleWritable"
    assert data[:4] == bytes([1, 1, 0, len(name)])
    assert data[4:].startswith(name)


@given(st.lists(_INT64))
def test_vints_are_read_together_as_one_by_one(values: list[int]) -> None:
    data = b"".join(map(encode_vint, values))
    assert decode_vints(data) == values
    at = 0
    for value in values:
        assert decode_vint(data, at)[0] == value
        at = decode_vint(data, at)[1]


@given(_scalars | _maps | _arrays, st.data())
def test_value_that_was_cut_or_goes_on_is_damage(value: Any, data: st.DataObject) -> None:
    kind = writable(class_for(value))
    content = kind.encode(value)
    if content:
        with pytest.raises(SparkException, match="damaged"):
            kind.load(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(SparkException, match="is damaged: it is complete after"):
        kind.load(content + b"\0")


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("BytesWritable", "ffffffff", "before it is complete"),
        ("ArrayWritable<IntWritable>", "ffffffff", "a count of -1"),
        ("MapWritable", "00ffffffff", "a count of -1"),
        ("MapWritable", "00000000018001", "the class of number -128"),
        ("MapWritable", "0000000001870000000000" + "89", "a map as key"),
    ],
)
def test_damaged_value_is_an_error(name: str, data: str, message: str) -> None:
    with pytest.raises(SparkException, match=message):
        writable(name).load(bytes.fromhex(data))


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("IntWritable", 2**31, "2147483648 of type int can't be written as .*IntWritable"),
        ("IntWritable", True, "it is no number"),
        ("LongWritable", 0.5, "LongWritable"),
        ("FloatWritable", 1e300, "float too large"),
        ("DoubleWritable", "1", "of type str"),
        ("VIntWritable", 2**31, "no integer of 32 bits"),
        ("VLongWritable", False, "no integer of 64 bits"),
        ("BooleanWritable", 1, "it is no bool"),
        ("Text", b"a", "it is no str"),
        ("Text", "a\ud800", "surrogates not allowed, at character 1"),
        ("BytesWritable", "a", "neither bytes nor bytearray"),
        ("NullWritable", 0, "only None is null"),
        ("MapWritable", [], "it is no dict"),
        ("MapWritable", {"a": [1]}, "a map can't hold arrays"),
        ("ArrayWritable<IntWritable>", 1, "neither list nor tuple"),
        ("ArrayWritable<IntWritable>", [1, "a"], "of type str can't be written as .*IntWritable"),
    ],
)
def test_value_of_another_class_is_refused(name: str, value: Any, reason: str) -> None:
    with pytest.raises(IllegalArgumentException, match=reason):
        writable(name).encode(value)


@pytest.mark.parametrize(
    "name", ["org.acme.Text", "ArrayWritable", "Text<IntWritable>", "ArrayWritable<IntWritable", ""]
)
def test_unknown_class_is_refused_by_naming_those_that_are_known(name: str) -> None:
    with pytest.raises(IllegalArgumentException, match="is not supported.*org.apache.hadoop.io.Text"):
        writable(name)


@pytest.mark.parametrize("value", [{1, 2}, object(), 1 + 2j])
def test_value_without_a_class_is_refused(value: Any) -> None:
    with pytest.raises(IllegalArgumentException, match="can't be written as a Writable. Those that can: int, float"):
        class_for(value)
    with pytest.raises(IllegalArgumentException, match="can't be written as a Writable"):
        java_text(value)


def test_array_must_say_what_it_holds() -> None:
    with pytest.raises(IllegalArgumentException, match="an empty array doesn't say"):
        class_for([])
    with pytest.raises(IllegalArgumentException, match="an array has no text"):
        java_text([1])


@pytest.mark.parametrize("name", ["IntWritable", "ArrayWritable<VLongWritable>", "MapWritable"])
def test_class_travels_as_its_name(name: str) -> None:
    assert pickle.loads(pickle.dumps(writable(name))) is writable(name)


# ------------------------------------------------------------------------------------------------ as text
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (0.001, "0.001"),
        (0.0001, "1.0E-4"),
        (-1234567.5, "-1234567.5"),
        (9999999.0, "9999999.0"),
        (1e7, "1.0E7"),
        (9999999999999998.0, "9.999999999999998E15"),
        (1.7976931348623157e308, "1.7976931348623157E308"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
        (math.nan, "NaN"),
    ],
)
def test_float_is_written_as_java_does(value: float, text: str) -> None:
    assert java_text(value) == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_text_of_a_float_means_the_same_number(value: float) -> None:
    assert struct.pack(">d", float(java_text(value))) == struct.pack(">d", value)


def test_map_is_written_as_java_does() -> None:
    assert java_text({"a": 1.5, 1: None, "b": {"c": b"\xff"}}) == "{a=1.5, 1=(null), b={c=ff}}"
