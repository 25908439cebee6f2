"""Hadoop's Writables: how Python's values are written as them and read back.

- A class is known by its Java name. `ArrayWritable` doesn't say on the wire what it holds: here its name is
  `ArrayWritable<class of its values>`, and a program that reads arrays which Hadoop wrote gives that name.
- Read values are PySpark's: int, float, str, bool, bytearray, None, dict, and tuple for an array. Of ShortWritable,
  ByteWritable, VIntWritable and VLongWritable PySpark gives text; here they are int.

| Python | as written unless another class is asked for |
|---|---|
| int | IntWritable, from 2**31 on LongWritable |
| float, str, bool, None | DoubleWritable, Text, BooleanWritable, NullWritable |
| bytes, bytearray | BytesWritable |
| dict | MapWritable, its keys and values by this table |
| list, tuple | ArrayWritable of what the first value is |
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from decimal import Decimal
from functools import cache
from typing import Any, NamedTuple

from headwater.errors import IllegalArgumentException, SparkException

PACKAGE = "org.apache.hadoop.io."
TEXT, BYTES, NULL = PACKAGE + "Text", PACKAGE + "BytesWritable", PACKAGE + "NullWritable"
INT, LONG, MAP, ARRAY = (PACKAGE + name for name in ("IntWritable", "LongWritable", "MapWritable", "ArrayWritable"))
DOUBLE, FLOAT, BOOLEAN = (PACKAGE + name for name in ("DoubleWritable", "FloatWritable", "BooleanWritable"))

_INT = struct.Struct(">i")
# Java's name -> how its one number is packed.
_NUMBERS = {
    INT: struct.Struct(">i"),
    LONG: struct.Struct(">q"),
    FLOAT: struct.Struct(">f"),
    DOUBLE: struct.Struct(">d"),
    BOOLEAN: struct.Struct(">?"),
    PACKAGE + "ShortWritable": struct.Struct(">h"),
    PACKAGE + "ByteWritable": struct.Struct(">b"),
}
_VARIABLE = {PACKAGE + "VIntWritable": 32, PACKAGE + "VLongWritable": 64}  # bits
# AbstractMapWritable's numbers of the classes that it knows; others are numbered from 1 within the map.
_MAP_CLASSES = {
    -127: ARRAY,
    -126: BOOLEAN,
    -125: BYTES,
    -124: FLOAT,
    -123: INT,
    -122: LONG,
    -121: MAP,
    -119: NULL,
    -116: TEXT,
    -114: PACKAGE + "VIntWritable",
    -113: PACKAGE + "VLongWritable",
}
_MAP_NUMBERS = {name: number for number, name in _MAP_CLASSES.items()}
SUPPORTED = (*_NUMBERS, *_VARIABLE, TEXT, BYTES, NULL, MAP, f"{ARRAY}<class>")

Encode = Callable[[Any], bytes]
# (data, where the value begins) -> (the value, where it ends)
Decode = Callable[[bytes, int], tuple[Any, int]]


class Writable(NamedTuple):
    """A class of values. It travels as its name."""

    name: str
    encode: Encode
    decode: Decode

    @property
    def java_class(self) -> str:
        """The name by which Java knows it."""
        return self.name.partition("<")[0]

    @property
    def elements(self) -> str:
        """The class of what an array holds; empty for all but arrays."""
        return self.name.partition("<")[2][:-1]

    def __reduce__(self) -> tuple[Callable[[str], Writable], tuple[str]]:
        return writable, (self.name,)

    def load(self, data: bytes) -> Any:
        """The value that is all of the data.

        Raises:
            SparkException: it ends before the data does, or after it.
        """
        value, end = self.decode(data, 0)
        if end != len(data):
            raise SparkException(f"a {self.name} is damaged: it is complete after {end} of {len(data)} bytes")
        return value


@cache
def writable(name: str) -> Writable:
    """The class of a Java name, by default of `org.apache.hadoop.io`; arrays as `ArrayWritable<class>`.

    Raises:
        IllegalArgumentException: it isn't one of those that are supported.
    """
    found = _writable(name)
    return found if found.name == name else writable(found.name)  # one object per class


def _writable(name: str) -> Writable:
    outer, bracket, inner = name.partition("<")
    full = outer if "." in outer else PACKAGE + outer
    if bracket:
        if full != ARRAY or not inner.endswith(">"):
            raise _unsupported(name)
        return _array(writable(inner[:-1]))
    if full in _NUMBERS:
        return Writable(full, *_number(full, _NUMBERS[full]))
    if full in _VARIABLE:
        return Writable(full, lambda value: encode_vint(_integer(full, value, _VARIABLE[full])), decode_vint)
    if full in _OTHERS:
        return Writable(full, *_OTHERS[full])
    raise _unsupported(name)


def _unsupported(name: str) -> IllegalArgumentException:
    hint = ""
    if name.startswith(ARRAY) or name == "ArrayWritable":
        hint = " An array's class must say what it holds, as ArrayWritable<org.apache.hadoop.io.IntWritable>."
    return IllegalArgumentException(
        f"the class {name} is not supported.{hint} Those that are: {', '.join(SUPPORTED)}. A subclass of one of "
        "them is read by giving that one as keyClass or valueClass, for arrays 'ArrayWritable<class of its values>'."
    )


def class_for(value: Any) -> str:
    """The class that a Python value is written as.

    Raises:
        IllegalArgumentException: there is none.

    >>> class_for(1), class_for([0.5])
    ('org.apache.hadoop.io.IntWritable', 'org.apache.hadoop.io.ArrayWritable<org.apache.hadoop.io.DoubleWritable>')
    """
    if isinstance(value, (list, tuple)):
        if not value:
            raise IllegalArgumentException(
                "an empty array doesn't say what it holds: give the class, as ArrayWritable<IntWritable>"
            )
        return f"{ARRAY}<{class_for(value[0])}>"
    if isinstance(value, int) and not isinstance(value, bool):
        return INT if -(2**31) <= value < 2**31 else LONG
    for kinds, name in _CLASSES:
        if isinstance(value, kinds):
            return name
    raise IllegalArgumentException(
        f"{value!r} of type {type(value).__name__} can't be written as a Writable. Those that can: int, float, str, "
        "bool, bytes, None, dict, and list or tuple of these. Turn other records into them first, by map."
    )


_CLASSES: tuple[tuple[Any, str], ...] = (
    (bool, BOOLEAN),
    (float, DOUBLE),
    (str, TEXT),
    ((bytes, bytearray), BYTES),
    (type(None), NULL),
    (dict, MAP),
)


# ------------------------------------------------------------------------------------------------ numbers
def _number(name: str, code: struct.Struct) -> tuple[Encode, Decode]:
    def encode(value: Any) -> bytes:
        if isinstance(value, bool):
            raise _unfit(name, value, "it is no number")
        try:
            return code.pack(value)
        except (struct.error, OverflowError) as error:
            raise _unfit(name, value, str(error)) from None

    def encode_bool(value: Any) -> bytes:
        if not isinstance(value, bool):
            raise _unfit(name, value, "it is no bool")
        return code.pack(value)

    def decode(data: bytes, at: int) -> tuple[Any, int]:
        end = at + code.size
        if end > len(data):
            raise _short(data)
        return code.unpack_from(data, at)[0], end

    return encode_bool if name == BOOLEAN else encode, decode


def _unfit(name: str, value: Any, reason: str) -> IllegalArgumentException:
    text = repr(value)
    return IllegalArgumentException(
        f"{text[:80]} of type {type(value).__name__} can't be written as {name}: {reason}. The class is that of the "
        "first record unless one is given (keyClass, valueClass)."
    )


def _short(data: bytes) -> SparkException:
    return SparkException(f"a value is damaged: it ends at byte {len(data)}, before it is complete")


def _integer(name: str, value: Any, bits: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise _unfit(name, value, f"it is no integer of {bits} bits")
    return value


def encode_vint(value: int) -> bytes:
    """Hadoop's variable-length integer: small ones in one byte, else the first byte gives sign and length."""
    if -112 <= value <= 127:
        return value.to_bytes(1, "big", signed=True)
    magnitude = ~value if value < 0 else value
    length = (magnitude.bit_length() + 7) // 8
    first = (-120 if value < 0 else -112) - length
    return first.to_bytes(1, "big", signed=True) + magnitude.to_bytes(length, "big")


