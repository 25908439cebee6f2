"""The schema of rows that say none: the Arrow types that Spark's rules give to Python values.

Schemas are Arrow's, with Spark's meaning: a timestamp with a zone is TimestampType, one without is TimestampNTZType.
Rows are tuples, lists, dicts, or objects with a `__dict__`.
"""

from __future__ import annotations

import datetime
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from functools import reduce
from itertools import islice
from typing import Any

import pyarrow as pa

__all__ = ["infer_from", "infer_schema", "is_undetermined", "kind_of", "merge_schemas", "name_of", "renamed"]

_LOOKED_AT = 100  # rows that are looked at for a type that the first row leaves open

_OF_VALUES: dict[type, pa.DataType] = {
    type(None): pa.null(),
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    bytearray: pa.binary(),
    Decimal: pa.decimal128(38, 18),  # precision and scale differ from row to row
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us", tz="UTC"),
    datetime.time: pa.time64("ns"),
    datetime.timedelta: pa.duration("us"),
}
_SIGNED = {1: pa.int8(), 2: pa.int16(), 4: pa.int32(), 8: pa.int64()}  # by bytes
_OF_NUMPY = {kind: getattr(pa, kind)() for kind in ("int8", "int16", "int32", "int64", "float32", "float64")} | {
    "bool": pa.bool_()
}


# ------------------------------------------------------------------------------------------------ from values
def infer_schema(row: Any, names: Sequence[str] | None = None) -> pa.Schema:
    """The schema of a row. Dicts and objects have their fields in the order of the names.

    Args:
        names: of the fields of a tuple or list without names; those behind them are `_3` and so on.

    Raises:
        TypeError: the row is no record, or a value in it has no type.

    >>> infer_schema(("Ann", 7), ["name"])
    name: string
    _2: int64
    """
    items: Iterable[tuple[str, Any]]
    if isinstance(row, dict):
        items = sorted(row.items())
    elif isinstance(row, (tuple, list)):
        own = getattr(row, "__fields__", None) or getattr(row, "_fields", None)
        given = own or [*(names or ()), *(f"_{position}" for position in range(len(names or ()) + 1, len(row) + 1))]
        items = zip(given, row)
    elif hasattr(row, "__dict__"):
        items = sorted(vars(row).items())
    else:
        raise TypeError(
            f"[CANNOT_INFER_SCHEMA_FOR_TYPE] Can not infer schema for type: `{type(row).__name__}`. A row is a Row, "
            f"a tuple, a list, a dict or an object with attributes, got {repr(row)[:200]}"
        )
    return pa.schema([_field(name, value) for name, value in items])


def _field(name: str, value: Any) -> pa.Field:
    try:
        return pa.field(name, _type_of(value))
    except TypeError as e:
        raise TypeError(f"[CANNOT_INFER_TYPE_FOR_FIELD] Unable to infer the type of the field `{name}`. {e}") from e


def _type_of(value: Any) -> pa.DataType:
    known = _OF_VALUES.get(type(value))
    if known is not None:
        return known
    if isinstance(value, dict):
        keys = _common_type(value)
        # Arrow has no map whose keys' type isn't known: all of an empty dict's type stays open.
        return keys if pa.types.is_null(keys) else map_of(keys, _common_type(value.values()))
    if isinstance(value, list):
        return list_of(_common_type(value))
    if isinstance(value, array):
        return list_of(_type_in_array(value), nullable=False)
    if type(value).__module__ == "numpy":
        return _type_in_numpy(value)
    for base, known in _OF_VALUES.items():
        if isinstance(value, base):
            return known
    if isinstance(value, tuple) or hasattr(value, "__dict__"):
        return pa.struct(list(infer_schema(value)))
    raise TypeError(f"[UNSUPPORTED_DATA_TYPE] Unsupported DataType `{type(value).__name__}`.")


def _common_type(values: Iterable[Any]) -> pa.DataType:
    """The type of all values: None has any type."""
    kinds = dict.fromkeys(map(type, values))
    if kinds.keys() <= _OF_VALUES.keys():
        return reduce(_merged, map(_OF_VALUES.__getitem__, kinds), pa.null())
    return reduce(_merged, map(_type_of, values), pa.null())


