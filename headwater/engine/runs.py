"""Stage runs: which partitions of a stage wait, run and are done, and the executors' cores that they run on.

The books of the scheduler's core, which one thread at a time uses.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain, count

from headwater.engine.stages import Job, Stage


class Executors:
    """The executors that are there and their free cores."""

    def __init__(self) -> None:
        self._cores: dict[str, int] = {}
        self._free: dict[str, int] = {}  # cores without an attempt
        self._suspects: set[str] = set()  # get no tasks
        self.room = 0  # free cores of those that aren't suspect

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
        self.room -= self.free(executor_id)
        self._suspects.discard(executor_id)
        del self._cores[executor_id], self._free[executor_id]
        return True

    def suspect(self, executor_id: str) -> None:
        """It gets no tasks until it is `trusted`."""
        if executor_id in self._cores and executor_id not in self._suspects:
            self.room -= self.free(executor_id)
            self._suspects.add(executor_id)

    def trust(self, executor_id: str) -> None:
        """It may get tasks again."""
        if executor_id in self._suspects:
            self._suspects.discard(executor_id)
            self.room += self.free(executor_id)

    def free(self, executor_id: str) -> int:
        """The cores on which a task may be started."""
        return 0 if executor_id in self._suspects else self._free[executor_id]

    def take(self, executor_id: str) -> None:
        """A task starts on one of the free cores."""
        self._free[executor_id] -= 1
        self.room -= 1

    def give_back(self, executor_id: str) -> None:
        """A task is over, there or with its executor."""
        if executor_id in self._cores:
            self._free[executor_id] += 1
            self.room += executor_id not in self._suspects

    def freest(self, among: Iterable[str] | None = None) -> str | None:
        """The one with the most free cores, the first of several; None if none has any."""
        best = max(self._cores if among is None else among, key=self.free, default=None)
        return best if best is not None and self.free(best) else None

    def check(self, running: defaultdict[str, int]) -> None:
        """Assert what must always be true, given how many attempts run on each."""
        assert self._free == {e: cores - running[e] for e, cores in self._cores.items()}
        assert self.room == sum(map(self.free, self._cores))
        assert self._suspects <= self._cores.keys()


class Pending:
    """The partitions of a run that wait for a core, in order.

    Those whose data is at busy executors wait in a line for these, so that they aren't looked at again for each core
    that becomes free elsewhere. The line named by no executor is of those that may run anywhere, or for which nobody
    has looked yet. A line is a hint: where the data is may have changed since.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._places = count()
        self._lines: dict[frozenset[str], list[tuple[int, int]]] = {}  # heaps of (place, partition); none is empty
        for partition in partitions:
            self.add(partition)

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> Iterator[int]:
        return (partition for _, partition in chain.from_iterable(self._lines.values()))

    def add(self, partition: int) -> None:
        """It waits, behind all others."""
        self.put(next(self._places), partition, ())

    def put(self, place: int, partition: int, executor_ids: Collection[str]) -> None:
        """It waits at that place for one of these executors."""
        heapq.heappush(self._lines.setdefault(frozenset(executor_ids), []), (place, partition))

    def lines(self) -> list[tuple[int, frozenset[str]]]:
        """Who is first in each line, and the line's executors; a heap."""
        heads = [(line[0][0], executor_ids) for executor_ids, line in self._lines.items()]
        heapq.heapify(heads)
        return heads

    def first(self, executor_ids: frozenset[str]) -> int | None:
        """The place of the first in a line; None if there is nobody."""
        line = self._lines.get(executor_ids)
        return line[0][0] if line else None

    def take(self, executor_ids: frozenset[str]) -> int:
        """The first partition in a line, which leaves it."""
        line = self._lines[executor_ids]
        _, partition = heapq.heappop(line)
        if not line:
            del self._lines[executor_ids]
        return partition

    def look_again(self) -> None:
        """An executor is gone: nobody waits for it."""
        everybody = [waiting for line in self._lines.values() for waiting in line]
        self._lines = {frozenset(): everybody} if everybody else {}
        heapq.heapify(everybody)


@dataclass(eq=False, slots=True)
class StageRun:
    """A stage that some job needs and that isn't over. Each partition is in one place: pending, running, or done."""

    stage: Stage
    partitions: list[int]  # those that this run makes
    positions: dict[int, list[int]]  # a result stage's partition -> where the job wants its result
    jobs: dict[int, Job] = field(default_factory=dict)  # the active jobs that need it; at least one
    pending: Pending = field(init=False)
    running: set[int] = field(default_factory=set)  # task ids
    done: set[int] = field(default_factory=set)
    lacking: set[int] = field(default_factory=set)  # shuffles that have to be made before it goes on
    order: tuple[int, int] | None = None  # by which it is among those that are ready; None: it isn't
    attempts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    raised: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    deaths: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    fetch_rounds: int = 0  # outputs that its tasks have missed
    misses: defaultdict[tuple[int, int], int] = field(default_factory=lambda: defaultdict(int))  # since one succeeded
    failed: int = 0
    waiting_since_ms: int | None = None  # its last launch, or when a task first waited for its data's executor
    result_bytes: int = 0

    def __post_init__(self) -> None:
        self.pending = Pending(self.partitions)

    def reopen(self, partition: int) -> None:
        """The output that it, or an earlier run, had made of a partition was lost: make it again."""
        if partition not in self.done:
            self.partitions.append(partition)
        self.done.discard(partition)
        self.pending.add(partition)

    def check(self, busy: list[int]) -> None:
        """Assert what must always be true, given the partitions that run."""
        assert self.jobs
        assert len(busy) == len(set(busy))
        assert sorted([*busy, *self.pending, *self.done]) == sorted(self.partitions), self.stage.name
