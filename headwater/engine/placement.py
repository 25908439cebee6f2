"""Where tasks run: the executors' cores, and which of them a task gets.

The scheduler's core owns both, and one thread at a time uses them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush

from headwater.engine.holdings import Inputs
from headwater.engine.runs import StageRun
from headwater.engine.stages import Stage


class ExecutorCores:
    """The executors that are there and their free cores."""

    def __init__(self) -> None:
        self._cores: dict[str, int] = {}
        self._free: dict[str, int] = {}  # cores on which a task may be started: none at a suspect
        self._kept: dict[str, int] = {}  # of suspects only: the cores that are free when they are trusted again
        self.room = 0  # all that are free

    def __contains__(self, executor_id: str) -> bool:
        return executor_id in self._cores

    def join(self, executor_id: str, cores: int) -> None:
        """A new one, all of whose cores are free."""
        self._cores[executor_id] = self._free[executor_id] = cores
        self.room += cores

    def leave(self, executor_id: str) -> bool:
        """It is gone; False if it was before."""
        if executor_id not in self._cores:
            return False
        del self._cores[executor_id]
        self.room -= self._free.pop(executor_id)
        self._kept.pop(executor_id, None)
        return True

    def suspect(self, executor_id: str) -> None:
        """It gets no tasks until it is `trusted`."""
        if executor_id in self._cores and executor_id not in self._kept:
            self._kept[executor_id] = self._free[executor_id]
            self.room -= self._free[executor_id]
            self._free[executor_id] = 0

    def trust(self, executor_id: str) -> None:
        """It may get tasks again."""
        if executor_id in self._kept:
            self._free[executor_id] = self._kept.pop(executor_id)
            self.room += self._free[executor_id]

    def take(self, executor_id: str) -> None:
        """A task starts on one of the free cores."""
        self._free[executor_id] -= 1
        self.room -= 1

    def give_back(self, executor_id: str) -> None:
        """A task is over, there or with its executor."""
        if executor_id in self._kept:
            self._kept[executor_id] += 1
        elif executor_id in self._cores:
            self._free[executor_id] += 1
            self.room += 1

    def freest(self, among: Iterable[str] | None = None) -> str | None:
        """The one with the most free cores, the first of several; None if none has any."""
        best = max(self._free if among is None else among, key=self._free.__getitem__, default=None)
        return best if best is not None and self._free[best] else None

    def check(self, running: Mapping[str, int]) -> None:
        """Assert what must always be true, given how many attempts run on each."""
        unused = {executor_id: cores - running.get(executor_id, 0) for executor_id, cores in self._cores.items()}
        assert all(cores >= 0 for cores in unused.values())
        assert self._free == {executor_id: 0 if executor_id in self._kept else n for executor_id, n in unused.items()}
        assert self._kept == {executor_id: unused[executor_id] for executor_id in self._kept}
        assert self.room == sum(self._free.values())


class Placement:
    """Gives tasks cores: where their live state is or, without that, what they read.

    Anywhere, if no core becomes free there in time.

    Args:
        wait_ms: that time, since the run's last launch or since a task first waited.
    """

    def __init__(self, executors: ExecutorCores, inputs: Inputs, wait_ms: int) -> None:
        self._executors = executors
        self._inputs = inputs
        self._wait_ms = wait_ms
        self._homes: dict[int, str] = {}  # pin -> the executor that got the last task with it
        self.deadlines_ms: set[int] = set()  # when tasks that were left waiting may go anywhere; the caller clears it

    def choose(self, run: StageRun, now_ms: int) -> Iterator[tuple[int, str, int]]:
        """Take free cores for a run's pending partitions, as far as there are any.

        Yields:
            the partition, the executor, and the task's pin: see `TaskSpec`.
        """
        lines = run.pending.lines()
        while lines and self._executors.room:
            place, line = heappop(lines)
            if line and self._place(run, line, now_ms) is None:
                continue
            partition = run.pending.take(line)
            pin = self._inputs.pin(run.stage, partition)
            preferred = self._preferred(run.stage, partition, pin)
            executor_id = self._place(run, preferred, now_ms)
            if executor_id is None:
                run.pending.put(place, partition, preferred)
                where = " or ".join(preferred)
                run.note(partition, "waits for a core", where, now_ms, number=run.attempts[partition])
            else:
                self._executors.take(executor_id)
                if pin >= 0:
                    self._homes[pin] = executor_id
                yield partition, executor_id, pin
            if (first := run.pending.first(line)) is not None:
                heappush(lines, (first, line))

    def _place(self, run: StageRun, preferred: Collection[str], now_ms: int) -> str | None:
        if preferred:
            if (at_home := self._executors.freest(preferred)) is not None:
                return at_home
            if run.waiting_since_ms is None:
                run.waiting_since_ms = now_ms
            deadline_ms = run.waiting_since_ms + self._wait_ms
            if now_ms < deadline_ms:
                self.deadlines_ms.add(deadline_ms)
                return None
        return self._executors.freest()

    def _preferred(self, stage: Stage, partition: int, pin: int) -> list[str]:
        if pin in self._homes:
            holders: Iterable[str] = (self._homes[pin],)
        elif stage.may_prefer:
            holders = self._inputs.holders(stage, partition)
        else:
            return []
        return [executor_id for executor_id in dict.fromkeys(holders) if executor_id in self._executors]
