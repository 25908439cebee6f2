"""Lines of JSON as Arrow: what becomes of a line is Spark's rule, whether Arrow parses it or Python does."""

from __future__ import annotations

import json
from datetime import date, datetime, timezone
from decimal import Decimal
from itertools import chain
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.formats.textfiles import lines_of, text_lines
from headwater.sql import jsoninference, jsonlines, textlines
from headwater.sql.jsonfields import zone_of
from tests.effort import tries

WORD_AND_N = pa.schema({"word": pa.string(), "n": pa.int32()})
UTC = timezone.utc


def rows_of(records: list[Any], schema: pa.Schema, **options: Any) -> list[dict[str, Any]]:
    return [row for batch in jsonlines.batches(records, schema, **options) for row in batch.to_pylist()]


def value_of(json_value: str, known: pa.DataType, **options: Any) -> Any:
    """What a column of a type has for a value."""
    [row] = rows_of([f'{{"v":{json_value}}}'], pa.schema({"v": known}), **options)
    return row["v"]


def malformed_in(records: list[Any], schema: pa.Schema) -> int:
    lines = jsonlines.batches(records, schema)
    list(lines)
    return lines.malformed


# ------------------------------------------------------------------------------------------------ lines
@pytest.mark.parametrize("encode", [str, str.encode])
def test_fields_become_columns_by_name(encode: Any) -> None:
    lines = ['{"n": 1, "word": "é", "more": [1, {"x": null}]}', '{"word": null}', "{}"]
    assert rows_of(list(map(encode, lines)), WORD_AND_N) == [
        {"word": "é", "n": 1},
        {"word": None, "n": None},
        {"word": None, "n": None},
    ]


def test_batches_have_the_schema_with_nulls_allowed() -> None:
    schema = pa.schema([pa.field("s", pa.struct([pa.field("n", pa.int64(), nullable=False)]), nullable=False)])
    lines = jsonlines.batches(['{"s":{}}', "{}"], schema)
    assert lines.schema == pa.schema({"s": pa.struct({"n": pa.int64()})})
    assert [batch.schema for batch in lines] == [lines.schema]
    assert rows_of(['{"s":{}}', "{}"], schema) == [{"s": {"n": None}}, {"s": None}]


def test_blank_lines_and_none_are_no_rows() -> None:
    assert rows_of(["", '{"n":1}', " \t\r\n", None, '{"n":2}', b""], WORD_AND_N) == [
        {"word": None, "n": 1},
        {"word": None, "n": 2},
    ]
    assert rows_of(["", " ", None], WORD_AND_N) == []
    assert rows_of([], WORD_AND_N) == []


def test_a_record_with_newlines_is_a_row() -> None:
    records = ['{\n  "n": 1,\r\n  "word": "a"\n}\n', '\n{"n":2}\r\n']
    assert rows_of(records, WORD_AND_N) == [{"word": "a", "n": 1}, {"word": None, "n": 2}]


def test_text_and_bytes_may_be_mixed() -> None:
    assert [row["n"] for row in rows_of(['{"n":1}', b'{"n":2}', b'{"n":3}'], WORD_AND_N)] == [1, 2, 3]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert [row["n"] for row in rows_of(['\ufeff{"n":1}', '{"n":2}'], WORD_AND_N)] == [1, 2]
    assert [row["n"] for row in rows_of(['\ufeff{"n":1}'.encode()], WORD_AND_N)] == [1]


def test_an_array_of_objects_is_a_row_each() -> None:
    assert [row["n"] for row in rows_of(['[{"n":1},{"n":2}]', "[]", '{"n":3}'], WORD_AND_N)] == [1, 2, 3]


def test_what_stands_behind_the_object_is_not_looked_at() -> None:
    assert [row["n"] for row in rows_of(['{"n":1}x', '{"n":2} {"n":9}', '{"n":3}]'], WORD_AND_N)] == [1, 2, 3]


def test_single_quotes_do_as_well() -> None:
    lines = ["{'word': 'a\"b', 'n': 1}", '{"word": "it\\\'s"}', "{'word': 'it\\'s \\\\', \"n\": 2}"]
    assert rows_of(lines, WORD_AND_N) == [
        {"word": 'a"b', "n": 1},
        {"word": "it's", "n": None},
        {"word": "it's \\", "n": 2},
    ]


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    assert [row["n"] for row in rows_of(['{"n":1,"n":2}', '{"n":1,"n":null}'], WORD_AND_N)] == [2, None]


