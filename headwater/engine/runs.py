"""Stage runs: which partitions of a stage wait, run and are done, and whose turn it is to run.

- What may happen to a task is a table, `TASK`. Anything else is a bug of ours: `IllegalMove`, which tells what has
  happened to the task before.
- The books of the scheduler's core, which one thread at a time uses.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain, count
from typing import Any

from headwater.base.lives import IllegalMove, Table
from headwater.engine.events import StageChanged, TaskFailure, TaskSpec
from headwater.engine.lineage import BlockRef
from headwater.engine.stages import Job, Stage

# What a run remembers for stories, the latest: a few lines for each of the tasks that may run at once.
STORY_MAX = 1000
# And of the text of a failure.
STORY_CHARS_MAX = 200


# ------------------------------------------------------------------------------------------------ a task's life
class TaskState(Enum):
    """A partition of a run is in one of these."""

    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"


LAUNCHED, SUCCEEDED, FAILED, OUTPUT_LOST = "launched", "succeeded", "failed", "lost its output"
TASK: Table[TaskState, str] = Table(
    "a task",
    TaskState.PENDING,
    {
        (TaskState.PENDING, LAUNCHED): TaskState.RUNNING,
        (TaskState.RUNNING, SUCCEEDED): TaskState.DONE,
        (TaskState.RUNNING, FAILED): TaskState.PENDING,
        (TaskState.DONE, OUTPUT_LOST): TaskState.PENDING,
    },
)


@dataclass(eq=False, slots=True)
class Attempt:
    """A task that runs by the scheduler's books."""

    task_id: int
    run: StageRun
    partition: int
    number: int  # of this partition's attempts in this run, from 0
    executor_id: str
    since_ms: int
    overdue: bool = False  # it's being killed for that

    def spec(self, inputs: dict[tuple[int, int], Any], cached: dict[tuple[int, int], BlockRef], pin: int) -> TaskSpec:
        """What a worker is told; it works for the oldest of the jobs that need the run."""
        stage, job = self.run.stage, self.run.jobs[min(self.run.jobs)]
        return TaskSpec(
            task_id=self.task_id,
            job_id=job.id,
            stage_id=stage.id,
            partition=self.partition,
            attempt=self.number,
            program=stage.ship().name,
            inputs=inputs,
            caching=stage.caching,
            cached=cached,
            properties=dict(job.properties),
            shuffle_id=stage.shuffle_id,
            pin=pin,
        )

    def note(self, what: str, now_ms: int) -> None:
        """Remember, for stories, what has happened to it where it runs."""
        self.run.note(self.partition, what, self.executor_id, now_ms, number=self.number)

    def invalid(self, what: str, where: str, but: str) -> IllegalMove:
        """The error that this can't happen to it there."""
        return self.run.invalid(self.partition, _told(self.number, what, where), but)


def _told(number: int, what: str, where: str) -> str:
    attempt = f"attempt {number}" if number >= 0 else "an earlier run"
    return f"{attempt} {what} on {where}" if where else f"{attempt} {what}"


# ------------------------------------------------------------------------------------------------ runs
class Pending:
    """The partitions of a run that wait for a core, in order.

    Those whose data is at busy executors wait in a line for these, so that they aren't looked at again for each core
    that becomes free elsewhere. The line named by no executor is of those that may run anywhere, or that
    haven't been looked at yet. A line is a hint: where the data is may have changed since.
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
        """The place of the first in each line, and the line's executors; a heap."""
        heads = [(line[0][0], executor_ids) for executor_ids, line in self._lines.items()]
        heapq.heapify(heads)
        return heads

    def first(self, executor_ids: frozenset[str]) -> int | None:
        """The place of the first in a line; None if that is empty."""
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
        """An executor is gone: none waits for it any more."""
        waiting = list(chain.from_iterable(self._lines.values()))
        self._lines = {frozenset(): waiting} if waiting else {}
        heapq.heapify(waiting)


