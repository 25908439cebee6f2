"""Lines of JSON as Arrow's record batches.

- A chunk of lines is parsed as a whole, by Arrow. Only where it refuses one, the chunk is cut, and what is left of it
  is read line by line, with Spark's rules for what doesn't fit (`jsonfields.py`). Both ways give the same.
- A record is a line, whatever newlines it holds: an object is a row, an array of objects a row each; blank ones are
  none. As in Spark, what stands behind the object is not looked at, and single quotes do as well.
- No column is without nulls: a line may lack any field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import timezone as fixed_zone
from datetime import tzinfo
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj

from headwater.formats.textfiles import text_lines
from headwater.sql.jsonfields import Misfit, converter, has_decimal, zone_of
from headwater.sql.jsonmodes import check_mode
from headwater.sql.textlines import Line, chunks, text_of

__all__ = ["JsonLines", "batches", "error_of", "is_blank", "parse", "parser", "wrap"]

_CUT_INTO = 8  # pieces of a chunk that is refused
_LINES_MIN = 256  # of a piece that is cut: Arrow's call costs as much as some 50 lines read one by one
_PARSED_MAX = 1 << 30  # bytes in a call: Arrow counts them in 32 bits
_SHOWN_MAX = 200  # characters of a line in an error
_BYTES = 1 << 20  # of a file's lines that are parsed at once; more outgrow the cache
_SPACE = " \t\r\n"
_BOM = "\ufeff"
# Numbers that Arrow takes and nobody else; a string that looks like it costs time only.
_ODD_NUMBER = re.compile(rb"[\s:,\[](?:-NaN|-?Inf(?!inity))")
_QUOTED = re.compile(r""" "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' """, re.VERBOSE | re.DOTALL)
_ESCAPE_OR_QUOTE = re.compile(r'\\.|"', re.DOTALL)
_IN_DOUBLE_QUOTES = {"\\'": "'", '"': r"\""}


def batches(
    records: Iterable[Line],
    schema: pa.Schema,
    *,
    mode: str = "PERMISSIVE",
    corrupt_column: str | None = None,
    timezone: str = "UTC",
) -> JsonLines:
    """Lines of JSON as record batches. Fields that the schema hasn't are left out, those a line lacks are null.

    Args:
        records: text, or its UTF-8. None is no row, as a blank line.
        schema: of the batches; its columns may all be null.
        mode: what becomes of a malformed line, one that is no object or has a value that doesn't fit its column. With
            PERMISSIVE it's a row with null for what can't be read; DROPMALFORMED leaves it out; FAILFAST is an error.
        corrupt_column: the string column, if the schema has it, that takes the text of malformed lines. It isn't read
            from the lines.
        timezone: of instants that don't name one.

    Raises:
        ValueError: there is no such mode or time zone; later, with FAILFAST, a line is malformed.
        TypeError: JSON has no values for a column, or the corrupt column isn't a string column.

    >>> lines = batches(['{"n": 1}', '{"n": "x"}', "{"], pa.schema({"n": pa.int64()}))
    >>> [batch.to_pydict() for batch in lines], lines.malformed
    ([{'n': [1, None, None]}], 2)
    """
    return JsonLines(records, schema, mode, corrupt_column, timezone)


