"""How many arguments a user's function is to be called with."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from typing import Any


def takes_time(function: Callable[..., Any], others: int) -> bool:
    """Whether a function of `others` arguments wants the batch time before them. Any kind of callable will do.

    Parameters with a default and *args are left alone where the function can be called without them; a callable that
    does not say what it takes (some builtins) is called without the time.

    Raises:
        AssertionError: it can be called with neither `others` nor `others + 1` arguments.
        TypeError: it is not callable.

    >>> takes_time(lambda time, rdd: rdd, 1), takes_time(print, 1)
    (True, False)
    """
    if not callable(function):
        raise TypeError(f"expected a function, got {type(function).__name__} {function!r}")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    required = sum(p.default is p.empty for p in positional)
    most = sys.maxsize if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(positional)
    keywords_missing = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    if not keywords_missing:
        if required <= others <= most:
            return False
        if required <= others + 1 <= most:
            return True
    words = {1: "one or two", 2: "two or three", 3: "three or four"}[others]
    raise AssertionError(f"func should take {words} arguments, not {function!r}")
