"""Rows as Arrow's record batches, and back.

- What a column takes is Spark's rule: an int is no double, a bool no int; a string column takes anything, as text; a
  struct takes tuples and lists by position, dicts and objects with a `__dict__` by name.
- A column is converted as a whole, a nested one part by part. Its values are looked at one by one only where it holds
  something unusual, and its row is looked for only where one doesn't fit.
- A datetime without a zone is a time of this process's zone, as in Spark. In a column of timestamps without a zone it
  is what the clock shows, whatever its zone.
"""

from __future__ import annotations

import gc
import os
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from itertools import accumulate, chain, islice, pairwise
from operator import methodcaller
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from headwater.sql.inference import kind_of, name_of
from headwater.sql.rows import Row, row_maker

__all__ = ["batches", "from_stream", "rows_of", "to_stream", "write_file"]

_ROWS_MAX = 64 << 10  # of a batch
_ROWS_FIRST = 1 << 10  # of the first batch, which tells how large rows are
_BYTES = 64 << 20  # that a batch has at most, as far as its rows are as large as those before
_SHOWN_MAX = 200  # characters of a value or row in an error
_INT32_MAX = (1 << 31) - 1
_INT64_MAX = (1 << 63) - 1
_SECOND = 1_000_000  # in microseconds
_EPOCH = datetime(1970, 1, 1)


# ------------------------------------------------------------------------------------------------ to Arrow
def batches(
    rows: Iterable[Any],
    schema: pa.Schema,
    *,
    verify: bool = True,
    atomic: bool = False,
    keys: Sequence[str] | None = None,
) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of 64 Ki rows; of fewer, where they are large, and the first.

    Args:
        schema: of the batches, with the types that Spark has.
        verify: refuse what doesn't fit a column. Else it is null, as in Spark; still refused are values that no type
            of the kind holds, such as an int of more than 64 bits, None where the schema has no nulls, and rows with
            too many or too few values.
        atomic: the rows are the values of the one column.
        keys: the names by which dicts and objects are read, where they aren't those of the schema.

    Raises:
        TypeError: a value is of a type that the column doesn't take, or a row is no record.
        ValueError: a value is out of bounds, None where it mustn't be, or a row has a wrong number of values.

    >>> [batch.to_pydict() for batch in batches([("a", 1), {"word": "b"}], pa.schema({"word": "string", "n": "int64"}))]
    [{'word': ['a', 'b'], 'n': [1, None]}]
    """
    root = _StructColumn(pa.field("", pa.struct(list(schema))), "", verify)
    if keys is not None:
        root.names = list(keys)
    convert = (lambda values: [root.fields[0].array(values)]) if atomic else root.arrays
    source = iter(rows)
    rows_next = _ROWS_FIRST
    while taken := list(islice(source, rows_next)):
        for batch in _converted(taken, convert, schema):
            yield batch
            rows_next = max(1, min(_ROWS_MAX, _BYTES * batch.num_rows // max(1, batch.nbytes)))


def _converted(
    rows: list[Any], convert: Callable[[list[Any]], list[pa.Array]], schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    """The rows as a batch. They are halved where they are too large for one, and to come to one that doesn't fit."""
    try:
        arrays = convert(rows)
    except (_Misfit, _TooLarge) as refused:
        if len(rows) == 1:
            raise _error(refused, rows[0]) from None
        half = len(rows) // 2
        yield from _converted(rows[:half], convert, schema)
        yield from _converted(rows[half:], convert, schema)
        return
    if arrays:
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)
    else:
        yield pa.RecordBatch.from_pydict({"": [None] * len(rows)}).select([])  # knows how many rows it has


def _error(refused: _Misfit | _TooLarge, row: Any) -> Exception:
    if isinstance(refused, _TooLarge):
        return ValueError(f"A column takes less than 2 GB of a row. The row is {_shown(row)}")
    where = f"{refused.path} of " if refused.path else ""
    return refused.error(f"{refused} It is {where}the row {_shown(row)}")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


