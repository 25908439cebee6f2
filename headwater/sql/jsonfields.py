"""What a value of JSON becomes in a column: Spark's rules, value by value.

A column takes what JSON has for it, and strings where JSON has nothing: instants, dates, bytes, infinite numbers. A
string column takes any value, as text. What doesn't fit is null: an array with such an element as a whole, a struct or
map only there.
"""

from __future__ import annotations

import binascii
import json
import math
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

__all__ = ["Convert", "Misfit", "converter", "has_decimal", "zone_of"]

Convert = Callable[[Any], Any]  # a value of JSON, but null, to what pa.array takes

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_FIRST_SECOND, _LAST_SECOND = -62135596800, 253402300799  # since 1970, of the years that Python has
_NAMED = {"NaN": math.nan, "Infinity": math.inf} | {
    f"{sign}{name}": float(f"{sign}inf") for sign in "+-" for name in ("INF", "Infinity")
}  # numbers that JSON has none for
_BASE64 = re.compile(r"[A-Za-z0-9+/]*={0,2}")
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_MOMENT = re.compile(
    r"\s*(?P<year>\d{4})(-(?P<month>\d\d?)(-(?P<day>\d\d?)"
    r"([ T](?P<hour>\d\d?)(:(?P<minute>\d\d?)(:(?P<second>\d\d?)(\.(?P<fraction>\d*))?)?)?(?P<zone>\D.*?)?)?)?)?\s*",
    re.ASCII,
)
_DATE = re.compile(r"\s*(\d{4})(?:-(\d\d?)(?:-(\d\d?)(?:[ T].*)?)?)?\s*", re.ASCII | re.DOTALL)
_OFFSET = re.compile(r"(?:UTC|GMT|UT)?([+-])(\d\d?)(?::?(\d\d?)(?::?(\d\d))?)?", re.ASCII)


class Misfit(Exception):
    """A value doesn't fit its column.

    Args:
        rest: what is left of it: a struct or map without that which doesn't fit.
    """

    def __init__(self, rest: Any = None) -> None:
        super().__init__("a value doesn't fit its column")
        self.rest = rest


def converter(known: pa.DataType, zone: tzinfo) -> Convert:
    """What converts values, but null, to those of a type.

    Args:
        zone: of instants that don't name one.

    Raises:
        TypeError: JSON has no values for the type. The function raises Misfit for a value that doesn't fit.

    >>> converter(pa.string(), timezone.utc)({"n": [1, 2.50]})
    '{"n":[1,2.5]}'
    """
    if pa.types.is_struct(known):
        return partial(_struct, [(field.name, converter(field.type, zone)) for field in known])
    if pa.types.is_map(known):
        if not pa.types.is_string(known.key_type):
            raise TypeError(f"A map's key is a string in JSON, so there is no {known}")
        return partial(_map, converter(known.item_type, zone))
    if pa.types.is_list(known) or pa.types.is_large_list(known):
        return partial(_array, converter(known.value_type, zone))
    if pa.types.is_string(known) or pa.types.is_large_string(known):
        return _text
    if pa.types.is_boolean(known):
        return _boolean
    if pa.types.is_signed_integer(known):
        return partial(_integer, 1 << (known.bit_width - 1))
    if pa.types.is_floating(known):
        return _float
    if pa.types.is_decimal(known):
        context = Context(prec=known.precision, rounding=ROUND_HALF_UP, traps=[InvalidOperation])
        return partial(_decimal, context, Decimal(1).scaleb(-known.scale))
    if pa.types.is_timestamp(known) and known.unit == "us":
        return partial(_timestamp, zone) if known.tz else _local_timestamp
    if pa.types.is_date32(known):
        return _date
    if pa.types.is_binary(known) or pa.types.is_large_binary(known):
        return _binary
    if pa.types.is_null(known):
        return _nothing
    raise TypeError(f"JSON has no values for a column of type {known}")


def has_decimal(known: pa.DataType) -> bool:
    """Whether there is a decimal in it: such numbers must not become floats first."""
    return pa.types.is_decimal(known) or any(has_decimal(known.field(i).type) for i in range(known.num_fields))


