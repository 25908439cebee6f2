"""The properties that a thread gives to its jobs: their group, their description, whatever the program sets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_GROUP, _DESCRIPTION, _INTERRUPT = "spark.jobGroup.id", "spark.job.description", "spark.job.interruptOnCancel"


class JobProperties(threading.local):
    """The properties of each thread. A new thread begins without any."""

    current: Mapping[str, str] = {}  # replaced, never changed: jobs that run refer to it


class WithJobProperties:
    """The part of `SparkContext` that is about its threads' properties."""

    def __init__(self) -> None:
        self._properties = JobProperties()

    @property
    def job_properties(self) -> Mapping[str, str]:
        """The properties of this thread's jobs; replaced as a whole, never changed."""
        return self._properties.current

    @job_properties.setter
    def job_properties(self, properties: Mapping[str, str]) -> None:
        self._properties.current = properties

    def setLocalProperty(self, key: str, value: str | None) -> None:
        """Set a property that the jobs of this thread carry; None removes it.

        Tasks see it by `TaskContext.getLocalProperty`.
        """
        properties = {k: v for k, v in self.job_properties.items() if k != key}
        self.job_properties = properties if value is None else properties | {key: str(value)}

    def getLocalProperty(self, key: str) -> str | None:
        """A property of this thread's jobs, or None."""
        return self.job_properties.get(key)

    def setJobGroup(self, groupId: str, description: str, interruptOnCancel: bool = False) -> None:
        """Give this thread's jobs a group, by which they can be cancelled.

        Args:
            interruptOnCancel: accepted for PySpark's sake: a cancelled job's tasks are always interrupted.
        """
        self.setLocalProperty(_GROUP, groupId)
        self.setLocalProperty(_DESCRIPTION, description)
        self.setInterruptOnCancel(interruptOnCancel)

    def setInterruptOnCancel(self, interruptOnCancel: bool) -> None:
        """Set that property of this thread's jobs; see `setJobGroup`."""
        self.setLocalProperty(_INTERRUPT, "true" if interruptOnCancel else "false")

    def setJobDescription(self, value: str | None) -> None:
        """Describe this thread's jobs, for those who watch them."""
        self.setLocalProperty(_DESCRIPTION, value)

    @contextmanager
    def job_properties_restored(self) -> Iterator[None]:
        """Within the block this thread's properties may be set; afterwards they are as before."""
        before = self.job_properties
        try:
            yield
        finally:
            self.job_properties = before
