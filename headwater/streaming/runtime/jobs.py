"""The threads that run output operations, `spark.streaming.concurrentJobs` of them.

With one thread (the default) outputs run strictly in order: a batch's in the order of definition, all before the next
batch's. With more there is no order. The queue has no limit: batches are data that was accepted, so none is dropped;
what bounds memory is that receivers wait once too much of their data is unprocessed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headwater.clock import Clock
from headwater.streaming.durations import format_batch_time
from headwater.streaming.runtime.batches import JobFinished, JobStarted, OutputJob

if TYPE_CHECKING:
    from headwater.context import SparkContext

logger = logging.getLogger("headwater.streaming.runtime.jobs")

_END: Any = object()

BATCH_TIME_PROPERTY = "spark.streaming.internal.batchTime"
OUTPUT_ID_PROPERTY = "spark.streaming.internal.outputOpId"


class JobThreads:
    """Runs jobs and reports each one's start and end.

    Args:
        count: how many threads, at least 1.
        clock: stamps the reports.
        report: is given `JobStarted` and `JobFinished`, on the job's thread.
        prepare: is called with the job on its thread before it runs, to set local properties.
    """

    def __init__(
        self,
        count: int,
        clock: Clock,
        report: Callable[[JobStarted | JobFinished], None],
        prepare: Callable[[OutputJob], None],
    ) -> None:
        self._clock = clock
        self._report = report
        self._prepare = prepare
        self._jobs: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._closing = False  # set once; what is queued then is dropped
        self._threads = [
            threading.Thread(target=self._run, name=f"streaming-job-executor-{i}", daemon=True) for i in range(count)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def submit(self, jobs: tuple[OutputJob, ...]) -> None:
        """Queue jobs. Any thread; never waits."""
        for job in jobs:
            self._jobs.put(job)

    def runs_here(self) -> bool:
        """Whether the caller is an output operation."""
        return threading.current_thread() in self._threads

    def close(self, seconds_max: float) -> bool:
        """Drop what is queued and wait for what runs, `seconds_max` at most; returns whether all has ended.

        A job that still runs then is left to its own end: Python cannot interrupt it, and its results count no more.
        """
        self._closing = True
        for _thread in self._threads:
            self._jobs.put(_END)
        for thread in self._threads:
            thread.join(seconds_max)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not _END:
            if not self._closing:
                self._run_one(job)

    def _run_one(self, job: OutputJob) -> None:
        self._report(JobStarted(job.time_ms, job.output_id, self._clock.now_ms()))
        error: BaseException | None = None
        try:
            self._prepare(job)
            job.run()
        except BaseException as raised:  # also SystemExit of a user's function: it must not end this thread unseen
            error = raised
        self._report(JobFinished(job.time_ms, job.output_id, self._clock.now_ms(), error))


class JobProperties:
    """The SparkContext's local properties that each job runs with.

    A copy of those of the thread that called `start()`, without its job group and description, plus the batch time,
    the output's number and a description of its own.
    """

    # What a job must not inherit: cancelling the starter's group would cancel the batches with it.
    _OWN = ("spark.jobGroup.id", "spark.job.description")

    def __init__(self, sc: SparkContext, inherited: Mapping[str, str], batch_ms: int) -> None:
        self._sc = sc
        self._batch_ms = batch_ms
        self._inherited = {key: value for key, value in inherited.items() if key not in self._OWN}
        self._inherited["spark.job.interruptOnCancel"] = "false"

    def set(self, job: OutputJob) -> None:
        """Give the calling thread the properties of `job`, and no others."""
        self._sc._properties.current = {
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