def _type_in_array(values: array[Any]) -> pa.DataType:
    """The type of the elements: a signed one that holds all that the C type may be."""
    code, size = values.typecode, values.itemsize
    if code in "fd":
        return pa.float32() if code == "f" else pa.float64()
    if code in "uw":
        return pa.string()
    known = _SIGNED.get(size if code.islower() else 2 * size)
    if known is None or code in "qQ":
        raise TypeError(f"[UNSUPPORTED_DATA_TYPE] Unsupported DataType `array({code})`.")
    return known


def _type_in_numpy(value: Any) -> pa.DataType:
    """The type of a scalar of numpy's, or of an array's elements as far as it has dimensions."""
    known = _OF_NUMPY.get(value.dtype.name)
    if known is None:
        return _type_of(value.tolist())
    return reduce(lambda inner, _: list_of(inner), range(value.ndim), known)


def list_of(element: pa.DataType, *, nullable: bool = True) -> pa.DataType:
    """The type of a list of elements, with its parts named as Spark does."""
    return pa.list_(pa.field("element", element, nullable=nullable))


def map_of(key: pa.DataType, value: pa.DataType) -> pa.DataType:
    """The type of a map, with its parts named as Spark does."""
    return pa.map_(pa.field("key", key, nullable=False), pa.field("value", value))


# ------------------------------------------------------------------------------------------------ from many rows
def infer_from(rows: Sequence[Any], names: Sequence[str] | None = None, *, all_rows: bool = False) -> pa.Schema:
    """The schema of rows. It may leave types open, see `is_undetermined`.

    Args:
        names: see `infer_schema`.
        all_rows: merge the schemas of all rows. Else the first row's counts, and rows behind it, of the first 100, are
            looked at only as long as a type is open, since all values so far were None or empty.

    Raises:
        TypeError: see `infer_schema` and `merge_schemas`.
        ValueError: there is no row, or no value in the first.
    """
    if not rows or (hasattr(rows[0], "__len__") and not len(rows[0])):
        raise ValueError("[CANNOT_INFER_EMPTY_SCHEMA] Can not infer schema from an empty dataset.")
    schema = infer_schema(rows[0], names)
    for row in _unlike(rows) if all_rows else islice(rows, 1, _LOOKED_AT):
        if not all_rows and not is_undetermined(schema):
            break
        schema = merge_schemas(schema, infer_schema(row, names))
    return schema


def _unlike(rows: Iterable[Any]) -> Iterator[Any]:
    """The rows, without those that have the schema of one before."""
    seen = set()
    for row in rows:
        if isinstance(row, dict):
            kinds = tuple(map(type, row.values()))
            shape = (dict, *row, *kinds)
        elif isinstance(row, (tuple, list)):
            kinds = tuple(map(type, row))
            shape = (type(row), *getattr(row, "__fields__", ()), *kinds)
        else:
            yield row
            continue
        if shape not in seen:
            if _OF_VALUES.keys() >= set(kinds):  # else values of one Python type may have several
                seen.add(shape)
            yield row


def is_undetermined(schema: pa.Schema) -> bool:
    """Whether there is a type of which nothing is known, since there was no value."""
    return any(_is_open(field.type) for field in schema)


def _is_open(known: pa.DataType) -> bool:
    return pa.types.is_null(known) or any(_is_open(known.field(i).type) for i in range(known.num_fields))


def renamed(schema: pa.Schema, names: Sequence[str]) -> pa.Schema:
    """The schema with other names for its first fields.

    Raises:
        ValueError: there are more names than fields.
    """
    if len(names) > len(schema):
        raise ValueError(
            f"[AXIS_LENGTH_MISMATCH] Length mismatch: Expected axis has {len(schema)} elements, new values have "
            f"{len(names)} elements. The names are {list(names)}, the fields {schema.names}"
        )
    return pa.schema([field.with_name(name) for field, name in zip(schema, [*names, *schema.names[len(names) :]])])


# ------------------------------------------------------------------------------------------------ merging
def merge_schemas(a: pa.Schema, b: pa.Schema) -> pa.Schema:
    """The schema of rows that have the one or the other: the fields of `a`, then those that `b` has besides.

    Raises:
        TypeError: there is no type for both.
    """
    return pa.schema(list(_merged(pa.struct(list(a)), pa.struct(list(b)))))