def decode_vint(data: bytes, at: int) -> tuple[int, int]:
    """The variable-length integer at an offset, and where it ends."""
    if at >= len(data):
        raise _short(data)
    first = data[at] - 256 if data[at] > 127 else data[at]
    at += 1
    if first >= -112:
        return first, at
    negative = first < -120
    end = at + (-120 - first if negative else -112 - first)
    if end > len(data):
        raise _short(data)
    magnitude = int.from_bytes(data[at:end], "big")
    return ~magnitude if negative else magnitude, end


def decode_vints(data: bytes) -> list[int]:
    """All variable-length integers of the data."""
    if data.isascii():  # each is small, and its own byte
        return list(data)
    values, at = [], 0
    while at < len(data):
        value, at = decode_vint(data, at)
        values.append(value)
    return values


# ------------------------------------------------------------------------------------------------ text, bytes, nothing
def _encode_text(value: Any) -> bytes:
    if not isinstance(value, str):
        raise _unfit(TEXT, value, "it is no str")
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        raise _unfit(TEXT, value, f"{error.reason}, at character {error.start}") from None
    return encode_vint(len(data)) + data


def _decode_text(data: bytes, at: int) -> tuple[str, int]:
    length, at = decode_vint(data, at)
    end = at + length
    if not at <= end <= len(data):
        raise _short(data)
    return data[at:end].decode("utf-8", "replace"), end


