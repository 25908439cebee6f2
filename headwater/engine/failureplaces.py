"""Where a task failed: in which operation, and on which record.

The loops that know it note it at the exception, which carries it to the end of the task. Nothing is kept while all
goes well.
"""

from __future__ import annotations

import os
import re
import reprlib
from typing import Any, NamedTuple

from headwater.base.tracebacks import PACKAGE

# Characters of a record in an error.
_SHOWN_MAX = 120
_NOTE = "_headwater_place"
_RDD = os.path.join(PACKAGE, "rdd") + os.sep
# Where we work on a partition's records, and nothing but a record can be wrong.
_OPERATIONS = (_RDD, os.path.join(PACKAGE, "engine", "external.py"))
_UNPACKING = re.compile("cannot unpack|values to unpack|is not subscriptable|index out of range")


class Place(NamedTuple):
    """An operation, with the line of the program that asked for it, and the record that it failed on.

    Both are empty if they aren't known.
    """

    operation: str
    record: str = ""


def note(error: BaseException, operation: str, record: Any) -> None:
    """Have an exception say where it was raised."""
    error.__dict__[_NOTE] = Place(operation, shown(record))


def taken_note(error: BaseException) -> Place | None:
    """What an exception says of where it was raised, if it does; taken off, since the exception is the user's."""
    for noted in (error, error.__cause__):  # a StopIteration has become the cause of a RuntimeError
        place: Place | None = noted.__dict__.pop(_NOTE, None) if noted is not None else None
        if place is not None:
            return place
    return None


def is_of_an_operation(error: BaseException) -> bool:
    """Whether a loop of ours over a partition raised, as `sum` does of texts: what is wrong is the user's data."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step is not None and step.tb_frame.f_code.co_filename.startswith(_OPERATIONS)


def in_words(error: BaseException, operation: str) -> BaseException:
    """What to say instead where such a loop found no pairs; else the error itself."""
    if type(error) in (TypeError, ValueError, IndexError) and _UNPACKING.search(str(error)):
        return type(error)(f"{operation} needs (key, value) pairs: {error}")
    return error


def record_of(error: BaseException) -> str:
    """The record that a loop of ours over a partition was at; empty if none was."""
    record = ""
    step = error.__traceback__
    while step is not None:
        frame = step.tb_frame
        if frame.f_code.co_filename.startswith(_RDD) and "record" in frame.f_locals:
            record = shown(frame.f_locals["record"])
        step = step.tb_next
    return record


def shown(record: Any) -> str:
    """A record as text, cut where it's long; of whatever class it is."""
    return _shortened.repr(record)


class _Shortened(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = _SHOWN_MAX

    def repr(self, x: Any) -> str:
        text = super().repr(x)
        return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."


_shortened = _Shortened()
