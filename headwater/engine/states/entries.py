"""Entries: the values of a state as they are held, so that no function of a user can change an earlier version.

Atoms and tuples of atoms are held as they are, anything else as its pickled bytes.
"""

from __future__ import annotations

from typing import Any

from headwater.base.pickling import dumps, loads

_ATOMS = frozenset({str, int, float, bool, type(None), bytes, complex})

#: Stands for "no entry": in a change, for a removal.
GONE: Any = type("Gone", (), {"__slots__": (), "__repr__": lambda self: "GONE"})()


class Frozen:
    """A value that could be changed in place, as its pickled bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def freeze(value: Any) -> Any:
    """A value as an entry."""
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and _ATOMS.issuperset(map(type, value))):
        return value
    return Frozen(dumps(value))


def thaw(entry: Any) -> Any:
    """The value of an entry; a copy, if it can be changed."""
    return loads(entry.data) if type(entry) is Frozen else entry


def same(entry: Any, other: Any) -> bool:
    """Whether two entries certainly stand for one value. If in doubt they don't: then a change is stored for nothing.

    >>> same("a", "a"), same(freeze([1]), freeze([1])), same(1, True), same(0.0, -0.0)
    (True, True, False, False)
    """
    if entry is other:
        return True
    kind = type(entry)
    if kind is not type(other):  # 1, 1.0 and True are equal
        return False
    if kind is Frozen:
        return bool(entry.data == other.data)
    if kind is float:
        return bool(entry == other) and entry != 0.0  # 0.0 and -0.0 are equal
    if kind is tuple or kind is complex:  # so may be their parts
        return False
    return bool(entry == other)
