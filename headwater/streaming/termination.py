"""SIGTERM and SIGHUP on the driver: the program ends in order, as by Ctrl-C, with exit code 143 or 129.

- The first signal raises `SystemExit` in the main thread; what still runs is stopped then, at the latest as the
  interpreter exits. A second one turns a graceful stop into one that isn't; a third kills.
- Only where the program has no handler of its own and doesn't ignore the signal (nohup), and for a context that the
  main thread starts: Python runs handlers there.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from enum import Enum
from types import FrameType

#: The end of the program's service, or of its terminal.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def exit_code(number: int) -> int:
    """What a shell says of a program that a signal has ended."""
    return 128 + number


class Course(Enum):
    """How far a context is."""

    RUNS = "runs"
    STOPS = "stops"  # the main thread stops it
    IS_OVER = "is over"


class Termination:
    """The handler of these signals while a context runs.

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
        self._came = 0  # how many signals have
        self._owed: int | None = None  # the exit code, if one came while the main thread could not be interrupted

    @property
    def wants_grace(self) -> bool:
        """Whether a signal has come and asks for a graceful stop."""
        return self._gracefully and self._came == 1

    def install(self) -> None:
        """Handle the signals, but for those that the program does; not unless we are on the main thread."""
        if not _is_main_thread():
            return
        for number in SIGNALS:
            before = signal.getsignal(number)
            if before is signal.SIG_DFL or isinstance(before, Termination):
                signal.signal(number, self)

    def restore(self) -> None:
        """Let the signals kill again, unless the program has taken them meanwhile; on another thread does nothing.

        Then a handler of a context that is over stays, and lets the signal kill.
        """
        if not _is_main_thread():
            return
        for number in SIGNALS:
            if signal.getsignal(number) is self:
                signal.signal(number, signal.SIG_DFL)

    def settle(self) -> None:
        """The context has stopped: end the program if a signal came meanwhile.

        Raises:
            SystemExit: one did.
        """
        if self._owed is not None:
            code, self._owed = self._owed, None
            raise SystemExit(code)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        course = self._course()
        self._came += 1
        if course is Course.IS_OVER or self._came > 2:
            self.restore()
            os.kill(os.getpid(), number)
        elif course is Course.RUNS and self._came == 1:
            raise SystemExit(exit_code(number))
        else:
            if self._came == 1:
                self._owed = exit_code(number)
            if self._came == 2 or not self._gracefully:
                self._hurry()


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