def test_names_are_told_apart_by_case() -> None:
    assert rows_of(['{"N":1,"\\u006e":2}'], pa.schema({"n": pa.int32()})) == [{"n": 2}]


def test_a_schema_without_columns_counts_lines() -> None:
    batches = list(jsonlines.batches(['{"n":1}', "{}"], pa.schema([])))
    assert [(batch.num_rows, batch.num_columns) for batch in batches] == [(2, 0)]
    lines = ["{}"] * 5000 + ["{}}"] + ["{"] * 3
    assert sum(batch.num_rows for batch in jsonlines.batches(lines, pa.schema([]))) == 5004
    assert rows_of(["{}", "{"], pa.schema({"bad": pa.string()}), corrupt_column="bad") == [{"bad": None}, {"bad": "{"}]


def test_a_line_of_megabytes_is_a_row() -> None:
    text = "x" * (10 << 20)
    assert rows_of(['{"n":1}', f'{{"word":"{text}","n":2}}'], WORD_AND_N)[1] == {"word": text, "n": 2}


def test_many_lines_come_in_batches_in_their_order() -> None:
    lines = [f'{{"n":{n}}}' if n % 1000 else "{" for n in range(100_000)]
    batches = list(jsonlines.batches(lines, WORD_AND_N))
    assert [n for batch in batches for n in batch["n"].to_pylist()] == [n if n % 1000 else None for n in range(100_000)]
    assert len(batches) < 20


# ------------------------------------------------------------------------------------------------ malformed lines
MALFORMED = [
    "nonsense", "{", '{"n":1', '{"n":}', "{n:1}", '{"n":1,}', '{"n":01}', '{"n":+1}', '{"n":1.}', '{"n":.5}', "1",
    '"x"', "null", "true", "[1]", '[{"n":1},2]', '[[{"n":1}]]', "[null]", '/**/{"n":1}', "\xa0", "\0", '{"x":"\0"}',
    '{"x":"a\tb","n":1}', '{"x":"a\nb","n":1}', '{"x":"\\q","n":1}', '{"x":tru,"n":1}', '{"x":Inf,"n":1}',
    '{"x":-NaN,"n":1}', '{"n":1\0}', '}{', '{"n":1}}'[1:], b'{"x":"\xff","n":1}', b'{"\xff":1}',
    '{"x":' + "[" * 100_000 + "}",
]  # fmt: skip


@pytest.mark.parametrize("line", MALFORMED, ids=lambda line: repr(line)[:30])
def test_a_line_that_is_no_object_is_a_row_of_nulls(line: str | bytes) -> None:
    schema = pa.schema({"n": pa.int32(), "bad": pa.string()})
    lines = jsonlines.batches(['{"n":7}', line, '{"n":8}'], schema, corrupt_column="bad")
    assert [row for batch in lines for row in batch.to_pylist()] == [
        {"n": 7, "bad": None},
        {"n": None, "bad": textlines.text_of(line)},
        {"n": 8, "bad": None},
    ]
    assert lines.malformed == 1


@pytest.mark.parametrize("line", MALFORMED, ids=lambda line: repr(line)[:30])
def test_dropmalformed_leaves_such_a_line_out(line: str | bytes) -> None:
    assert rows_of(['{"n":7}', line, '{"n":8}'], pa.schema({"n": pa.int32()}), mode="DROPMALFORMED") == [
        {"n": 7},
        {"n": 8},
    ]


def test_two_halves_of_an_object_are_two_malformed_lines() -> None:
    assert malformed_in(['{"x":', ' "y"}', '{"n":1}'], WORD_AND_N) == 2
    assert malformed_in(['{"x":"', '{"n":1}', '"}'], WORD_AND_N) == 2
    assert malformed_in(['{"n":1}', ',"y":2}', '{"n":2'], WORD_AND_N) == 2


def test_a_field_that_does_not_fit_is_null_and_its_line_malformed() -> None:
    schema = pa.schema({"word": pa.string(), "n": pa.int32(), "bad": pa.string()})
    line = '{"word":"a","n":"one"}'
    assert rows_of([line], schema, corrupt_column="bad") == [{"word": "a", "n": None, "bad": line}]
    assert rows_of([line], schema, mode="dropmalformed") == []
    assert malformed_in([line, '{"n":1}'], schema) == 1


