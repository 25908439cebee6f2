from __future__ import annotations

import os
import traceback

import headwater
from headwater.base.tracebacks import folded, folded_text, summary
from headwater.errors import SparkException, TaskError
from headwater.streaming.durations import duration_ms

PACKAGE = os.path.dirname(headwater.__file__)


def raised() -> Exception:
    """An error whose traceback leads from this file into ours."""
    try:
        duration_ms("x", "duration")
    except ValueError as error:
        return error
    raise AssertionError


def files(error: BaseException) -> list[str]:
    return [frame.filename for frame in traceback.extract_tb(error.__traceback__)]


def only_ours(error: Exception) -> Exception:
    assert error.__traceback__ is not None
    return error.with_traceback(error.__traceback__.tb_next)


def test_folded_traceback_has_the_programs_frames_only() -> None:
    assert len(files(raised())) == 2
    assert files(folded(raised())) == [__file__]


def test_traceback_without_frames_of_the_program_stays_whole() -> None:
    """It may be our bug."""
    error = only_ours(raised())
    assert files(folded(error)) == files(error) != []
    assert PACKAGE in folded_text(error)


def test_traceback_of_an_error_on_purpose_needs_no_frames_of_ours() -> None:
    error = only_ours(raised())
    assert files(folded(SparkException("no").with_traceback(error.__traceback__))) == []
    error.__cause__ = TaskError("Traceback", stage_id=0, partition=0, attempt=0)
    assert files(folded(error)) == []


def test_folded_text_folds_causes_too() -> None:
    try:
        raise KeyError("outer") from raised()
    except KeyError as error:
        text = folded_text(error)
    assert text.count(__file__) == 2
    assert PACKAGE not in text
    assert "must be a number of seconds" in text


def test_summary_says_where_in_the_program_an_error_came_from() -> None:
    error = KeyError("k")
    assert summary(error) == "KeyError: 'k'"
    where = {"stage_id": 0, "partition": 0, "attempt": 0}
    error.__cause__ = TaskError("Traceback", **where, operation="map at app.py:8", record="'a'")
    assert summary(error) == "KeyError: 'k', in map at app.py:8 on the record 'a'"
    error.__cause__ = TaskError("Traceback", **where, operation="map at app.py:8")
    assert summary(error) == "KeyError: 'k', in map at app.py:8"


def test_summary_does_not_repeat_what_the_error_says() -> None:
    error = TypeError("map at app.py:8 needs pairs")
    error.__cause__ = TaskError("", stage_id=0, partition=0, attempt=0, operation="map at app.py:8", record="'a'")
    assert summary(error) == "TypeError: map at app.py:8 needs pairs"