# ------------------------------------------------------------------------------------------------ nested
def _struct(fields: list[tuple[str, Convert]], value: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise Misfit
    made = {}
    whole = True
    for name, convert in fields:
        item = value.get(name)
        if item is not None:
            try:
                item = convert(item)
            except Misfit as misfit:
                item = misfit.rest
                whole = False
        made[name] = item
    if not whole:
        raise Misfit(made)
    return made


def _map(convert: Convert, value: Any) -> list[tuple[str, Any]]:
    if type(value) is not dict:
        raise Misfit
    items = []
    whole = True
    for key, item in value.items():
        if item is not None:
            try:
                item = convert(item)
            except Misfit as misfit:
                if misfit.rest is None:
                    raise
                item = misfit.rest
                whole = False
        items.append((_encodable(key), item))
    if not whole:
        raise Misfit(items)
    return items


def _array(convert: Convert, value: Any) -> list[Any]:
    if type(value) is not list:
        raise Misfit
    items = []
    whole = True
    for item in value:
        if item is not None:
            try:
                item = convert(item)
            except Misfit as misfit:
                if misfit.rest is None:
                    raise
                item = misfit.rest
                whole = False
        items.append(item)
    if not whole:
        raise Misfit(items)
    return items


# ------------------------------------------------------------------------------------------------ simple
def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise Misfit
    return value


def _integer(bound: int, value: Any) -> int:
    if type(value) is not int or not -bound <= value < bound:
        raise Misfit
    return value


def _float(value: Any) -> float:
    if type(value) is str and value in _NAMED:
        return _NAMED[value]
    if type(value) not in (int, float, Decimal):
        raise Misfit
    try:
        return float(value)
    except OverflowError:
        return math.copysign(math.inf, value)


def _decimal(context: Context, unit: Decimal, value: Any) -> Decimal:
    if type(value) is str and _DECIMAL.fullmatch(value.replace(",", "")):
        value = Decimal(value.replace(",", ""))
    elif type(value) not in (int, Decimal):  # a float is NaN or infinite
        raise Misfit
    try:
        return Decimal(value).quantize(unit, context=context)
    except InvalidOperation:
        raise Misfit from None


def _binary(value: Any) -> bytes:
    if type(value) is str and len(value) % 4 == 0 and _BASE64.fullmatch(value):
        return binascii.a2b_base64(value)
    raise Misfit


def _nothing(value: Any) -> None:
    raise Misfit


# ------------------------------------------------------------------------------------------------ text
def _text(value: Any) -> str:
    return _encodable(value) if type(value) is str else _json(value)


def _encodable(text: str) -> str:
    """As the JVM does with halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _json(value: Any) -> str:
    """The value as JSON without spaces, its numbers as Java shows them."""
    if type(value) is dict:
        return f"{{{','.join(f'{_json(key)}:{_json(item)}' for key, item in value.items())}}}"
    if type(value) is list:
        return f"[{','.join(map(_json, value))}]"
    if type(value) is int:
        return str(value)
    if type(value) in (float, Decimal):
        return _java_float(float(value))
    return _encodable(json.dumps(value, ensure_ascii=False))


def _java_float(value: float) -> str:
    if not math.isfinite(value):
        return '"NaN"' if math.isnan(value) else '"Infinity"' if value > 0 else '"-Infinity"'
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return repr(value)
    sign, digits, exponent = Decimal(repr(value)).as_tuple()
    shown = "".join(map(str, digits)).rstrip("0")
    return f"{'-' * sign}{shown[0]}.{shown[1:] or '0'}E{int(exponent) + len(digits) - 1}"


# ------------------------------------------------------------------------------------------------ times
def zone_of(name: str) -> tzinfo:
    """The time zone of a name or offset.

    Raises:
        ValueError: there is none of that name.

    >>> zone_of("+02:00")
    datetime.timezone(datetime.timedelta(seconds=7200))
    """
    if name in ("Z", "UTC", "GMT", "UT"):
        return timezone.utc
    offset = _OFFSET.fullmatch(name)
    if offset is None:
        try:
            return ZoneInfo(name)
        except (KeyError, ValueError, OSError):  # not found, no relative path, a directory
            raise ValueError(f"There is no time zone {name!r}") from None
    sign, hours, minutes, seconds = offset.groups()
    size = timedelta(hours=int(hours), minutes=int(minutes or 0), seconds=int(seconds or 0))
    if size > timedelta(hours=18):
        raise ValueError(f"A time zone is at most 18 hours off, got {name!r}")
    return timezone(-size if sign == "-" else size)


def _timestamp(zone: tzinfo, value: Any) -> int:
    """Microseconds since 1970. An int is seconds."""
    if type(value) is int and _FIRST_SECOND <= value <= _LAST_SECOND:
        return value * 1_000_000
    return _microseconds(_moment(value, zone))


def _local_timestamp(value: Any) -> int:
    return _microseconds(_moment(value, None))


def _moment(value: Any, zone: tzinfo | None) -> datetime:
    match = _MOMENT.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Misfit
    named = (match["zone"] or "").strip()
    try:
        if named:
            if zone is None:
                raise Misfit
            zone = zone_of(named)
        year, month, day = (int(match[part] or 1) for part in ("year", "month", "day"))
        hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
        microsecond = int((match["fraction"] or "")[:6].ljust(6, "0"))
        return datetime(year, month, day, hour, minute, second, microsecond, zone or timezone.utc)
    except ValueError:
        raise Misfit from None


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _date(value: Any) -> int:
    """Days since 1970."""
    match = _DATE.fullmatch(value) if type(value) is str else None
    if match is None:
        raise Misfit
    try:
        return date(int(match[1]), int(match[2] or 1), int(match[3] or 1)).toordinal() - _EPOCH_DAY
    except ValueError:
        raise Misfit from None
