"""The threads of a task belong to it: they see its context, and what they add to accumulators counts with it."""

from __future__ import annotations

import _thread
import asyncio
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.pool import ThreadPool
from typing import Any

import pytest

from headwater import Accumulator, SparkContext, TaskContext
from headwater.errors import IllegalStateException


def in_a_thread(function: Callable[[], Any]) -> Any:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def in_a_thread_of_a_thread(function: Callable[[], Any]) -> Any:
    return in_a_thread(lambda: in_a_thread(function))


def in_an_executor(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def in_a_thread_pool(function: Callable[[], Any]) -> Any:
    with ThreadPool(1) as pool:
        return pool.apply(function)


def in_asyncio(function: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.to_thread(function))


WAYS = [in_a_thread, in_a_thread_of_a_thread, in_an_executor, in_a_thread_pool, in_asyncio]


@pytest.mark.parametrize("way", WAYS)
def test_a_thread_of_a_task_has_its_context(sc: SparkContext, way: Callable[..., Any]) -> None:
    def partitions(records: Iterator[int]) -> Iterator[tuple[int, int]]:
        yield TaskContext().partitionId(), way(lambda: TaskContext().partitionId())

    assert sc.parallelize(range(3), 3).mapPartitions(partitions).collect() == [(0, 0), (1, 1), (2, 2)]


@pytest.mark.parametrize("way", WAYS)
def test_what_a_thread_of_a_task_adds_counts_with_the_task(sc: SparkContext, way: Callable[..., Any]) -> None:
    total = sc.accumulator(0)
    sc.parallelize(range(10), 3).foreach(lambda x: way(lambda: total.add(x)))
    assert total.value == 45


def test_what_the_threads_of_a_failed_task_added_does_not_count(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def fails(x: int) -> None:
        in_a_thread(lambda: total.add(1))
        raise KeyError(x)

    with pytest.raises(KeyError):
        sc.parallelize([1], 1).foreach(fails)
    assert total.value == 0


def test_threads_of_a_task_add_at_the_same_time_and_lose_nothing(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def add_by_threads(_: int) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: [total.add(1) for _ in range(1000)], range(8)))

    sc.parallelize([1, 2], 2).foreach(add_by_threads)
    assert total.value == 16_000


def test_an_accumulator_has_no_value_in_the_threads_of_a_task(sc: SparkContext) -> None:
    total = sc.accumulator(0)
    with pytest.raises(Exception, match="Accumulator.value cannot be accessed inside tasks"):
        sc.parallelize([1], 1).foreach(lambda x: in_an_executor(lambda: total.value))


class Left:
    """What tasks leave in their process: a thread that adds when it's told to, a pool."""

    told = threading.Event()
    thread: threading.Thread | None = None
    pool: ThreadPoolExecutor | None = None


def leave_a_thread(total: Accumulator[int]) -> None:
    from tests.base.test_tasklocal import Left

    def add_when_told() -> None:
        Left.told.wait()
        total.add(1000)

    Left.told.clear()
    Left.thread = threading.Thread(target=add_when_told, daemon=True)
    Left.thread.start()


def tell_the_thread_that_was_left(total: Accumulator[int]) -> None:
    from tests.base.test_tasklocal import Left

    assert Left.thread is not None
    Left.told.set()
    Left.thread.join()
    total.add(1)


@pytest.mark.parametrize("master", ["local", "local[1]"])
def test_a_thread_that_outlives_its_task_adds_to_no_other_task(no_context: None, master: str) -> None:
    with SparkContext(master, "x") as sc:
        total = sc.accumulator(0)
        for step in (leave_a_thread, tell_the_thread_that_was_left):
            sc.parallelize([1], 1).foreach(lambda x, step=step: step(total))
        assert total.value == 1


def test_an_addition_that_comes_too_late_is_warned_about(no_context: None, caplog: pytest.LogCaptureFixture) -> None:
    with SparkContext("local", "x") as sc, caplog.at_level(logging.WARNING, "headwater"):
        total = sc.accumulator(0)
        for step in (leave_a_thread, tell_the_thread_that_was_left):
            sc.parallelize([1], 1).foreach(lambda x, step=step: step(total))
    (message,) = caplog.messages
    assert message.startswith(f"accumulator {total.aid}: an addition of thread 'Thread-")
    assert "doesn't count: its task has ended. Wait for threads within the task" in message


def test_an_addition_outside_of_tasks_and_driver_is_warned_about(
    no_context: None, capfd: pytest.CaptureFixture[str]
) -> None:
    def add_in_a_thread_that_python_knows_nothing_of(x: int) -> None:
        done = threading.Event()
        _thread.start_new_thread(lambda: (total.add(x), done.set()), ())
        assert done.wait(30)

    with SparkContext("local[1]", "x") as sc:
        total = sc.accumulator(0)
        sc.parallelize([1, 2], 1).foreach(add_in_a_thread_that_python_knows_nothing_of)
        assert total.value == 0
    assert capfd.readouterr().err.count("doesn't count: it belongs to no task") == 1


def by_the_pool_of_the_process(function: Callable[[], Any]) -> Any:
    from tests.base.test_tasklocal import Left

    Left.pool = Left.pool or ThreadPoolExecutor(1)
    return Left.pool.submit(function).result()


@pytest.mark.parametrize("master", ["local", "local[1]"])
def test_a_pool_that_outlives_a_task_works_for_the_next_one(no_context: None, master: str) -> None:
    with SparkContext(master, "x") as sc:
        total = sc.accumulator(0)

        def partition_and_add(x: int) -> int:
            by_the_pool_of_the_process(lambda: total.add(x))
            return by_the_pool_of_the_process(lambda: TaskContext().partitionId())  # type: ignore[no-any-return]

        assert sc.parallelize([1, 2, 3], 3).map(partition_and_add).collect() == [0, 1, 2]
        assert total.value == 6


class Task:
    """What a task in the driver's process and the driver tell each other."""

    entered, may_end = threading.Event(), threading.Event()


def wait_in_a_task(_: int) -> None:
    from tests.base.test_tasklocal import Task

    Task.entered.set()
    assert Task.may_end.wait(30)


def test_threads_of_the_driver_run_no_task_while_tasks_run_in_its_process(no_context: None) -> None:
    from tests.base.test_tasklocal import Task

    Task.entered.clear()
    with SparkContext("local", "x") as sc:
        total = sc.accumulator(0)
        job = threading.Thread(target=lambda: sc.parallelize([1], 1).foreach(wait_in_a_task), daemon=True)
        job.start()
        assert Task.entered.wait(30)
        for way in WAYS:
            assert way(TaskContext.get) is None
            way(lambda: total.add(1))
        assert total.value == len(WAYS)
        Task.may_end.set()
        job.join()


def test_task_context_outside_of_tasks_says_so() -> None:
    assert TaskContext.get() is None
    with pytest.raises(IllegalStateException, match="this is no task. TaskContext.get\\(\\) is None outside of tasks"):
        TaskContext()


def test_a_task_s_context_can_be_a_result(sc: SparkContext) -> None:
    (context,) = sc.parallelize([1], 1).map(lambda x: TaskContext.get()).collect()
    assert isinstance(context, TaskContext)
    assert (context.partitionId(), context.attemptNumber(), context.cpus()) == (0, 0, 1)
    assert repr(pickle.loads(pickle.dumps(context))) == repr(context)