def test_the_corrupt_column_is_not_read_from_lines() -> None:
    schema = pa.schema({"bad": pa.string(), "n": pa.int32()})
    assert rows_of(['{"n":1,"bad":"hi"}'], schema, corrupt_column="bad") == [{"bad": None, "n": 1}]
    assert rows_of(['{"n":1,"bad":"hi"}'], schema) == [{"bad": "hi", "n": 1}]


def test_a_corrupt_column_that_the_schema_lacks_is_none() -> None:
    assert rows_of(["{"], pa.schema({"n": pa.int32()}), corrupt_column="bad") == [{"n": None}]


def test_failfast_names_the_line_and_its_position() -> None:
    lines = chain(['{"n":1}'] * 5000, ["", '{"n":"' + "x" * 1000], ['{"n":1}'] * 5000)
    with pytest.raises(ValueError, match=r"record 5001 of the partition is '{\"n\":\"x{194}\.\.\.'") as raised:
        list(jsonlines.batches(lines, WORD_AND_N, mode="FAILFAST"))
    assert str(raised.value).startswith("[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION]")


def test_a_mode_a_zone_or_a_column_that_there_is_not_is_an_error() -> None:
    with pytest.raises(ValueError, match="mode must be one of PERMISSIVE, DROPMALFORMED, FAILFAST, not 'LENIENT'"):
        jsonlines.batches([], WORD_AND_N, mode="LENIENT")
    with pytest.raises(ValueError, match="no time zone 'Mars/Base'"):
        jsonlines.batches([], WORD_AND_N, timezone="Mars/Base")
    with pytest.raises(TypeError, match="no values for a column of type duration"):
        jsonlines.batches([], pa.schema({"d": pa.duration("us")}))
    with pytest.raises(TypeError, match="INVALID_CORRUPT_RECORD_TYPE"):
        jsonlines.batches([], WORD_AND_N, corrupt_column="n")


# ------------------------------------------------------------------------------------------------ values
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('"x"', "x"),
        ("1", "1"),
        ("1.50", "1.5"),
        ("1e3", "1000.0"),
        ("1e7", "1.0E7"),
        ("1700000000.5", "1.7000000005E9"),
        ("-1e-5", "-1.0E-5"),
        ("true", "true"),
        ("NaN", '"NaN"'),
        ("-Infinity", '"-Infinity"'),
        ("123456789012345678901234567890", "123456789012345678901234567890"),
        ('{"a": 1 , "b" : "x\\u00e9\\n", "c":[null, 2.50]}', '{"a":1,"b":"xé\\n","c":[null,2.5]}'),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\ud83d"', "?"),
        ('"a\\u0000b"', "a\0b"),
        ("null", None),
    ],
)
def test_a_string_column_takes_any_value_as_text(text: str, wanted: str | None) -> None:
    assert value_of(text, pa.string()) == wanted


@pytest.mark.parametrize(
    ("known", "fitting", "other"),
    [
        (pa.int8(), {"127": 127, "-128": -128}, ["128", "1.0", '"1"', "true"]),
        (pa.int32(), {"-0": 0}, ["2147483648", "1e2", "NaN", "[1]", "{}"]),
        (pa.int64(), {"9223372036854775807": (1 << 63) - 1}, ["9223372036854775808", "1.0", '""']),
        (
            pa.float64(),
            {"1": 1.0, "1e400": float("inf"), '"-INF"': -float("inf"), '"Infinity"': float("inf"), "0.1": 0.1},
            ['"1.5"', "true", '""', "[]", '"INF"'],
        ),
        (pa.float32(), {"0.5": 0.5, "16777217": 16777216.0}, ['"x"']),
        (pa.bool_(), {"true": True, "false": False}, ['"true"', "1"]),
        (
            pa.decimal128(5, 2),
            {"1": Decimal("1.00"), "1.005": Decimal("1.01"), '"1,23.4"': Decimal("123.40"), '"1e2"': Decimal("100.00")},
            ["1000", "999.995", '"x"', '""', "NaN", "true"],
        ),
        (pa.binary(), {'"aGVsbG8="': b"hello", '""': b""}, ['"aGVsbG8"', '"A A="', '"====="', '"====a"', "1"]),
        (
            pa.date32(),
            {'"2020-02-29"': date(2020, 2, 29), '" 2020-1-2T25:00 "': date(2020, 1, 2), '"2020-03"': date(2020, 3, 1)},
            ['"2020-02-30"', '"2020-01-01x"', "1", '"x"'],
        ),
        (pa.list_(pa.int32()), {"[]": [], "[1,null]": [1, None]}, ['[1,"x"]', "{}", "1"]),
        (pa.list_(pa.list_(pa.int32())), {"[[1],null]": [[1], None]}, ['[[1],["x"]]']),
        (
            pa.map_(pa.string(), pa.int32()),
            {'{"a":1,"b":null}': [("a", 1), ("b", None)], "{}": []},
            ['{"a":"x"}', "[]"],
        ),
        (pa.struct({"a": pa.int32()}), {'{"a":1,"b":2}': {"a": 1}, "{}": {"a": None}}, ["[]", '[{"a":1}]', '"x"']),
        (pa.null(), {"null": None}, ["1"]),
    ],
    ids=str,
)
def test_a_column_takes_what_json_has_for_its_type(
    known: pa.DataType, fitting: dict[str, Any], other: list[str]
) -> None:
    assert {text: value_of(text, known) for text in fitting} == fitting
    schema = pa.schema({"v": known})
    assert malformed_in([f'{{"v":{text}}}' for text in fitting], schema) == 0
    assert [value_of(text, known) for text in other] == [None] * len(other)
    assert malformed_in([f'{{"v":{text}}}' for text in other], schema) == len(other)


