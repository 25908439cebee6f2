"""The exceptions that Headwater raises. They carry values, pickle, and know nothing of the engine."""

from __future__ import annotations

import pickle
from typing import Any


class HeadwaterError(Exception):
    """Whatever Headwater raises on purpose."""


class SparkException(HeadwaterError):
    """A job failed, or the engine refused to run it. `job_id` is None when no job had begun."""

    def __init__(self, message: str = "", *, job_id: int | None = None) -> None:
        super().__init__(message)
        self.job_id = job_id


class JobCancelled(SparkException):
    """The job was cancelled, by itself, with its group or with its context, before it had finished."""


class TaskError(SparkException):
    """A task's function raised. It is the `__cause__` of the user's own exception, which is what the caller catches.

    >>> print(TaskError("ZeroDivisionError: division by zero", stage_id=1, partition=0, attempt=3))
    task of stage 1, partition 0, attempt 3 raised:
    ZeroDivisionError: division by zero

    `traceback_text` is the traceback in the worker, without Headwater's own frames; `stage_id`, `partition` and
    `attempt` (from 0) say where. `operation` is the program's operation that failed, such as `map at app.py:8`, and
    `record` the record, as a text that is cut where it's long; both are empty where that isn't known.
    """

    def __init__(
        self,
        traceback_text: str,
        *,
        stage_id: int,
        partition: int,
        attempt: int,
        job_id: int | None = None,
        operation: str = "",
        record: str = "",
    ) -> None:
        where = f"task of stage {stage_id}, partition {partition}, attempt {attempt}"
        what = (f" in {operation}" if operation else "") + (f" on the record {record}" if record else "")
        super().__init__(f"{where} raised{what}:\n{traceback_text.rstrip()}", job_id=job_id)
        self.traceback_text = traceback_text
        self.stage_id = stage_id
        self.partition = partition
        self.attempt = attempt
        self.operation = operation
        self.record = record

    def __reduce__(self) -> tuple[Any, ...]:
        values = ("stage_id", "partition", "attempt", "job_id", "operation", "record")
        return _task_error, (self.traceback_text, {name: getattr(self, name) for name in values})


def _task_error(traceback_text: str, values: dict[str, Any]) -> TaskError:
    return TaskError(traceback_text, **values)


class NoSuchElementException(HeadwaterError, LookupError):
    """Something was asked for that isn't there."""


class BlockLost(HeadwaterError):
    """No executor holds the block any more. The scheduler recomputes it; a user sees this where it can't."""


class SerializationError(HeadwaterError, pickle.PicklingError):
    """A function, a record or a result can't be pickled, so it can't travel to a worker or back."""


class IllegalStateException(HeadwaterError, RuntimeError):
    """The call is right but comes at the wrong time, such as after `stop()`."""


class IllegalArgumentException(HeadwaterError, ValueError):
    """An argument or a setting has a value that can't be honoured."""


class UnsupportedOperationException(HeadwaterError, NotImplementedError):
    """What was asked for isn't possible here, now or at all."""


def see(anchor: str) -> str:
    """Where the documentation says more about an error, as the end of its text.

    Args:
        anchor: of docs/operating/troubleshooting.md.

    >>> see("not-pairs")
    ' (see docs/operating/troubleshooting.md#not-pairs)'
    """
    return f" (see docs/operating/troubleshooting.md#{anchor})"


def __getattr__(name: str) -> Any:
    """PySpark's own exceptions, such as `AnalysisException`: of the extra for SQL, whose names begin as theirs do."""
    if name.startswith("__") or (not name.endswith("Exception") and not name.startswith("PySpark")):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from headwater.sql import requirements

    requirements.import_client()
    import pyspark.errors

    return getattr(pyspark.errors, name)