class _Misfit(Exception):
    """A value doesn't fit the field at `path`. `always`: not even where that isn't verified."""

    def __init__(self, error: type[Exception], path: str, text: str, *, always: bool = False) -> None:
        super().__init__(text)
        self.error = error
        self.path = path
        self.always = always


class _TooLarge(Exception):
    """The values are more than an array holds."""


# ------------------------------------------------------------------------------------------------ columns
class _Column:
    """Makes arrays of the values of a field.

    Args:
        path: how Spark's messages name the field.
        verify: see `batches`.
    """

    plain: ClassVar[tuple[type, ...]] = ()  # `build` takes values of these types
    accepted: ClassVar[tuple[type, ...]] = ()  # and `fit` these, if they are more

    def __init__(self, field: pa.Field, path: str, verify: bool) -> None:
        self.type = field.type
        self.nullable = field.nullable
        self.path = path
        self.verify = verify

    def array(self, values: Sequence[Any]) -> pa.Array:
        """The values as an array.

        Raises:
            _Misfit: one doesn't fit.
            _TooLarge: they are too many for an array.
        """
        if not self.are_plain(set(map(type, values))):
            values = list(map(self.fitted, values))
        try:
            made = self.build(values)
        except (pa.ArrowInvalid, OverflowError, UnicodeEncodeError):  # one is out of bounds
            made = self.build(list(map(self.fitted, values)))
        if isinstance(made, pa.ChunkedArray):
            raise _TooLarge
        if made.null_count and not self.nullable:
            text = self.named("FIELD_NOT_NULLABLE", "This field is not nullable, but got None.")
            raise _Misfit(ValueError, self.path, text, always=True)
        return made

    def are_plain(self, kinds: set[type]) -> bool:
        """Whether `build` takes all values of these types, but for those out of bounds."""
        return kinds <= {*self.plain, type(None)}

    def build(self, values: Sequence[Any]) -> pa.Array:
        """The array of values of plain types."""
        return pa.array(values, self.type)

    def fitted(self, value: Any) -> Any:
        """The value as `build` takes it; None if it doesn't fit and that isn't verified."""
        if value is None:
            return None
        try:
            return self.fit(value.tolist() if type(value).__module__ == "numpy" else value)
        except _Misfit as misfit:
            if self.verify or misfit.always:
                raise
            return None

    def fit(self, value: Any) -> Any:
        """The value as `build` takes it.

        Raises:
            _Misfit: it doesn't fit.
        """
        accepted = self.accepted or self.plain
        # A value of a derived type is refused by Spark's verification.
        if type(value) in accepted or (not self.verify and isinstance(value, accepted) and type(value) is not bool):
            return value
        raise self.unacceptable(value)

    def unacceptable(self, value: object) -> _Misfit:
        """The value's type isn't what the column takes."""
        text = f"{name_of(self.type)} can not accept object {_shown(value)} in type {type(value)}."
        return _Misfit(TypeError, self.path, self.named("FIELD_DATA_TYPE_UNACCEPTABLE", text))

    def named(self, code: str, text: str) -> str:
        """Spark's message, which says of what field it speaks where that has a name."""
        return f"[{code}_WITH_NAME] {self.path}: {text}" if self.path else f"[{code}] {text}"

    def out_of_bounds(self, value: object, lower: object, upper: object, *, always: bool) -> _Misfit:
        """The value isn't one of those that the column's type has."""
        text = (
            f"[VALUE_OUT_OF_BOUNDS] Value for `obj` must be between {lower} and {upper} (inclusive), "
            f"got {_shown(value)}."
        )
        return _Misfit(ValueError, self.path, text, always=always)


class _NullColumn(_Column):
    pass


class _BooleanColumn(_Column):
    plain = (bool,)


class _FloatColumn(_Column):
    plain = (float,)


class _IntegerColumn(_Column):
    plain = (int,)

    def fit(self, value: Any) -> Any:
        value = int(super().fit(value))
        bound = 1 << (self.type.bit_width - 1)
        if not -bound <= value < bound:
            raise self.out_of_bounds(value, -bound, bound - 1, always=not -_INT64_MAX <= value <= _INT64_MAX)
        return value


