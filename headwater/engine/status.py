"""The status store: what jobs and stages are doing, for what shows progress. Nothing decides by it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

from headwater.engine.events import JobStarted, Report, StageChanged


@dataclass(frozen=True, slots=True)
class JobStatus:
    """A job as it stands."""

    job_id: int
    group: str | None
    stage_ids: tuple[int, ...]
    status: str  # RUNNING, SUCCEEDED or FAILED
    description: str
    started_ms: int
    ended_ms: int = -1


class StatusStore:
    """The latest jobs and stages. Any thread; one lock. The oldest are forgotten past `retained`."""

    def __init__(self, retained: int = 1000) -> None:
        self._retained = retained
        self._lock = threading.Lock()
        self._jobs: OrderedDict[int, JobStatus] = OrderedDict()
        self._stages: OrderedDict[int, StageChanged] = OrderedDict()

    def apply(self, event: Report) -> None:
        """Take note of a report."""
        with self._lock:
            if isinstance(event, StageChanged):
                self._stages[event.stage_id] = event
            elif isinstance(event, JobStarted):
                self._jobs[event.job_id] = JobStatus(
                    event.job_id, event.group, event.stage_ids, "RUNNING", event.description, event.time_ms
                )
            elif event.job_id in self._jobs:
                job = self._jobs[event.job_id]
                self._jobs[event.job_id] = JobStatus(
                    job.job_id, job.group, job.stage_ids, event.status, job.description, job.started_ms, event.time_ms
                )
            for table in (self._jobs, self._stages):
                while len(table) > self._retained:
                    table.popitem(last=False)

    def jobs(self) -> list[JobStatus]:
        """All jobs that are remembered, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def job(self, job_id: int) -> JobStatus | None:
        """A job; None if it's unknown or forgotten."""
        with self._lock:
            return self._jobs.get(job_id)

    def stages(self) -> list[StageChanged]:
        """The latest word of all stages that are remembered."""
        with self._lock:
            return list(self._stages.values())

    def stage(self, stage_id: int) -> StageChanged | None:
        """The latest word of a stage; None if it's unknown or forgotten."""
        with self._lock:
            return self._stages.get(stage_id)
