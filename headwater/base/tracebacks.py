"""Tracebacks without our own frames, which say nothing about the user's program.

With the log at DEBUG they are left as they are.
"""

from __future__ import annotations

import logging
import os
import traceback
from types import TracebackType
from typing import TypeVar

from headwater.errors import HeadwaterError, TaskError

logger = logging.getLogger(__name__)

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep  # where all of ours is
E = TypeVar("E", bound=BaseException)


def is_ours(filename: str) -> bool:
    """Whether a frame of this file is one of ours: of the package, or of a loop that the engine has compiled."""
    return filename.startswith((PACKAGE, "<stage: "))


def folded_text(error: BaseException, *, is_users: bool = False) -> str:
    """An exception with its traceback and its causes, as Python prints them, without our frames.

    A traceback that has no other frames keeps them, unless the error `is_users`, who needs no more than its text.
    """
    whole = traceback.TracebackException.from_exception(error)
    todo: list[traceback.TracebackException | None] = [whole]
    while todo:
        part = todo.pop()
        if part is not None:
            frames = [frame for frame in part.stack if not is_ours(frame.filename)]
            if frames or is_users:
                part.stack[:] = frames
            todo += [part.__cause__, part.__context__]
    return "".join(whole.format())


def folded(error: E) -> E:
    """The exception, its traceback cut down to the frames that aren't ours.

    One that has no other frames keeps them, unless it's an error on purpose: ours, or that of a task.
    """
    if logger.isEnabledFor(logging.DEBUG):
        return error
    steps = []
    step = error.__traceback__
    while step is not None:
        if not is_ours(step.tb_frame.f_code.co_filename):
            steps.append(step)
        step = step.tb_next
    if not steps and not isinstance(error, HeadwaterError) and not isinstance(error.__cause__, TaskError):
        return error
    kept: TracebackType | None = None
    for step in reversed(steps):
        kept = TracebackType(kept, step.tb_frame, step.tb_lasti, step.tb_lineno)
    return error.with_traceback(kept)


def summary(error: BaseException) -> str:
    """An exception in a line: its type and text, and where in the program it came from, as far as that is known."""
    text = f"{type(error).__name__}: {error}"
    cause = error.__cause__
    if not isinstance(cause, TaskError) or not cause.operation or cause.operation in text:
        return text
    return f"{text}, in {cause.operation}" + (f" on the record {cause.record}" if cause.record else "")


def call_site(operation: str) -> tuple[str, str]:
    """(short, long): `operation at file:line` of the user's code that called us, and the user's frames below it."""
    frames = [frame for frame in traceback.extract_stack(limit=40) if not is_ours(os.path.abspath(frame.filename))]
    if not frames:
        return operation, operation
    where = [f"{frame.filename}:{frame.lineno} in {frame.name}" for frame in reversed(frames)]
    return f"{operation} at {os.path.basename(frames[-1].filename)}:{frames[-1].lineno}", "\n".join(where)
