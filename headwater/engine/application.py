"""A running application: the scheduler's loop, the backend, and the doors through which the layers above use them.

Actions are performed by one thread at a time, the scheduler's own or one that posts an event; results are unpickled by
who waits for them.
"""

from __future__ import annotations

import logging
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, TypeVar

from headwater.base.cipher import KeySource, cipher_of
from headwater.base.exhaustive import assert_never
from headwater.base.pickling import loads
from headwater.clock import Clock, SystemClock
from headwater.conf import SparkConf
from headwater.engine.backend import MakeBackend, Master
from headwater.engine.broadcasts import Broadcasts
from headwater.engine.events import (
    AddAccumulators,
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
    ReceiverPosted,
    RemoveBlocks,
    SchedulerAction,
    SchedulerEvent,
    StageChanged,
    StoredVersion,
    SubmitJob,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TellVersion,
    Wake,
    Woken,
)
from headwater.engine.failures import description
from headwater.engine.jobhandle import JobHandle
from headwater.engine.lineage import Action, BlockRef, Dataset, Shuffle
from headwater.engine.loop import Loop
from headwater.engine.members import Members
from headwater.engine.receiverplaces import ReceiverPlaces
from headwater.engine.scheduler import Limits, Scheduler
from headwater.engine.scratch import ScratchDirectory, local_root
from headwater.engine.sharedfiles import SharedFiles
from headwater.engine.stages import Planner
from headwater.engine.status import StatusStore
from headwater.errors import IllegalStateException, SparkException

logger = logging.getLogger(__name__)

T = TypeVar("T")

# A CPU-bound thread of the driver holds the interpreter for up to this long before ours get a turn.
SWITCH_INTERVAL_SECONDS = 0.0005
START_SECONDS_MAX = 60.0
# How often who waits for an answer looks whether there can be one.
QUESTION_SECONDS = 1.0


