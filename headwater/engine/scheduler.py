"""The scheduler: which task runs where and when, and what to do when one fails.

A core without I/O: `handle(event) -> [action]`. It owns jobs, stage runs, attempts, and the books of executors
(`runs`), map outputs and cached partitions (`holdings`).

- One gate (`_attempts`) stands before all effects of a task's reply: a reply of an attempt that isn't running any more
  changes nothing.
- Stages run first come, first served: by their oldest job, then by id.
- An event costs what it changes. A run whose inputs may have come or gone is *unsettled* until the event's end, when
  it is found either ready or lacking shuffles, which are started; no other run is looked at.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import count

from headwater.base.exhaustive import assert_never
from headwater.engine import blockids
from headwater.engine.events import (
    AddAccumulators,
    BlocksDropped,
    CancelJobs,
    CountMetrics,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ExecutorSuspected,
    ExecutorTrusted,
    FailureKind,
    ForgetDataset,
    ForgetShuffle,
    JobFailure,
    JobOver,
    JobStarted,
    KillTask,
    Launch,
    MapOutput,
    RemoveBlocks,
    SchedulerAction,
    SchedulerEvent,
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
from headwater.engine.holdings import CachedPartitions, Inputs, MapOutputs
from headwater.engine.lineage import BlockRef
from headwater.engine.runs import Executors, StageRun
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
    task_ms: int | None = None  # how long an attempt may take; None: any time


@dataclass(slots=True)
class _Attempt:
    run: StageRun
    partition: int
    number: int
    executor_id: str
    since_ms: int
    overdue: bool = False  # it's being killed for that


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
        self._runs: dict[int, StageRun] = {}  # by stage id
        self._attempts: dict[int, _Attempt] = {}  # by task id: what runs now, the oldest first
        self._overdue_ms: int | None = None  # when attempts are looked at next that may be overdue then
        self._executors = Executors()
        # Read by planners of other threads, too: whether a shuffle has a stage (a stale answer costs a plan, no more).
        self.shuffle_stages: dict[int, Stage] = {}
        self._outputs = MapOutputs()
        self._cached = CachedPartitions()
        self._inputs = Inputs(self._cached, self._outputs)
        self._runs_of: defaultdict[int, dict[StageRun, None]] = defaultdict(dict)  # job id -> the runs that it needs
        self._unsettled: dict[StageRun, None] = {}  # may have to wait, or to wait no longer; none between two events
        self._waiting: defaultdict[int, dict[StageRun, None]] = defaultdict(dict)  # shuffle id -> the runs that lack it
        self._ready: list[tuple[int, int]] = []  # the orders of the runs that lack tasks but no inputs, ascending
        self._homes: dict[int, str] = {}  # pin -> the executor that got the last task with it
        self._counted: set[tuple[int, int]] = set()  # (stage id, partition) whose accumulators were added
        self._task_ids = count()
        self._actions: list[SchedulerAction | Wake] = []  # of the event that is being handled, as the two below
        self._deadlines_ms: set[int] = set()
        self._now_ms = 0

    def handle(self, event: SchedulerEvent | Woken, now_ms: int) -> list[SchedulerAction | Wake]:
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
                self._executors.join(event.executor_id, event.cores)
            case ExecutorSuspected():
                self._executors.suspect(event.executor_id)
            case ExecutorTrusted():
                self._executors.trust(event.executor_id)
            case ExecutorLeft():
                self._executor_left(event.executor_id, event.reason)
            case BlocksDropped():
                for block_id in event.block_ids:
                    self._cached.drop(*blockids.partition_of(block_id), event.executor_id)
            case ForgetDataset():
                self._cached.forget(event.dataset_id)
                self._actions.append(RemoveBlocks(blockids.cached_prefix(event.dataset_id)))
            case ForgetShuffle():
                self._forget_shuffle(event.shuffle_id)
            case Woken():  # for these, or for the dispatch below
                self._end_overdue()
                self._kill_overdue()
            case unknown:
                assert_never(unknown, "an event of the scheduler")
        self._deadlines_ms.clear()
        self._settle()
        self._dispatch()
        self._watch_overdue()
        self._actions += map(Wake, sorted(self._deadlines_ms))
        return self._actions

    # -------------------------------------------------------------------------------------------- jobs
    def _submit(self, job: Job) -> None:
        for shuffle_id, stage in job.stages.items():
            if self.shuffle_stages.setdefault(shuffle_id, stage) is stage:
                self._outputs.open(shuffle_id, stage.recipes[-1].partitions)
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
        run = self._runs[stage.id] = StageRun(stage, partitions, positions)
        for node, caching in stage.caching.items():
            self._cached.expect(caching.dataset_id, stage.recipes[node].partitions)
        self._join_run(run, job)

    def _start_shuffle(self, shuffle_id: int, job: Job) -> None:
        """Have a shuffle's missing outputs made for a job, by the run that there is or a new one."""
        stage = self.shuffle_stages[shuffle_id]
        run = self._runs.get(stage.id)
        if run is None:
            self._start_run(stage, job, self._outputs.missing(shuffle_id), {})
        elif job.id not in run.jobs:
            self._join_run(run, job)

    def _join_run(self, run: StageRun, job: Job) -> None:
        run.jobs[job.id] = job
        self._runs_of[job.id][run] = None
        self._unsettled[run] = None

    # -------------------------------------------------------------------------------------------- ready or not
    def _settle(self) -> None:
        """Find out of each unsettled run whether its inputs are there, and have those made that aren't."""
        for dataset_id in self._cached.turned():
            for run in self._runs.values():
                if run.pending and dataset_id in run.stage.datasets_cached:
                    self._unsettled[run] = None
        while self._unsettled:
            run, _ = self._unsettled.popitem()
            if self._runs.get(run.stage.id) is not run:
                continue  # over meanwhile
            self._lacks(run, self._inputs.missing_shuffles(run.stage))
            for shuffle_id in sorted(run.lacking):
                for job in run.jobs.values():
                    self._start_shuffle(shuffle_id, job)
            self._line_up(run)

    def _lacks(self, run: StageRun, shuffles: set[int]) -> None:
        for shuffle_id in run.lacking - shuffles:
            del self._waiting[shuffle_id][run]
        for shuffle_id in shuffles - run.lacking:
            self._waiting[shuffle_id][run] = None
        run.lacking = shuffles

    def _line_up(self, run: StageRun) -> None:
        """Put a run to where it is now among those that are ready, if it is."""
        if run.order is not None:
            del self._ready[bisect_left(self._ready, run.order)]
            run.order = None
        if run.pending and run.jobs and not run.lacking:
            run.order = (min(run.jobs), run.stage.id)
            insort(self._ready, run.order)

    def _forget_run(self, run: StageRun) -> None:
        del self._runs[run.stage.id]
        for job_id in run.jobs:
            del self._runs_of[job_id][run]
        run.jobs.clear()
        self._lacks(run, set())
        self._line_up(run)

    # -------------------------------------------------------------------------------------------- ends of jobs
    def _end_job(self, job: Job, failure: JobFailure | None) -> None:
        """Whoever waits for a job hears of it at once or, if it failed, when none of its tasks is running any more."""
        del self._jobs[job.id]
        killed: dict[int, str] = {}
        for run in self._runs_of.pop(job.id, ()):
            del run.jobs[job.id]
            if run.jobs:
                self._line_up(run)
            else:
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

    def _drop_run(self, run: StageRun, reason: str) -> dict[int, str]:
        """Nobody wants a run any more; returns its tasks that are still running, by executor."""
        self._forget_run(run)
        killed = {}
        for task_id in run.running:
            executor_id = self._attempts.pop(task_id).executor_id
            self._actions.append(KillTask(executor_id, task_id, reason))
            self._executors.give_back(executor_id)
            if executor_id in self._executors:
                killed[task_id] = executor_id
        if run.stage.is_result:
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
        self._executors.give_back(executor_id)
        for stored in reply.stored:
            holders = [e for e in stored.locations if e in self._executors]
            self._cached.add(*blockids.partition_of(stored.block_id), holders)
        if reply.failure is None:
            self._succeeded(attempt, reply)
        else:
            run.failed += 1
            self._failed(attempt, self._overdue() if attempt.overdue else reply.failure)
        if run.stage.id in self._runs:
            self._report(run, over=False)

    def _succeeded(self, attempt: _Attempt, reply: TaskReply) -> None:
        run, partition = attempt.run, attempt.partition
        run.done.add(partition)
        run.misses.clear()
        counted = (run.stage.id, partition)
        if reply.accumulators and counted not in self._counted:
            self._counted.add(counted)
            self._actions.append(AddAccumulators(reply.accumulators, tuple(run.jobs)))
        self._actions.append(CountMetrics(run.stage.id, reply.metrics))
        if not run.stage.is_result:
            self._output_made(attempt, reply.value)
        else:
            self._result_made(run, partition, reply.value)

    def _output_made(self, attempt: _Attempt, output: MapOutput) -> None:
        run, shuffle_id = attempt.run, attempt.run.stage.shuffle_id
        self._outputs.put(shuffle_id, attempt.partition, output, attempt.executor_id)
        if self._outputs.complete(shuffle_id):
            self._report(run, over=True)
            self._forget_run(run)
            for reader in self._waiting.pop(shuffle_id, ()):
                reader.lacking.discard(shuffle_id)
                if not reader.lacking:
                    self._unsettled[reader] = None

    def _result_made(self, run: StageRun, partition: int, value: bytes) -> None:
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
        run.pending.add(partition)
        self._unsettled[run] = None
        match failure.kind:
            case FailureKind.FETCH:
                self._fetch_failed(run, failure)
            case FailureKind.CACHE:
                self._cached.lose(*blockids.partition_of(failure.block_id))
            case FailureKind.LOST:
                run.deaths[partition] += 1
                if run.deaths[partition] >= max(DEATHS_MAX, self._limits.task_failures):
                    self._give_up(attempt, failure, run.deaths[partition])
            case FailureKind.RAISED | FailureKind.KILLED | FailureKind.REFUSED:
                run.raised[partition] += 1
                no_retry_helps = failure.kind is FailureKind.REFUSED
                if no_retry_helps or run.raised[partition] >= self._limits.task_failures:
                    self._give_up(attempt, failure, run.raised[partition])
            case unknown:
                assert_never(unknown, "a kind of failure")

    def _give_up(self, attempt: _Attempt, failure: TaskFailure, times: int) -> None:
        run = attempt.run
        text = (
            f"task {attempt.partition} in {run.stage.name} failed {times} time{'s' if times > 1 else ''}, "
            f"most recently on executor {attempt.executor_id}: {failure.text}"
        )
        for job in list(run.jobs.values()):
            self._fail_job(job, JobFailure(text, False, failure, run.stage.id, attempt.partition, attempt.number))

    def _fetch_failed(self, run: StageRun, failure: TaskFailure) -> None:
        segment = failure.segment
        assert segment is not None
        if not self._outputs.lose(segment):
            return
        run.fetch_rounds += 1
        lost = (segment.shuffle_id, segment.map_partition)
        run.misses[lost] += 1
        if run.misses[lost] > FETCH_ROUNDS_MAX:
            for job in list(run.jobs.values()):
                self._fail_job(job, JobFailure(f"{run.stage.name} lost its inputs again and again: {failure.text}"))
        self._make_again([lost])

    # -------------------------------------------------------------------------------------------- overdue attempts
    def _overdue(self) -> TaskFailure:
        text = f"it ran longer than headwater.task.timeout ({self._limits.task_ms} ms), and was killed"
        return TaskFailure(FailureKind.KILLED, text)

    def _kill_overdue(self) -> None:
        """Have attempts killed that take too long; they go on until their executor says that they have ended."""
        task_ms = self._limits.task_ms
        if task_ms is None or self._overdue_ms is None or self._now_ms < self._overdue_ms:
            return
        self._overdue_ms = None
        for task_id, attempt in self._attempts.items():
            if self._now_ms < attempt.since_ms + task_ms:
                return
            if not attempt.overdue:
                attempt.overdue = True
                self._actions.append(KillTask(attempt.executor_id, task_id, self._overdue().text))

    def _watch_overdue(self) -> None:
        """Be woken when the oldest attempt that isn't overdue may be; one such wake at a time is enough."""
        task_ms = self._limits.task_ms
        if task_ms is None or self._overdue_ms is not None:
            return
        oldest = next((attempt for attempt in self._attempts.values() if not attempt.overdue), None)
        if oldest is not None:
            self._overdue_ms = oldest.since_ms + task_ms
            self._deadlines_ms.add(self._overdue_ms)

    # -------------------------------------------------------------------------------------------- losses
    def _executor_left(self, executor_id: str, reason: str) -> None:
        if not self._executors.leave(executor_id):
            return
        self._cached.leave(executor_id)
        lost_outputs = self._outputs.leave(executor_id)
        lost = [(task_id, a) for task_id, a in self._attempts.items() if a.executor_id == executor_id]
        for task_id, attempt in lost:
            if task_id in self._attempts:  # giving up on one may have ended the others' jobs
                del self._attempts[task_id]
                attempt.run.running.discard(task_id)
                self._failed(attempt, TaskFailure(FailureKind.LOST, f"executor {executor_id} was lost: {reason}"))
        self._killed_ended(lambda _, where: where == executor_id)
        self._make_again(lost_outputs)
        for run in self._runs.values():
            run.pending.look_again()

    def _make_again(self, lost: Iterable[tuple[int, int]]) -> None:
        """Outputs, by shuffle and map partition, were lost: they are pending, and those who read them have to wait."""
        shuffles = set()
        for shuffle_id, partition in lost:
            shuffles.add(shuffle_id)
            run = self._runs.get(self.shuffle_stages[shuffle_id].id)
            if run is not None:
                run.reopen(partition)
                self._unsettled[run] = None
        for run in self._runs.values() if shuffles else ():
            if not shuffles.isdisjoint(run.stage.shuffles_read):
                self._unsettled[run] = None

    def _forget_shuffle(self, shuffle_id: int) -> None:
        stage = self.shuffle_stages.pop(shuffle_id, None)
        if stage is None:
            return
        self._counted.difference_update((stage.id, p) for p in range(stage.recipes[-1].partitions))
        self._waiting.pop(shuffle_id, None)
        if self._outputs.forget(shuffle_id):
            self._actions.append(RemoveBlocks(blockids.shuffle_prefix(shuffle_id)))

    # -------------------------------------------------------------------------------------------- dispatch
    def _dispatch(self) -> None:
        at = 0  # of those before, none can use a core that is free
        while self._executors.room and at < len(self._ready):
            run = self._runs[self._ready[at][1]]
            self._launch(run)
            if run.pending:
                at += 1
            else:
                self._line_up(run)

    def _launch(self, run: StageRun) -> None:
        """Start what can be started of a run."""
        chosen: dict[str, list[TaskSpec]] = {}
        lines = run.pending.lines()
        while lines and self._executors.room:
            place, line = heappop(lines)
            if line and self._place(run, line) is None:
                continue
            partition = run.pending.take(line)
            pin = self._inputs.pin(run.stage, partition)
            preferred = self._preferred(run.stage, partition, pin)
            executor_id = self._place(run, preferred)
            if executor_id is None:
                run.pending.put(place, partition, preferred)
            else:
                self._executors.take(executor_id)
                chosen.setdefault(executor_id, []).append(self._attempt(run, partition, executor_id, pin))
            if (first := run.pending.first(line)) is not None:
                heappush(lines, (first, line))
        if not chosen:
            return
        run.waiting_since_ms = self._now_ms
        self._report(run, over=False)
        shipped = run.stage.ship()
        for executor_id, tasks in chosen.items():
            self._actions.append(Launch(executor_id, tuple(tasks), shipped.data, shipped.broadcasts))

    def _place(self, run: StageRun, preferred: Collection[str]) -> str | None:
        """An executor with a free core: where the data is, or anywhere after `locality_wait_ms` without a launch."""
        if preferred:
            if (at_home := self._executors.freest(preferred)) is not None:
                return at_home
            if run.waiting_since_ms is None:
                run.waiting_since_ms = self._now_ms
            deadline_ms = run.waiting_since_ms + self._limits.locality_wait_ms
            if self._now_ms < deadline_ms:
                self._deadlines_ms.add(deadline_ms)
                return None
        return self._executors.freest()

    def _preferred(self, stage: Stage, partition: int, pin: int) -> list[str]:
        """The executors that hold a task's live state or, without that, what it reads."""
        holders = [self._homes[pin]] if pin in self._homes else self._inputs.holders(stage, partition)
        return [executor_id for executor_id in dict.fromkeys(holders) if executor_id in self._executors]

    def _attempt(self, run: StageRun, partition: int, executor_id: str, pin: int) -> TaskSpec:
        if pin >= 0:
            self._homes[pin] = executor_id
        task_id = next(self._task_ids)
        number = run.attempts[partition]
        run.attempts[partition] += 1
        run.running.add(task_id)
        self._attempts[task_id] = _Attempt(run, partition, number, executor_id, self._now_ms)
        inputs, cached = self._inputs.of(run.stage, partition)
        job = run.jobs[min(run.jobs)]
        stage = run.stage
        return TaskSpec(
            task_id=task_id,
            job_id=job.id,
            stage_id=stage.id,
            partition=partition,
            attempt=number,
            program=stage.ship().name,
            inputs=inputs,
            caching=stage.caching,
            cached=cached,
            properties=dict(job.properties),
            shuffle_id=stage.shuffle_id,
            pin=pin,
        )

    def _report(self, run: StageRun, *, over: bool) -> None:
        stage = run.stage
        self._actions.append(
            StageChanged(
                stage.id,
                stage.name,
                run.fetch_rounds,
                tasks=len(run.partitions),
                active=len(run.running),
                completed=len(run.done),
                failed=run.failed,
                over=over,
            )
        )

    # -------------------------------------------------------------------------------------------- questions
    def cached_partitions(self, dataset_id: int) -> dict[int, BlockRef]:
        """Where the stored partitions of a dataset are. Called on the loop's thread, as everything here."""
        return self._cached.refs(dataset_id)

    def check(self) -> None:
        """Assert what must always be true."""
        running: defaultdict[str, int] = defaultdict(int)
        for task_id, attempt in self._attempts.items():
            assert task_id in attempt.run.running
            running[attempt.executor_id] += 1
        self._executors.check(running)
        self._outputs.check()
        self._cached.check()
        for run in self._runs.values():
            run.check([self._attempts[task_id].partition for task_id in run.running])
            assert all(run in self._runs_of[job_id] for job_id in run.jobs)
            assert all(run in self._waiting[shuffle_id] for shuffle_id in run.lacking)
            assert (run.order is not None) == (bool(run.pending) and not run.lacking)
            assert run.order in (None, (min(run.jobs), run.stage.id))
            if run.pending:
                assert run.lacking == self._inputs.missing_shuffles(run.stage)
            if not run.stage.is_result:
                made = self._outputs.missing(run.stage.shuffle_id)
                assert run.done.isdisjoint(made)
                assert set(run.partitions) - run.done == set(made)
        assert not self._unsettled
        assert sorted(run.order for run in self._runs.values() if run.order is not None) == self._ready
        assert sum(map(len, self._runs_of.values())) == sum(len(run.jobs) for run in self._runs.values())
        assert sum(map(len, self._waiting.values())) == sum(len(run.lacking) for run in self._runs.values())
        assert all(ending.killed for ending in self._endings.values())
        assert not self._endings.keys() & self._jobs.keys()


def _chosen(job: Job, event: CancelJobs) -> bool:
    if event.job_id is not None:
        return job.id == event.job_id
    return event.group is None or job.group == event.group
