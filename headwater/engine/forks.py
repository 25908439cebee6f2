"""Functions of the user's that fork: a worker, or a driver, answers only as itself.

What a task's function forks has copies of all that the worker has: its socket, its open files with their positions, its
spill directory. If it came back to the engine, it would go on with the task as the worker does: answer it too, read
away what the worker is to read, and remove what it has spilled. What an output operation forks would stay behind with
the driver's locks. So it ends where it would come back.
"""

from __future__ import annotations

import contextlib
import os
import sys
from types import FrameType
from typing import Any, NoReturn

from headwater.base.tracebacks import is_ours

# Its children end by themselves, and calls would cost them time.
_MULTIPROCESSING = os.path.join("multiprocessing", "popen_fork.py")


def end_at_return(frame: FrameType | None) -> None:
    """In a forked process: end it when the function that forked, in this frame, returns or raises to code of ours.

    It sees each call and return until then, which makes the process slower.
    """
    while frame is not None and not _is_ours(frame):
        if frame.f_code.co_filename.endswith(_MULTIPROCESSING):
            return
        frame = frame.f_back
    if frame is None:
        return  # a thread of the user's: it has nowhere to come back to
    ours = frame

    def look(frame: FrameType, event: str, _argument: Any) -> None:
        if event == "return" and frame.f_back is ours:
            end()

    sys.setprofile(look)


def end_unless(pid: int) -> None:
    """End this process if it isn't the one with that id: it has come back another way."""
    if os.getpid() != pid:
        end()


def end() -> NoReturn:
    """End a forked process without a word, but with what it has printed."""
    flush_output()
    os._exit(0)


def flush_output() -> None:
    """What a task printed is seen at once, in order with the driver's own output."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or replaced, by the user's function
            stream.flush()


def _is_ours(frame: FrameType) -> bool:
    return is_ours(frame.f_code.co_filename)