class JsonLines(Iterator[pa.RecordBatch]):
    """The batches of lines; see `batches`."""

    def __init__(
        self, records: Iterable[Line], schema: pa.Schema, mode: str, corrupt_column: str | None, timezone: str
    ) -> None:
        self.schema = pa.schema(list(_nullable(pa.struct(list(schema)))))
        self.malformed = 0  # lines so far
        self._mode = check_mode(mode)
        self._corrupt = corrupt_column if corrupt_column in schema.names else None
        if self._corrupt is not None and not pa.types.is_string(schema.field(self._corrupt).type):
            raise TypeError(
                f"[INVALID_CORRUPT_RECORD_TYPE] The column `{self._corrupt}` for corrupt records must have the "
                f"nullable STRING type, but got {schema.field(self._corrupt).type}."
            )
        fields = [field for field in self.schema if field.name != self._corrupt]
        self._convert = converter(pa.struct(fields), zone_of(timezone))
        self._load = parser(exact=has_decimal(pa.struct(fields)))
        self._parse = _Arrow(pa.schema(fields), zone_of(timezone))
        self._batches = self._all(records)

    def __next__(self) -> pa.RecordBatch:
        return next(self._batches)

    def _all(self, records: Iterable[Line]) -> Iterator[pa.RecordBatch]:
        begin = 0
        pieces: Iterator[bytes] | None = getattr(records, "pieces", None)
        if pieces is None:
            for lines in chunks(records):
                yield from self._rows(lines, begin)
                begin += len(lines)
            return
        while piece := b"".join(_up_to(_BYTES, pieces)):  # of a text file: its lines need not be cut, if all are well
            batch = self._parse.whole(piece)
            if batch is not None:
                yield self._batch(batch.columns, batch.num_rows)
                begin += batch.num_rows  # and blank ones at its end, if at all
            else:
                cut = text_lines(piece)
                yield from self._rows(cut, begin)
                begin += len(cut)

    def _rows(self, lines: Sequence[Line], begin: int) -> Iterator[pa.RecordBatch]:
        """The rows of lines, the first of which is at a position, in one batch."""
        found = [batch for batch in self._read(lines, begin) if batch.num_rows]
        if len(found) > 1:
            found = pa.Table.from_batches(found).combine_chunks().to_batches()
        yield from found

    def _read(self, lines: Sequence[Line], begin: int) -> Iterator[pa.RecordBatch]:
        """The rows of lines, the first of which is at a position: by Arrow if it takes them, else piece by piece."""
        batch = self._parse(lines)
        if batch is not None:
            yield self._batch(batch.columns, batch.num_rows)
        elif len(lines) <= _LINES_MIN:
            yield self._read_each(lines, begin)
        else:
            size = -(-len(lines) // _CUT_INTO)
            for start in range(0, len(lines), size):
                yield from self._read(lines[start : start + size], begin + start)

    def _read_each(self, lines: Iterable[Line], begin: int) -> pa.RecordBatch:
        """The rows of lines, the first of which is at a position, line by line."""
        rows: list[dict[str, Any]] = []
        texts: list[str | None] = []  # of the corrupt column, one a row
        for position, line in enumerate(lines, begin):
            if line is None or is_blank(line):
                continue
            read, whole = self._rows_of(line)
            text = None
            if not whole:
                self.malformed += 1
                if self._mode == "DROPMALFORMED":
                    continue
                text = text_of(line)
                if self._mode == "FAILFAST":
                    raise error_of(line, position)
            rows += read
            texts += [text] * len(read)
        columns = [pa.array([row.get(field.name) for row in rows], field.type) for field in self._parse.schema]
        return self._batch(columns, len(rows), texts)

    def _rows_of(self, line: str | bytes) -> tuple[list[dict[str, Any]], bool]:
        """The rows of a line, and whether all of it fits."""
        try:
            value = self._load(line)
            values = value if type(value) is list else [value]
            return list(map(self._convert, values)), True
        except Misfit as misfit:
            # A row is left of an object only, not of one in an array.
            return [misfit.rest if type(value) is dict and misfit.rest else {}], False
        except (ValueError, RecursionError):
            return [{}], False

    def _batch(
        self, columns: Sequence[pa.Array], rows: int, texts: Sequence[str | None] | None = None
    ) -> pa.RecordBatch:
        """A batch of the schema of columns without the corrupt one; None: that one is empty."""
        if not len(self.schema):
            return pa.RecordBatch.from_pydict({"": [None] * rows}).select([])
        made = list(columns)
        if self._corrupt is not None:
            column = pa.nulls(rows, pa.string()) if texts is None else pa.array(texts, pa.string())
            made.insert(self.schema.get_field_index(self._corrupt), column)
        return pa.RecordBatch.from_arrays(made, schema=self.schema)


# ------------------------------------------------------------------------------------------------ many lines at once
class _Arrow:
    """Parses lines as a whole.

    Args:
        schema: of the batches.
        zone: of instants that don't name one.
    """

    def __init__(self, schema: pa.Schema, zone: tzinfo) -> None:
        self.schema = schema
        self._zone = zone
        inner = _parsed_as(pa.struct(list(schema)))
        self._options = pj.ParseOptions(explicit_schema=pa.schema({"": inner}), unexpected_field_behavior="ignore")
        self._plainly = pj.ParseOptions(explicit_schema=pa.schema(list(inner)), unexpected_field_behavior="ignore")
        try:
            parse(b"{}", self._options)
            self._takes_schema = True
        except pa.ArrowNotImplementedError:  # for one, it has no maps
            self._takes_schema = False

    def __call__(self, lines: Sequence[Line]) -> pa.RecordBatch | None:
        """The rows of lines; None if one of them isn't as Arrow wants it, or may not be."""
        wrapped = wrap(lines) if self._takes_schema else None
        if wrapped is None:
            return None
        if not wrapped.lines:
            return pa.RecordBatch.from_pylist([], self.schema)
        try:
            rows = parse(wrapped.data, self._options).combine_chunks()
            if len(rows) != wrapped.lines or rows.null_count:
                return None
            finished = _finished(rows, pa.struct(list(self.schema)), self._zone)
        except (pa.ArrowInvalid, Misfit):
            return None
        return pa.RecordBatch.from_struct_array(finished)

    def whole(self, piece: bytes) -> pa.RecordBatch | None:
        """The rows of lines, an object each, as they stand in a file; None if one isn't, or may not be.

        Each newline stands between two objects, as it can't stand in one there: so as many rows as lines are a row a
        line.
        """
        data = piece.rstrip(b"\n")
        newlines = len(data) - len(data.replace(b"\n", b""))  # twice as quick as `count`
        between = data.startswith(b"{") and data.endswith(b"}") and data.count(b"}\n{") == newlines
        if not between or not self._takes_schema or not len(self.schema) or not _is_regular(data):
            return None
        try:
            rows = _read_json(data, self._plainly).combine_chunks()
            if rows.num_rows != newlines + 1:
                return None
            finished = _finished(rows.to_struct_array().combine_chunks(), pa.struct(list(self.schema)), self._zone)
        except (pa.ArrowInvalid, Misfit):
            return None
        return pa.RecordBatch.from_struct_array(finished)


class Wrapped(NamedTuple):
    """Lines, each in an object of its own, `{"":line}`, so that none ends within another one.

    What lacks a quote or bracket, or has one too many, leaves no JSON, or more rows than lines.
    """

    data: bytes
    lines: int


def wrap(lines: Sequence[Line]) -> Wrapped | None:
    """The lines that aren't empty for `parse`; None if Arrow would see in them what others don't."""
    filled: list[Any] = list(filter(None, lines))
    if not filled:
        return Wrapped(b"", 0)
    try:
        data = _joined(filled)
    except (TypeError, UnicodeEncodeError):  # not all are text, or all bytes; there is half of a surrogate pair
        data = _joined([line.encode("utf-8", "replace") if isinstance(line, str) else line for line in filled])
    return Wrapped(data, len(filled)) if _is_regular(data) else None


def parse(data: bytes, options: pj.ParseOptions) -> pa.ChunkedArray:
    """Wrapped lines as Arrow's parser has them.

    Raises:
        pa.ArrowInvalid: they are no JSON, or don't fit the schema.
    """
    return _read_json(data, options).column(0)


def _read_json(data: bytes, options: pj.ParseOptions) -> pa.Table:
    # The block is larger than all data: no line is cut.
    reading = pj.ReadOptions(use_threads=False, block_size=len(data) + 1)
    return pj.read_json(pa.BufferReader(data), read_options=reading, parse_options=options)


def _up_to(size: int, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The next pieces, until they have a size, each with an end of its last line: another file's may follow."""
    for piece in pieces:
        yield piece if piece.endswith(b"\n") else piece + b"\n"
        size -= len(piece)
        if size <= 0:
            return


def _joined(lines: Sequence[Any]) -> bytes:
    if isinstance(lines[0], bytes):
        return b'{"":' + b'}\n{"":'.join(lines) + b"}"
    return ('{"":' + '}\n{"":'.join(lines) + "}").encode()


def _is_regular(data: bytes) -> bool:
    """Whether Arrow sees in the data what others do: it looks at what it leaves out too little, see `_ODD_NUMBER`."""
    if len(data) > _PARSED_MAX:
        return False
    if (b"I" in data or b"N" in data) and _ODD_NUMBER.search(data):  # most data are done with the first two
        return False
    try:
        return data.isascii() or bool(data.decode())
    except UnicodeDecodeError:
        return False


def _nullable(known: pa.DataType) -> pa.DataType:
    """The type with nulls wherever there may be some."""
    if pa.types.is_struct(known):
        return pa.struct([pa.field(field.name, _nullable(field.type)) for field in known])
    if pa.types.is_list(known):
        return pa.list_(pa.field(known.value_field.name, _nullable(known.value_type)))
    if pa.types.is_map(known):
        return pa.map_(known.key_field, pa.field(known.item_field.name, _nullable(known.item_type)))
    return known


def _parsed_as(known: pa.DataType) -> pa.DataType:
    """The type that Arrow's parser has to give, of which `_finished` makes the wanted one."""
    if pa.types.is_temporal(known) or pa.types.is_binary(known) or pa.types.is_large_binary(known):
        return pa.string()
    if pa.types.is_struct(known):
        return pa.struct([field.with_type(_parsed_as(field.type)) for field in known])
    if pa.types.is_list(known):
        return pa.list_(known.value_field.with_type(_parsed_as(known.value_type)))
    return known


def _finished(column: pa.Array, known: pa.DataType, zone: tzinfo) -> pa.Array:
    """A parsed column as one of the wanted type.

    Raises:
        Misfit: a value doesn't fit.
    """
    if pa.types.is_decimal(known):
        return _within_precision(column)
    if column.type == known and not has_decimal(known):
        return column
    if pa.types.is_struct(known):
        parts = [_finished(part, field.type, zone) for part, field in zip(column.flatten(), known)]
        return pa.StructArray.from_arrays(parts, fields=list(known), mask=column.is_null())
    if pa.types.is_list(known):
        values = _finished(column.values, known.value_type, zone)
        return pa.ListArray.from_arrays(column.offsets, values, type=known, mask=column.is_null())
    if pa.types.is_temporal(known):
        try:
            return _cast(column, known, zone)
        except pa.ArrowInvalid:  # one is in a form that only Spark knows, or is no time
            pass
    convert = converter(known, zone)
    return pa.array([None if text is None else convert(text) for text in column.to_pylist()], known)


def _within_precision(column: pa.Array) -> pa.Array:
    """The decimals, of which Arrow's parser has too large ones as well."""
    bounds = pc.min_max(column).as_py().values()
    if any(value is not None and len(value.as_tuple().digits) > column.type.precision for value in bounds):
        raise Misfit
    return column


def _cast(texts: pa.Array, known: pa.DataType, zone: tzinfo) -> pa.Array:
    """Texts as instants or dates. Either all instants name a zone or none does.

    Raises:
        pa.ArrowInvalid: there is one that Arrow doesn't know.
    """
    try:
        return texts.cast(known)
    except pa.ArrowInvalid:
        name = "UTC" if zone is fixed_zone.utc else getattr(zone, "key", None)
        if name is None or not pa.types.is_timestamp(known) or known.tz is None:
            raise
    local = texts.cast(pa.timestamp(known.unit))
    return pc.assume_timezone(local, name, ambiguous="earliest", nonexistent="raise").cast(known)


# ------------------------------------------------------------------------------------------------ line by line
def parser(*, exact: bool = False) -> Any:
    """What reads a line: the value of the JSON at its beginning.

    Args:
        exact: numbers with a fraction or exponent become decimals.

    Raises:
        ValueError, RecursionError: raised by the function; the line isn't JSON, or isn't UTF-8.

    >>> parser()("{'a': [1, 2.5]} and more")
    {'a': [1, 2.5]}
    """
    decoder = json.JSONDecoder(parse_float=Decimal) if exact else json.JSONDecoder()
    return partial(_load, decoder)


def _load(decoder: json.JSONDecoder, line: str | bytes) -> Any:
    text = (line.decode() if isinstance(line, bytes) else line).removeprefix(_BOM).lstrip(_SPACE)
    try:
        return decoder.raw_decode(text)[0]
    except ValueError:
        if "'" not in text:
            raise
        return decoder.raw_decode(_QUOTED.sub(_with_double_quotes, text))[0]


def _with_double_quotes(quoted: re.Match[str]) -> str:
    """A string of JSON, whichever quotes it had."""
    inner = _ESCAPE_OR_QUOTE.sub(lambda found: _IN_DOUBLE_QUOTES.get(found[0], found[0]), quoted[0][1:-1])
    return f'"{inner}"'


def is_blank(line: str | bytes) -> bool:
    """Whether there is only white space in a line."""
    return not (line.strip(b" \t\r\n") if isinstance(line, bytes) else line.strip(_SPACE))


# ------------------------------------------------------------------------------------------------ errors
def error_of(line: str | bytes, position: int) -> ValueError:
    """What a malformed line raises where that is an error.

    Args:
        position: of the record in its partition, from 0.
    """
    text = text_of(line)
    shown = repr(text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}...")
    return ValueError(
        "[MALFORMED_RECORD_IN_PARSING.WITHOUT_SUGGESTION] Malformed records are detected in record parsing: "
        f"record {position} of the partition is {shown}. Parse Mode: FAILFAST. To process malformed records as null "
        "result, try setting the option 'mode' as 'PERMISSIVE'."
    )
