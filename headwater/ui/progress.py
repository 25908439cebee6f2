"""The progress bar of the console: how far the stages that run are, in one line of the terminal.

It is shown if `spark.ui.showConsoleProgress` is true and stderr is a terminal: for stages that have run for a while,
refreshed as long as they run, and cleared when they are over. What a program prints meanwhile shares the line.
"""

from __future__ import annotations

import logging
import queue
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from headwater.base.threads import WatchedThread, nothing_depends
from headwater.clock import EXPIRED, Clock, SystemClock

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.engine.events import StageChanged
    from headwater.engine.status import StatusStore

logger = logging.getLogger(__name__)

# A stage that is over sooner isn't shown.
FIRST_DELAY_MS = 500
REFRESH_MS = 200
# More bars than this would be too short to read.
STAGES_MAX = 3
# An idle connection to the terminal may be closed: the same line is written again after this time.
REWRITE_MS = 60_000
STOP_SECONDS_MAX = 1.0


class ProgressLine:
    """What to write to a terminal so that it shows the stages that run; it writes nothing itself."""

    def __init__(self) -> None:
        self._since_ms: dict[int, int] = {}  # stage that runs -> when it was first seen
        self._shown = ""  # the terminal's line as we left it
        self._written_ms = 0

    def update(self, now_ms: int, stages: Sequence[StageChanged], width: int) -> str:
        """The text to write, given all stages that run; empty if the line is right as it is.

        Args:
            now_ms: milliseconds since whenever, never less than before.
            stages: those that run, in the order in which to show them.
            width: columns of the terminal.
        """
        self._since_ms = {stage.stage_id: self._since_ms.get(stage.stage_id, now_ms) for stage in stages}
        long = [stage for stage in stages if now_ms - self._since_ms[stage.stage_id] >= FIRST_DELAY_MS]
        # Some terminals begin a new line after their last column.
        line = render(long[:STAGES_MAX], width - 1)
        if not line:
            return self.clear()
        if line == self._shown and now_ms - self._written_ms < REWRITE_MS:
            return ""
        padding = " " * (len(self._shown) - len(line))
        self._shown, self._written_ms = line, now_ms
        return f"\r{line}{padding}"

    def clear(self) -> str:
        """The text that empties the line; empty if it is."""
        shown, self._shown = self._shown, ""
        return "\r" + " " * len(shown) + "\r" if shown else ""


def render(stages: Sequence[StageChanged], width: int) -> str:
    """A bar for each stage, side by side, in `width` columns if that is enough for the numbers.

    >>> from headwater.engine.events import StageChanged
    >>> render([StageChanged(3, "count", 0, tasks=40, active=2, completed=12, failed=0, over=False)], 40)
    '[Stage 3:=====>           (12 + 2) / 40]'
    """
    bars = []
    for stage in stages:
        head, tail = f"[Stage {stage.stage_id}:", f"({stage.completed} + {stage.active}) / {stage.tasks}]"
        columns = max(width // len(stages) - len(head) - len(tail), 0)
        done = columns * stage.completed // max(stage.tasks, 1)
        bars.append(head + ("=" * done + ">").ljust(columns)[:columns] + tail)
    return "".join(bars)


class ConsoleProgress:
    """Keeps a terminal's line up to date, on a thread of its own."""

    def __init__(self, store: StatusStore, terminal: TextIO, clock: Clock) -> None:
        self._store = store
        self._terminal = terminal
        self._clock = clock
        self._ending: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._thread = WatchedThread(self._run, name="console-progress", on_failure=nothing_depends)
        self._thread.start()

    def stop(self) -> None:
        """Clear the line and end; a terminal that was halted (Ctrl-S) holds us up for `STOP_SECONDS_MAX` at most."""
        self._ending.put(None)
        self._thread.join(STOP_SECONDS_MAX)

    def _run(self) -> None:
        line = ProgressLine()
        try:
            while self._clock.get(self._ending, self._clock.now_ms() + REFRESH_MS) is EXPIRED:
                running = sorted((stage for stage in self._store.stages() if not stage.over), key=lambda s: s.stage_id)
                self._write(line.update(self._clock.now_ms(), running, shutil.get_terminal_size().columns))
            self._write(line.clear())
        except (OSError, ValueError):  # it was closed, and ValueError is how a file object says so
            logger.debug("no more progress bars: the terminal is gone", exc_info=True)

    def _write(self, text: str) -> None:
        if text:
            self._terminal.write(text)
            self._terminal.flush()


def show_if_wanted(conf: SparkConf, store: StatusStore) -> ConsoleProgress | None:
    """Show the stages of an application on stderr, if the settings say so and it is a terminal."""
    terminal = sys.stderr
    if not conf.read("spark.ui.showConsoleProgress") or terminal is None or not terminal.isatty():
        return None
    return ConsoleProgress(store, terminal, SystemClock())