class StageRun:
    """A stage that some job needs and that isn't over.

    Args:
        partitions: those that it makes, each once.
        positions: a result stage's partition -> where the job wants its result.
        begun_ms: when it was submitted.
    """

    def __init__(
        self, stage: Stage, partitions: Collection[int], positions: dict[int, list[int]], begun_ms: int
    ) -> None:
        self.stage = stage
        self.positions = positions
        self.jobs: dict[int, Job] = {}  # the active jobs that need it; at least one
        self.states = dict.fromkeys(partitions, TASK.first)  # of each partition; changed by `_move`
        self.pending = Pending(partitions)  # those that are pending
        self.running: dict[int, Attempt] = {}  # by task id: one for each that is running
        self.done = 0  # how many are done
        self.failures = 0  # attempts that are reported to have failed
        self.attempts: defaultdict[int, int] = defaultdict(int)  # partition -> how many were launched
        self.raised: defaultdict[int, int] = defaultdict(int)  # partition -> how many of these raised
        self.deaths: defaultdict[int, int] = defaultdict(int)  # partition -> how many of these died
        self.fetch_rounds = 0  # outputs that its tasks have missed
        self.misses: defaultdict[tuple[int, int], int] = defaultdict(int)  # of these, since one succeeded
        self.lacking: set[int] = set()  # shuffles that have to be made before it goes on; see `Runs`
        self.turn: tuple[int, int] | None = None  # by which it is among those that are ready; None: it isn't
        self.waiting_since_ms: int | None = None  # its last launch, or when a task first waited for its data's executor
        self.result_bytes = 0
        self._begun_ms = begun_ms
        self._story: deque[tuple[int, int, int, str, str]] = deque(maxlen=STORY_MAX)  # in order, see `note`

    # -------------------------------------------------------------------------------------------- what happens
    def launched(self, partition: int, *, task_id: int, executor_id: str, now_ms: int) -> Attempt:
        """A partition that was taken from those that are pending runs."""
        number = self.attempts[partition]
        self._move(LAUNCHED, partition, executor_id, now_ms, number=number)
        self.attempts[partition] = number + 1
        attempt = self.running[task_id] = Attempt(task_id, self, partition, number, executor_id, now_ms)
        return attempt

    def succeeded(self, attempt: Attempt, now_ms: int) -> None:
        """An attempt has made its partition."""
        self._move(SUCCEEDED, attempt.partition, attempt.executor_id, now_ms, number=attempt.number)
        del self.running[attempt.task_id]
        self.done += 1
        self.misses.clear()

    def failed(self, attempt: Attempt, failure: TaskFailure, now_ms: int) -> None:
        """An attempt has not made its partition, which is pending again."""
        where = f"{attempt.executor_id}: {failure.kind.value}, {failure.text[:STORY_CHARS_MAX]}"
        self._move(FAILED, attempt.partition, where, now_ms, number=attempt.number)
        del self.running[attempt.task_id]
        self.pending.add(attempt.partition)

    def output_lost(self, partition: int, now_ms: int) -> None:
        """The output that this run, or an earlier one, had made of a partition was lost: it is made again."""
        if partition not in self.states:
            self.states[partition] = TaskState.DONE
            self.done += 1
        self._move(OUTPUT_LOST, partition, "", now_ms, number=self.attempts[partition] - 1)
        self.done -= 1
        self.pending.add(partition)

    def _move(self, event: str, partition: int, where: str, now_ms: int, *, number: int) -> None:
        state = self.states.get(partition)
        after = None if state is None else TASK.after(state, event)
        if after is None:
            is_ = "none of this run's" if state is None else state.value
            raise self.invalid(partition, _told(number, event, where), f"the task is {is_}")
        self.states[partition] = after
        self._story.append((now_ms, partition, number, event, where))

    def report(self, *, over: bool) -> StageChanged:
        """How far it is."""
        return StageChanged(
            self.stage.id,
            self.stage.name,
            self.fetch_rounds,
            tasks=len(self.states),
            active=len(self.running),
            completed=self.done,
            failed=self.failures,
            over=over,
        )

    # -------------------------------------------------------------------------------------------- stories
    def note(self, partition: int, what: str, where: str, now_ms: int, *, number: int) -> None:
        """Remember something else of an attempt for the story of its task."""
        self._story.append((now_ms, partition, number, what, where))

    def story(self, partition: int) -> list[str]:
        """What has happened to a task, a line each, as far as that is remembered."""
        lines = [f"{self._begun_ms} ms: the run of {self.stage.name} began"]
        if len(self._story) == STORY_MAX:
            lines.append("(only the latest of what happened then is remembered)")
        for at_ms, p, number, what, where in self._story:
            if p == partition:
                lines.append(f"{at_ms} ms: {_told(number, what, where)}")
        return lines

    def invalid(self, partition: int, what: str, but: str) -> IllegalMove:
        """The error that this can't happen to a task."""
        story = "".join(f"\n  {line}" for line in self.story(partition))
        return IllegalMove(f"task {partition} in {self.stage.name}: {what}, but {but}{story}")

    def check(self) -> None:
        """Assert what must always be true."""
        assert self.jobs
        in_state: defaultdict[TaskState, list[int]] = defaultdict(list)
        for partition, state in self.states.items():
            in_state[state].append(partition)
        assert sorted(self.pending) == sorted(in_state[TaskState.PENDING]), self.stage.name
        running = [attempt.partition for attempt in self.running.values()]
        assert sorted(running) == sorted(in_state[TaskState.RUNNING]), self.stage.name
        assert self.done == len(in_state[TaskState.DONE]), self.stage.name


