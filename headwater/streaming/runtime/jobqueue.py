"""The job queue: which output job runs next, and what follows when one fails.

- A core: `JobThreads` calls it under a lock, and does the waiting.
- Jobs begin in the order in which they were added. Where a job may be tried again, jobs of the same output wait for its
  end: so an output's batches succeed in order, whatever else runs at the same time.
- A closed queue hands out nothing; it can be asked which jobs it has dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from headwater.streaming.runtime.batches import OutputJob

if TYPE_CHECKING:
    from headwater.conf import SparkConf


class FailurePolicy(NamedTuple):
    """What follows when an output fails: it is tried again; then the context goes on, or stops."""

    retries_max: int = 0
    wait_ms: int = 0  # between two tries
    stops: bool = False


def failure_policy(conf: SparkConf) -> FailurePolicy:
    """The policy that the settings ask for."""
    kind = conf.read("headwater.streaming.failure.policy")
    if kind == "retry":
        retries_max = conf.read("headwater.streaming.failure.maxRetries")
        return FailurePolicy(retries_max, conf.read("headwater.streaming.failure.retryWait"))
    return FailurePolicy(stops=kind == "stop")


class JobQueue:
    """Jobs that wait for a thread."""

    def __init__(self, policy: FailurePolicy) -> None:
        self._policy = policy
        self._waiting: deque[OutputJob] = deque()  # in the order in which they were added
        self._failures: dict[int, int] = {}  # output of a job that runs and may be tried again -> failed tries
        self._dropped: list[OutputJob] = []  # empty until it is closed
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it hands out nothing any more."""
        return self._closed

    def add(self, jobs: Iterable[OutputJob]) -> None:
        """Jobs of a batch, in the order of definition; batches come in order."""
        (self._dropped if self._closed else self._waiting).extend(jobs)

    def take(self) -> OutputJob | None:
        """The next job to run; None if all have to wait, or none is there. It costs one look at each that waits."""
        for position, job in enumerate(self._waiting):
            if job.output_id not in self._failures:
                del self._waiting[position]
                if self._policy.retries_max:
                    self._failures[job.output_id] = 0
                return job
        return None

    def ended(self, job: OutputJob, error: BaseException | None) -> int | None:
        """A job that was taken has ended, or its latest try has.

        Returns:
            The milliseconds after which to try it again; None if that was its end.
        """
        failures = self._failures.pop(job.output_id, 0)
        if error is None or self._closed:
            return None
        if self._policy.stops:
            self.close()
        # SystemExit and its like are no accidents.
        if failures >= self._policy.retries_max or not isinstance(error, Exception):
            return None
        self._failures[job.output_id] = failures + 1
        return self._policy.wait_ms

    def close(self) -> None:
        """Drop what waits. What runs is not tried again."""
        self._closed = True
        self._dropped.extend(self._waiting)
        self._waiting.clear()

    def dropped(self) -> tuple[OutputJob, ...]:
        """The jobs that were never begun, and won't be."""
        return tuple(self._dropped)
