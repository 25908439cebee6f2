"""The portable hash: a key's hash that is the same in every process and after every restart.

State is partitioned by key on disk, and Python's own hash of a string or a date differs between processes.

- Equal keys hash equal, across types as well: 1, 1.0, True and Decimal(1) are one key.
- Built-in values and dates hash by content. Numbers keep Python's hash, which is a function of their value.
- A class's own `__hash__` is run with `hash` standing for `portable_hash`: `hash((self.a, self.b))`, what dataclasses
  generate, and Enum's are portable too. One that keeps its result, or is written in C, is taken as it is.
- What has only an identity (no `__hash__` of its own) is refused: its copy in another process is another key.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Number
from pathlib import PurePath, PureWindowsPath
from types import FunctionType
from typing import Any
from zlib import crc32

_MASK = 2**64 - 1
_MULTIPLIER = 0x9E3779B97F4A7C15  # 2**64 / golden ratio: spreads neighbouring hashes over all bits
_CLASSES_MAX = 1024  # classes sent by value are new ones with each function: the table must not grow for ever
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


def portable_hash(key: Any) -> int:
    """The hash of a key, for partitioning.

    Raises:
        TypeError: the key is unhashable, or hashes by identity only.

    >>> portable_hash(("clicks", 1)) == portable_hash(("clicks", 1.0))
    True
    """
    kind = type(key)
    if kind is str:
        try:
            return crc32(key.encode())
        except UnicodeEncodeError:
            return _of_text(key)
    if kind is int:
        return hash(key)
    hasher = _hashers.get(kind)
    if hasher is None:
        hasher = _remember(kind)
    return hasher(key)


def _remember(kind: type) -> Callable[[Any], int]:
    if len(_hashers) >= _CLASSES_MAX:
        _hashers.clear()
    hasher = _hashers[kind] = _choose(kind)
    return hasher


def _choose(kind: type) -> Callable[[Any], int]:
    own: Any = kind.__hash__
    if own is None:
        raise TypeError(f"unhashable type: '{kind.__name__}': it can't be a key. Use a tuple of its contents.")
    for base, hasher in _BY_CONTENT:
        if issubclass(kind, base):
            return hasher
    if own is object.__hash__:
        raise TypeError(
            f"a key of type '{kind.__module__}.{kind.__qualname__}' can't be partitioned: it hashes by identity, and"
            " its copy in another process would be another key. Define __eq__ and __hash__, or use a frozen dataclass."
        )
    if isinstance(own, FunctionType):
        return _portable_version(own)
    for base, hasher in _BY_CONTENT_UNLESS_OVERRIDDEN:
        if issubclass(kind, base):
            return hasher
    return hash


def _portable_version(own: FunctionType) -> Callable[[Any], int]:
    """A class's `__hash__` with `hash` replaced, where that can be seen to change nothing else."""
    import dis

    code = own.__code__
    # A __hash__ that keeps its result in the object would hand ours to Python's dicts.
    keeps_result = any(step.opname in _STORES for step in dis.get_instructions(code)) or "__setattr__" in code.co_names
    if "hash" not in code.co_names or "hash" in own.__globals__ or keeps_result:
        return hash
    scope = {**own.__globals__, "hash": portable_hash}
    return FunctionType(code, scope, own.__name__, own.__defaults__, own.__closure__)


_STORES = frozenset({"STORE_ATTR", "STORE_SUBSCR", "STORE_GLOBAL", "STORE_DEREF"})


def _of_none(_key: None) -> int:
    return 0


def _of_number(key: Any) -> int:
    return 0 if key != key else hash(key)  # Python hashes a NaN by identity


def _of_decimal(key: Decimal) -> int:
    return 0 if key.is_nan() else hash(key)  # a signalling NaN can't even be compared


def _of_text(key: str) -> int:
    return crc32(key.encode("utf-8", "surrogatepass"))


def _of_tuple(key: tuple[Any, ...]) -> int:
    combined = len(key)
    for part in key:
        combined = ((combined ^ portable_hash(part)) * _MULTIPLIER) & _MASK
        combined ^= combined >> 32
    return combined


def _of_set(key: frozenset[Any]) -> int:
    return sum(_of_tuple((part,)) for part in key) & _MASK


def _of_class(key: type) -> int:
    return _of_text(f"{key.__module__}.{key.__qualname__}")


def _of_datetime(key: datetime) -> int:
    if key != key:
        return 0  # pandas' NaT
    offset = key.replace(fold=0).utcoffset()
    return _of_timedelta(key.replace(tzinfo=None) - _EPOCH - (offset or timedelta()))


def _of_date(key: date) -> int:
    return key.toordinal()


def _of_time(key: time) -> int:
    offset = key.replace(fold=0).utcoffset() or timedelta()
    since_midnight = timedelta(hours=key.hour, minutes=key.minute, seconds=key.second, microseconds=key.microsecond)
    return _of_timedelta(since_midnight - offset)


def _of_timedelta(key: timedelta) -> int:
    return 0 if key != key else hash(key // _MICROSECOND)


def _of_path(key: PurePath) -> int:
    return _of_text(str(key).lower() if isinstance(key, PureWindowsPath) else str(key))


# In order, the subclass first. Subclasses of these compare as their base does, whatever hash they define.
_BY_CONTENT: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (type(None), _of_none),
    (Decimal, _of_decimal),
    (datetime, _of_datetime),
    (date, _of_date),
    (time, _of_time),
    (timedelta, _of_timedelta),
    (PurePath, _of_path),
    (type, _of_class),
)
# A subclass that defines `__hash__` has its own idea of equality: a string that ignores case, say.
_BY_CONTENT_UNLESS_OVERRIDDEN: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (str, _of_text),
    (bytes, crc32),
    (memoryview, crc32),
    (tuple, _of_tuple),
    (frozenset, _of_set),
    (Number, _of_number),
)
_hashers: dict[type, Callable[[Any], int]] = {}
