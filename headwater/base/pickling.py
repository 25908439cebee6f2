"""How objects become bytes: functions and programs by cloudpickle, blocks of records by pickle protocol 5.

Records are always pickled by cloudpickle's pickler, since a record's class may live in the user's script, where plain
pickle fails in both directions. It costs nothing for built-in types, which never reach its override.
"""

from __future__ import annotations

import functools
import io
import pickle
import sys
import typing
from collections.abc import Callable, Iterable
from functools import cache
from itertools import chain
from types import CodeType, FunctionType
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
    try:
        return _dumped(obj)
    except SerializationError as error:
        raise SerializationError(f"{error}{_cause(obj)}") from None
    except Exception as error:
        text = f"Could not serialize object: {type(error).__name__}: {error}."
        remedy = " Make such an object in the function that uses it; once a partition, by mapPartitions say."
        raise SerializationError(f"{text}{_cause(obj, remedy)}") from error


def _dumped(obj: Any) -> bytes:
    buffer = io.BytesIO()
    _pickler()(buffer, PROTOCOL).dump(obj)
    return buffer.getvalue()


def _cause(obj: Any, remedy: str = "") -> str:
    """Sentences that name what brings along the part that can't be pickled; empty if that's the object itself.

    Args:
        remedy: what to add if that is a function.
    """
    from headwater.base.unpicklable import culprit

    found = culprit(obj, _dumped)
    if found is None or not (found.function or found.variable):
        return ""
    return f" The cause is {found}.{remedy if found.function else ''}"


@cache
def _pickler() -> Any:
    """cloudpickle's pickler, with four differences.

    It doesn't ask of our own classes and functions whether to import them. Functions keep the name of their file, which
    tracebacks show, and classes by value their qualified names: see `engine.successors`. What plain pickle takes from
    the script by name, where no worker can import it, goes by value.
    """
    import cloudpickle

    code_reducer = cloudpickle.Pickler.dispatch_table[CodeType]
    make_class = cloudpickle.cloudpickle._make_skeleton_class

    by_cloudpickle = cloudpickle.Pickler.reducer_override

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        def reducer_override(self, obj: Any) -> Any:  # each batch's programs come by: it has to be quick
            kind = type(obj)
            if kind is FunctionType:
                return NotImplemented if _is_ours(obj) else by_cloudpickle(self, obj)
            if kind is CodeType:
                return _code_with_its_file(code_reducer, obj)
            if issubclass(kind, type):
                if _is_ours(obj):
                    return NotImplemented
                reduced = by_cloudpickle(self, obj)
                if type(reduced) is tuple and reduced[0] is make_class:
                    reduced[1][3]["__qualname__"] = "".join(obj.__qualname__)  # a string of its own: see cloudpickle
                return reduced
            by_value = _BY_NAME.get(kind)
            return NotImplemented if by_value is None or _is_importable(obj) else by_value(obj)

    return Pickler


_NO_FILE = "<dynamic-code>"  # what cloudpickle writes in the place of a file's name


def _code_with_its_file(reducer: Callable[[CodeType], Any], code: CodeType) -> Any:
    """What cloudpickle makes of a code object, with its file where cloudpickle writes that it has none.

    The name is a copy: what a pickle looks like must not depend on which code objects share one.
    """
    make, arguments = reducer(code)
    if _NO_FILE not in arguments:
        return make, arguments
    at = arguments.index(_NO_FILE)
    return make, (*arguments[:at], "".join(code.co_filename), *arguments[at + 1 :])


def _reduced_cached_function(function: Any) -> Any:
    return _cached_function, (function.__wrapped__, function.cache_parameters(), vars(function))


def _cached_function(function: Any, parameters: dict[str, Any], attributes: dict[str, Any]) -> Any:
    """An `lru_cache` around a function of the script; each worker fills its own."""
    made = functools.lru_cache(**parameters)(function)
    vars(made).update(attributes)
    return made


def _reduced_new_type(new_type: Any) -> Any:
    return _new_type, (new_type.__name__, new_type.__supertype__, new_type.__module__)


def _new_type(name: str, supertype: Any, module: str) -> Any:
    make: Any = typing.NewType  # which type checkers want to see called with a literal
    made = make(name, supertype)
    made.__module__ = module
    return made


# What names itself to plain pickle, and cloudpickle leaves it at that.
_BY_NAME: dict[type, Callable[[Any], Any]] = {
    type(cache(len)): _reduced_cached_function,
    typing.NewType: _reduced_new_type,
}


def _is_importable(obj: Any) -> bool:
    """Whether workers find an object in its module under its name."""
    module = obj.__module__
    if module is None or module == "__main__":
        return False
    found = sys.modules.get(module)
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


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