class _StringColumn(_Column):
    plain = (str,)

    def fit(self, value: Any) -> str:
        text = str(value).lower() if type(value) is bool else str(value)
        return text.encode("utf-8", "replace").decode()  # as the JVM does with halves of surrogate pairs


class _BinaryColumn(_Column):
    plain = (bytes, bytearray)


class _DateColumn(_Column):
    plain = (date,)
    accepted = (date, datetime)

    def fit(self, value: Any) -> date | None:
        value = super().fit(value)
        return date(value.year, value.month, value.day) if value == value else None  # pandas' NaT is a datetime


class _TimeColumn(_Column):
    plain = (time_of_day,)


class _DurationColumn(_Column):
    plain = (timedelta,)

    def fit(self, value: Any) -> Any:
        bound = timedelta(microseconds=_INT64_MAX)
        if not -bound <= super().fit(value) <= bound:
            raise self.out_of_bounds(value, -bound, bound, always=True)
        return value


class _DecimalColumn(_Column):
    plain = (Decimal,)

    def fit(self, value: Any) -> Decimal | None:
        if super().fit(value).is_nan():
            return None
        precision, scale = self.type.precision, self.type.scale
        try:
            digits = Context(prec=precision, rounding=ROUND_HALF_UP, traps=[InvalidOperation])
            return value.quantize(Decimal(1).scaleb(-scale), context=digits)  # type: ignore[no-any-return]
        except InvalidOperation:
            text = (
                f"[NUMERIC_VALUE_OUT_OF_RANGE.WITHOUT_SUGGESTION] {value} cannot be represented as "
                f"Decimal({precision}, {scale})."
            )
            raise _Misfit(ValueError, self.path, text, always=True) from None


class _TimestampColumn(_Column):
    plain = (datetime,)

    def fit(self, value: Any) -> Any:
        value = super().fit(value)
        return value if value == value else None  # pandas' NaT is a datetime

    def build(self, values: Sequence[Any]) -> pa.Array:
        if not _local_time_is_utc():
            values = [value if value is None else _microseconds(value) for value in values]
        return pa.array(values, self.type)


class _TimestampNTZColumn(_TimestampColumn):
    def build(self, values: Sequence[Any]) -> pa.Array:
        return pa.array([v if v is None or v.tzinfo is None else v.replace(tzinfo=None) for v in values], self.type)


class _NestedColumn(_Column):
    """What is made of the arrays of its parts."""

    def build(self, values: Sequence[Any]) -> pa.Array:
        present = [value for value in values if value is not None]
        made = self.build_present(present)
        if len(present) == len(values):
            return made
        position = iter(range(len(present)))
        return made.take(pa.array([None if value is None else next(position) for value in values], pa.int32()))

    def build_present(self, values: list[Any]) -> pa.Array:
        """The array of values of plain types, none of them None."""
        raise NotImplementedError

    def offsets(self, values: list[Any]) -> pa.Array:
        """Where each value's elements begin and end in the array of all."""
        ends = list(accumulate(map(len, values), initial=0))
        if ends[-1] > _INT32_MAX:
            raise _TooLarge
        return pa.array(ends, pa.int32())


class _ListColumn(_NestedColumn):
    plain = (list, tuple, array)

    def __init__(self, field: pa.Field, path: str, verify: bool) -> None:
        super().__init__(field, path, verify)
        self.elements = _column(field.type.value_field, f"element in array {path}", verify)

    def build_present(self, values: list[Any]) -> pa.Array:
        elements = self.elements.array(list(chain.from_iterable(values)))
        return pa.ListArray.from_arrays(self.offsets(values), elements, type=self.type)


class _MapColumn(_NestedColumn):
    plain = (dict,)

    def __init__(self, field: pa.Field, path: str, verify: bool) -> None:
        super().__init__(field, path, verify)
        self.keys = _column(field.type.key_field, f"key of map {path}", verify)
        self.items = _column(field.type.item_field, f"value of map {path}", verify)

    def build_present(self, values: list[Any]) -> pa.Array:
        keys = self.keys.array(list(chain.from_iterable(values)))
        items = self.items.array(list(chain.from_iterable(map(methodcaller("values"), values))))
        return pa.MapArray.from_arrays(self.offsets(values), keys, items, type=self.type)


