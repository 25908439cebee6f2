"""How objects become bytes: functions and programs by cloudpickle, blocks of records by pickle protocol 5.

Records are always pickled by cloudpickle's pickler, since a record's class may live in the user's script, where plain
pickle fails in both directions. It costs nothing for built-in types, which never reach its override.

PySpark's serializers can be imported from here too: they are in `framing.py`.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterable
from functools import cache
from itertools import chain
from types import FunctionType
from typing import Any

from headwater.errors import SerializationError

PROTOCOL = 5
_ATOMS = frozenset({str, int, float, bool, type(None), bytes, complex})
_CONTAINERS = frozenset({tuple, list})
# Levels of tuples and lists that are looked into; deeper data is pickled with the memo, as is all that may be cyclic.
_DEPTH = 2
_OURS = ("headwater.", "copyreg")

loads = pickle.loads


def dumps(obj: Any) -> bytes:
    """Pickle any object, functions and classes of the user's script included (by value).

    Raises:
        SerializationError: the object, or something that it refers to, can't be pickled.
    """
    buffer = io.BytesIO()
    try:
        _pickler()(buffer, PROTOCOL).dump(obj)
        return buffer.getvalue()
    except SerializationError:
        raise
    except Exception as error:
        raise SerializationError(f"Could not serialize object: {type(error).__name__}: {error}") from error


@cache
def _pickler() -> Any:
    """cloudpickle's pickler, but for our own classes and functions, of which it needn't ask whether to import them.

    Classes by value keep their qualified names, which cloudpickle drops: see `engine.successors`.
    """
    import cloudpickle

    make_class = cloudpickle.cloudpickle._make_skeleton_class

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, (type, FunctionType)) and _is_ours(obj):
                return NotImplemented
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and type(reduced) is tuple and reduced[0] is make_class:
                reduced[1][3]["__qualname__"] = "".join(obj.__qualname__)  # a string of its own: see cloudpickle
            return reduced

    return Pickler


def _is_ours(obj: type | FunctionType) -> bool:
    """Whether it's found in a module of ours under its name, and not a lambda or something local."""
    module = obj.__module__
    return (
        module is not None
        and module.startswith(_OURS)
        and getattr(sys.modules.get(module), obj.__qualname__, None) is obj
    )


def dump_records(records: list[Any]) -> bytes:
    """Pickle a block's records; plain built-in data goes without the memo, which is 3-6 times faster.

    >>> load_records(dump_records([("a", 1), ("b", [2.5, None])]))
    [('a', 1), ('b', [2.5, None])]
    """
    if _is_plain(records, _DEPTH):
        buffer = io.BytesIO()
        pickler = pickle.Pickler(buffer, PROTOCOL)
        pickler.fast = True
        pickler.dump(records)
        return buffer.getvalue()
    return dumps(records)


def load_records(buffer: bytes | memoryview) -> list[Any]:
    """The records that `dump_records` wrote."""
    return pickle.loads(buffer)  # type: ignore[no-any-return]


def _is_plain(records: Iterable[Any], depth: int) -> bool:
    kinds = set(map(type, records))
    nested = kinds - _ATOMS
    if not nested:
        return True
    if not depth or not nested <= _CONTAINERS:
        return False
    containers = records if nested == kinds else [r for r in records if type(r) in _CONTAINERS]
    return _is_plain(list(chain.from_iterable(containers)), depth - 1)


def __getattr__(name: str) -> Any:
    from headwater import framing

    if name not in framing.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(framing, name)