def test_only_what_does_not_fit_is_null_in_structs() -> None:
    inner = pa.struct({"a": pa.int32(), "b": pa.string()})
    assert value_of('{"a":"x","b":"y"}', inner) == {"a": None, "b": "y"}
    assert value_of('[{"a":1},{"a":"x","b":2}]', pa.list_(inner)) == [{"a": 1, "b": None}, {"a": None, "b": "2"}]
    assert value_of('[{"a":1},3]', pa.list_(inner)) is None
    assert value_of('{"k":{"a":"x"}}', pa.map_(pa.string(), inner)) == [("k", {"a": None, "b": None})]


BERLIN = [
    ('"2020-01-01T00:00:00"', datetime(2019, 12, 31, 23, tzinfo=UTC)),
    ('"2020-07-01 00:00"', datetime(2020, 6, 30, 22, tzinfo=UTC)),
    ('"2020-01-01"', datetime(2019, 12, 31, 23, tzinfo=UTC)),
    ('" 2020 "', datetime(2019, 12, 31, 23, tzinfo=UTC)),
    ('"2020-1-1 10"', datetime(2020, 1, 1, 9, tzinfo=UTC)),
    ('"2020-03-29T02:30:00"', datetime(2020, 3, 29, 1, 30, tzinfo=UTC)),  # the hour that there isn't
    ('"2020-10-25T02:30:00"', datetime(2020, 10, 25, 0, 30, tzinfo=UTC)),  # the first of two
    ('"2020-01-01T00:00:00Z"', datetime(2020, 1, 1, tzinfo=UTC)),
    ('"2020-01-01T00:00:00.1234569Z"', datetime(2020, 1, 1, 0, 0, 0, 123456, tzinfo=UTC)),
    ('"2020-01-01T00:00:00+02:00"', datetime(2019, 12, 31, 22, tzinfo=UTC)),
    ('"2020-01-01T00:00:00-0230"', datetime(2020, 1, 1, 2, 30, tzinfo=UTC)),
    ('"2020-01-01T00:00:00 GMT+2"', datetime(2019, 12, 31, 22, tzinfo=UTC)),
    ('"2020-01-01T00:00:00America/New_York"', datetime(2020, 1, 1, 5, tzinfo=UTC)),
    ("1700000000", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)),
    ('"2020-02-30"', None),
    ('"2020-01-01T24:00:00"', None),
    ('"2020-01-01T00:00:60"', None),
    ('"2020-01-01T00:00:00+25:00"', None),
    ('"2020-01-01Tx"', None),
    ('"1700000000"', None),
    ("1.5", None),
    ("9223372036854775807", None),
]


@pytest.mark.parametrize(("text", "wanted"), BERLIN)
def test_an_instant_is_of_its_zone_or_the_sessions(text: str, wanted: datetime | None) -> None:
    assert value_of(text, pa.timestamp("us", "UTC"), timezone="Europe/Berlin") == wanted


