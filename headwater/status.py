"""What jobs and stages are doing, for programs that show their own progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from headwater.engine.status import StatusStore

__all__ = ["SparkJobInfo", "SparkStageInfo", "StatusTracker"]


class SparkJobInfo(NamedTuple):
    """A job. `status` is RUNNING, SUCCEEDED or FAILED."""

    jobId: int
    stageIds: list[int]
    status: str


class SparkStageInfo(NamedTuple):
    """A stage and how far its tasks are."""

    stageId: int
    currentAttemptId: int
    name: str
    numTasks: int
    numActiveTasks: int
    numCompletedTasks: int
    numFailedTasks: int


class StatusTracker:
    """Asks for the jobs and stages of late (`spark.ui.retainedJobs` of them). `SparkContext.statusTracker` gives it.

    Each answer is right for one moment: two may not fit together.
    """

    def __init__(self, store: StatusStore) -> None:
        self._store = store

    def getJobIdsForGroup(self, jobGroup: str | None = None) -> list[int]:
        """The jobs of a group, over or not; with None those that belong to no group."""
        return [job.job_id for job in self._store.jobs() if job.group == jobGroup]

    def getActiveStageIds(self) -> list[int]:
        """The stages that run."""
        return sorted(stage.stage_id for stage in self._store.stages() if not stage.over)

    def getActiveJobsIds(self) -> list[int]:
        """The jobs that run."""
        return sorted(job.job_id for job in self._store.jobs() if job.status == "RUNNING")

    def getJobInfo(self, jobId: int) -> SparkJobInfo | None:
        """A job; None if it is unknown, or too long ago."""
        job = self._store.job(jobId)
        return None if job is None else SparkJobInfo(jobId, list(job.stage_ids), job.status)

    def getStageInfo(self, stageId: int) -> SparkStageInfo | None:
        """A stage; None if it is unknown, has not begun, or was too long ago."""
        stage = self._store.stage(stageId)
        if stage is None:
            return None
        return SparkStageInfo(
            stageId, stage.fetch_rounds, stage.name, stage.tasks, stage.active, stage.completed, stage.failed
        )
