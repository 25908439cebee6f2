"""The end of a `match` that type checkers prove to be exhaustive (`typing.assert_never` came with Python 3.11)."""

from __future__ import annotations

from typing import NoReturn


def assert_never(value: NoReturn, expected: str) -> NoReturn:
    """Stand after the last case, where a type checker sees that no value can come.

    Args:
        expected: what the value should have been.

    Raises:
        AssertionError: one has come all the same.

    >>> assert_never("hello", "an event of the scheduler")
    Traceback (most recent call last):
    AssertionError: not an event of the scheduler: 'hello'
    """
    raise AssertionError(f"not {expected}: {value!r}")