def _encode_bytes(value: Any) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise _unfit(BYTES, value, "it is neither bytes nor bytearray")
    return _INT.pack(len(value)) + value


def _decode_bytes(data: bytes, at: int) -> tuple[bytearray, int]:
    length, at = _decode_int(data, at)
    return bytearray(_slice(data, at, length)), at + length


def _encode_null(value: Any) -> bytes:
    if value is not None:
        raise _unfit(NULL, value, "only None is null")
    return b""


def _decode_int(data: bytes, at: int) -> tuple[int, int]:
    return int(_INT.unpack(_slice(data, at, _INT.size))[0]), at + _INT.size


def _decode_count(data: bytes, at: int) -> tuple[int, int]:
    count, at = _decode_int(data, at)
    if count < 0:
        raise SparkException(f"a value is damaged: it gives a count of {count}")
    return count, at


def _slice(data: bytes, at: int, length: int) -> bytes:
    if length < 0 or at + length > len(data):
        raise _short(data)
    return data[at : at + length]


# ------------------------------------------------------------------------------------------------ arrays, maps
def _array(inner: Writable) -> Writable:
    def encode(values: Any) -> bytes:
        if not isinstance(values, (list, tuple)):
            raise _unfit(ARRAY, values, "it is neither list nor tuple")
        return b"".join((_INT.pack(len(values)), *map(inner.encode, values)))

    def decode(data: bytes, at: int) -> tuple[tuple[Any, ...], int]:
        count, at = _decode_count(data, at)
        values = []
        for _ in range(count):
            value, at = inner.decode(data, at)
            values.append(value)
        return tuple(values), at

    return Writable(f"{ARRAY}<{inner.name}>", encode, decode)


