"""What a task that fails says of it."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable

import pytest

from headwater.base.hashing import portable_hash
from headwater.base.pickling import loads
from headwater.engine.events import FailureKind, TaskReply, TaskSpec
from headwater.engine.lineage import (
    Action,
    ShuffleWrite,
)
from headwater.engine.task import TaskKilled, TaskRunner, reply_bytes
from headwater.errors import SerializationError
from tests.engine.tasks import Surroundings, boom, mapped, run, source, step


def test_users_exception_is_told_with_its_type_text_and_traceback(around: Surroundings) -> None:
    reply = run(around, mapped(source([0]), boom))
    failure = reply.failure
    assert failure is not None
    assert reply.value is None
    assert (failure.kind, failure.text) == (FailureKind.RAISED, "ZeroDivisionError: integer division or modulo by zero")
    assert isinstance(loads(failure.error), ZeroDivisionError)
    assert "in boom\n    return 1 // record" in failure.traceback
    assert failure.traceback.rstrip().endswith(failure.text)


@pytest.mark.parametrize("kinds", [["map"], ["map", "map"], ["filter"], ["flatMap"]])
def test_traceback_shows_no_frame_of_the_engine(around: Surroundings, kinds: list[str]) -> None:
    dataset = source([0])
    for kind in kinds:
        dataset = step(dataset, kind, boom if kind == kinds[-1] else lambda r: r)
    failure = run(around, dataset).failure
    assert failure is not None
    assert os.path.join("headwater", "engine") not in failure.traceback


def test_cause_of_a_users_exception_is_told(around: Surroundings) -> None:
    def chained(record: int) -> int:
        try:
            return boom(record)
        except ZeroDivisionError as error:
            raise ValueError("no zeros, please") from error

    failure = run(around, mapped(source([0]), chained)).failure
    assert failure is not None
    assert "ZeroDivisionError" in failure.traceback
    assert "ValueError: no zeros, please" in failure.traceback


class NotPicklable(Exception):
    def __init__(self) -> None:
        super().__init__("by no means")
        self.lock = threading.Lock()


class NotUnpicklable(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


@pytest.mark.parametrize(
    ("error", "text"), [(NotPicklable(), "by no means"), (NotUnpicklable(7, reason="why not"), "7: why not")]
)
def test_exception_that_does_not_survive_pickling_is_told_by_its_text(
    around: Surroundings, error: Exception, text: str
) -> None:
    made: dict[str, Callable[[], Exception]] = {
        "NotPicklable": NotPicklable,
        "NotUnpicklable": lambda: NotUnpicklable(7, reason="why not"),
    }
    make, name = made[type(error).__name__], type(error).__name__

    def fail(_record: int) -> int:
        raise make()

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert failure.kind is FailureKind.RAISED
    assert failure.text.endswith(f"{name}: {text}")
    assert failure.error == b""


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_is_no_exception_but_raised_is_a_failure_like_others(around: Surroundings, error: BaseException) -> None:
    def fail(_record: int) -> int:
        raise error

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert failure.kind is FailureKind.RAISED
    assert failure.text.startswith(type(error).__name__)


def test_killed_task_says_so(around: Surroundings) -> None:
    def fail(_record: int) -> int:
        raise TaskKilled

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (FailureKind.KILLED, "killed on request")


def test_result_that_cannot_be_pickled_is_refused(around: Surroundings) -> None:
    for action in (lambda p, records: threading.Lock(), lambda p, records: [threading.Lock()]):
        failure = run(around, source([1]), Action(action)).failure
        assert failure is not None
        assert failure.kind is FailureKind.REFUSED
        assert "Could not serialize object: TypeError: cannot pickle '_thread.lock' object" in failure.text
        assert isinstance(loads(failure.error), SerializationError)


def test_result_over_the_limit_is_refused(around: Surroundings) -> None:
    around.result_limit = 100
    failure = run(around, source([]), Action(lambda p, records: "x" * 200)).failure
    assert failure is not None
    assert failure.kind is FailureKind.REFUSED
    assert "bigger than spark.driver.maxResultSize (100 bytes)" in failure.text


def test_map_output_that_cannot_be_pickled_is_refused(around: Surroundings) -> None:
    write = ShuffleWrite(1, portable_hash)
    failure = run(around, mapped(source([1]), lambda r: (r, threading.Lock())), write).failure
    assert failure is not None
    assert failure.kind is FailureKind.REFUSED


def test_program_that_cannot_be_unpickled_fails_each_of_its_tasks(around: Surroundings) -> None:
    """The executor sends a program once a worker, whether or not the worker could make use of it."""
    runner = TaskRunner(around)
    spec = TaskSpec(7, 1, 5, 0, 0, "name", {}, {}, {}, {})
    broken = b"cno_such_module_at_all\nf\n."
    for program in (broken, None, None):
        failure = runner.run(spec, program).failure
        assert failure is not None
        assert failure.kind is FailureKind.RAISED
        assert "No module named 'no_such_module_at_all'" in failure.text


def test_reply_that_cannot_be_pickled_becomes_one_that_says_so() -> None:
    reply = pickle.loads(reply_bytes(TaskReply(7, None, threading.Lock(), b"", (), {})))
    assert (reply.task_id, reply.value) == (7, None)
    assert "cannot pickle '_thread.lock' object" in reply.failure.text
