"""The scheduler: which task runs where and when, and what to do when one fails.

A core without I/O: `handle(event) -> [action]`. It owns jobs, stage runs, attempts, and what is known of executors, map
outputs and cached partitions. One gate (`_attempts`) stands before all effects of a task's reply: a reply of an attempt
that isn't running any more changes nothing. Stages run first come, first served: by their oldest job, then by id.

A stage run's partitions are each in exactly one place: `pending`, running (an attempt), or done.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from headwater.engine.events import (
    AddAccumulators,
    BlocksDropped,
    CancelJobs,
    CountMetrics,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ForgetDataset,
    ForgetShuffle,
    JobFailure,
    JobOver,
    JobStarted,
    KillTask,
    Launch,
    MapOutput,
    RemoveBlocks,
    Segment,
    StageChanged,
    SubmitJob,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
    TellVersion,
    Wake,
    Woken,
)
from headwater.engine.lineage import BlockRef
from headwater.engine.stages import Job, Stage

# A worker's death is seldom the program's fault, so it is retried even where an exception is not (local mode).
DEATHS_MAX = 4
# How long a failed job waits until its killed tasks have ended: a task on a thread of the driver may hang in C code.
KILLING_MS_MAX = 10_000
# A stage whose inputs keep vanishing is given up after that many rounds.
FETCH_ROUNDS_MAX = 4


@dataclass(frozen=True)
class Limits:
    """The settings that the scheduler follows."""

    task_failures: int = 1  # attempts that may raise before the job fails
    locality_wait_ms: int = 3000  # how long a task waits for a core where its data is
    result_bytes: int = 1 << 30  # of one job's results together


@dataclass(slots=True)
class _Executor:
    host: str
    cores: int
    free: int  # cores without an attempt; cores - free attempts run here


@dataclass(slots=True)
class _Attempt:
    run: _StageRun
    partition: int
    number: int
    executor_id: str


@dataclass(eq=False, slots=True)
class _StageRun:
    """A stage that some job needs and that isn't over."""

    stage: Stage
    jobs: dict[int, Job]  # the active jobs that need it; at least one
    partitions: list[int]  # those that this run makes
    positions: dict[int, list[int]]  # a result stage's partition -> where the job wants its result
    pending: deque[int] = field(default_factory=deque)
    running: set[int] = field(default_factory=set)  # task ids
    done: set[int] = field(default_factory=set)
    attempts: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    raised: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    deaths: defaultdict[int, int] = field(default_factory=lambda: defaultdict(int))
    fetch_rounds: int = 0
    failed: int = 0
    waiting_since_ms: int | None = None  # its last launch, or when a task first waited for its data's executor
    result_bytes: int = 0

    @property
    def order(self) -> tuple[int, int]:
        return (min(self.jobs), self.stage.id)


@dataclass(slots=True)
class _Ending:
    """A job that has failed, and whose killed tasks haven't all ended: they may still write what the caller removes."""

    failure: JobFailure
    killed: dict[int, str]  # task id -> executor
    until_ms: int  # when they are waited for no longer


