"""Where in the user's program a call comes from, for messages and for the names of jobs."""

from __future__ import annotations

import sys
from typing import NamedTuple

_PACKAGE = "headwater"


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
    while True:
        caller = frame.f_back
        if caller is None:  # a thread of ours: nobody outside called
            return CallSite(frame.f_code.co_name, frame.f_code.co_filename, frame.f_lineno)
        if caller.f_globals.get("__name__", "").partition(".")[0] != _PACKAGE:
            return CallSite(frame.f_code.co_name, caller.f_code.co_filename, caller.f_lineno)
        frame = caller
