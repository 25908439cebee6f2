"""What keeps an object from being pickled: which of the program's functions, and which variable of it.

Looked for only once pickling has failed: each part is pickled on its own, from the outside in, until one fails whose
own parts don't.
"""

from __future__ import annotations

import dis
import os
from collections.abc import Callable, Iterator
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

# Parts within parts that are looked into.
_DEPTH_MAX = 30
_OURS = "headwater."
_GLOBAL_OPERATIONS = frozenset({"LOAD_GLOBAL", "STORE_GLOBAL", "DELETE_GLOBAL"})
Attempt = Callable[[Any], Any]  # pickles an object, or raises


class Culprit(NamedTuple):
    """The innermost object that can't be pickled."""

    function: str  # the function that brings it along, and where that stands; empty: none does
    variable: str  # where it's found, from the function or the whole object on, such as `job.connection`
    kind: str  # its type's name
    error: Exception

    def __str__(self) -> str:
        kind = _with_article(self.kind)
        if not self.function:
            return f"its part {self.variable!r}, {kind}" if self.variable else kind
        return f"{self.function}, whose variable {self.variable!r} holds {kind}" if self.variable else self.function


def culprit(obj: Any, attempt: Attempt) -> Culprit | None:
    """What keeps `attempt(obj)` from succeeding; None if it does succeed."""
    error = _failure(obj, attempt)
    if error is None:
        return None
    function, variable = "", ""
    seen: set[int] = set()
    while len(seen) < _DEPTH_MAX:
        seen.add(id(obj))
        named = obj.func if isinstance(obj, partial) else obj
        if isinstance(named, (FunctionType, MethodType)) and not named.__module__.startswith(_OURS):
            function, variable = _named(named), ""
        found = next(_failing(obj, attempt, seen), None)
        if found is None:
            break
        name, obj, error = found
        variable += name if variable else name.lstrip(".")
    return Culprit(function, variable, type(obj).__name__, error)


def _failing(obj: Any, attempt: Attempt, seen: set[int]) -> Iterator[tuple[str, Any, Exception]]:
    if isinstance(obj, list) and len(obj) > 1:
        at = _position(obj, attempt)
        if id(obj[at]) not in seen and (error := _failure(obj[at], attempt)) is not None:
            yield f"[{at}]", obj[at], error
        return
    for name, part in _parts(obj):
        if id(part) not in seen and (error := _failure(part, attempt)) is not None:
            yield name, part, error


def _position(items: list[Any], attempt: Attempt) -> int:
    """Of the last item or the only part of the list that fails, by halves: a list may have millions of items."""
    low, high = 0, len(items)
    while high - low > 1:
        middle = (low + high) // 2
        if _failure(items[low:middle], attempt) is None:
            low = middle
        else:
            high = middle
    return low


def _failure(obj: Any, attempt: Attempt) -> Exception | None:
    try:
        attempt(obj)
    except Exception as error:
        return error
    return None


def _parts(obj: Any) -> Iterator[tuple[str, Any]]:
    """What is pickled along with an object, each with the way to it."""
    if isinstance(obj, FunctionType):
        yield from _variables(obj)
    elif isinstance(obj, partial):
        yield "", obj.func
        yield from ((f".args[{i}]", value) for i, value in enumerate(obj.args))
        yield from ((f".{name}", value) for name, value in obj.keywords.items())
    elif isinstance(obj, MethodType):
        yield ".self", obj.__self__
        yield "", obj.__func__
    elif isinstance(obj, dict):
        yield from ((f"[{key!r}]", value) for key, value in obj.items())
    elif isinstance(obj, tuple) and hasattr(obj, "_fields"):
        yield from ((f".{name}", value) for name, value in zip(obj._fields, obj, strict=False))
    elif isinstance(obj, (list, tuple)):
        yield from ((f"[{i}]", value) for i, value in enumerate(obj))
    elif isinstance(obj, type):
        yield from ((f".{name}", value) for name, value in vars(obj).items())
    else:
        yield from _state(obj)


def _variables(function: FunctionType) -> Iterator[tuple[str, Any]]:
    """What a function brings along: what it encloses, the globals that it names, its defaults."""
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:
            continue  # not set yet
    names = dict.fromkeys(_global_names(function.__code__))
    yield from ((name, function.__globals__[name]) for name in names if name in function.__globals__)
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    yield from zip(reversed(arguments), reversed(function.__defaults__ or ()))
    yield from (function.__kwdefaults__ or {}).items()


def _global_names(code: CodeType) -> Iterator[str]:
    yield from (step.argval for step in dis.get_instructions(code) if step.opname in _GLOBAL_OPERATIONS)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _state(obj: Any) -> Iterator[tuple[str, Any]]:
    """What an object gives away to be pickled."""
    try:
        reduced = obj.__reduce_ex__(5)
    except Exception:
        return  # it's the culprit itself
    if not isinstance(reduced, tuple):
        return
    state = reduced[2] if len(reduced) > 2 else None
    for attributes in state if isinstance(state, tuple) else (state,):
        if isinstance(attributes, dict):
            yield from ((f".{name}", value) for name, value in attributes.items())
    yield from ((f"[{i}]", value) for i, value in enumerate(reduced[1]) if not isinstance(value, type))


def _named(function: FunctionType | MethodType) -> str:
    code = getattr(function, "__code__", None)
    where = f" ({os.path.basename(code.co_filename)}:{code.co_firstlineno})" if code is not None else ""
    return f"{function.__qualname__}{where}"


def _with_article(kind: str) -> str:
    spelled = kind[:2].isupper()  # as in RDD, whose first letter is said as its name
    return f"{'an' if kind[0] in ('AEFHILMNORSX' if spelled else 'AEIOUaeiou') else 'a'} {kind}"