class Runs:
    """The runs that there are: what each lacks, and whose turn it is of those that lack nothing."""

    def __init__(self) -> None:
        self._by_stage: dict[int, StageRun] = {}
        self._by_job: defaultdict[int, dict[StageRun, None]] = defaultdict(dict)  # job id -> the runs that it needs
        self._lacking: defaultdict[int, dict[StageRun, None]] = defaultdict(dict)  # shuffle id -> the runs that lack it
        self._ready: dict[tuple[int, int], StageRun] = {}  # by turn: the runs that have pending tasks and lack nothing
        self._order: list[tuple[int, int]] = []  # the keys of these, ascending

    def __iter__(self) -> Iterator[StageRun]:
        return iter(self._by_stage.values())

    def __contains__(self, run: StageRun) -> bool:
        return self._by_stage.get(run.stage.id) is run

    def of_stage(self, stage_id: int) -> StageRun | None:
        """The run of a stage, if it has one."""
        return self._by_stage.get(stage_id)

    def ready(self) -> Iterator[StageRun]:
        """Those that can go on: by their oldest job, then by stage. The one that was given last may cease to be."""
        at = 0
        while at < len(self._order):
            run = self._ready[self._order[at]]
            yield run
            at += run.turn is not None

    # -------------------------------------------------------------------------------------------- for which jobs
    def join(self, run: StageRun, job: Job) -> None:
        """A job needs a run, which may be a new one. What that lacks is to be told."""
        self._by_stage[run.stage.id] = run
        self._by_job[job.id][run] = None
        run.jobs[job.id] = job

    def leave(self, job: Job) -> list[StageRun]:
        """A job needs none any more; returns those that no other job needs. They are to be removed."""
        runs = list(self._by_job.pop(job.id, ()))
        for run in runs:
            del run.jobs[job.id]
            if run.jobs:
                self.update(run)
        return [run for run in runs if not run.jobs]

    def remove(self, run: StageRun) -> None:
        """A run is over."""
        del self._by_stage[run.stage.id]
        for job_id in run.jobs:
            del self._by_job[job_id][run]
        run.jobs.clear()
        self.lacks(run, set())

    # -------------------------------------------------------------------------------------------- whose turn it is
    def lacks(self, run: StageRun, shuffle_ids: set[int]) -> None:
        """These are the shuffles that a run has to wait for."""
        for shuffle_id in run.lacking - shuffle_ids:
            del self._lacking[shuffle_id][run]
        for shuffle_id in shuffle_ids - run.lacking:
            self._lacking[shuffle_id][run] = None
        run.lacking = shuffle_ids
        self.update(run)

    def update(self, run: StageRun) -> None:
        """A run's jobs, or whether it has pending tasks, may have changed."""
        if run.turn is not None:
            del self._ready[run.turn]
            del self._order[bisect_left(self._order, run.turn)]
            run.turn = None
        if run.pending and run.jobs and not run.lacking:
            run.turn = (min(run.jobs), run.stage.id)
            self._ready[run.turn] = run
            insort(self._order, run.turn)

    def made(self, shuffle_id: int) -> list[StageRun]:
        """A shuffle is complete; returns the runs that lack nothing any more. They are to be updated."""
        readers = self._lacking.pop(shuffle_id, {})
        for run in readers:
            run.lacking.discard(shuffle_id)
        return [run for run in readers if not run.lacking]

    def forget(self, shuffle_id: int) -> None:
        """No run reads that shuffle any more."""
        self._lacking.pop(shuffle_id, None)

    def check(self) -> None:
        """Assert what must always be true."""
        for run in self:
            run.check()
            assert all(run in self._by_job[job_id] for job_id in run.jobs)
            assert all(run in self._lacking[shuffle_id] for shuffle_id in run.lacking)
        assert sum(map(len, self._by_job.values())) == sum(len(run.jobs) for run in self)
        assert sum(map(len, self._lacking.values())) == sum(len(run.lacking) for run in self)
        ready = {(min(run.jobs), run.stage.id): run for run in self if run.pending and not run.lacking}
        assert self._ready == ready
        assert self._order == sorted(ready)
        assert {run: run.turn for run in self if run.turn is not None} == {run: turn for turn, run in ready.items()}