class Scheduler:
    """The core. Construct, then `handle` events; `check` asserts the invariants."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[int, Job] = {}
        self._endings: dict[int, _Ending] = {}  # by job id
        self._runs: dict[int, _StageRun] = {}  # by stage id
        self._attempts: dict[int, _Attempt] = {}  # by task id: what runs now
        self._executors: dict[str, _Executor] = {}
        # Read by planners of other threads, too: whether a shuffle has a stage (a stale answer costs a plan, no more).
        self.shuffle_stages: dict[int, Stage] = {}
        self._outputs: dict[int, list[MapOutput | None]] = {}  # shuffle id -> by map partition
        self._output_at: dict[tuple[int, int], str] = {}  # (shuffle id, map partition) -> executor, if in a file
        self._in_files: set[int] = set()  # shuffles of which an output was, or still is, in a file
        self._cached: dict[tuple[int, int], set[str]] = {}  # (dataset id, partition) -> executors; never empty
        self._homes: dict[int, str] = {}  # pin -> the executor that got the last task with it
        self._counted: set[tuple[int, int]] = set()  # (stage id, partition) whose accumulators were added
        self._task_ids = count()
        self._actions: list[Any] = []  # of the event that is being handled, as the two below
        self._deadlines_ms: set[int] = set()
        self._now_ms = 0

    def handle(self, event: Any, now_ms: int) -> list[Any]:
        """Take an event; returns the actions that follow."""
        self._now_ms = now_ms
        self._actions = []
        match event:
            case TaskEnded():
                self._task_ended(event.executor_id, event.reply)
            case SubmitJob():
                self._submit(event.job)
            case CancelJobs():
                for job in [job for job in self._jobs.values() if _chosen(job, event)]:
                    self._fail_job(job, JobFailure(event.reason, cancelled=True))
            case ExecutorJoined():
                self._executors[event.executor_id] = _Executor(event.host, event.cores, event.cores)
            case ExecutorLeft():
                self._executor_left(event.executor_id, event.reason)
            case BlocksDropped():
                for block_id in event.block_ids:
                    self._uncache(block_id, event.executor_id)
            case ForgetDataset():
                for key in [key for key in self._cached if key[0] == event.dataset_id]:
                    del self._cached[key]
                self._actions.append(RemoveBlocks(f"rdd_{event.dataset_id}_"))
            case ForgetShuffle():
                self._forget_shuffle(event.shuffle_id)
            case Woken():  # for this, or for the dispatch below
                self._end_overdue()
            case _:
                raise AssertionError(f"not an event of the scheduler: {event!r}")
        self._deadlines_ms.clear()
        self._dispatch()
        self._actions += map(Wake, sorted(self._deadlines_ms))
        return self._actions

    # -------------------------------------------------------------------------------------------- jobs
    def _submit(self, job: Job) -> None:
        for shuffle_id, stage in job.stages.items():
            if self.shuffle_stages.setdefault(shuffle_id, stage) is stage:
                self._outputs[shuffle_id] = [None] * stage.recipes[-1].partitions
        self._jobs[job.id] = job
        stage_ids = (*sorted(stage.id for stage in job.stages.values()), job.result.id)
        self._actions.append(JobStarted(job.id, job.group, stage_ids, self._now_ms, job.description))
        positions: dict[int, list[int]] = {}
        for position, partition in enumerate(job.partitions):
            positions.setdefault(partition, []).append(position)
        if not positions:
            self._end_job(job, None)
            return
        self._start_run(job.result, job, list(positions), positions)

    def _start_run(self, stage: Stage, job: Job, partitions: list[int], positions: dict[int, list[int]]) -> None:
        """Make a stage run, or join the one that there is, and do the same for the shuffles that it lacks."""
        run = self._runs.get(stage.id)
        if run is None:
            run = self._runs[stage.id] = _StageRun(stage, {}, partitions, positions, deque(partitions))
        elif job.id in run.jobs:
            return  # met on another way through the lineage
        run.jobs[job.id] = job
        for shuffle_id in self._missing_shuffles(stage):
            self._start_shuffle(shuffle_id, job)

    def _start_shuffle(self, shuffle_id: int, job: Job) -> None:
        stage, outputs = self.shuffle_stages[shuffle_id], self._outputs[shuffle_id]
        self._start_run(stage, job, [p for p, output in enumerate(outputs) if output is None], {})

    def _missing_shuffles(self, stage: Stage) -> list[int]:
        """The shuffles that a stage reads and that aren't complete; none behind a dataset that is wholly cached."""
        missing, seen, todo = [], set(), [len(stage.recipes) - 1]
        while todo:
            i = todo.pop()
            if i in seen or self._wholly_cached(stage, i):
                continue
            seen.add(i)
            recipe = stage.recipes[i]
            todo.extend(recipe.parents)
            if recipe.shuffle is not None and None in self._outputs[recipe.shuffle.id]:
                missing.append(recipe.shuffle.id)
        return missing

    def _wholly_cached(self, stage: Stage, node: int) -> bool:
        caching = stage.caching.get(node)
        return caching is not None and all(
            (caching.dataset_id, p) in self._cached for p in range(stage.recipes[node].partitions)
        )

    def _end_job(self, job: Job, failure: JobFailure | None) -> None:
        """Whoever waits for a job hears of it at once or, if it failed, when none of its tasks is running any more."""
        del self._jobs[job.id]
        killed: dict[int, str] = {}
        for run in [run for run in self._runs.values() if job.id in run.jobs]:
            del run.jobs[job.id]
            if not run.jobs:
                killed |= self._drop_run(run, "its job is over")
        if failure is None or not killed:
            self._job_over(job.id, failure)
            return
        until_ms = self._now_ms + KILLING_MS_MAX
        self._endings[job.id] = _Ending(failure, killed, until_ms)
        self._actions.append(Wake(until_ms))

    def _job_over(self, job_id: int, failure: JobFailure | None) -> None:
        self._endings.pop(job_id, None)
        status = "SUCCEEDED" if failure is None else "FAILED"
        self._actions += [EndJob(job_id, failure), JobOver(job_id, status, self._now_ms)]

    def _fail_job(self, job: Job, failure: JobFailure) -> None:
        if job.id in self._jobs:
            self._end_job(job, failure)

    def _drop_run(self, run: _StageRun, reason: str) -> dict[int, str]:
        """Nobody wants a run any more; returns its tasks that are still running, by executor."""
        del self._runs[run.stage.id]
        killed = {}
        for task_id in run.running:
            executor_id = self._attempts.pop(task_id).executor_id
            self._actions.append(KillTask(executor_id, task_id, reason))
            self._give_back(executor_id)
            if executor_id in self._executors:
                killed[task_id] = executor_id
        if run.stage.shuffle_id < 0:
            self._counted.difference_update((run.stage.id, p) for p in run.partitions)
        self._report(run, over=True)
        return killed

    def _killed_ended(self, gone: Callable[[int, str], bool]) -> None:
        """The killed tasks that `gone` tells of, by id and executor, have ended."""
        for job_id, ending in list(self._endings.items()):
            ending.killed = {task_id: where for task_id, where in ending.killed.items() if not gone(task_id, where)}
            if not ending.killed:
                self._job_over(job_id, ending.failure)

    def _end_overdue(self) -> None:
        for job_id, ending in list(self._endings.items()):
            if ending.until_ms <= self._now_ms:
                self._job_over(job_id, ending.failure)

    # -------------------------------------------------------------------------------------------- replies
    def _task_ended(self, executor_id: str, reply: TaskReply) -> None:
        attempt = self._attempts.pop(reply.task_id, None)
        self._actions += [TellVersion(stored, attempt is not None) for stored in reply.versions]
        if attempt is None:
            self._killed_ended(lambda task_id, _: task_id == reply.task_id)
            # A stale reply: its effects happened elsewhere, or nobody wants them; nor the files that it tells of.
            if isinstance(reply.value, MapOutput):
                self._actions += [RemoveBlocks(block_id) for block_id, _ in reply.value.blocks]
            return
        run = attempt.run
        run.running.discard(reply.task_id)
        self._give_back(executor_id)
        for stored in reply.stored:
            key = _cached_key(stored.block_id)
            self._cached.setdefault(key, set()).update(e for e in stored.locations if e in self._executors)
        if reply.failure is None:
            self._succeeded(attempt, reply)
        else:
            run.failed += 1
            self._failed(attempt, reply.failure)
        if run.stage.id in self._runs:
            self._report(run, over=False)

    def _succeeded(self, attempt: _Attempt, reply: TaskReply) -> None:
        run, partition = attempt.run, attempt.partition
        run.done.add(partition)
        counted = (run.stage.id, partition)
        if reply.accumulators and counted not in self._counted:
            self._counted.add(counted)
            self._actions.append(AddAccumulators(reply.accumulators, tuple(run.jobs)))
        self._actions.append(CountMetrics(run.stage.id, reply.metrics))
        if run.stage.shuffle_id >= 0:
            self._output_made(attempt, reply.value)
        else:
            self._result_made(run, partition, reply.value)

    def _output_made(self, attempt: _Attempt, output: MapOutput) -> None:
        run, shuffle_id, partition = attempt.run, attempt.run.stage.shuffle_id, attempt.partition
        if output.blocks:
            output = _located(output, attempt.executor_id, shuffle_id, partition)
            self._output_at[shuffle_id, partition] = attempt.executor_id
            self._in_files.add(shuffle_id)
        self._outputs[shuffle_id][partition] = output
        if None not in self._outputs[shuffle_id]:
            self._report(run, over=True)
            del self._runs[run.stage.id]

    def _result_made(self, run: _StageRun, partition: int, value: bytes) -> None:
        (job,) = run.jobs.values()
        run.result_bytes += len(value)
        if run.result_bytes > self._limits.result_bytes:
            text = (
                f"total size of serialized results of {len(run.done)} tasks ({run.result_bytes} bytes) is bigger than "
                f"spark.driver.maxResultSize ({self._limits.result_bytes} bytes): collect less, or raise the setting"
            )
            self._fail_job(job, JobFailure(text))
            return
        self._actions += [DeliverResult(job.id, position, value) for position in run.positions[partition]]
        if len(run.done) == len(run.partitions):
            self._end_job(job, None)

    def _failed(self, attempt: _Attempt, failure: TaskFailure) -> None:
        run, partition = attempt.run, attempt.partition
        run.pending.append(partition)
        if failure.kind == "fetch":
            self._fetch_failed(run, failure)
        elif failure.kind == "cache":
            self._uncache(failure.block_id, None)
            self._require_inputs(run)
        elif failure.kind == "lost":
            run.deaths[partition] += 1
            if run.deaths[partition] >= max(DEATHS_MAX, self._limits.task_failures):
                self._give_up(attempt, failure, run.deaths[partition])
        else:
            run.raised[partition] += 1
            if failure.kind == "refused" or run.raised[partition] >= self._limits.task_failures:
                self._give_up(attempt, failure, run.raised[partition])

    def _give_up(self, attempt: _Attempt, failure: TaskFailure, times: int) -> None:
        run = attempt.run
        text = (
            f"task {attempt.partition} in {run.stage.name} failed {times} time{'s' if times > 1 else ''}, "
            f"most recently on executor {attempt.executor_id}: {failure.text}"
        )
        for job in list(run.jobs.values()):
            self._fail_job(job, JobFailure(text, False, failure, run.stage.id, attempt.partition, attempt.number))

    def _fetch_failed(self, run: _StageRun, failure: TaskFailure) -> None:
        segment = failure.segment
        assert segment is not None
        outputs = self._outputs.get(segment.shuffle_id)
        output = outputs[segment.map_partition] if outputs is not None else None
        # Another task may have reported it before, and the output been made anew.
        if outputs is not None and output is not None and any(b == segment.block_id for b, _ in output.blocks):
            outputs[segment.map_partition] = None
            del self._output_at[segment.shuffle_id, segment.map_partition]
            run.fetch_rounds += 1
        if run.fetch_rounds > FETCH_ROUNDS_MAX:
            for job in list(run.jobs.values()):
                self._fail_job(job, JobFailure(f"{run.stage.name} lost its inputs again and again: {failure.text}"))
        else:
            self._require_inputs(run)

    def _require_inputs(self, run: _StageRun) -> None:
        """Some of a run's inputs are gone: have them made again."""
        for shuffle_id in self._missing_shuffles(run.stage):
            for job in run.jobs.values():
                self._start_shuffle(shuffle_id, job)
            self._reopen(self._runs[self.shuffle_stages[shuffle_id].id])

    # -------------------------------------------------------------------------------------------- losses
    def _executor_left(self, executor_id: str, reason: str) -> None:
        if self._executors.pop(executor_id, None) is None:
            return
        for key in [key for key, holders in self._cached.items() if executor_id in holders]:
            self._uncache(f"rdd_{key[0]}_{key[1]}", executor_id)
        for (shuffle_id, partition), holder in list(self._output_at.items()):
            if holder == executor_id:
                del self._output_at[shuffle_id, partition]
                self._outputs[shuffle_id][partition] = None
        lost = [(task_id, a) for task_id, a in self._attempts.items() if a.executor_id == executor_id]
        for task_id, attempt in lost:
            if task_id in self._attempts:  # giving up on one may have ended the others' jobs
                del self._attempts[task_id]
                attempt.run.running.discard(task_id)
                self._failed(attempt, TaskFailure("lost", f"executor {executor_id} was lost: {reason}"))
        self._killed_ended(lambda _, where: where == executor_id)
        for run in list(self._runs.values()):
            self._reopen(run)
            self._require_inputs(run)

    def _reopen(self, run: _StageRun) -> None:
        """Outputs that a shuffle stage still at work had made, and that were lost, are pending again."""
        if run.stage.shuffle_id < 0:
            return
        open_ones = {self._attempts[task_id].partition for task_id in run.running} | set(run.pending)
        for partition, output in enumerate(self._outputs[run.stage.shuffle_id]):
            if output is None and partition not in open_ones:
                if partition not in run.done:
                    run.partitions.append(partition)  # made by an earlier run
                run.done.discard(partition)
                run.pending.append(partition)

    def _uncache(self, block_id: str, executor_id: str | None) -> None:
        """A cached partition is gone from one executor, or (None) from all."""
        key = _cached_key(block_id)
        holders = self._cached.get(key)
        if holders is not None:
            holders.discard(executor_id) if executor_id is not None else holders.clear()
            if not holders:
                del self._cached[key]

    def _forget_shuffle(self, shuffle_id: int) -> None:
        stage = self.shuffle_stages.pop(shuffle_id, None)
        outputs = self._outputs.pop(shuffle_id, None)
        if stage is None or outputs is None:
            return
        self._counted.difference_update((stage.id, p) for p in range(len(outputs)))
        if shuffle_id in self._in_files:
            self._in_files.discard(shuffle_id)
            for partition in range(len(outputs)):
                self._output_at.pop((shuffle_id, partition), None)
            self._actions.append(RemoveBlocks(f"shuffle_{shuffle_id}_"))

    # -------------------------------------------------------------------------------------------- dispatch
    def _dispatch(self) -> None:
        ready = []
        for run in list(self._runs.values()):
            if run.pending and self._missing_shuffles(run.stage):
                self._require_inputs(run)
        for run in self._runs.values():
            if run.pending and not self._missing_shuffles(run.stage):
                ready.append(run)
        free = sum(executor.free for executor in self._executors.values())
        for run in sorted(ready, key=lambda run: run.order):
            if free <= 0:
                return
            free -= self._launch(run)

    def _launch(self, run: _StageRun) -> int:
        """Start what can be started of a run; returns how many tasks that was."""
        chosen: dict[str, list[TaskSpec]] = {}
        skipped: deque[int] = deque()
        while run.pending:
            partition = run.pending.popleft()
            pin = self._pin(run.stage, partition)
            preferred = [e for e in self._preferred(run.stage, partition, pin) if e in self._executors]
            executor_id = self._place(run, preferred)
            if executor_id is not None:
                self._executors[executor_id].free -= 1
                chosen.setdefault(executor_id, []).append(self._attempt(run, partition, executor_id, pin))
                continue
            skipped.append(partition)
            if not any(executor.free for executor in self._executors.values()):
                break
        run.pending.extendleft(reversed(skipped))
        if chosen:
            run.waiting_since_ms = self._now_ms
            self._report(run, over=False)
        shipped = run.stage.ship()
        for executor_id, tasks in chosen.items():
            self._actions.append(Launch(executor_id, tuple(tasks), shipped.data, shipped.broadcasts))
        return sum(map(len, chosen.values()))

    def _place(self, run: _StageRun, preferred: list[str]) -> str | None:
        """An executor with a free core: where the data is, or anywhere after `locality_wait_ms` without a launch."""
        at_home = [e for e in preferred if self._executors[e].free]
        if at_home:
            return max(at_home, key=lambda e: self._executors[e].free)
        if preferred:
            if run.waiting_since_ms is None:
                run.waiting_since_ms = self._now_ms
            deadline_ms = run.waiting_since_ms + self._limits.locality_wait_ms
            if self._now_ms < deadline_ms:
                self._deadlines_ms.add(deadline_ms)
                return None
        best = max(self._executors, key=lambda e: self._executors[e].free)
        return best if self._executors[best].free else None

    def _pin(self, stage: Stage, partition: int) -> int:
        """The partition of the first live state that a task needs, which is the same for all states; or -1."""
        if not stage.pinned:
            return -1
        todo = [(len(stage.recipes) - 1, partition)]
        while todo:
            i, p = todo.pop()
            recipe, caching = stage.recipes[i], stage.caching.get(i)
            if caching is not None and (caching.dataset_id, p) in self._cached:
                continue
            if recipe.operator.pinned:
                return p
            todo.extend((recipe.parents[j], q) for j, q in recipe.operator.inputs(p))
        return -1

    def _preferred(self, stage: Stage, partition: int, pin: int) -> Iterator[str]:
        """Executors that hold what a task reads: live state, else stored partitions met on the way, received blocks."""
        if pin in self._homes:
            yield self._homes[pin]
            return
        if not stage.may_prefer:
            return
        todo = [(len(stage.recipes) - 1, partition)]
        while todo:
            i, p = todo.pop()
            caching, recipe = stage.caching.get(i), stage.recipes[i]
            if caching is not None and (holders := self._cached.get((caching.dataset_id, p))):
                yield from sorted(holders)
                continue
            yield from recipe.preferred(p)
            todo.extend((recipe.parents[j], q) for j, q in recipe.operator.inputs(p))

    def _attempt(self, run: _StageRun, partition: int, executor_id: str, pin: int) -> TaskSpec:
        if pin >= 0:
            self._homes[pin] = executor_id
        task_id = next(self._task_ids)
        number = run.attempts[partition]
        run.attempts[partition] += 1
        run.running.add(task_id)
        self._attempts[task_id] = _Attempt(run, partition, number, executor_id)
        inputs, cached = self._inputs(run.stage, partition)
        job = run.jobs[min(run.jobs)]
        stage = run.stage
        return TaskSpec(
            task_id,
            job.id,
            stage.id,
            partition,
            number,
            stage.ship().name,
            inputs,
            stage.caching,
            cached,
            dict(job.properties),
            stage.shuffle_id,
            pin,
        )

    def _inputs(self, stage: Stage, partition: int) -> tuple[dict[tuple[int, int], Any], dict[tuple[int, int], Any]]:
        """The payloads of all leaves that a partition is computed from, and the stored partitions it can start from."""
        inputs: dict[tuple[int, int], Any] = {}
        cached: dict[tuple[int, int], Any] = {}
        todo = [(len(stage.recipes) - 1, partition)]
        while todo:
            i, p = todo.pop()
            recipe, caching = stage.recipes[i], stage.caching.get(i)
            if caching is not None and (holders := self._cached.get((caching.dataset_id, p))):
                cached[i, p] = BlockRef(f"rdd_{caching.dataset_id}_{p}", tuple(sorted(holders)))
            elif recipe.shuffle is not None:
                inputs[i, p] = self._segments(recipe.shuffle.id, p)
            elif recipe.payloads is not None:
                inputs[i, p] = recipe.payloads[p]
            else:
                todo.extend((recipe.parents[j], q) for j, q in recipe.operator.inputs(p))
        return inputs, cached

    def _segments(self, shuffle_id: int, partition: int) -> list[Segment]:
        outputs = self._outputs[shuffle_id]
        return [segment for output in outputs if output is not None for segment in output.parts[partition]]

    def _give_back(self, executor_id: str) -> None:
        executor = self._executors.get(executor_id)
        if executor is not None:
            executor.free += 1

    def _report(self, run: _StageRun, *, over: bool) -> None:
        stage = run.stage
        attempt = run.fetch_rounds
        self._actions.append(
            StageChanged(
                stage.id, stage.name, attempt, len(run.partitions), len(run.running), len(run.done), run.failed, over
            )
        )

    # -------------------------------------------------------------------------------------------- questions
    def cached_partitions(self, dataset_id: int) -> dict[int, BlockRef]:
        """Where the stored partitions of a dataset are. Called on the loop's thread, as everything here."""
        return {
            p: BlockRef(f"rdd_{d}_{p}", tuple(sorted(holders)))
            for (d, p), holders in self._cached.items()
            if d == dataset_id
        }

    def check(self) -> None:
        """Assert what must always be true."""
        running: defaultdict[str, int] = defaultdict(int)
        for task_id, attempt in self._attempts.items():
            assert task_id in attempt.run.running
            running[attempt.executor_id] += 1
        for executor_id, executor in self._executors.items():
            assert executor.free == executor.cores - running[executor_id], executor_id
        for run in self._runs.values():
            assert run.jobs
            busy = [self._attempts[task_id].partition for task_id in run.running]
            assert len(busy) == len(set(busy))
            assert sorted([*busy, *run.pending, *run.done]) == sorted(run.partitions), run.stage.name
        assert all(self._cached.values())
        assert all(ending.killed for ending in self._endings.values())
        assert not self._endings.keys() & self._jobs.keys()


def _chosen(job: Job, event: CancelJobs) -> bool:
    if event.job_id is not None:
        return job.id == event.job_id
    return event.group is None or job.group == event.group


def _cached_key(block_id: str) -> tuple[int, int]:
    _, dataset_id, partition = block_id.split("_")
    return int(dataset_id), int(partition)


def _located(output: MapOutput, executor_id: str, shuffle_id: int, partition: int) -> MapOutput:
    where = (executor_id,)
    parts = tuple(
        tuple(
            s if s.data is not None else s._replace(location=where, shuffle_id=shuffle_id, map_partition=partition)
            for s in part
        )
        for part in output.parts
    )
    return output._replace(parts=parts)
