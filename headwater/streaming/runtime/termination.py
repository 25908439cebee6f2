"""SIGTERM on the driver: the program ends in order, as by Ctrl-C, with exit code 143.

- The first signal raises `SystemExit` in the main thread; what still runs is stopped then, at the latest as the
  interpreter exits. A second one turns a graceful stop into one that isn't; a third kills.
- Only where the program has no handler of its own, and for a context that the main thread starts: Python runs handlers
  there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from enum import Enum
from types import FrameType

#: What a shell says of a program that SIGTERM has ended.
EXIT_CODE = 128 + signal.SIGTERM


class Course(Enum):
    """How far a context is."""

    RUNS = "runs"
    STOPS = "stops"  # the main thread stops it
    IS_OVER = "is over"


class Termination:
    """The handler of SIGTERM while a context runs.

    Args:
        course: how far the context is.
        hurry: turns a graceful stop that is under way into one that isn't; is called on the main thread between any
            two of its instructions.
        gracefully: whether the signal asks for a graceful stop.
    """

    def __init__(self, course: Callable[[], Course], hurry: Callable[[], None], *, gracefully: bool) -> None:
        self._course = course
        self._hurry = hurry
        self._gracefully = gracefully
        self._came = 0  # how often the signal has
        self._owes_exit = False  # it came while the main thread could not be interrupted

    @property
    def wants_grace(self) -> bool:
        """Whether the signal has come and asks for a graceful stop."""
        return self._gracefully and self._came == 1

    def install(self) -> None:
        """Handle the signal, unless the program does or we are not on the main thread."""
        before = signal.getsignal(signal.SIGTERM)
        if _is_main_thread() and (before is signal.SIG_DFL or isinstance(before, Termination)):
            signal.signal(signal.SIGTERM, self)

    def restore(self) -> None:
        """Let the signal kill again, unless the program has taken it meanwhile; on another thread does nothing.

        Then a handler of a context that is over stays, and lets the signal kill.
        """
        if _is_main_thread() and signal.getsignal(signal.SIGTERM) is self:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def settle(self) -> None:
        """The context has stopped: end the program if the signal came meanwhile.

        Raises:
            SystemExit: it did.
        """
        if self._owes_exit:
            self._owes_exit = False
            raise SystemExit(EXIT_CODE)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        course = self._course()
        self._came += 1
        if course is Course.IS_OVER or self._came > 2:
            self.restore()
            os.kill(os.getpid(), number)
        elif course is Course.RUNS and self._came == 1:
            raise SystemExit(EXIT_CODE)
        else:
            self._owes_exit = self._owes_exit or self._came == 1
            if self._came == 2 or not self._gracefully:
                self._hurry()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
