"""A running application: the scheduler's loop, the backend, and the doors through which the layers above use them.

Actions are performed by one thread at a time, the scheduler's own or one that posts an event; results are unpickled by
whoever waits for them. Any thread may call any method.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from headwater.base.cipher import KeySource, cipher_of, unsealed
from headwater.base.pickling import loads
from headwater.base.threads import WatchedThread
from headwater.clock import Clock, SystemClock
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
    ReceiverLost,
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
from headwater.engine.failures import description, unpickled
from headwater.engine.lineage import Action, BlockRef, Dataset, Shuffle
from headwater.engine.loop import Loop
from headwater.engine.masters import LOOPBACK, make_backend, parse_master
from headwater.engine.scheduler import Limits, Scheduler
from headwater.engine.scratch import ScratchDirectory, local_root
from headwater.engine.stages import Job, Planner
from headwater.engine.status import StatusStore
from headwater.errors import IllegalStateException, JobCancelled, SparkException, TaskError
from headwater.exhaustive import assert_never

if TYPE_CHECKING:
    from headwater.conf import SparkConf

log = logging.getLogger(__name__)

# A CPU-bound thread of the driver holds the interpreter for up to this long before ours get a turn.
SWITCH_INTERVAL_SECONDS = 0.0005
START_SECONDS_MAX = 60.0
# How often somebody who waits for an answer looks whether there can be one.
QUESTION_SECONDS = 1.0


class JobHandle:
    """A job that was submitted. Any thread may wait for it."""

    def __init__(self, application: Application, job: Job, on_result: Callable[[int, Any], None] | None) -> None:
        self.job_id = job.id
        self._application = application
        self._pickled: list[bytes] = [b""] * len(job.partitions)  # until somebody asks for the result
        self._values: list[Any] | None = None
        self._unpickling = threading.Lock()  # held while the second comes from the first
        self._on_result = on_result
        self._over = threading.Event()
        self._failure: JobFailure | None = None

    def done(self) -> bool:
        """Whether the job is over, one way or the other."""
        return self._over.is_set()

    def cancel(self, reason: str = "it was cancelled") -> None:
        """End the job; whoever waits for it gets `JobCancelled`, once its tasks have ended."""
        self._application.cancel_job(self.job_id, reason)

    def result(self, timeout: float | None = None) -> list[Any]:
        """The partitions' results, in the order in which they were asked for.

        Args:
            timeout: seconds to wait at most; None waits for ever.

        Raises:
            TimeoutError: the job is still running; it goes on.
            JobCancelled: it was cancelled.
            SparkException: it failed. An exception of the user's function is raised as it is, with the task's place
                and traceback as its cause (`TaskError`).
        """
        try:
            over = self._over.wait(timeout)
        except KeyboardInterrupt:
            self.cancel("interrupted from the keyboard")
            self._over.wait()  # until its tasks have ended: the caller may remove what they write
            raise
        if not over:
            raise TimeoutError(f"job {self.job_id} is still running after {timeout} s")
        if self._failure is not None:
            raise _exception(self.job_id, self._failure)
        with self._unpickling:
            if self._values is None:
                self._values, self._pickled = self._unpickled(), []
            return self._values

    def _unpickled(self) -> list[Any]:
        try:
            return [loads(value) for value in self._pickled]
        except Exception as error:
            size = sum(map(len, self._pickled))
            text = f"the results of job {self.job_id} ({size} bytes) can't be unpickled here: {description(error)}"
            raise SparkException(text, job_id=self.job_id) from error

    # Called by the application, on the scheduler's thread.
    def _deliver(self, position: int, value: bytes) -> None:
        self._pickled[position] = value
        if self._on_result is None:
            return
        try:
            self._on_result(position, loads(value))
        except BaseException:  # SystemExit of a class of the user's must not end this thread
            log.exception("job %d: the callback for result %d failed", self.job_id, position)

    def _spoil(self, failure: JobFailure) -> None:
        """Whatever becomes of the job, it has failed."""
        self._failure = self._failure or failure

    def _end(self, failure: JobFailure | None) -> None:
        self._failure = self._failure or failure
        self._over.set()


class Application:
    """Construct it to start it; `stop` ends all that it started."""

    def __init__(
        self,
        conf: SparkConf,
        master: str,
        app_id: str,
        *,
        merge_accumulators: Callable[[dict[int, Any]], None],
        clock: Clock | None = None,
    ) -> None:
        parsed = parse_master(master)
        #: By which all is encrypted that is written to disk and below directories for checkpoints; None: it isn't.
        self.key = KeySource.of_application(conf)
        self._cipher = cipher_of(self.key)  # now: a key that can't be read ends the start
        self.executors_expected: int = parsed.executors
        self.app_id = app_id
        self.master = master
        cores = parsed.cores * parsed.executors
        self.default_parallelism: int = conf.read("spark.default.parallelism") or (
            max(cores, 2) if parsed.clustered else cores
        )
        self.status = StatusStore(conf.read("spark.ui.retainedJobs"))
        self.metrics: Counter[str] = Counter()  # sums over all tasks that succeeded; written by the loop's thread
        self._merge_accumulators = merge_accumulators
        self._dataset_ids, self._shuffle_ids, self._job_ids, self._state_ids = count(), count(), count(), count()
        failures = parsed.task_failures
        if failures is None:
            # Without a cluster an exception is the program's own and would only be raised again.
            failures = conf.read("spark.task.maxFailures") if parsed.clustered or _is_set(conf) else 1
        result_bytes = conf.read("spark.driver.maxResultSize") or sys.maxsize
        task_ms = conf.read("headwater.task.timeout")
        self._scheduler = Scheduler(Limits(failures, conf.read("spark.locality.wait"), result_bytes, task_ms))
        self._planner = Planner(count(), self._scheduler.shuffle_stages)
        self._lock = threading.Lock()  # guards the tables below
        self._handles: dict[int, JobHandle] = {}
        self._receivers: dict[int, tuple[str, Callable[[Any], None]]] = {}  # id -> executor, who listens
        self._hosts: dict[str, str] = {}  # executor -> host, of all that are there
        self._suspects: set[str] = set()  # executors that aren't heard, and are there as long as they aren't given up
        self._on_executors: Callable[[frozenset[str]], None] | None = None  # is told when one has come or gone
        self._states: dict[int, Callable[[StoredVersion, bool], None]] = {}  # id -> who listens
        self._files: list[tuple[str, bytes, bool]] = []
        self._sent: dict[str, set[int]] = {}  # executor -> broadcasts that it has; the loop's thread only
        self._refusal: str | None = None  # why nothing can be asked of us any more
        self._closing = False
        self._scratch = ScratchDirectory(local_root(conf.get("spark.local.dir")))
        try:
            self._backend = make_backend(parsed, conf, self._scratch.path, self.key)
        except BaseException:  # settings that don't go together
            self._scratch.close()
            raise
        self._loop: Loop[SchedulerEvent | _Question, SchedulerAction] = Loop(
            "scheduler", self, self._perform, clock or SystemClock(), self._crashed, by_poster=True
        )
        self._switch_interval = sys.getswitchinterval()
        sys.setswitchinterval(min(SWITCH_INTERVAL_SECONDS, self._switch_interval))
        self._joined = threading.Semaphore(0)  # released by each executor that joins
        self._loop.start()
        try:
            self._backend.start(self._post)
            # All of them: or the first jobs, and all receivers, would crowd on the first executor.
            for number in range(parsed.executors):
                if not self._joined.acquire(timeout=START_SECONDS_MAX):
                    raise SparkException(
                        f"only {number} of {parsed.executors} executors of {master} came up within"
                        f" {START_SECONDS_MAX:.0f} s"
                    )
        except BaseException:
            self.stop()
            raise

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
        """Start a job. `on_result(position, value)` is called in order of completion, on an engine's thread."""
        self._check_running()
        action = Action(function, call_site)
        job = self._planner.plan(next(self._job_ids), dataset, action, partitions, properties, call_site)
        for stage in (job.result, *job.stages.values()):
            for recipe in stage.recipes:
                if recipe.shuffle is not None:
                    self._watch(recipe.shuffle)
        handle = JobHandle(self, job, on_result)
        with self._lock:
            self._check_running()  # planning may have taken a while
            self._handles[job.id] = handle
        self._post(SubmitJob(job))
        return handle

    def _watch(self, shuffle: Shuffle) -> None:
        """Have a shuffle's outputs removed when nothing can read them any more."""
        if not shuffle.watched:
            shuffle.watched = True
            weakref.finalize(shuffle, self._loop.post_later, ForgetShuffle(shuffle.id)).atexit = False

    @property
    def directory(self) -> str:
        """The driver's scratch directory; it goes when the application stops or the driver dies."""
        return self._scratch.path

    def cancel_job(self, job_id: int, reason: str) -> None:
        """End a job; one that is over is left alone."""
        self._post(CancelJobs(f"Job {job_id} cancelled: {reason}", job_id=job_id))

    def cancel_group(self, group_id: str, reason: str) -> None:
        """End the active jobs of a group."""
        self._post(CancelJobs(f"Job group {group_id} cancelled: {reason}", group=group_id))

    def cancel_all(self, reason: str) -> None:
        """End all active jobs."""
        self._post(CancelJobs(f"Job cancelled: {reason}"))

    # -------------------------------------------------------------------------------------------- blocks and files
    def put_broadcast(self, broadcast_id: int, data: bytes) -> None:
        """Keep a broadcast's value; each executor gets it with the first task that uses it."""
        path = self._broadcast_path(broadcast_id)
        if self._cipher is not None:
            data = self._cipher.sealed(data, os.path.basename(path))
        with open(path + ".tmp", "wb") as file:
            file.write(data)
        os.rename(path + ".tmp", path)

    def remove_broadcast(self, broadcast_id: int) -> None:
        """Remove a broadcast's value everywhere; it may be put again. Called by finalizers, too."""
        self._loop.post_later(_Question(lambda: self._drop_broadcast(broadcast_id)))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._broadcast_path(broadcast_id))

    def _drop_broadcast(self, broadcast_id: int) -> None:
        for executor_id, executor in self._backend.executors().items():
            self._sent.get(executor_id, set()).discard(broadcast_id)
            executor.forget_broadcast(broadcast_id)

    def _broadcast(self, broadcast_id: int) -> bytes:
        path = self._broadcast_path(broadcast_id)
        with open(path, "rb") as file:
            data = file.read()
        if self._cipher is None:
            return data
        name = os.path.basename(path)
        return unsealed(self._cipher, data, name, name)

    def _broadcast_path(self, broadcast_id: int) -> str:
        return os.path.join(self._scratch.path, f"broadcast_{broadcast_id}")

    def add_file(self, name: str, path: str, *, importable: bool) -> None:
        """Give a file, or all files below a directory, to every executor, present and future."""
        for relative, file in _files_below(name, path):
            with open(file, "rb") as source:
                entry = (relative, source.read(), importable)
            with self._lock:
                self._files.append(entry)
            for handle in self._backend.executors().values():
                handle.add_file(*entry)

    def unpersist(self, dataset_id: int, blocking: bool) -> None:
        """Remove the stored partitions of a dataset. Called by finalizers, too."""
        self._loop.post_later(ForgetDataset(dataset_id))
        if blocking and self._refusal is None:
            self._on_loop(lambda: None)

    def cached_partitions(self, dataset_id: int) -> dict[int, BlockRef]:
        """Where the stored partitions of a dataset are."""
        return self._on_loop(lambda: self._scheduler.cached_partitions(dataset_id))  # type: ignore[no-any-return]

    def remove_blocks(self, block_ids: Iterable[str]) -> None:
        """Remove received blocks, on whichever executors they are."""
        ids = list(block_ids)
        for handle in self._backend.executors().values():
            handle.remove_blocks(ids)

    # -------------------------------------------------------------------------------------------- states
    def open_state(self, on_stored: Callable[[StoredVersion, bool], None]) -> int:
        """A new state's id.

        Args:
            on_stored: called with each version of a partition that a task has stored, and whether the task counts;
                on an engine's thread; must not block.
        """
        state_id = next(self._state_ids)
        with self._lock:
            self._states[state_id] = on_stored
        return state_id

    def close_state(self, state_id: int) -> None:
        """Nobody needs a state any more: its versions leave the workers' heaps. What was stored stays."""
        with self._lock:
            self._states.pop(state_id, None)
        for handle in self._backend.executors().values():
            handle.forget_state(state_id)

    def hosts(self) -> dict[str, str]:
        """The executors that are there, and the host of each."""
        return dict(self._hosts)

    def watch_executors(self, on_change: Callable[[frozenset[str]], None] | None) -> None:
        """Have somebody told which executors are there, now and whenever one has come or gone; None: nobody.

        On an engine's thread; must not block.
        """
        with self._lock:
            self._on_executors = on_change
        self._tell_executors()

    def _tell_executors(self) -> None:
        with self._lock:  # in order
            if self._on_executors is not None:
                self._on_executors(frozenset(self._hosts))

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
            factory: a pickled callable; the executor calls it with a `ReceiverHost` and keeps the handle it returns.
            on_event: called with all that the receiver posts and, if its executor dies, with `ReceiverLost`; on an
                engine's thread, in order; must not block.
            preferred_host: run it on that host, if an executor is there, with however many receivers.
            avoid: an executor to avoid, if there is another.

        Raises:
            SparkException: no executor is there.
        """
        self._check_running()
        executors = self._backend.executors()
        with self._lock:
            # Without itself: it may be about to leave another one.
            load = Counter(executor_id for i, (executor_id, _) in self._receivers.items() if i != receiver_id)
            preferred = [e for e in executors if preferred_host and is_on(self._hosts.get(e, ""), preferred_host)]
            if preferred_host and not preferred:
                log.warning("receiver %d prefers %s, where no executor is", receiver_id, preferred_host)
            candidates = preferred or list(executors)
            for avoided in ({avoid}, self._suspects):
                candidates = [e for e in candidates if e not in avoided] or candidates
            if not candidates:
                raise SparkException(f"receiver {receiver_id} can't start: there is no executor at the moment")
            chosen = min(candidates, key=lambda e: load[e])
            self._receivers[receiver_id] = (chosen, on_event)
        executors[chosen].start_receiver(receiver_id, factory)
        if chosen not in self._backend.executors():
            self._tell_lost(chosen, "it died while the receiver was being started")
        return chosen

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        """Give a receiver a message; one that is gone doesn't get it."""
        handle = self._receiver_executor(receiver_id)
        if handle is not None:
            handle.send_to_receiver(receiver_id, message)

    def stop_receiver(self, receiver_id: int, timeout: float) -> None:
        """Stop a receiver and wait for that, `timeout` seconds at most."""
        with self._lock:
            entry = self._receivers.get(receiver_id)
        handle = self._receiver_executor(receiver_id)
        if handle is not None:
            failures: list[BaseException] = []
            stop = partial(handle.stop_receiver, receiver_id)
            thread = WatchedThread(stop, name=f"receiver-{receiver_id}-stop", on_failure=failures.append)
            thread.start()
            thread.join(timeout)
            if failures:
                log.warning("receiver %d could not be stopped: %s", receiver_id, description(failures[0]))
                return
            if thread.is_alive():
                log.warning("receiver %d has not stopped within %g s", receiver_id, timeout)
                return
            with self._lock:
                if self._receivers.get(receiver_id) is entry:  # else it was started anew as soon as it had stopped
                    del self._receivers[receiver_id]

    def _receiver_executor(self, receiver_id: int) -> Any:
        with self._lock:
            entry = self._receivers.get(receiver_id)
        return None if entry is None else self._backend.executors().get(entry[0])

    # -------------------------------------------------------------------------------------------- life
    def stop(self) -> None:
        """Fail what runs, end the executors, remove the scratch files. Idempotent."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            self._refusal = self._refusal or "the application was stopped"
        self._loop.post(CancelJobs(self._refusal))
        self._backend.stop()
        self._loop.stop()
        self._end_jobs(JobFailure(self._refusal, cancelled=True))  # of which the scheduler hadn't heard yet
        self._scratch.close()
        sys.setswitchinterval(self._switch_interval)

    def _check_running(self) -> None:
        if self._refusal is not None:
            raise IllegalStateException(self._refusal)

    # -------------------------------------------------------------------------------------------- events
    def _post(self, event: SchedulerEvent | ReceiverPosted) -> None:
        """Where the backend's events arrive, from any thread."""
        match event:
            case ReceiverPosted():
                self._receiver_posted(event)
            case ExecutorJoined():
                self._executor_joined(event)
                self._loop.post(event)
                self._tell_executors()
            case ExecutorLeft():
                self._loop.post(event)
                self._executor_left(event)
                self._tell_executors()
            case ExecutorSuspected() | ExecutorTrusted():
                with self._lock:
                    change = self._suspects.add if isinstance(event, ExecutorSuspected) else self._suspects.discard
                    change(event.executor_id)
                self._loop.post_later(event)  # who watches the executors must not wait for one
            case _:
                self._loop.post(event)

    def _receiver_posted(self, event: ReceiverPosted) -> None:
        with self._lock:
            entry = self._receivers.get(event.receiver_id)
        if entry is not None and entry[0] == event.executor_id:
            entry[1](event.payload)

    def _executor_joined(self, event: ExecutorJoined) -> None:
        with self._lock:
            self._hosts[event.executor_id] = event.host
            files = list(self._files)
        for file in files:
            self._backend.executors()[event.executor_id].add_file(*file)
        self._joined.release()

    def _executor_left(self, event: ExecutorLeft) -> None:
        hopeless = self._backend.left(event.executor_id, event.reason)
        if hopeless is not None:
            self._refusal = hopeless
            self._loop.post(CancelJobs(hopeless))
        self._tell_lost(event.executor_id, event.reason)

    def _tell_lost(self, executor_id: str, reason: str) -> None:
        """Tell the owners of an executor's receivers, once, that these are gone."""
        with self._lock:
            self._hosts.pop(executor_id, None)
            self._suspects.discard(executor_id)
            lost = [(i, listen) for i, (executor, listen) in self._receivers.items() if executor == executor_id]
            for receiver_id, _ in lost:
                del self._receivers[receiver_id]
        for receiver_id, listen in lost:
            listen(ReceiverLost(receiver_id, executor_id, reason))

    def handle(self, event: SchedulerEvent | Woken | _Question, now_ms: int) -> list[SchedulerAction | Wake]:
        """The scheduler's loop: questions are answered between two of its events."""
        if isinstance(event, _Question):
            event.answer = event.question()
            event.answered.set()
            return []
        return self._scheduler.handle(event, now_ms)

    def _on_loop(self, question: Callable[[], Any]) -> Any:
        """Ask something on the scheduler's thread, after all that was posted before."""
        self._check_running()
        call = _Question(question)
        self._loop.post(call)
        while not call.answered.wait(QUESTION_SECONDS):
            self._check_running()  # the loop may have ended before it came to this
        return call.answer

    def _crashed(self, crash: BaseException) -> None:
        with self._lock:
            self._refusal = self._refusal or f"the scheduler failed: {crash!r}"
        self._end_jobs(JobFailure(self._refusal))

    def _end_jobs(self, failure: JobFailure) -> None:
        with self._lock:
            handles = list(self._handles.values())
            self._handles.clear()
        for handle in handles:
            handle._end(failure)

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
            log.exception("jobs %s: adding up their accumulators failed", action.job_ids)
            text = f"adding up its accumulators raised {description(error)}"
            for job_id in action.job_ids:
                self._handles[job_id]._spoil(JobFailure(text))

    def _launch(self, action: Launch) -> None:
        executor = self._backend.executors().get(action.executor_id)
        if executor is None:
            return  # it has just left, which the scheduler is about to hear
        sent = self._sent.setdefault(action.executor_id, set())
        for broadcast_id in action.broadcasts - sent:
            action.broadcasts.put_again(broadcast_id)
            try:
                executor.put_block(f"broadcast_{broadcast_id}", self._broadcast(broadcast_id))
                sent.add(broadcast_id)
            except FileNotFoundError:
                pass  # destroyed: the task that uses it will say so
            except (OSError, SparkException) as error:  # a full disk
                failure = TaskFailure(FailureKind.REFUSED, f"broadcast {broadcast_id} could not be stored: {error}")
                for task in action.tasks:
                    reply = TaskReply(task.task_id, failure, None, b"", (), {})
                    self._loop.post(TaskEnded(action.executor_id, reply))
                return
        executor.submit(action.tasks, action.program)


