"""Where in the user's program a call comes from, for messages and for the names of jobs."""

from __future__ import annotations

import os
import sys
import threading
from functools import lru_cache
from typing import NamedTuple

_PACKAGE = "headwater"
# A frame of these runs our threads; it's not the user's.
_NOT_USERS = frozenset({_PACKAGE, "threading"})


class CallSite(NamedTuple):
    """The function of ours that was called, and the line that called it."""

    function: str
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.function} at {self.file}:{self.line}"


def call_site() -> CallSite:
    """The call that led from outside of this package into it. Costs a microsecond or two."""
    frame = sys._getframe()
    found = _users_call()
    # On a thread of ours there is no call from outside.
    return found or CallSite(frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno)


def place() -> str:
    """The same as a text, `operation at file:line`; on a thread of ours, what it works for (see `working_for`)."""
    if _thread.alone:
        return _thread.operation
    found = _users_call()
    return _thread.operation if found is None else _short(*found)


class working_for:
    """What this thread does within the `with` on its own account, it does for an operation of the program.

    Args:
        operation: `operation at file:line`.
        alone: whether no code of the program runs within, so that it needn't be looked for.
    """

    __slots__ = ("_alone", "_before", "_operation")

    def __init__(self, operation: str, *, alone: bool = False) -> None:
        self._operation = operation
        self._alone = alone

    def __enter__(self) -> None:
        self._before = _thread.operation, _thread.alone
        _thread.operation, _thread.alone = self._operation, self._alone

    def __exit__(self, *_: object) -> None:
        _thread.operation, _thread.alone = self._before


class _WorksFor(threading.local):
    operation = ""
    alone = False


_thread = _WorksFor()
_users: dict[str, bool] = {}  # by file: whether the user's code is in it; each RDD asks


def _users_call() -> CallSite | None:
    frame = sys._getframe(2)
    while (caller := frame.f_back) is not None:
        file = caller.f_code.co_filename
        is_users = _users.get(file)
        if is_users is None:
            is_users = caller.f_globals.get("__name__", "").partition(".")[0] not in _NOT_USERS
            if not file.startswith("<"):  # all that is typed in, or made by exec, has one name
                _users[file] = is_users
        if is_users:
            return CallSite(frame.f_code.co_name, file, caller.f_lineno)
        frame = caller
    return None


@lru_cache(maxsize=4096)
def _short(function: str, file: str, line: int) -> str:
    return f"{function} at {os.path.basename(file)}:{line}"