class Application:
    """Construct it to start it; `stop` ends all that it started.

    - Any thread may call any method. `unpersist(blocking=False)` and `remove_broadcast` may also be called by
      finalizers, wherever the collector runs these: they wait for nothing.
    - The constructor waits until all executors are there. `run_job`, `stop_receiver` and `stop` wait for what their
      names say; `cached_partitions` and `unpersist(blocking=True)` until the scheduler has taken all that was asked
      before. All else returns as soon as it's under way.
    - What is handed over to be called (`on_result`, `on_stored`, `on_event`, `on_change`) is called on an engine's
      thread, in order, and must not block.
    - Once it's stopped, or nothing can run here any more, jobs that run fail with the reason, and `submit_job`,
      `run_job`, `start_receiver`, `cached_partitions` raise `IllegalStateException` with it. What ends or removes
      something does nothing then.

    Args:
        conf: the settings.
        master: where tasks run.
        app_id: the application's id.
        make_backend: makes the backend of the master, which the application starts and stops.
        merge_accumulators: is called with {id: update} of each task that counts.
        clock: of the scheduler; for tests.

    Raises:
        IllegalArgumentException: settings that don't go together.
        SparkException: the executors don't come up. Nothing is left behind.
    """

    def __init__(
        self,
        conf: SparkConf,
        master: Master,
        app_id: str,
        *,
        make_backend: MakeBackend,
        merge_accumulators: Callable[[dict[int, Any]], None],
        clock: Clock | None = None,
    ) -> None:
        #: By which all is encrypted that is written to disk and below directories for checkpoints; None: it isn't.
        self.key = KeySource.of_application(conf)
        cipher = cipher_of(self.key)  # now: a key that can't be read ends the start
        self.executors_expected = master.executors
        self.app_id = app_id
        self.master = master.text
        self.default_parallelism: int = conf.read("spark.default.parallelism") or master.parallelism
        self.status = StatusStore(conf.read("spark.ui.retainedJobs"))
        self.metrics: Counter[str] = Counter()  # sums over all tasks that succeeded; written by the loop's thread
        self._merge_accumulators = merge_accumulators
        self._dataset_ids, self._shuffle_ids, self._job_ids, self._state_ids = count(), count(), count(), count()
        self._scheduler = Scheduler(_limits(conf, master))
        self._planner = Planner(count(), self._scheduler.shuffle_stages)
        self._lock = threading.Lock()  # guards all down to `_closing`
        self._handles: dict[int, JobHandle] = {}  # of the jobs that aren't over
        self._states: dict[int, Callable[[StoredVersion, bool], None]] = {}  # id -> who listens
        self._refusal: str | None = None  # why nothing can be asked of us any more; stays as it was first
        self._closing = False
        self._scratch = ScratchDirectory(local_root(conf.get("spark.local.dir")))
        try:
            self._backend = make_backend(master, conf, self._scratch.path, self.key)
        except BaseException:  # settings that don't go together
            self._scratch.close()
            raise
        self._broadcasts = Broadcasts(self._scratch.path, cipher)
        self._files = SharedFiles(self._backend)
        self._members = Members()
        self._receivers = ReceiverPlaces(self._backend, self._members)
        self._loop: Loop[SchedulerEvent | _Question | _ForgetBroadcast, SchedulerAction] = Loop(
            "scheduler", self, self._perform, clock or SystemClock(), self._crashed, by_poster=True
        )
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_INTERVAL_SECONDS, self._switch_interval))
        self._joined = threading.Semaphore(0)  # released by each executor that joins
        self._loop.start()
        try:
            self._backend.start(self._post)
            self._await_executors()
        except BaseException:
            self.stop()
            raise

    def _await_executors(self) -> None:
        """Wait for all of them: or the first jobs, and all receivers, would crowd on the first executor."""
        for number in range(self.executors_expected):
            if not self._joined.acquire(timeout=START_SECONDS_MAX):
                raise SparkException(
                    f"only {number} of {self.executors_expected} executors of {self.master} came up within"
                    f" {START_SECONDS_MAX:.0f} s"
                )

    # -------------------------------------------------------------------------------------------- jobs
    def new_dataset_id(self) -> int:
        """An id that no other dataset of this application has."""
        return next(self._dataset_ids)

    def new_shuffle_id(self) -> int:
        """An id that no other shuffle of this application has."""
        return next(self._shuffle_ids)

    def run_job(
        self,
        dataset: Dataset,
        function: Callable[[int, Iterator[Any]], Any],
        partitions: Sequence[int],
        *,
        properties: Mapping[str, str],
        call_site: str,
    ) -> list[Any]:
        """Run `function(partition, records)` on partitions and wait; see `JobHandle.result`."""
        return self.submit_job(dataset, function, partitions, properties=properties, call_site=call_site).result()

    def submit_job(
        self,
        dataset: Dataset,
        function: Callable[[int, Iterator[Any]], Any],
        partitions: Sequence[int],
        *,
        properties: Mapping[str, str],
        call_site: str,
        on_result: Callable[[int, Any], None] | None = None,
    ) -> JobHandle:
        """Start a job. `on_result(position, value)` is called in order of completion."""
        self._check_running()
        action = Action(function, call_site)
        job = self._planner.plan(next(self._job_ids), dataset, action, partitions, properties, call_site)
        for stage in (job.result, *job.stages.values()):
            for recipe in stage.recipes:
                if recipe.shuffle is not None:
                    self._watch(recipe.shuffle)
        handle = JobHandle(job.id, len(job.partitions), cancel=self.cancel_job, on_result=on_result)
        with self._lock:
            self._check_running()  # planning may have taken a while
            self._handles[job.id] = handle
        self._loop.post(SubmitJob(job))
        return handle

    def _watch(self, shuffle: Shuffle) -> None:
        """Have a shuffle's outputs removed when nothing can read them any more."""
        if not shuffle.watched:
            shuffle.watched = True
            weakref.finalize(shuffle, self._loop.post_later, ForgetShuffle(shuffle.id)).atexit = False

    def cancel_job(self, job_id: int, reason: str) -> None:
        """End a job; one that is over is left alone."""
        self._loop.post(CancelJobs(f"Job {job_id} cancelled: {reason}", job_id=job_id))

    def cancel_group(self, group_id: str, reason: str) -> None:
        """End the active jobs of a group."""
        self._loop.post(CancelJobs(f"Job group {group_id} cancelled: {reason}", group=group_id))

    def cancel_all(self, reason: str) -> None:
        """End all active jobs."""
        self._loop.post(CancelJobs(f"Job cancelled: {reason}"))

    # -------------------------------------------------------------------------------------------- blocks and files
    @property
    def directory(self) -> str:
        """The driver's scratch directory; it goes when the application stops or the driver dies."""
        return self._scratch.path

    def put_broadcast(self, broadcast_id: int, data: bytes) -> None:
        """Keep a broadcast's value; each executor gets it with the first task that uses it."""
        self._broadcasts.put(broadcast_id, data)

    def remove_broadcast(self, broadcast_id: int) -> None:
        """Remove a broadcast's value everywhere; it may be put again."""
        self._loop.post_later(_ForgetBroadcast(broadcast_id))
        self._broadcasts.remove(broadcast_id)

    def add_file(self, name: str, path: str, *, importable: bool) -> None:
        """Give a file, or all files below a directory, to every executor, present and future."""
        self._files.add(name, path, importable=importable)

    def unpersist(self, dataset_id: int, blocking: bool) -> None:
        """Remove the stored partitions of a dataset."""
        self._loop.post_later(ForgetDataset(dataset_id))
        if blocking and self._refusal is None:
            self._ask(lambda: None)

    def cached_partitions(self, dataset_id: int) -> dict[int, BlockRef]:
        """Where the stored partitions of a dataset are."""
        return self._ask(lambda: self._scheduler.cached_partitions(dataset_id))

    def remove_blocks(self, block_ids: Iterable[str]) -> None:
        """Remove received blocks, on whichever executors they are."""
        ids = list(block_ids)
        for handle in self._backend.executors().values():
            handle.remove_blocks(ids)

    # -------------------------------------------------------------------------------------------- states
    def open_state(self, on_stored: Callable[[StoredVersion, bool], None]) -> int:
        """A new state's id.

        Args:
            on_stored: called with each version of a partition that a task has stored, and whether the task counts.
        """
        state_id = next(self._state_ids)
        with self._lock:
            self._states[state_id] = on_stored
        return state_id

    def close_state(self, state_id: int) -> None:
        """A state is needed no more: its versions leave the workers' heaps. What was stored stays."""
        with self._lock:
            self._states.pop(state_id, None)
        for handle in self._backend.executors().values():
            handle.forget_state(state_id)

    # -------------------------------------------------------------------------------------------- executors
    def hosts(self) -> dict[str, str]:
        """The executors that are there, and the host of each."""
        return self._members.hosts()

    def watch_executors(self, on_change: Callable[[frozenset[str]], None] | None) -> None:
        """Have `on_change` told which executors are there, now and whenever one has come or gone; None: end that."""
        self._members.watch(on_change)

    # -------------------------------------------------------------------------------------------- receivers
    def start_receiver(
        self,
        receiver_id: int,
        factory: bytes,
        on_event: Callable[[Any], None],
        preferred_host: str | None = None,
        avoid: str | None = None,
    ) -> str:
        """Run a receiver on the executor that has the fewest; returns that executor's id. It stays there.

        Args:
            receiver_id: the caller's, of a receiver that doesn't run.
            factory: a pickled callable; the executor calls it with a `ReceiverHost` and keeps the handle it returns.
            on_event: called with all that the receiver posts and, if its executor dies, with `ReceiverLost`.
            preferred_host: run it on that host, if an executor is there, with however many receivers.
            avoid: an executor to avoid, if there is another.

        Raises:
            SparkException: no executor is there.
        """
        self._check_running()
        return self._receivers.start(receiver_id, factory, on_event, preferred_host=preferred_host, avoid=avoid)

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        """Give a receiver a message; one that is gone doesn't get it."""
        self._receivers.send(receiver_id, message)

    def stop_receiver(self, receiver_id: int, timeout: float) -> None:
        """Stop a receiver and wait for that, `timeout` seconds at most; that it took longer is logged."""
        self._receivers.stop(receiver_id, timeout)

    # -------------------------------------------------------------------------------------------- life
    def stop(self) -> None:
        """Fail what runs, end the executors, remove the scratch files. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
        reason = self._refuse("the application was stopped")
        self._loop.post(CancelJobs(reason))
        self._backend.stop()
        self._loop.stop()
        self._end_jobs(JobFailure(reason, cancelled=True))  # of which the scheduler hadn't heard yet
        self._scratch.close()
        sys.setswitchinterval(self._switch_interval)

    def _refuse(self, reason: str) -> str:
        """From here on nothing can be asked of us; returns why, which is the first reason that there was."""
        with self._lock:
            self._refusal = self._refusal or reason
            return self._refusal

    def _check_running(self) -> None:
        refusal = self._refusal  # without the lock: it's read once, and never taken back
        if refusal is not None:
            raise IllegalStateException(refusal)

    def _crashed(self, crash: BaseException) -> None:
        self._end_jobs(JobFailure(self._refuse(f"the scheduler failed: {description(crash)}")))

    def _end_jobs(self, failure: JobFailure) -> None:
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        for handle in handles:
            handle._end(failure)

    # -------------------------------------------------------------------------------------------- events
    def _post(self, event: SchedulerEvent | ReceiverPosted) -> None:
        """Where the backend's events arrive, from any thread."""
        match event:
            case ReceiverPosted():
                self._receivers.hear(event)
            case ExecutorJoined():
                self._executor_joined(event)
            case ExecutorLeft():
                self._executor_left(event)
            case ExecutorSuspected(executor_id):
                self._members.suspect(executor_id)
                self._loop.post_later(event)  # who watches the executors must not wait for one
            case ExecutorTrusted(executor_id):
                self._members.trust(executor_id)
                self._loop.post_later(event)
            case _:
                self._loop.post(event)

    def _executor_joined(self, event: ExecutorJoined) -> None:
        self._members.join(event.executor_id, event.host)
        self._files.send_to(self._backend.executors()[event.executor_id])
        self._joined.release()
        self._loop.post(event)
        self._members.tell()

    def _executor_left(self, event: ExecutorLeft) -> None:
        self._loop.post(event)
        hopeless = self._backend.left(event.executor_id, event.reason)
        if hopeless is not None:
            self._refuse(hopeless)
            self._loop.post(CancelJobs(hopeless))
        self._members.leave(event.executor_id)
        self._receivers.lose(event.executor_id, event.reason)
        self._members.tell()

    def handle(
        self, event: SchedulerEvent | Woken | _Question | _ForgetBroadcast, now_ms: int
    ) -> list[SchedulerAction | Wake]:
        """The scheduler's loop: what is ours is done between two of its events."""
        if isinstance(event, _Question):
            event.answer = event.question()
            event.answered.set()
            return []
        if isinstance(event, _ForgetBroadcast):
            self._broadcasts.forget(event.broadcast_id, self._backend.executors())
            return []
        return self._scheduler.handle(event, now_ms)

    def _ask(self, question: Callable[[], T]) -> T:
        """Ask something on the scheduler's thread, after all that was posted before."""
        self._check_running()
        asked = _Question(question)
        self._loop.post(asked)
        while not asked.answered.wait(QUESTION_SECONDS):
            self._check_running()  # the loop may have ended before it came to this
        answer: T = asked.answer
        return answer

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: SchedulerAction) -> None:
        match action:
            case Launch():
                self._launch(action)
            case DeliverResult():
                self._handles[action.job_id]._deliver(action.position, action.value)
            case StageChanged() | JobStarted() | JobOver():
                self.status.apply(action)
            case CountMetrics():
                self.metrics.update(action.metrics)
            case EndJob():
                with self._lock:
                    handle = self._handles.pop(action.job_id)
                handle._end(action.failure)
            case TellVersion():
                with self._lock:
                    listener = self._states.get(action.stored.state_id)
                if listener is not None:
                    listener(action.stored, action.wanted)
            case AddAccumulators():
                self._add_accumulators(action)
            case KillTask():
                executor = self._backend.executors().get(action.executor_id)
                if executor is not None:
                    executor.kill(action.task_id, action.reason)
            case RemoveBlocks():
                for executor in self._backend.executors().values():
                    executor.remove_prefix(action.prefix)
            case unknown:
                assert_never(unknown, "an action of the scheduler")

    def _add_accumulators(self, action: AddAccumulators) -> None:
        try:
            self._merge_accumulators(loads(action.updates))
        except BaseException as error:  # of the user's AccumulatorParam: SystemExit must not end this thread
            logger.exception("jobs %s: adding up their accumulators failed", action.job_ids)
            text = f"adding up its accumulators raised {description(error)}"
            for job_id in action.job_ids:
                self._handles[job_id]._spoil(JobFailure(text))

    def _launch(self, action: Launch) -> None:
        executor = self._backend.executors().get(action.executor_id)
        if executor is None:
            return  # it has just left, which the scheduler is about to hear
        try:
            self._broadcasts.send(action.broadcasts, action.executor_id, executor)
        except SparkException as error:
            failure = TaskFailure(FailureKind.REFUSED, str(error))
            for task in action.tasks:
                reply = TaskReply(task.task_id, failure, None, b"", (), {})
                self._loop.post(TaskEnded(action.executor_id, reply))
            return
        executor.submit(action.tasks, action.program)


class _ForgetBroadcast(NamedTuple):
    """Event: a broadcast's value is needed no more."""

    broadcast_id: int


class _Question:
    """Event: something to ask on the scheduler's thread; `answered` is set when `answer` is there."""

    __slots__ = ("answer", "answered", "question")

    def __init__(self, question: Callable[[], Any]) -> None:
        self.question = question
        self.answer: Any = None
        self.answered = threading.Event()


def _limits(conf: SparkConf, master: Master) -> Limits:
    failures = master.task_failures
    if failures is None:
        # Without a cluster an exception is the program's own and would only be raised again.
        is_set = master.clustered or conf.contains("spark.task.maxFailures")
        failures = conf.read("spark.task.maxFailures") if is_set else 1
    return Limits(
        task_failures=failures,
        locality_wait_ms=conf.read("spark.locality.wait"),
        result_bytes=conf.read("spark.driver.maxResultSize") or sys.maxsize,
        task_ms=conf.read("headwater.task.timeout"),
    )