class _Question:
    """Something to do on the scheduler's thread; `answered` is set when it's done."""

    __slots__ = ("answer", "answered", "question")

    def __init__(self, question: Callable[[], Any]) -> None:
        self.question = question
        self.answer: Any = None
        self.answered = threading.Event()


def _exception(job_id: int, failure: JobFailure) -> BaseException:
    """What the caller of a failed job gets: the user's own exception where there is one."""
    if failure.cancelled:
        return JobCancelled(failure.text, job_id=job_id)
    task = failure.task
    if task is None:
        return SparkException(failure.text, job_id=job_id)
    if task.kind is not FailureKind.RAISED:
        return SparkException(failure.text, job_id=job_id)
    cause = TaskError(
        task.traceback,
        job_id=job_id,
        stage_id=failure.stage_id,
        partition=failure.partition,
        attempt=failure.attempt,
        operation=task.operation,
        record=task.record,
    )
    if task.whole_traceback:
        log.debug("job %d: the whole traceback of its task:\n%s", job_id, task.whole_traceback)
    error = unpickled(task.error)
    if error is None:
        return cause
    BaseException.__setattr__(error, "__cause__", cause)  # its own may refuse, as a frozen dataclass's does
    return error


def is_on(host: str, wanted: str) -> bool:
    """Whether an executor's host is the one that somebody names; the driver's machine has several names."""
    return wanted == host or (host == LOOPBACK and wanted in ("localhost", socket.gethostname()))


def _is_set(conf: SparkConf) -> bool:
    return bool(conf.contains("spark.task.maxFailures"))


def _files_below(name: str, path: str) -> Iterator[tuple[str, str]]:
    if not os.path.isdir(path):
        yield name, path
        return
    for directory, _, files in os.walk(path):
        for file in files:
            full = os.path.join(directory, file)
            yield os.path.join(name, os.path.relpath(full, path)), full