def _encode_map(value: Any) -> bytes:
    if not isinstance(value, dict):
        raise _unfit(MAP, value, "it is no dict")
    own: dict[str, int] = {}  # classes that the map itself names
    entries = []
    for half in (half for pair in value.items() for half in pair):
        name = class_for(half)
        if name.startswith(ARRAY):
            raise _unfit(MAP, value, "a map can't hold arrays, whose class isn't named")
        number = _MAP_NUMBERS.get(name) or own.setdefault(name, len(own) + 1)
        entries.append(number.to_bytes(1, "big", signed=True) + writable(name).encode(half))
    told = (number.to_bytes(1, "big") + _java_utf(name) for name, number in own.items())
    return b"".join((bytes([len(own)]), *told, _INT.pack(len(value)), *entries))


def _decode_map(data: bytes, at: int) -> tuple[dict[Any, Any], int]:
    classes = dict(_MAP_CLASSES)
    told, at = _slice(data, at, 1)[0], at + 1
    for _ in range(told):
        number, length = struct.unpack(">bH", _slice(data, at, 3))
        classes[number] = _slice(data, at + 3, length).decode()
        at += 3 + length
    count, at = _decode_count(data, at)
    halves: list[Any] = []
    for _ in range(2 * count):
        number = struct.unpack(">b", _slice(data, at, 1))[0]
        if number not in classes:
            raise SparkException(f"a MapWritable holds the class of number {number}, which is not supported")
        half, at = writable(classes[number]).decode(data, at + 1)
        halves.append(half)
    return dict(zip(map(_hashable, halves[::2]), halves[1::2])), at


def _hashable(key: Any) -> Any:
    if isinstance(key, dict):
        raise SparkException("a MapWritable has a map as key, which a dict can't have")
    return bytes(key) if isinstance(key, bytearray) else key


def _java_utf(name: str) -> bytes:
    return struct.pack(">H", len(name)) + name.encode()


_OTHERS: dict[str, tuple[Encode, Decode]] = {
    TEXT: (_encode_text, _decode_text),
    BYTES: (_encode_bytes, _decode_bytes),
    NULL: (_encode_null, lambda _data, at: (None, at)),
    MAP: (_encode_map, _decode_map),
}


# ------------------------------------------------------------------------------------------------ as text
def java_text(value: Any) -> str:
    """What the `toString` of its Writable gives, as Hadoop's text formats show it.

    Raises:
        IllegalArgumentException: it isn't written as a Writable, or is an array.

    >>> [java_text(value) for value in ("a", True, 1e7, 0.5, b"a1", None, {1: "b"})]
    ['a', 'true', '1.0E7', '0.5', '61 31', '(null)', '{1=b}']
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _java_float(value, repr(value))
    if isinstance(value, (bytes, bytearray)):
        return value.hex(" ")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{java_text(key)}={java_text(half)}" for key, half in value.items()) + "}"
    name = class_for(value)
    if name != NULL:
        raise IllegalArgumentException(f"{value!r}: an array has no text. Make it one by map, such as ' '.join")
    return "(null)"


def java_float_text(value: float) -> str:
    """`java_text` of a number of 32 bits: as few digits as distinguish it from its neighbours.

    >>> java_float_text(0.10000000149011612)
    '0.1'
    """
    from ctypes import c_float  # here, since it's slow to load; struct refuses what is no float any more

    texts = (f"{value:.{digits}g}" for digits in range(1, 10))
    return _java_float(value, next((text for text in texts if c_float(float(text)).value == value), repr(value)))


def _java_float(value: float, shortest: str) -> str:
    """A number as Java's `Double.toString` has it, from Python's text of its digits."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if value == 0:
        return "-0.0" if math.copysign(1, value) < 0 else "0.0"
    number = Decimal(shortest)
    if 1e-3 <= abs(value) < 1e7:
        text = f"{number:f}"
        return text if "." in text else text + ".0"
    digits = "".join(map(str, number.as_tuple().digits)).rstrip("0")
    return f"{'-' if value < 0 else ''}{digits[0]}.{digits[1:] or '0'}E{number.adjusted()}"
