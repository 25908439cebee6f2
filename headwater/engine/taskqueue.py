"""Which task runs on which of an executor's workers: tasks that wait for a worker, workers that wait for a task.

- A core: it starts nothing and knows no processes; its owner's lock guards it.
- A task with a pin runs on the worker of its pin's slot, even where another one is idle: that one has its live state.
"""

from __future__ import annotations

from collections import deque
from typing import Generic, NamedTuple, Protocol, TypeVar

from headwater.engine.events import TaskSpec


class HasSlot(Protocol):
    """A worker, as far as its tasks are chosen by it."""

    @property
    def slot(self) -> int:
        """Its place, from 0; a successor takes it."""


W = TypeVar("W", bound=HasSlot)


class Queued(NamedTuple):
    """A task that waits, and the pickled program of its stage."""

    spec: TaskSpec
    program: bytes


class TaskQueue(Generic[W]):
    """The queue of the workers in `slots` slots."""

    def __init__(self, slots: int) -> None:
        self._idle: deque[W] = deque()  # the one used last first
        self._unpinned: deque[Queued] = deque()  # empty while a worker is idle
        self._pinned: list[deque[Queued]] = [deque() for _ in range(slots)]  # by slot; empty while its worker is idle
        self._slots: dict[int, int] = {}  # pin -> the slot whose worker holds its live state

    def add(self, spec: TaskSpec, program: bytes) -> W | None:
        """A task is to run; returns the worker that was idle and runs it now, or None: it waits."""
        if spec.pin >= 0:
            return self._add_pinned(spec, program)
        if self._idle:
            return self._idle.popleft()
        self._unpinned.append(Queued(spec, program))
        return None

    def _add_pinned(self, spec: TaskSpec, program: bytes) -> W | None:
        slot = self._slots.setdefault(spec.pin, len(self._slots) % len(self._pinned))
        worker = next((worker for worker in self._idle if worker.slot == slot), None)
        if worker is None:
            self._pinned[slot].append(Queued(spec, program))
        else:
            self._idle.remove(worker)
        return worker

    def next_of(self, worker: W) -> Queued | None:
        """A worker can run a task; returns that which it runs now, or None: it's idle."""
        for line in (self._pinned[worker.slot], self._unpinned):
            if line:
                return line.popleft()
        # The one used last is used first: its caches are warm, and a tiny job stays in one process.
        self._idle.appendleft(worker)
        return None

    def withdraw(self, task_id: int) -> bool:
        """A task is not to run; returns whether it was waiting."""
        for line in (self._unpinned, *self._pinned):
            for task in line:
                if task.spec.task_id == task_id:
                    line.remove(task)
                    return True
        return False

    def remove(self, worker: W) -> None:
        """A worker is gone; that it may have been idle."""
        if worker in self._idle:
            self._idle.remove(worker)

    def check(self) -> None:
        """Assert what must always be true."""
        assert not (self._idle and self._unpinned)
        assert not any(self._pinned[worker.slot] for worker in self._idle)
        assert len({worker.slot for worker in self._idle}) == len(self._idle)
