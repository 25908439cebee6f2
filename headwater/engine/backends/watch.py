"""The watch over executors in other processes: which are silent, and when those that died are replaced.

- A core: no I/O, and the time comes with each event.
- Silence is counted look by look, and a look counts for two periods at most. So the time in which the driver itself was
  stopped, or the machine asleep, is nobody's silence.
- Who is silent for two heartbeats is *suspect*: it gets no tasks until it's heard again. Who is silent for the timeout
  is *fenced*, for good: whatever it says later, nobody listens, and another one takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from headwater.engine.events import Wake, Woken

# Heartbeats that may be missed before an executor is suspect.
SUSPECT_BEATS = 2
# Looks per heartbeat: the error of what is counted as silence.
LOOKS = 2
# How long an executor's process may take until it connects, whatever the timeout.
STARTING_MS_MAX = 60_000
# Before a replacement, once as many have died as there should be, without work in between; doubles each time.
FIRST_PAUSE_MS = 100
PAUSE_MS_MAX = 30_000
# Rounds in which as many die as there should be, without work in between: then something is wrong with the machine.
FRUITLESS_ROUNDS_MAX = 8


# ------------------------------------------------------------------------------------------------ events
class ExecutorStarted(NamedTuple):
    """An executor's process was started."""

    executor_id: str


class Joined(NamedTuple):
    """It has connected."""

    executor_id: str


class Gone(NamedTuple):
    """Its connection or its process has ended."""

    executor_id: str


class Looked(NamedTuple):
    """The answer to `Look`: those of whom anything has come since the last one."""

    heard: frozenset[str]


class Replace(NamedTuple):
    """An executor is to be started after a pause."""

    pause_ms: int


WatchEvent = ExecutorStarted | Joined | Gone | Looked | Replace | Woken


# ------------------------------------------------------------------------------------------------ actions
class Look(NamedTuple):
    """Find out who was heard, then send `Looked`."""


class Start(NamedTuple):
    """Start an executor."""


class Suspect(NamedTuple):
    """Give it no tasks, and say so."""

    executor_id: str
    silent_ms: int


class Trust(NamedTuple):
    """It's heard again."""

    executor_id: str
    silent_ms: int


class Fence(NamedTuple):
    """End it; nothing that it says counts any more."""

    executor_id: str
    silent_ms: int


WatchAction = Look | Start | Suspect | Trust | Fence  # and `Wake`, which the loop performs


# ------------------------------------------------------------------------------------------------ the core
@dataclass(slots=True)
class _Watched:
    patience_ms: int
    joined: bool = False
    silent_ms: int = 0
    suspect: bool = False  # only one that has joined is


class Watch:
    """The core; `heartbeat_ms` is less than `timeout_ms`."""

    def __init__(self, heartbeat_ms: int, timeout_ms: int) -> None:
        self._suspect_ms = SUSPECT_BEATS * heartbeat_ms
        self._timeout_ms = timeout_ms
        self._period_ms = max(1, heartbeat_ms // LOOKS)
        self._watched: dict[str, _Watched] = {}
        self._looked_ms: int | None = None  # None: nobody is watched
        self._due_ms: list[int] = []  # when executors are to be started

    def handle(self, event: WatchEvent, now_ms: int) -> list[WatchAction | Wake]:
        """Take an event; returns the actions, in order."""
        match event:
            case ExecutorStarted():
                self._watched[event.executor_id] = _Watched(max(self._timeout_ms, STARTING_MS_MAX))
                return self._begin(now_ms)
            case Joined():
                if event.executor_id in self._watched:  # else it was fenced meanwhile
                    self._watched[event.executor_id] = _Watched(self._timeout_ms, joined=True)
                return []
            case Gone():
                self._watched.pop(event.executor_id, None)
                return []
            case Replace():
                if event.pause_ms == 0:
                    return [Start()]
                self._due_ms.append(now_ms + event.pause_ms)
                return [Wake(self._due_ms[-1])]
            case Looked():
                return self._looked(event.heard, now_ms)
            case Woken():
                return self._woken(now_ms)

    def _begin(self, now_ms: int) -> list[WatchAction | Wake]:
        if self._looked_ms is not None:
            return []
        self._looked_ms = now_ms
        return [Wake(now_ms + self._period_ms)]

    def _woken(self, now_ms: int) -> list[WatchAction | Wake]:
        due = [at_ms for at_ms in self._due_ms if at_ms <= now_ms]
        self._due_ms = [at_ms for at_ms in self._due_ms if at_ms > now_ms]
        actions: list[WatchAction | Wake] = [Start() for _ in due]
        if self._looked_ms is not None and now_ms >= self._looked_ms + self._period_ms:
            actions.append(Look())
        return actions

    def _looked(self, heard: frozenset[str], now_ms: int) -> list[WatchAction | Wake]:
        if not self._watched:
            self._looked_ms = None
            return []
        assert self._looked_ms is not None
        passed_ms = min(now_ms - self._looked_ms, 2 * self._period_ms)
        self._looked_ms = now_ms
        actions: list[WatchAction | Wake] = []
        for executor_id, watched in list(self._watched.items()):
            if executor_id in heard:
                if watched.suspect:
                    actions.append(Trust(executor_id, watched.silent_ms))
                watched.silent_ms, watched.suspect = 0, False
                continue
            watched.silent_ms += passed_ms
            if watched.silent_ms >= watched.patience_ms:
                del self._watched[executor_id]
                actions.append(Fence(executor_id, watched.silent_ms))
            elif watched.joined and not watched.suspect and watched.silent_ms >= self._suspect_ms:
                watched.suspect = True
                actions.append(Suspect(executor_id, watched.silent_ms))
        return [*actions, Wake(now_ms + self._period_ms)]

    def check(self) -> None:
        """Assert what must always be true."""
        assert (self._looked_ms is not None) or not self._watched
        for watched in self._watched.values():
            assert watched.silent_ms < watched.patience_ms
            assert not watched.suspect or (watched.joined and watched.silent_ms >= self._suspect_ms)


class Deaths:
    """Deaths of executors in a row: without any task that has succeeded in between, or any since the start."""

    def __init__(self, executors: int) -> None:
        self._executors = executors
        self._in_a_row = 0

    def worked(self) -> None:
        """A task has succeeded."""
        self._in_a_row = 0

    def add(self) -> int | None:
        """One more; returns how many milliseconds to wait before it's replaced, or None if that would be in vain."""
        rounds = self._in_a_row // self._executors
        self._in_a_row += 1
        if rounds > FRUITLESS_ROUNDS_MAX:
            return None
        return min(FIRST_PAUSE_MS << rounds - 1, PAUSE_MS_MAX) if rounds else 0

    def __str__(self) -> str:
        return f"executors died {self._in_a_row} times, and no task succeeded in between"
