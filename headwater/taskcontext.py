"""The task that this thread is running, as the user's functions see it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

__all__ = ["TaskContext"]

_running = threading.local()  # .context: the task of this thread; absent or None between tasks and in the driver


class TaskContext:
    """What a user's function can ask about the task that it runs in. `TaskContext.get()` gives it.

    >>> TaskContext.get() is None  # in the driver
    True
    """

    __slots__ = ("_attempt_number", "_partition_id", "_properties", "_stage_id", "_task_attempt_id")

    def __init__(
        self,
        *,
        stage_id: int,
        partition_id: int,
        attempt_number: int,
        task_attempt_id: int,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self._stage_id = stage_id
        self._partition_id = partition_id
        self._attempt_number = attempt_number
        self._task_attempt_id = task_attempt_id
        self._properties = properties or {}

    @classmethod
    def get(cls) -> TaskContext | None:
        """The context of the task that this thread runs; None in the driver."""
        return getattr(_running, "context", None)

    @classmethod
    def _set(cls, context: TaskContext | None) -> None:
        """Called by the engine as a task begins, and with None as it ends."""
        _running.context = context

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

    def resources(self) -> dict[str, Any]:
        """The resources (such as GPUs) given to the task: none, as tasks ask for a core only."""
        return {}

    def __repr__(self) -> str:
        return (
            f"TaskContext(stage {self._stage_id}, partition {self._partition_id}, "
            f"attempt {self._attempt_number}, task {self._task_attempt_id})"
        )