def test_instants_of_all_forms_stand_in_one_column() -> None:
    lines = [f'{{"v":{text}}}' for text, _ in BERLIN]
    rows = rows_of(lines, pa.schema({"v": pa.timestamp("us", "UTC")}), timezone="Europe/Berlin")
    assert [row["v"] for row in rows] == [wanted for _, wanted in BERLIN]


def test_a_time_without_a_zone_must_name_none() -> None:
    assert value_of('"2020-01-01T10:00:00.5"', pa.timestamp("us")) == datetime(2020, 1, 1, 10, 0, 0, 500_000)
    assert value_of('"2020-01-01T10:00:00Z"', pa.timestamp("us")) is None
    assert value_of("1", pa.timestamp("us")) is None


def test_times_are_found_within_structs_and_lists() -> None:
    known = pa.struct({"days": pa.list_(pa.date32()), "at": pa.timestamp("us", "UTC"), "raw": pa.binary()})
    lines = ['{"v":{"days":["2020-01-01",null],"at":"2020-01-01T00:00:00"}}', "{}", '{"v":{"raw":"AA=="}}']
    assert [row["v"] for row in rows_of(lines, pa.schema({"v": known}), timezone="+01:00")] == [
        {"days": [date(2020, 1, 1), None], "at": datetime(2019, 12, 31, 23, tzinfo=UTC), "raw": None},
        None,
        {"days": None, "at": None, "raw": b"\0"},
    ]


@pytest.mark.parametrize("name", ["+25:00", "Nowhere", "../etc", ""])
def test_a_zone_that_there_is_not_is_an_error(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        zone_of(name)


# ------------------------------------------------------------------------------------------------ both ways
SIMPLE = pa.schema(
    {
        "s": pa.string(),
        "n": pa.int64(),
        "b": pa.int8(),
        "x": pa.float64(),
        "t": pa.bool_(),
        "l": pa.list_(pa.int64()),
        "o": pa.struct({"n": pa.int64(), "s": pa.string(), "l": pa.list_(pa.struct({"x": pa.float64()}))}),
    }
)
TIMES = pa.schema({"s": pa.timestamp("us", "UTC"), "l": pa.list_(pa.date32()), "n": pa.decimal128(20, 3)})

texts = st.text(max_size=8) | st.sampled_from(["2020-01-01", "2020-03-29T02:30:00", "2020-01-01T00:00:00Z", "NaN", "}"])
numbers = st.integers(-(1 << 65), 1 << 65) | st.integers(-200, 200) | st.floats(width=32)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("nsxlbot"), inner, max_size=4),
    max_leaves=8,
)
fitting = st.fixed_dictionaries(
    {},
    optional={
        "s": texts,
        "n": st.integers(-(1 << 63), (1 << 63) - 1) | st.none(),
        "b": st.integers(-128, 127),
        "x": st.floats(),
        "t": st.booleans(),
        "l": st.lists(st.integers(0, 9) | st.none(), max_size=3),
        "o": st.fixed_dictionaries({}, optional={"n": st.integers(0, 9), "s": texts, "q": values}),
        "more": values,
    },
)
objects = (fitting | st.dictionaries(st.sampled_from("nsxlbot"), values, max_size=5)).map(json.dumps)
damaged = st.builds(
    lambda text, begin, end, extra: text[: begin % (len(text) + 1)] + extra + text[end % (len(text) + 1) :],
    objects, st.integers(0, 99), st.integers(0, 99), st.text('{}[]",:\\\n0 e-nulNaIf\'', max_size=4),
)  # fmt: skip


def forced(records: list[str], schema: pa.Schema, monkeypatch: pytest.MonkeyPatch) -> tuple[list[Any], int]:
    """What the records are read as if Arrow refuses them all."""
    with monkeypatch.context() as patch:
        patch.setattr(jsonlines, "wrap", lambda lines: None)
        return rows_and_malformed(records, schema)


def rows_and_malformed(records: list[str], schema: pa.Schema) -> tuple[list[Any], int]:
    lines = jsonlines.batches(records, schema, timezone="Europe/Berlin")
    rows = [row for batch in lines for row in batch.to_pylist()]
    return rows, lines.malformed


@given(st.lists(objects | damaged, max_size=6), st.sampled_from([SIMPLE, TIMES]))
@settings(max_examples=tries(150), deadline=None)
def test_arrow_and_python_read_the_same(records: list[str], schema: pa.Schema) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert repr(rows_and_malformed(records, schema)).replace("-0.0", "0.0") == repr(
            forced(records, schema, monkeypatch)
        ).replace("-0.0", "0.0")


