"""The scheduler: which task runs where and when, and what to do when one fails.

A core without I/O: `handle(event) -> [action]`. It owns the jobs, and decides by books of stage runs (`runs`), attempts
(`attempts`), executors (`placement`), map outputs and cached partitions (`holdings`).

- One gate (`_attempts`) stands before all effects of a task's reply: a reply of an attempt that isn't running any more
  changes nothing.
- Stages run first come, first served: by their oldest job, then by id.
- An event costs what it changes. A run whose inputs may have come or gone is *unsettled* until the event's end, when
  it is found either ready or lacking shuffles, which are started; no other run is looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from headwater.base.exhaustive import assert_never
from headwater.engine import blockids
from headwater.engine.attempts import Attempts, Endings
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
from headwater.engine.placement import ExecutorCores, Placement
from headwater.engine.runs import Attempt, Runs, StageRun, TaskState
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


class Scheduler:
    """The core. Construct, then `handle` events; `check` asserts the invariants."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[int, Job] = {}  # those that are active
        self._endings = Endings()
        self._runs = Runs()
        self._unsettled: dict[StageRun, None] = {}  # may have to wait, or to wait no longer; none between two events
        self._attempts = Attempts(limits.task_ms)
        self._executors = ExecutorCores()
        # Read by planners of other threads, too: whether a shuffle has a stage (a stale answer costs a plan, no more).
        self.shuffle_stages: dict[int, Stage] = {}
        self._outputs = MapOutputs()
        self._cached = CachedPartitions()
        self._inputs = Inputs(self._cached, self._outputs)
        self._placement = Placement(self._executors, self._inputs, limits.locality_wait_ms)
        self._counted: set[tuple[int, int]] = set()  # (stage id, partition) whose accumulators were added
        self._task_ids = count()
        self._changed: dict[StageRun, None] = {}  # to be reported, unless they are over; none between two events
        self._actions: list[SchedulerAction | Wake] = []  # of the event that is being handled, as the next
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
                for job in [job for job in self._jobs.values() if event.means(job)]:
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
                self._jobs_over(self._endings.expired(now_ms))
                self._kill_late()
            case unknown:
                assert_never(unknown, "an event of the scheduler")
        self._settle()
        self._dispatch()
        self._report()
        if self._placement.deadlines_ms or self._limits.task_ms is not None:
            self._ask_for_wakes()
        return self._actions

    def _report(self) -> None:
        self._actions += [run.report(over=False) for run in self._changed if run in self._runs]
        self._changed.clear()

    def _ask_for_wakes(self) -> None:
        at_ms = self._placement.deadlines_ms
        if (look_ms := self._attempts.next_look_ms()) is not None:
            at_ms.add(look_ms)
        self._actions += map(Wake, sorted(at_ms))
        at_ms.clear()

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
        for node, caching in stage.caching.items():
            self._cached.expect(caching.dataset_id, stage.recipes[node].partitions)
        self._join_run(StageRun(stage, partitions, positions, self._now_ms), job)

    def _start_shuffle(self, shuffle_id: int, job: Job) -> None:
        """Have a shuffle's missing outputs made for a job, by the run that there is or a new one."""
        stage = self.shuffle_stages[shuffle_id]
        run = self._runs.of_stage(stage.id)
        if run is None:
            self._start_run(stage, job, self._outputs.missing(shuffle_id), {})
        elif job.id not in run.jobs:
            self._join_run(run, job)

    def _join_run(self, run: StageRun, job: Job) -> None:
        self._runs.join(run, job)
        self._unsettled[run] = None

    # -------------------------------------------------------------------------------------------- ready or not
    def _settle(self) -> None:
        """Find out of each unsettled run whether its inputs are there, and have those made that aren't."""
        for dataset_id in self._cached.turned():
            for run in self._runs:
                if run.pending and dataset_id in run.stage.datasets_cached:
                    self._unsettled[run] = None
        while self._unsettled:
            run, _ = self._unsettled.popitem()
            if run not in self._runs:
                continue  # over meanwhile
            self._runs.lacks(run, self._inputs.missing_shuffles(run.stage))
            for shuffle_id in sorted(run.lacking):
                for job in run.jobs.values():
                    self._start_shuffle(shuffle_id, job)

    # -------------------------------------------------------------------------------------------- ends of jobs
    def _end_job(self, job: Job, failure: JobFailure | None) -> None:
        """A job is over; if it has failed, that is told when none of its tasks is running any more."""
        del self._jobs[job.id]
        killed: dict[int, str] = {}
        for run in self._runs.leave(job):
            killed |= self._drop_run(run, "its job is over")
        if failure is None or not killed:
            self._job_over(job.id, failure)
            return
        until_ms = self._now_ms + KILLING_MS_MAX
        self._endings.begin(job.id, failure, killed, until_ms)
        self._actions.append(Wake(until_ms))

    def _job_over(self, job_id: int, failure: JobFailure | None) -> None:
        status = "SUCCEEDED" if failure is None else "FAILED"
        self._actions += [EndJob(job_id, failure), JobOver(job_id, status, self._now_ms)]

    def _jobs_over(self, failed: Iterable[tuple[int, JobFailure]]) -> None:
        for job_id, failure in failed:
            self._job_over(job_id, failure)

    def _fail_job(self, job: Job, failure: JobFailure) -> None:
        if job.id in self._jobs:
            self._end_job(job, failure)

    def _drop_run(self, run: StageRun, reason: str) -> dict[int, str]:
        """No job wants a run any more; returns its tasks that may still run, with their executors."""
        self._runs.remove(run)
        killed = {}
        for task_id, attempt in run.running.items():
            self._attempts.drop(attempt)
            self._actions.append(KillTask(attempt.executor_id, task_id, reason))
            self._executors.give_back(attempt.executor_id)
            if attempt.executor_id in self._executors:
                killed[task_id] = attempt.executor_id
        if run.stage.is_result:
            self._counted.difference_update((run.stage.id, p) for p in run.states)
        self._actions.append(run.report(over=True))
        run.running.clear()  # no circle: the run goes now, and with it what its program holds
        return killed

    # -------------------------------------------------------------------------------------------- replies
    def _task_ended(self, executor_id: str, reply: TaskReply) -> None:
        attempt = self._attempts.ended(reply.task_id, executor_id)
        self._actions += [TellVersion(stored, attempt is not None) for stored in reply.versions]
        if attempt is None:
            self._jobs_over(self._endings.task_ended(reply.task_id))
            # A stale reply: its effects happened elsewhere or aren't wanted; nor are the files that it tells of.
            if isinstance(reply.value, MapOutput):
                self._actions += [RemoveBlocks(block_id) for block_id, _ in reply.value.blocks]
            return
        run = attempt.run
        self._executors.give_back(executor_id)
        for stored in reply.stored:
            holders = [e for e in stored.locations if e in self._executors]
            self._cached.add(*blockids.partition_of(stored.block_id), holders)
        if reply.failure is None:
            self._succeeded(attempt, reply)
        else:
            run.failures += 1
            self._failed(attempt, self._too_late() if attempt.overdue else reply.failure)
        self._changed[run] = None

    def _succeeded(self, attempt: Attempt, reply: TaskReply) -> None:
        run, partition = attempt.run, attempt.partition
        run.succeeded(attempt, self._now_ms)
        if reply.accumulators and (run.stage.id, partition) not in self._counted:
            self._counted.add((run.stage.id, partition))
            self._actions.append(AddAccumulators(reply.accumulators, tuple(run.jobs)))
        self._actions.append(CountMetrics(run.stage.id, reply.metrics))
        match reply.value:
            case MapOutput():
                self._output_made(attempt, reply.value)
            case bytes():
                self._result_made(run, partition, reply.value)
            case None:
                raise attempt.invalid("succeeded", attempt.executor_id, "it has made nothing")

    def _output_made(self, attempt: Attempt, output: MapOutput) -> None:
        run, shuffle_id = attempt.run, attempt.run.stage.shuffle_id
        self._outputs.put(shuffle_id, attempt.partition, output, attempt.executor_id)
        if self._outputs.complete(shuffle_id):
            self._actions.append(run.report(over=True))
            self._runs.remove(run)
            self._unsettled |= dict.fromkeys(self._runs.made(shuffle_id))

    def _result_made(self, run: StageRun, partition: int, value: bytes) -> None:
        (job,) = run.jobs.values()
        run.result_bytes += len(value)
        if run.result_bytes > self._limits.result_bytes:
            text = (
                f"total size of serialized results of {run.done} tasks ({run.result_bytes} bytes) is bigger than "
                f"spark.driver.maxResultSize ({self._limits.result_bytes} bytes): collect less, or raise the setting"
            )
            self._fail_job(job, JobFailure(text))
            return
        self._actions += [DeliverResult(job.id, position, value) for position in run.positions[partition]]
        if run.done == len(run.states):
            self._end_job(job, None)

    def _failed(self, attempt: Attempt, failure: TaskFailure) -> None:
        run, partition = attempt.run, attempt.partition
        run.failed(attempt, failure, self._now_ms)
        self._unsettled[run] = None
        match failure.kind:
            case FailureKind.FETCH:
                self._fetch_failed(run, failure)
            case FailureKind.CACHE:
                self._cached.lose(*blockids.partition_of(failure.block_id))
            case FailureKind.LOST:
                run.deaths[partition] += 1
                if run.deaths[partition] >= max(DEATHS_MAX, self._limits.task_failures):
                    self._last_failed(attempt, failure, run.deaths[partition])
            case FailureKind.RAISED | FailureKind.KILLED | FailureKind.REFUSED:
                run.raised[partition] += 1
                no_retry_helps = failure.kind is FailureKind.REFUSED
                if no_retry_helps or run.raised[partition] >= self._limits.task_failures:
                    self._last_failed(attempt, failure, run.raised[partition])
            case unknown:
                assert_never(unknown, "a kind of failure")

    def _last_failed(self, attempt: Attempt, failure: TaskFailure, times: int) -> None:
        """An attempt has failed, and there won't be another."""
        run = attempt.run
        text = (
            f"task {attempt.partition} in {run.stage.name} failed {times} time{'s' if times > 1 else ''}, "
            f"most recently on executor {attempt.executor_id}: {failure.text}"
        )
        stage_id, partition, number = run.stage.id, attempt.partition, attempt.number
        self._fail_jobs(run, JobFailure(text, task=failure, stage_id=stage_id, partition=partition, attempt=number))

    def _fail_jobs(self, run: StageRun, failure: JobFailure) -> None:
        for job in list(run.jobs.values()):
            self._fail_job(job, failure)

    def _fetch_failed(self, run: StageRun, failure: TaskFailure) -> None:
        segment = failure.segment
        assert segment is not None
        if not self._outputs.lose(segment):
            return
        run.fetch_rounds += 1
        lost = (segment.shuffle_id, segment.map_partition)
        run.misses[lost] += 1
        if run.misses[lost] > FETCH_ROUNDS_MAX:
            self._fail_jobs(run, JobFailure(f"{run.stage.name} lost its inputs again and again: {failure.text}"))
        self._make_again([lost])

    # -------------------------------------------------------------------------------------------- late attempts
    def _too_late(self) -> TaskFailure:
        text = f"it ran longer than headwater.task.timeout ({self._limits.task_ms} ms), and was killed"
        return TaskFailure(FailureKind.KILLED, text)

    def _kill_late(self) -> None:
        """Have attempts killed that take too long; they go on until their executor says that they have ended."""
        for attempt in self._attempts.late(self._now_ms):
            attempt.note("takes too long, and is killed", self._now_ms)
            self._actions.append(KillTask(attempt.executor_id, attempt.task_id, self._too_late().text))

    # -------------------------------------------------------------------------------------------- losses
    def _executor_left(self, executor_id: str, reason: str) -> None:
        if not self._executors.leave(executor_id):
            return
        self._cached.leave(executor_id)
        lost_outputs = self._outputs.leave(executor_id)
        for attempt in self._attempts.at(executor_id):
            if attempt in self._attempts:  # else its job has just failed because of another
                self._attempts.drop(attempt)
                self._failed(attempt, TaskFailure(FailureKind.LOST, f"executor {executor_id} was lost: {reason}"))
        self._jobs_over(self._endings.executor_left(executor_id))
        self._make_again(lost_outputs)
        for run in self._runs:
            run.pending.look_again()

    def _make_again(self, lost: Iterable[tuple[int, int]]) -> None:
        """Outputs, by shuffle and map partition, were lost: they are pending, and those who read them have to wait."""
        shuffles = set()
        for shuffle_id, partition in lost:
            shuffles.add(shuffle_id)
            run = self._runs.of_stage(self.shuffle_stages[shuffle_id].id)
            if run is not None:
                run.output_lost(partition, self._now_ms)
                self._unsettled[run] = None
        for run in self._runs if shuffles else ():
            if not shuffles.isdisjoint(run.stage.shuffles_read):
                self._unsettled[run] = None

    def _forget_shuffle(self, shuffle_id: int) -> None:
        stage = self.shuffle_stages.pop(shuffle_id, None)
        if stage is None:
            return
        self._counted.difference_update((stage.id, p) for p in range(stage.recipes[-1].partitions))
        self._runs.forget(shuffle_id)
        if self._outputs.forget(shuffle_id):
            self._actions.append(RemoveBlocks(blockids.shuffle_prefix(shuffle_id)))

    # -------------------------------------------------------------------------------------------- dispatch
    def _dispatch(self) -> None:
        for run in self._runs.ready():
            if not self._executors.room:
                return
            self._launch(run)
            if not run.pending:
                self._runs.update(run)

    def _launch(self, run: StageRun) -> None:
        """Start what can be started of a run."""
        chosen: dict[str, list[TaskSpec]] = {}
        for partition, executor_id, pin in self._placement.choose(run, self._now_ms):
            attempt = run.launched(
                partition, task_id=next(self._task_ids), executor_id=executor_id, now_ms=self._now_ms
            )
            self._attempts.add(attempt)
            chosen.setdefault(executor_id, []).append(attempt.spec(*self._inputs.of(run.stage, partition), pin))
        if not chosen:
            return
        run.waiting_since_ms = self._now_ms
        self._changed[run] = None
        shipped = run.stage.ship()
        for executor_id, tasks in chosen.items():
            self._actions.append(Launch(executor_id, tuple(tasks), shipped.data, shipped.broadcasts))

    # -------------------------------------------------------------------------------------------- questions
    def cached_partitions(self, dataset_id: int) -> dict[int, BlockRef]:
        """Where the stored partitions of a dataset are. Called on the loop's thread, as everything here."""
        return self._cached.refs(dataset_id)

    def check(self) -> None:
        """Assert what must always be true."""
        self._attempts.check()
        self._executors.check(self._attempts.by_executor())
        self._outputs.check()
        self._cached.check()
        self._runs.check()
        self._endings.check(self._jobs.keys())
        assert not self._unsettled and not self._changed
        for run in self._runs:
            assert all(attempt in self._attempts for attempt in run.running.values())
            if run.pending:
                assert run.lacking == self._inputs.missing_shuffles(run.stage)
            if not run.stage.is_result:
                missing = self._outputs.missing(run.stage.shuffle_id)
                assert missing == sorted(p for p, state in run.states.items() if state is not TaskState.DONE)