def _merged(a: pa.DataType, b: pa.DataType, where: str = "") -> pa.DataType:
    if pa.types.is_null(a) or pa.types.is_null(b):
        return b if pa.types.is_null(a) else a
    kind, other = kind_of(a), kind_of(b)
    if {kind, other} == {"TimestampType", "TimestampNTZType"}:
        return a if kind == "TimestampType" else b
    if "StringType" in (kind, other) and not (pa.types.is_nested(a) or pa.types.is_nested(b)):
        return a if kind == "StringType" else b
    if kind != other:
        raise TypeError(
            f"[CANNOT_MERGE_TYPE] Can not merge type `{kind}` and `{other}`."
            + (f" Rows have both in {where}" if where else "")
        )
    within = f" in {where}" if where else ""
    if kind == "StructType":
        return pa.struct(_merged_fields(a, b, within))
    if kind == "ArrayType":
        return list_of(_merged(a.value_type, b.value_type, f"element in array{within}"))
    if kind == "MapType":
        keys = _merged(a.key_type, b.key_type, f"key of map{within}")
        return map_of(keys, _merged(a.item_type, b.item_type, f"value of map{within}"))
    return a


def _merged_fields(a: pa.DataType, b: pa.DataType, within: str) -> list[pa.Field]:
    others = {field.name: field for field in b}
    fields = [
        field.with_type(_merged(field.type, others[field.name].type, f"field {field.name}{within}"))
        if field.name in others
        else field
        for field in a
    ]
    names = {field.name for field in a}
    return fields + [field for name, field in others.items() if name not in names]


# ------------------------------------------------------------------------------------------------ Spark's names
_KINDS: dict[int, str] = {
    pa.null().id: "NullType",
    pa.bool_().id: "BooleanType",
    pa.int8().id: "ByteType",
    pa.int16().id: "ShortType",
    pa.int32().id: "IntegerType",
    pa.int64().id: "LongType",
    pa.float32().id: "FloatType",
    pa.float64().id: "DoubleType",
    pa.decimal128(1).id: "DecimalType",
    pa.string().id: "StringType",
    pa.large_string().id: "StringType",
    pa.binary().id: "BinaryType",
    pa.large_binary().id: "BinaryType",
    pa.date32().id: "DateType",
    pa.time64("ns").id: "TimeType",
    pa.duration("us").id: "DayTimeIntervalType",
    pa.list_(pa.null()).id: "ArrayType",
    pa.map_(pa.string(), pa.null()).id: "MapType",
    pa.struct([]).id: "StructType",
}


def kind_of(known: pa.DataType) -> str:
    """The name of Spark's class for the type.

    Raises:
        TypeError: Spark has none.
    """
    if pa.types.is_timestamp(known):
        return "TimestampType" if known.tz else "TimestampNTZType"
    if known.id not in _KINDS:
        raise TypeError(f"[UNSUPPORTED_DATA_TYPE] Unsupported DataType `{known}`.")
    return _KINDS[known.id]


def name_of(known: pa.DataType) -> str:
    """How Spark's type shows itself.

    >>> name_of(pa.list_(pa.int64()))
    'ArrayType(LongType(), True)'
    """
    kind = kind_of(known)
    inside = _INSIDE.get(kind)
    return f"{kind}({inside(known) if inside else ''})"


_INSIDE: dict[str, Callable[[Any], str]] = {
    "DecimalType": lambda known: f"{known.precision},{known.scale}",
    "TimeType": lambda known: "6",
    "DayTimeIntervalType": lambda known: "0, 3",
    "ArrayType": lambda known: f"{name_of(known.value_type)}, {known.value_field.nullable}",
    "MapType": lambda known: f"{name_of(known.key_type)}, {name_of(known.item_type)}, {known.item_field.nullable}",
    "StructType": lambda known: f"[{', '.join(map(_field_name, known))}]",
}


def _field_name(field: pa.Field) -> str:
    return f"StructField({field.name!r}, {name_of(field.type)}, {field.nullable})"
