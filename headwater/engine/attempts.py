"""Attempts by the scheduler's books: those that run, and those that were killed and may not have ended yet.

One thread at a time uses them, the core's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from headwater.engine.events import JobFailure
from headwater.engine.runs import Attempt


class Attempts:
    """The attempts that run, each known by its task's id.

    Args:
        task_ms: how long one may take; None: any time.
    """

    def __init__(self, task_ms: int | None) -> None:
        self._task_ms = task_ms
        self._running: dict[int, Attempt] = {}  # by task id, the oldest first
        self._look_ms: int | None = None  # when to look next for those that are overdue, if that was asked for

    def __contains__(self, attempt: Attempt) -> bool:
        return attempt.task_id in self._running

    def add(self, attempt: Attempt) -> None:
        """One begins."""
        self._running[attempt.task_id] = attempt

    def ended(self, task_id: int, executor_id: str) -> Attempt | None:
        """An executor says that a task has ended; None if that doesn't run any more.

        Raises:
            IllegalMove: it runs, but on another executor.
        """
        attempt = self._running.get(task_id)
        if attempt is not None:
            if attempt.executor_id != executor_id:
                raise attempt.invalid("ended", executor_id, f"it runs on {attempt.executor_id}")
            del self._running[task_id]
        return attempt

    def drop(self, attempt: Attempt) -> None:
        """What becomes of one doesn't matter any more, or its executor is gone."""
        del self._running[attempt.task_id]

    def at(self, executor_id: str) -> list[Attempt]:
        """Those that run there. Costs a look at each that runs anywhere."""
        return [attempt for attempt in self._running.values() if attempt.executor_id == executor_id]

    def late(self, now_ms: int) -> list[Attempt]:
        """Those that have become overdue since this was last asked; they run until their executor says otherwise."""
        late: list[Attempt] = []
        if self._task_ms is None or self._look_ms is None or now_ms < self._look_ms:
            return late
        self._look_ms = None
        for attempt in self._running.values():
            if now_ms < attempt.since_ms + self._task_ms:
                break
            if not attempt.overdue:
                attempt.overdue = True
                late.append(attempt)
        return late

    def next_look_ms(self) -> int | None:
        """When to ask for those that are overdue, which is when the oldest will be; None if that was said before."""
        if self._task_ms is None or self._look_ms is not None:
            return None
        oldest = next((attempt for attempt in self._running.values() if not attempt.overdue), None)
        if oldest is not None:
            self._look_ms = oldest.since_ms + self._task_ms
        return self._look_ms

    def by_executor(self) -> dict[str, int]:
        """How many run on each executor that runs any."""
        counts: dict[str, int] = {}
        for attempt in self._running.values():
            counts[attempt.executor_id] = counts.get(attempt.executor_id, 0) + 1
        return counts

    def check(self) -> None:
        """Assert what must always be true."""
        assert all(attempt.run.running[task_id] is attempt for task_id, attempt in self._running.items())
        since_ms = [attempt.since_ms for attempt in self._running.values()]
        assert since_ms == sorted(since_ms)


@dataclass(slots=True)
class _Ending:
    failure: JobFailure
    killed: dict[int, str]  # task id -> executor, of those that haven't ended; at least one
    until_ms: int  # when they are waited for no longer


class Endings:
    """The jobs that have failed, and whose killed tasks haven't all ended: they may still write what a caller removes.

    Each question takes the jobs out whose end it finds, and returns them with why they have failed.
    """

    def __init__(self) -> None:
        self._endings: dict[int, _Ending] = {}  # by job id

    def begin(self, job_id: int, failure: JobFailure, killed: dict[int, str], until_ms: int) -> None:
        """A job waits for its tasks, by executor, until that time."""
        self._endings[job_id] = _Ending(failure, killed, until_ms)

    def task_ended(self, task_id: int) -> list[tuple[int, JobFailure]]:
        """A task has ended; it may have been one of these."""
        return self._ended(lambda killed, _: killed == task_id)

    def executor_left(self, executor_id: str) -> list[tuple[int, JobFailure]]:
        """All tasks of an executor have ended."""
        return self._ended(lambda _, where: where == executor_id)

    def _ended(self, gone: Callable[[int, str], bool]) -> list[tuple[int, JobFailure]]:
        for ending in self._endings.values():
            ending.killed = {task_id: where for task_id, where in ending.killed.items() if not gone(task_id, where)}
        return self._take(lambda ending: not ending.killed)

    def expired(self, now_ms: int) -> list[tuple[int, JobFailure]]:
        """Whose time has come."""
        return self._take(lambda ending: ending.until_ms <= now_ms)

    def _take(self, over: Callable[[_Ending], bool]) -> list[tuple[int, JobFailure]]:
        taken = [(job_id, ending.failure) for job_id, ending in self._endings.items() if over(ending)]
        for job_id, _ in taken:
            del self._endings[job_id]
        return taken

    def check(self, active: Collection[int]) -> None:
        """Assert what must always be true, given the jobs that are active."""
        assert all(ending.killed for ending in self._endings.values())
        assert not self._endings.keys() & set(active)