def reference(value: Any, known: pa.DataType) -> Any:
    """A value of JSON that fits, in the form of `to_pylist`."""
    if pa.types.is_struct(known) and value is not None:
        return {field.name: reference(value.get(field.name), field.type) for field in known}
    return value


@given(st.lists(fitting.map(json.dumps), max_size=6))
@settings(max_examples=tries(100), deadline=None)
def test_lines_that_fit_are_read_as_json_loads_reads_them(records: list[str]) -> None:
    wanted = [reference(json.loads(record), pa.struct(list(SIMPLE))) for record in records]
    rows, malformed = rows_and_malformed(records, SIMPLE)
    assert (repr(rows), malformed) == (repr(wanted), 0)


# ------------------------------------------------------------------------------------------------ inference
def inferred(*lines: str, **options: Any) -> dict[str, pa.DataType]:
    schema = jsoninference.infer(lines, **options)
    return dict(zip(schema.names, schema.types))


def test_fields_are_sorted_by_name_as_java_does() -> None:
    assert list(inferred('{"é":1,"z":1,"Z":2,"😀":2,"～":{"b":1,"a":1}}')) == ["Z", "z", "é", "😀", "～"]
    assert inferred('{"v":{"b":1,"a":1}}') == {"v": pa.struct({"a": pa.int64(), "b": pa.int64()})}


@pytest.mark.parametrize(
    ("these", "known"),
    [
        (["1"], pa.int64()),
        (["1", "1.5"], pa.float64()),
        (["1", '"x"'], pa.string()),
        (["null"], pa.string()),
        (["null", "true"], pa.bool_()),
        (["true", "1"], pa.string()),
        (["NaN"], pa.float64()),
        (["1e400"], pa.float64()),
        (["99999999999999999999"], pa.decimal128(20, 0)),
        (["9223372036854775808", "1"], pa.decimal128(20, 0)),
        (["99999999999999999999", "1.5"], pa.float64()),
        (["9" * 39], pa.float64()),
        (['"2020-01-01T00:00:00"'], pa.string()),
        (["[]"], pa.list_(pa.string())),
        (["[null]", "[[]]"], pa.list_(pa.list_(pa.string()))),
        (["[1]", "null"], pa.list_(pa.int64())),
        (["[1]", "1"], pa.string()),
        (['[1,"x"]'], pa.list_(pa.string())),
        (["[1,2.5]"], pa.list_(pa.float64())),
        (['[{"b":1},{"c":true}]'], pa.list_(pa.struct({"b": pa.int64(), "c": pa.bool_()}))),
        (['{"b":1}', "{}", '{"a":""}'], pa.struct({"a": pa.string(), "b": pa.int64()})),
        (['{"b":1}', "1"], pa.string()),
        (['{"b":1}', '[{"b":1}]'], pa.string()),
        (['{"b":null}'], pa.struct({"b": pa.string()})),
    ],
    ids=str,
)
def test_values_of_a_field_have_a_type_in_common(these: list[str], known: pa.DataType) -> None:
    assert inferred(*(f'{{"v":{value}}}' for value in these)) == {"v": known}


@pytest.mark.parametrize(
    "lines", [[], [""], ["null"], ["[]"], ["[null]"], ["{}"], ['{"v":{}}'], ['{"v":[{}]}'], ['{"":1}']]
)
def test_what_has_no_fields_has_no_columns(lines: list[str]) -> None:
    assert inferred(*lines) == {}


def test_lines_that_are_no_json_have_a_column_of_their_own() -> None:
    both = {"_corrupt_record": pa.string(), "v": pa.int64()}
    for line in ["nonsense", "1", '"x"', "[1]", '{"w":1']:
        assert inferred(line, '{"v":1}') == both
        assert inferred(line, '{"v":1}', mode="DROPMALFORMED") == {"v": pa.int64()}
        with pytest.raises(ValueError, match="record 1 of the partition is"):
            inferred('{"v":1}', line, mode="FAILFAST")
    assert inferred("nonsense", corrupt_column="bad") == {"bad": pa.string()}


def test_partitions_are_looked_at_apart() -> None:
    kinds = [jsoninference.observed(['{"v":null,"w":[]}']), jsoninference.observed(['{"v":{"a":1},"w":[2]}']), {}]
    schema = jsoninference.schema_of(kinds)
    assert schema == pa.schema({"v": pa.struct({"a": pa.int64()}), "w": pa.list_(pa.int64())})


