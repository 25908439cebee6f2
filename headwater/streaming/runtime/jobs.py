"""The threads that run output operations, `spark.streaming.concurrentJobs` of them.

With one thread (the default) outputs run strictly in order: a batch's in the order of definition, all before the next
batch's; an output that failed and is tried again keeps its thread, so the others wait. With more threads there is no
order, but that an output whose batches may be tried again has one of them at a time, in order. The queue has no limit:
batches are data that was accepted, so none is dropped; what bounds memory is that receivers wait once too much of
their data is unprocessed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from headwater.base.threads import WatchedThread
from headwater.base.tracebacks import folded
from headwater.clock import EXPIRED, Clock
from headwater.streaming.durations import format_batch_time
from headwater.streaming.runtime.batches import OutputJob, OutputJobFinished, OutputJobStarted, job_name
from headwater.streaming.runtime.jobqueue import FailurePolicy, JobQueue

if TYPE_CHECKING:
    from headwater.rdd.driver import Driver

logger = logging.getLogger(__name__)

BATCH_TIME_PROPERTY = "spark.streaming.internal.batchTime"
OUTPUT_ID_PROPERTY = "spark.streaming.internal.outputOpId"


class JobThreads:
    """Runs jobs and reports each one's start and end.

    Args:
        count: how many threads, at least 1.
        policy: what follows when a job fails.
        clock: stamps the reports, and times the pause before a job is tried again.
        report: is given `OutputJobStarted` and `OutputJobFinished`, once for each job, on the job's thread.
        prepare: is called with the job on its thread before each try, to set local properties.
        crashed: is told that a thread has failed, for which no job's failure is a reason; its job won't end.
    """

    def __init__(
        self,
        count: int,
        policy: FailurePolicy,
        clock: Clock,
        report: Callable[[OutputJobStarted | OutputJobFinished], None],
        prepare: Callable[[OutputJob], None],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._clock = clock
        self._report = report
        self._prepare = prepare
        #: The oldest batch that isn't done, as far as is known: it's told with each job. An int: no lock guards it.
        self.oldest_pending_ms = 0
        self._queue = JobQueue(policy)
        self._changed = threading.Condition()  # guards the queue
        # What ends a thread's pause: one each, since a clock wakes one waiter of a queue.
        self._endings: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in range(count)]
        self._threads = [
            WatchedThread(partial(self._run, ending), name=f"streaming-job-executor-{i}", on_failure=crashed)
            for i, ending in enumerate(self._endings)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, jobs: tuple[OutputJob, ...]) -> None:
        """Queue jobs. Any thread; never waits."""
        with self._changed:
            self._queue.add(jobs)
            self._changed.notify(len(jobs))

    def runs_here(self) -> bool:
        """Whether the caller is an output operation."""
        return threading.current_thread() in self._threads

    def close(self, seconds_max: float) -> bool:
        """Drop what is queued and wait for what runs, `seconds_max` at most; returns whether all has ended.

        A job that still runs then is left to its own end: Python cannot interrupt it, and its results count no more.
        """
        with self._changed:
            self._queue.close()
            self._changed.notify_all()
        for ending in self._endings:
            ending.put(None)
        started = [thread for thread in self._threads if thread.ident is not None]
        for thread in started:
            thread.join(seconds_max)
        return not any(thread.is_alive() for thread in started)

    def dropped(self) -> tuple[OutputJob, ...]:
        """The jobs that were never begun, and won't be."""
        with self._changed:
            return self._queue.dropped()

    def _run(self, ending: queue.SimpleQueue[Any]) -> None:
        while not self._queue.closed:
            self._run_next(ending)  # what a job holds is let go before the thread waits for the next one

    def _run_next(self, ending: queue.SimpleQueue[Any]) -> None:
        with self._changed:
            while (job := self._queue.take()) is None:
                if self._queue.closed:
                    return
                self._changed.wait()
        self._report(OutputJobStarted(job.time_ms, job.output_id, self._clock.now_ms()))
        error = self._try(job)
        while (pause_ms := self._ended(job, error)) is not None:
            logger.warning("Error running job %s: it is tried again in %d ms", job_name(job), pause_ms, exc_info=error)
            if self._clock.get(ending, self._clock.now_ms() + pause_ms) is not EXPIRED:
                break  # closed
            error = self._try(job)
        self._report(OutputJobFinished(job.time_ms, job.output_id, self._clock.now_ms(), error))

    def _try(self, job: OutputJob) -> BaseException | None:
        try:
            self._prepare(job)
            job.run(self.oldest_pending_ms)
        except BaseException as error:  # also SystemExit of a user's function: it must not end this thread unseen
            return folded(error)
        return None

    def _ended(self, job: OutputJob, error: BaseException | None) -> int | None:
        with self._changed:
            pause_ms = self._queue.ended(job, error)
            self._changed.notify_all()  # jobs of its output may go on, or it has closed the queue
            return pause_ms


class BatchJobProperties:
    """The SparkContext's local properties that each job runs with.

    A copy of those of the thread that called `start()`, without its job group and description, plus the batch time,
    the output's number and a description of its own.
    """

    # What a job must not inherit: cancelling the starter's group would cancel the batches with it.
    _OWN = ("spark.jobGroup.id", "spark.job.description")

    def __init__(self, sc: Driver, inherited: Mapping[str, str], batch_ms: int) -> None:
        self._sc = sc
        self._batch_ms = batch_ms
        self._inherited = {key: value for key, value in inherited.items() if key not in self._OWN}
        self._inherited["spark.job.interruptOnCancel"] = "false"

    def set(self, job: OutputJob) -> None:
        """Give the calling thread the properties of `job`, and no others."""
        self._sc.job_properties = {
            **self._inherited,
            BATCH_TIME_PROPERTY: str(job.time_ms),
            OUTPUT_ID_PROPERTY: str(job.output_id),
            "spark.job.description": self.describe(job),
        }

    def describe(self, job: OutputJob) -> str:
        """The description that the UI shows and links."""
        at = format_batch_time(job.time_ms, self._batch_ms)
        link = f"/streaming/batch/?id={job.time_ms}"
        return f'Streaming job from <a href="{link}">[output operation {job.output_id}, batch time {at}]</a>'
