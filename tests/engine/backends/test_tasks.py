"""Tasks end once each, by themselves or killed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from headwater.base.pickling import loads
from headwater.engine.events import (
    FailureKind,
    TaskEnded,
)
from tests.engine.beds import (
    Bed,
    spin,
    with_workers,
)
from tests.waiting import wait_for


def test_each_task_ends_once_though_there_are_more_than_cores(bed: Bed) -> None:
    task_ids = bed.submit(lambda records: dict(records), tasks=7)
    replies = [bed.reply(task_id) for task_id in task_ids]
    assert [loads(reply.value) for reply in replies] == [{"a": 1, "b": 2}] * 7
    assert bed.result(lambda records: "the end") == "the end"
    ended = [event.reply.task_id for event in bed.events if isinstance(event, TaskEnded)]
    assert len(ended) == len(set(ended))


def test_task_ended_names_its_executor(bed: Bed) -> None:
    for executor_id, handle in bed.backend.executors().items():
        (task_id,) = bed.submit(lambda records: None, handle=handle)
        bed.reply(task_id)
        assert bed.events[-1].executor_id == executor_id


def test_task_that_raises_ends_as_raised_and_the_next_one_runs(bed: Bed) -> None:
    failure = bed.failure(lambda records: dict(records)["missing"])
    assert (failure.kind, failure.text) == (FailureKind.RAISED, "KeyError: 'missing'")
    assert bed.result(lambda records: 7) == 7


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_task_that_would_end_the_process_ends_itself_alone(bed: Bed, error: type[BaseException]) -> None:
    def leave(_records: Any) -> None:
        raise error

    assert bed.failure(leave).kind is FailureKind.RAISED
    assert bed.result(lambda records: 7) == 7


def test_task_whose_program_cannot_be_read_fails_and_so_does_the_next(bed: Bed) -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    unreadable = Unreadable()
    for _ in range(3):
        failure = bed.failure(lambda records: unreadable)
        assert (failure.kind, failure.text[:11]) == (FailureKind.RAISED, "ValueError:")
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_task_sees_the_environment_that_is_set_for_it(bed: Bed) -> None:
    assert bed.result(lambda records: os.environ.get("SET_FOR")) == "workers"
    assert "SET_FOR" not in os.environ


def test_task_of_a_large_program_runs(bed: Bed) -> None:
    large = os.urandom(2_000_000)
    assert bed.result(lambda records: len(large)) == 2_000_000


def test_task_of_a_large_result_ends(bed: Bed) -> None:
    assert len(bed.result(lambda records: bytes(5_000_000))) == 5_000_000


def test_killed_task_ends_as_killed_and_the_next_one_runs(bed: Bed, tmp_path: Path) -> None:
    (task_id,) = bed.submit(spin(tmp_path / "runs"))
    wait_for((tmp_path / "runs").exists, "the task runs")
    bed.handle().kill(task_id, "its job is over")
    assert bed.failed(task_id).kind is FailureKind.KILLED
    assert bed.result(lambda records: 7) == 7


def test_killed_task_ends_as_killed_though_it_has_not_begun(bed: Bed, tmp_path: Path) -> None:
    first = bed.submit(spin(tmp_path / "runs"), tasks=bed.cores)
    (waiting,) = bed.submit(lambda records: 7)
    bed.handle().kill(waiting, "its job is over")
    assert bed.failed(waiting).kind is FailureKind.KILLED
    for task_id in first:
        bed.handle().kill(task_id, "its job is over")


def test_killing_a_task_that_is_not_there_does_nothing(bed: Bed) -> None:
    bed.handle().kill(12345, "never heard of")
    assert bed.result(lambda records: 7) == 7


def test_killing_a_task_that_is_about_to_end_does_no_harm_to_the_next(bed: Bed) -> None:
    for _ in range(25):
        doomed = bed.submit(lambda records: 7, tasks=bed.cores)
        innocent = bed.submit(lambda records: 8, tasks=bed.cores)
        for task_id in doomed:
            bed.handle().kill(task_id, "its job is over")
        for task_id in innocent:
            reply = bed.reply(task_id)
            assert reply.failure is None, reply.failure
