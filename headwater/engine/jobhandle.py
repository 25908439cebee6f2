"""A job that was submitted, as who submitted it sees it: its results, its failure, its end."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from headwater.base.pickling import loads
from headwater.engine.events import FailureKind, JobFailure
from headwater.engine.failures import description, unpickled
from headwater.errors import JobCancelled, SparkException, TaskError

logger = logging.getLogger(__name__)


class JobHandle:
    """A job that was submitted. Any thread may wait for it."""

    def __init__(
        self,
        job_id: int,
        results: int,
        *,
        cancel: Callable[[int, str], None],
        on_result: Callable[[int, Any], None] | None,
    ) -> None:
        self.job_id = job_id
        self._cancel = cancel
        self._pickled: list[bytes] = [b""] * results  # until the result is asked for
        self._values: list[Any] | None = None
        self._unpickling = threading.Lock()  # held while the second comes from the first
        self._on_result = on_result
        self._over = threading.Event()
        self._failure: JobFailure | None = None

    def done(self) -> bool:
        """Whether the job is over, one way or the other."""
        return self._over.is_set()

    def cancel(self, reason: str = "it was cancelled") -> None:
        """End the job; who waits for it gets `JobCancelled`, once its tasks have ended."""
        self._cancel(self.job_id, reason)

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
            logger.exception("job %d: the callback for result %d failed", self.job_id, position)

    def _spoil(self, failure: JobFailure) -> None:
        """Whatever becomes of the job, it has failed."""
        self._failure = self._failure or failure

    def _end(self, failure: JobFailure | None) -> None:
        self._failure = self._failure or failure
        self._over.set()


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
        logger.debug("job %d: the whole traceback of its task:\n%s", job_id, task.whole_traceback)
    error = unpickled(task.error)
    if error is None:
        return cause
    BaseException.__setattr__(error, "__cause__", cause)  # its own may refuse, as a frozen dataclass's does
    return error
