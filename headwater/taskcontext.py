"""The task that a thread is running, as the user's functions see it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headwater.base.tasklocal import running
from headwater.errors import IllegalStateException

__all__ = ["TaskContext"]


class TaskContext:
    """What a user's function can ask about the task that it runs in.

    `TaskContext.get()` gives it, as does `TaskContext()`, also in the threads that the task starts.

    Raises:
        IllegalStateException: by `TaskContext()`: no task is running.

    >>> TaskContext.get() is None  # in the driver
    True
    """

    __slots__ = ("_attempt_number", "_partition_id", "_properties", "_stage_id", "_task_attempt_id")

    _stage_id: int
    _partition_id: int
    _attempt_number: int
    _task_attempt_id: int
    _properties: Mapping[str, str]

    def __new__(cls) -> TaskContext:
        context = cls.get()
        if context is None:
            raise IllegalStateException("TaskContext(): this is no task. TaskContext.get() is None outside of tasks.")
        return context

    @classmethod
    def get(cls) -> TaskContext | None:
        """The context of the task that this thread runs or was started by; None in the driver."""
        context: TaskContext | None = running.context
        return context

    def stageId(self) -> int:
        """The stage that the task belongs to."""
        return self._stage_id

    def partitionId(self) -> int:
        """The partition that the task computes."""
        return self._partition_id

    def attemptNumber(self) -> int:
        """How often the task was tried before: 0 at first."""
        return self._attempt_number

    def taskAttemptId(self) -> int:
        """A number that no other attempt of this application has."""
        return self._task_attempt_id

    def getLocalProperty(self, key: str) -> str | None:
        """A local property of the driver's thread that submitted the job, or None."""
        return self._properties.get(key)

    def cpus(self) -> int:
        """The cores given to the task: one."""
        return 1

    def resources(self) -> dict[str, Any]:
        """The resources (such as GPUs) given to the task: none, as tasks ask for a core only."""
        return {}

    def __repr__(self) -> str:
        return (
            f"TaskContext(stage {self._stage_id}, partition {self._partition_id}, "
            f"attempt {self._attempt_number}, task {self._task_attempt_id})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        values = self._stage_id, self._partition_id, self._attempt_number, self._task_attempt_id, self._properties
        return _new, values


def _new(
    stage_id: int, partition_id: int, attempt_number: int, task_attempt_id: int, properties: Mapping[str, str]
) -> TaskContext:
    context: TaskContext = object.__new__(TaskContext)
    context._stage_id = stage_id
    context._partition_id = partition_id
    context._attempt_number = attempt_number
    context._task_attempt_id = task_attempt_id
    context._properties = properties
    return context


# ------------------------------------------------------------------------------------------------ for the engine
def begin_task(
    *, stage_id: int, partition_id: int, attempt_number: int, task_attempt_id: int, properties: Mapping[str, str]
) -> None:
    """From here on this thread, and the threads that it starts, run this task."""
    running.context = _new(stage_id, partition_id, attempt_number, task_attempt_id, properties)


def end_task() -> None:
    """From here on this thread runs no task."""
    running.context = None