def test_a_sample_leaves_lines_out() -> None:
    lines = [f'{{"v{n}":1}}' for n in range(200)]
    assert 0 < len(inferred(*lines, sample=0.2)) < 100


@given(st.lists(objects | damaged, max_size=6))
@settings(max_examples=tries(100), deadline=None)
def test_the_schema_is_the_same_where_arrow_refuses_the_lines(records: list[str]) -> None:
    found = jsoninference.infer(records)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(jsoninference, "wrap", lambda lines: None)
        assert jsoninference.infer(records) == found


# ------------------------------------------------------------------------------------------------ text
def test_lines_of_text_are_a_column() -> None:
    [batch] = textlines.batches(["a", b"b", None, "", "é"], "line")
    assert batch.to_pydict() == {"line": ["a", "b", None, "", "é"]}
    assert batch.schema == pa.schema({"line": pa.string()})


def test_what_is_no_utf8_is_replaced() -> None:
    [batch] = textlines.batches([b"a\xffb", "\ud83d", b"ok"])
    assert batch["value"].to_pylist() == ["a\ufffdb", "?", "ok"]


def test_long_lines_come_in_smaller_batches() -> None:
    batches = list(textlines.batches("x" * 1_000_000 for _ in range(100)))
    assert sum(batch.num_rows for batch in batches) == 100
    assert all(batch.num_rows <= 8 for batch in batches[1:])


# ------------------------------------------------------------------------------------------------ pieces of a file
def in_pieces(text: bytes, schema: pa.Schema, **options: Any) -> tuple[list[dict[str, Any]], int]:
    """The rows of a file's lines, as its bytes are handed over whole, and how many lines were malformed."""
    lines = jsonlines.batches(lines_of(iter([text])), schema, **options)
    return [row for batch in lines for row in batch.to_pylist()], lines.malformed


def in_lines(text: bytes, schema: pa.Schema, **options: Any) -> tuple[list[dict[str, Any]], int]:
    """The same, line by line."""
    lines = jsonlines.batches(iter(text_lines(text)), schema, **options)
    return [row for batch in lines for row in batch.to_pylist()], lines.malformed


PIECES = [
    b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\n',
    b'{"a": 1}\n{"a": 2}',
    b'{"a": 1}\n\n\n{"a": 2}\n\n',
    b'{"a": 1}\r\n{"a": 2}\r\n',
    b'{"a": 1,\n"b": "x"}\n{"a": 2}{"a": 3}\n',  # as many objects as lines, and none of them a line
    b'{"a": 1} {"a": 2}\n{"a":\n3}\n',
    b'{"b": "x}\n{y"}\n{"a": 2}\n',
    b'{"b": "x}\n{y"}\n{"a": 2}{"a": 3}\n',
    b'{"a": 1}\nno JSON\n{"a": "x"}\n',
    b'[{"a": 1}, {"a": 2}]\n',
    b'{"b": "\xff"}\n{"a": 2}\n',
    b'{"b": "\xc3\xa9"}\n{"c": {"a": 1}}\n',
    b"null\n{}\n",
    b"\n\n",
    b"",
]


@pytest.mark.parametrize("mode", ["PERMISSIVE", "DROPMALFORMED"])
@pytest.mark.parametrize("text", PIECES)
def test_a_file_gives_the_rows_of_its_lines(text: bytes, mode: str) -> None:
    schema = pa.schema({"a": pa.int64(), "b": pa.string()})
    assert in_pieces(text, schema, mode=mode) == in_lines(text, schema, mode=mode)


def test_pieces_of_files_whose_last_lines_have_no_end_do_not_flow_together() -> None:
    pieces = [b'{"a": 1}\n{"a": 2}', b"x", b'{"a": 3}\r', b'{"a": 4}']
    lines = jsonlines.batches(lines_of(iter(pieces)), pa.schema({"a": pa.int64()}))
    assert [row["a"] for batch in lines for row in batch.to_pylist()] == [1, 2, None, 3, 4]
    failing = jsonlines.batches(lines_of(iter(pieces)), pa.schema({"a": pa.int64()}), mode="FAILFAST")
    with pytest.raises(ValueError, match="record 2 of the partition is 'x'"):
        list(failing)
