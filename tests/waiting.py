"""Waiting for what doesn't tell that it has happened: a process, a file, a server, another thread's field."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 60.0  # long, as others may use the machine: what is waited for comes at once, or never
# How long to sleep between two looks: ever longer, as some looks cost a request.
LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.001, 0.05


def wait_for(
    condition: Callable[[], bool],
    what: str | Callable[[], str],
    *,
    process: subprocess.Popen[Any] | None = None,
    seconds: float = PATIENCE_SECONDS,
) -> None:
    """Look again and again until something is so.

    Args:
        condition: whether it is.
        what: tells what was waited for, or shows what is there instead, when it's not so in time.
        process: the one that is to bring it about; once it has ended nothing is waited for.
        seconds: to wait at most.
    """
    deadline, look_seconds = time.monotonic() + seconds, LOOK_SECONDS_MIN
    while not condition():
        ended = process is not None and process.poll() is not None
        if (ended and not condition()) or time.monotonic() > deadline:
            why = f"process {process.pid} has ended" if process is not None and ended else f"{seconds:.0f} s are over"
            raise AssertionError(f"{why} before it was so: {what if isinstance(what, str) else what()}")
        time.sleep(look_seconds)
        look_seconds = min(2 * look_seconds, LOOK_SECONDS_MAX)