class _StructColumn(_NestedColumn):
    plain = (tuple, list, dict)

    def __init__(self, field: pa.Field, path: str, verify: bool) -> None:
        super().__init__(field, path, verify)
        within = f" in {path}" if path else ""
        self.names = [part.name for part in field.type]
        self.fields = [_column(part, f"field {part.name}{within}", verify) for part in field.type]

    def are_plain(self, kinds: set[type]) -> bool:
        return all(issubclass(kind, (*self.plain, type(None))) for kind in kinds)

    def fit(self, value: Any) -> Any:
        if isinstance(value, self.plain):
            return value
        if hasattr(value, "__dict__"):
            return vars(value)
        raise self.unacceptable(value)

    def build_present(self, values: list[Any]) -> pa.Array:
        parts = self.arrays(values)
        if not parts:
            return pa.array([{}] * len(values), self.type)
        return pa.StructArray.from_arrays(parts, fields=list(self.type))

    def arrays(self, rows: list[Any]) -> list[pa.Array]:
        """An array for each field. A row that is None has None in each."""
        return [field.array(values) for field, values in zip(self.fields, self.columns(rows))]

    def columns(self, rows: list[Any]) -> list[list[Any]]:
        """The values of each field."""
        kinds = set(map(type, rows))
        if kinds == {dict}:
            return [[row.get(name) for row in rows] for name in self.names]
        if not all(issubclass(kind, (tuple, list)) for kind in kinds):
            rows = list(map(self.by_position, rows))
        width = len(self.names)
        for length in set(map(len, rows)) - {width}:
            text = f"Length of object ({length}) does not match with length of fields ({width})."
            raise _Misfit(ValueError, self.path, self.named("FIELD_STRUCT_LENGTH_MISMATCH", text), always=True)
        values = list(chain.from_iterable(rows))
        return [values[position::width] for position in range(width)]

    def by_position(self, row: Any) -> Sequence[Any]:
        """The row's values in the order of the fields."""
        record = {} if row is None else self.fit(row)
        return [record.get(name) for name in self.names] if isinstance(record, dict) else record


_COLUMNS: dict[str, type[_Column]] = {
    "NullType": _NullColumn,
    "BooleanType": _BooleanColumn,
    "ByteType": _IntegerColumn,
    "ShortType": _IntegerColumn,
    "IntegerType": _IntegerColumn,
    "LongType": _IntegerColumn,
    "FloatType": _FloatColumn,
    "DoubleType": _FloatColumn,
    "DecimalType": _DecimalColumn,
    "StringType": _StringColumn,
    "BinaryType": _BinaryColumn,
    "DateType": _DateColumn,
    "TimeType": _TimeColumn,
    "TimestampType": _TimestampColumn,
    "TimestampNTZType": _TimestampNTZColumn,
    "DayTimeIntervalType": _DurationColumn,
    "ArrayType": _ListColumn,
    "MapType": _MapColumn,
    "StructType": _StructColumn,
}


def _column(field: pa.Field, path: str, verify: bool) -> _Column:
    return _COLUMNS[kind_of(field.type)](field, path, verify)


# ------------------------------------------------------------------------------------------------ local time
def _local_time_is_utc() -> bool:
    return time.tzname == ("UTC", "UTC") and not time.timezone


def _microseconds(moment: datetime) -> int:
    """Since 1970. Exact, as a float isn't."""
    try:
        seconds = round(moment.timestamp() - moment.microsecond / _SECOND)
    except ValueError:  # Python looks at the day before, which year 1 may not have
        seconds = int(time.mktime(moment.timetuple()))
    return seconds * _SECOND + moment.microsecond


def _local(microseconds: int) -> datetime:
    """The local time of an instant."""
    seconds, rest = divmod(microseconds, _SECOND)
    try:
        return datetime.fromtimestamp(seconds).replace(microsecond=rest)
    except ValueError:  # see above
        return datetime(*time.localtime(seconds)[:6], rest)


