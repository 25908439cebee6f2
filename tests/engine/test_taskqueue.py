"""Which task runs on which worker, without any worker."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.events import TaskSpec
from headwater.engine.taskqueue import Queued, TaskQueue


class Worker(NamedTuple):
    name: str
    slot: int


A, B = Worker("a", 0), Worker("b", 1)


def task(task_id: int, pin: int = -1) -> Queued:
    return Queued(TaskSpec(task_id, 0, 0, 0, 0, "program", {}, {}, {}, {}, pin=pin), b"")


@pytest.fixture
def queue() -> TaskQueue[Worker]:
    """Of two workers, both of which are idle; `b` has become so last."""
    queue: TaskQueue[Worker] = TaskQueue(2)
    assert queue.next_of(A) is queue.next_of(B) is None
    return queue


def test_task_runs_on_the_idle_worker_that_was_used_last(queue: TaskQueue[Worker]) -> None:
    assert queue.add(*task(1)) is B
    assert queue.next_of(B) is None
    assert queue.add(*task(2)) is B
    assert queue.add(*task(3)) is A


def test_tasks_without_a_worker_wait_in_their_order(queue: TaskQueue[Worker]) -> None:
    assert [queue.add(*task(number)) for number in range(4)] == [B, A, None, None]
    assert queue.next_of(A) == task(2)
    assert queue.next_of(A) == task(3)
    assert queue.next_of(A) is None


def test_pinned_task_runs_where_others_with_its_pin_did_though_another_worker_is_idle(
    queue: TaskQueue[Worker],
) -> None:
    assert [queue.add(*task(1, pin=7)), queue.add(*task(2, pin=8))] == [A, B]
    queue.next_of(B)
    assert queue.add(*task(3, pin=7)) is None
    assert queue.next_of(A) == task(3, pin=7)


def test_pinned_task_goes_before_those_that_may_run_anywhere(queue: TaskQueue[Worker]) -> None:
    queue.add(*task(1, pin=7))
    for other in (task(2), task(3), task(4, pin=7)):
        queue.add(*other)
    assert queue.next_of(A) == task(4, pin=7)
    assert queue.next_of(A) == task(3)


def test_pinned_task_waits_for_the_successor_of_its_worker(queue: TaskQueue[Worker]) -> None:
    assert queue.add(*task(1, pin=7)) is A
    queue.add(*task(2, pin=7))
    queue.remove(A)
    assert queue.next_of(Worker("successor", 0)) == task(2, pin=7)


def test_idle_worker_that_is_removed_gets_no_task(queue: TaskQueue[Worker]) -> None:
    queue.remove(B)
    queue.remove(B)
    assert [queue.add(*task(1)), queue.add(*task(2))] == [A, None]


def test_task_that_is_withdrawn_does_not_run(queue: TaskQueue[Worker]) -> None:
    for number in range(4):
        queue.add(*task(number, pin=0 if number == 3 else -1))
    assert [queue.withdraw(number) for number in (0, 2, 3, 3)] == [False, True, True, False]
    assert queue.next_of(A) is None


steps = st.lists(st.tuples(st.sampled_from(["add", "free", "withdraw"]), st.integers(-1, 3), st.integers(0, 9)))


@given(steps)
def test_each_task_runs_once_or_is_withdrawn(steps: list[tuple[str, int, int]]) -> None:
    queue: TaskQueue[Worker] = TaskQueue(2)
    busy, waiting, ran = [A, B], set[int](), list[int]()
    for number, (step, pin, choice) in enumerate(steps):
        if step == "add":
            worker = queue.add(*task(number, pin))
            if worker is None:
                waiting.add(number)
            else:
                busy.append(worker)
                ran.append(number)
        elif step == "free" and busy:
            worker = busy.pop(choice % len(busy))
            given_task = queue.next_of(worker)
            if given_task is not None:
                busy.append(worker)
                waiting.remove(given_task.spec.task_id)
                ran.append(given_task.spec.task_id)
        elif step == "withdraw" and waiting:
            assert queue.withdraw(waiting.pop())
        queue.check()
    assert len(ran) == len(set(ran))
