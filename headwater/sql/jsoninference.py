"""The schema of lines of JSON: Spark's rules.

Fields are in the order of their names. Where values disagree there is a type for all numbers, else a string; where
there are only nulls it's a string too, and what has no fields has no column. Tasks look at their partitions
(`observed`), the driver makes one schema of it (`schema_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import reduce
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from headwater.sql.inference import list_of
from headwater.sql.jsonlines import error_of, is_blank, parse, parser, wrap
from headwater.sql.jsonmodes import check_mode
from headwater.sql.textlines import Line, chunks

__all__ = ["Kind", "infer", "observed", "schema_of"]

# What is known of values: None of nulls, a name of Spark's, a number of digits of integers above 64 bits, a list with
# the kind of the elements, a dict of the fields.
Kind = Any

_LINES_MIN = 256  # looked at one by one where Arrow refuses them
_CUT_INTO = 4
_LARGE = re.compile(
    rb"[\s:,\[]-?(?:\d{20}|9[2-9]\d{17})"
)  # may be an integer above 64 bits, which is a double for Arrow
_DIGITS_TO_0 = bytes.maketrans(b"123456789", b"0" * 9)  # to look for 19 of them is quick
_DIGITS_MAX = 38  # of a decimal
_DIGITS_OF_LONG = 20
_OF_VALUES: dict[type, Kind] = {type(None): None, bool: "boolean", float: "double", str: "string"}
_OF_NAMES = {"boolean": pa.bool_(), "long": pa.int64(), "double": pa.float64(), "string": pa.string()}


def infer(
    records: Iterable[Line],
    *,
    sample: float = 1.0,
    mode: str = "PERMISSIVE",
    corrupt_column: str = "_corrupt_record",
) -> pa.Schema:
    """The schema of lines of JSON.

    Args:
        records: text, or its UTF-8.
        sample: the share of records that is looked at, above 0 up to 1.
        mode: what becomes of a line that isn't JSON. With PERMISSIVE there is a column for their text; DROPMALFORMED
            leaves them out; FAILFAST is an error.
        corrupt_column: the name of that column.

    Raises:
        ValueError: there is no such mode; with FAILFAST, a line isn't JSON.

    >>> infer(['{"b": {"x": 1}, "a": [1, 2.5]}', '{"c": null}'])
    a: list<element: double>
      child 0, element: double
    b: struct<x: int64>
      child 0, x: int64
    c: string
    """
    return schema_of([observed(records, sample=sample, mode=mode, corrupt_column=corrupt_column)])


def observed(
    records: Iterable[Line],
    *,
    sample: float = 1.0,
    mode: str = "PERMISSIVE",
    corrupt_column: str = "_corrupt_record",
) -> Kind:
    """What is known of the lines of a partition, for `schema_of`. See `infer`."""
    mode = check_mode(mode)
    if sample < 1:
        chance = Random(1)
        records = (record for record in records if chance.random() < sample)
    known: Kind = {}
    begin = 0
    for lines in chunks(records):
        known = reduce(_merged, _kinds(lines, begin, mode, corrupt_column), known)
        begin += len(lines)
    return known


def schema_of(kinds: Iterable[Kind]) -> pa.Schema:
    """The schema of all lines of which something is known."""
    known = _type_of_kind(reduce(_merged, kinds, {}))
    return pa.schema([] if known is None else list(known))


# ------------------------------------------------------------------------------------------------ looking at lines
def _kinds(lines: Sequence[Line], begin: int, mode: str, corrupt_column: str) -> Iterable[Kind]:
    """What is known of lines, the first of which is at a position."""
    known = _kind_by_arrow(lines)
    if known is not None:
        yield known
    elif len(lines) <= _LINES_MIN:
        for position, line in enumerate(lines, begin):
            if line is not None and not is_blank(line):
                yield from _kinds_of_line(line, position, mode, corrupt_column)
    else:
        size = -(-len(lines) // _CUT_INTO)
        for start in range(0, len(lines), size):
            yield from _kinds(lines[start : start + size], begin + start, mode, corrupt_column)


def _kinds_of_line(line: str | bytes, position: int, mode: str, corrupt_column: str) -> list[Kind]:
    try:
        value = _LOAD(line)
        values = value if type(value) is list else [value]
        kinds = [_kind(value) for value in values if value is not None]
    except (ValueError, RecursionError):
        kinds = ["string"]
    if all(type(kind) is dict for kind in kinds):
        return kinds
    if mode == "FAILFAST":
        raise error_of(line, position)
    return [{corrupt_column: "string"}] if mode == "PERMISSIVE" else []


_LOAD = parser()


def _kind_by_arrow(lines: Sequence[Line]) -> Kind:
    """What Arrow knows of lines; None if it refuses them, or takes another type than Spark."""
    wrapped = wrap(lines)
    if wrapped is None:
        return None
    if not wrapped.lines:
        return {}
    try:
        rows = parse(wrapped.data, pj.ParseOptions())
    except pa.ArrowInvalid:
        return None
    # Of the rows only the type is right: Arrow may make arrays that hold less than they say, where a list begins with
    # a null.
    if len(rows) != wrapped.lines or not pa.types.is_struct(rows.type):
        return None
    may_be_large = b"0" * 19 in wrapped.data.translate(_DIGITS_TO_0) and _LARGE.search(wrapped.data)
    return None if may_be_large else _kind_of_type(rows.type)


def _kind_of_type(known: pa.DataType) -> Kind:
    if pa.types.is_struct(known):
        return {field.name: _kind_of_type(field.type) for field in known if field.name}
    if pa.types.is_list(known):
        return [_kind_of_type(known.value_type)]
    if pa.types.is_null(known):
        return None
    return {pa.bool_(): "boolean", pa.int64(): "long", pa.float64(): "double"}.get(known, "string")  # or an instant


# ------------------------------------------------------------------------------------------------ kinds
def _kind(value: Any) -> Kind:
    if type(value) is dict:
        return {name: _kind(item) for name, item in value.items() if name}
    if type(value) is list:
        return [reduce(_merged, map(_kind, value), None)]
    if type(value) is int:
        if -(1 << 63) <= value < 1 << 63:
            return "long"
        digits = len(str(abs(value)))
        return digits if digits <= _DIGITS_MAX else "double"
    return _OF_VALUES[type(value)]


def _merged(a: Kind, b: Kind) -> Kind:
    if a == b or b is None:
        return a
    if a is None:
        return b
    if type(a) is type(b) is dict:
        return a | {name: _merged(a.get(name), kind) for name, kind in b.items()}
    if type(a) is type(b) is list:
        return [_merged(a[0], b[0])]
    kinds = [a, b]
    if all(kind in ("long", "double") or type(kind) is int for kind in kinds):
        if "double" in kinds:
            return "double"
        return max(_DIGITS_OF_LONG if kind == "long" else kind for kind in kinds)
    return "string"


def _type_of_kind(kind: Kind) -> pa.DataType | None:
    """The type of values; None if it has no fields."""
    if kind is None:
        return pa.string()
    if type(kind) is dict:
        fields = [(name, _type_of_kind(kind[name])) for name in sorted(kind, key=_in_utf16)]
        fields = [(name, known) for name, known in fields if known is not None]
        return pa.struct(fields) if fields else None
    if type(kind) is list:
        element = _type_of_kind(kind[0])
        return None if element is None else list_of(element)
    return pa.decimal128(kind, 0) if type(kind) is int else _OF_NAMES[kind]


def _in_utf16(name: str) -> bytes:
    """The order of the JVM's strings."""
    return name.encode("utf-16-be", "surrogatepass")