# ------------------------------------------------------------------------------------------------ from Arrow
def rows_of(batch: pa.RecordBatch) -> list[Row]:
    """The rows of a batch. Instants are datetimes of the local time without a zone, structs are rows, maps dicts.

    >>> rows_of(pa.record_batch({"word": ["a", None], "n": [1, 2]}))
    [Row(word='a', n=1), Row(word=None, n=2)]
    """
    # The collector would look at each row several times, to find no cycle: that takes longer than all the rest.
    collects = gc.isenabled()
    gc.disable()
    try:
        return _rows(batch.schema.names, batch.columns, batch.num_rows)
    finally:
        if collects:
            gc.enable()


def _rows(names: Sequence[str], columns: Sequence[pa.Array], count: int) -> list[Row]:
    make = row_maker(names)
    return list(map(make, zip(*map(_values, columns)))) if columns else [make(())] * count


def _values(column: pa.Array) -> list[Any]:
    known = column.type
    if pa.types.is_timestamp(known):
        from_microseconds = _local if known.tz and not _local_time_is_utc() else _naive
        counted = column.cast(pa.timestamp("us", known.tz), safe=False).cast(pa.int64()).to_pylist()
        return [value if value is None else from_microseconds(value) for value in counted]
    if pa.types.is_duration(known):
        return column.cast(pa.duration("us"), safe=False).to_pylist()  # type: ignore[no-any-return]
    if pa.types.is_struct(known):
        return _with_nulls(column, _rows([field.name for field in known], column.flatten(), len(column)))
    if pa.types.is_map(known):
        keys, items = _elements(column, column.keys), _elements(column, column.items)
        return _with_nulls(column, [dict(zip(keys[part], items[part])) for part in _parts(column)])
    if pa.types.is_list(known) or pa.types.is_large_list(known):
        elements = _elements(column, column.values)
        return _with_nulls(column, [elements[part] for part in _parts(column)])
    if pa.types.is_dictionary(known):
        return _values(column.dictionary_decode())
    return column.to_pylist()  # type: ignore[no-any-return]


def _elements(column: pa.Array, within: pa.Array) -> list[Any]:
    """What all lists or maps of a column hold, of an array that may hold more."""
    begin, end = (column.offsets[at].as_py() for at in (0, -1))
    return _values(within.slice(begin, end - begin))


def _parts(column: pa.Array) -> Iterator[slice]:
    """What each list or map holds of the elements."""
    offsets = column.offsets.to_pylist()
    return (slice(begin - offsets[0], end - offsets[0]) for begin, end in pairwise(offsets))


def _with_nulls(column: pa.Array, values: list[Any]) -> list[Any]:
    if not column.null_count:
        return values
    return [value if valid else None for value, valid in zip(values, column.is_valid().to_pylist())]


def _naive(microseconds: int) -> datetime:
    return _EPOCH + timedelta(0, 0, microseconds)


# ------------------------------------------------------------------------------------------------ IPC
def to_stream(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> bytes:
    """The batches as one Arrow IPC stream, schema included."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as out:
        for batch in batches:
            out.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def from_stream(data: bytes) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow IPC stream."""
    with pa.ipc.open_stream(data) as reader:
        yield from reader


def write_file(path: str | Path, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> int:
    """Write the batches as an Arrow IPC file, which is there once it is whole. Returns the number of rows.

    Its directory is made if it isn't there, and nothing else is ever in it: who reads it reads all that is there.
    """
    rows = 0
    directory, name = os.path.split(path)
    os.makedirs(directory, exist_ok=True)
    unfinished = f"{directory}-{name}.{os.getpid()}"
    try:
        with pa.ipc.new_file(unfinished, schema) as out:
            for batch in batches:
                out.write_batch(batch)
                rows += batch.num_rows
        os.replace(unfinished, path)
    except BaseException:
        if os.path.exists(unfinished):
            os.remove(unfinished)
        raise
    return rows
