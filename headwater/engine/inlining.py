"""Functions so simple that a fused loop can hold their expression instead of calling them.

A function is recognised by its bytecode, which must equal that of a template compiled by the same interpreter; so its
expression does exactly what the call would. What differs, a constant or a method's name, is taken from the function.
Half of a word count's time goes into calling three such functions.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable
from functools import cache
from types import CodeType, FunctionType
from typing import Any, NamedTuple

# Stands for any constant in a template; not one that the compiler would put into the instruction itself.
_ANY = "\0any"


class Inlined(NamedTuple):
    """An expression over the arguments `{0}`, `{1}` and, if `takes_constant`, `{f}` for the constant."""

    text: str
    constant: Any = None
    takes_constant: bool = False


class _Template(NamedTuple):
    text: str
    bytecode: bytes
    arguments: int
    constant: int  # its position among the constants; -1: there is none
    method: bool  # whether the first name is a method's, to be put for `{m}`


@cache
def _templates() -> dict[tuple[int, bytes], _Template]:
    functions: dict[str, tuple[Callable[..., Any], str]] = {
        "({0}, {f})": (lambda x: (x, "\0any"), ""),
        "({f}, {0})": (lambda x: ("\0any", x), ""),
        "{0}[{f}]": (lambda x: x["\0any"], ""),
        "{0}.{m}()": (lambda x: x.m(), "m"),
        "{0}.{m}({f})": (lambda x: x.m("\0any"), "m"),
        "{0} + {1}": (lambda a, b: a + b, ""),
    }
    table = {}
    for text, (function, method) in functions.items():
        code = function.__code__
        constant = code.co_consts.index(_ANY) if _ANY in code.co_consts else -1
        template = _Template(text, code.co_code, code.co_argcount, constant, bool(method))
        table[template.arguments, template.bytecode] = template
    return table


def inlined(function: Callable[..., Any]) -> Inlined | None:
    """The function's expression; None if it has to be called, as when calls are traced (by a debugger, by coverage)."""
    return None if sys.gettrace() or sys.getprofile() else recognised(function)


def recognised(function: Callable[..., Any]) -> Inlined | None:
    """The expression that a function is, if it's one of those known.

    >>> recognised(lambda word: (word, 1))
    Inlined(text='({0}, {f})', constant=1, takes_constant=True)
    >>> recognised(lambda a, b: a + b).text, recognised(lambda a, b: a - b)
    ('{0} + {1}', None)
    """
    if function is operator.add:
        return Inlined("{0} + {1}")
    if type(function) is not FunctionType:
        return None
    code: CodeType = function.__code__
    template = _templates().get((code.co_argcount, code.co_code))
    if template is None or not _is_plain(function, code):
        return None
    text = template.text.replace("{m}", code.co_names[0]) if template.method else template.text
    if template.constant < 0:
        return Inlined(text)
    return Inlined(text, code.co_consts[template.constant], True)


def _is_plain(function: FunctionType, code: CodeType) -> bool:
    """No generator, no closure, no default, no argument that the count doesn't tell."""
    flags = code.co_flags & ~_HARMLESS_FLAGS
    return not (flags or code.co_kwonlyargcount or code.co_freevars or code.co_cellvars or function.__defaults__)


# OPTIMIZED, NEWLOCALS, NESTED, NOFREE, and the flags of `from __future__` imports.
_HARMLESS_FLAGS = 0x01 | 0x02 | 0x10 | 0x40 | 0xFFF0000
