"""Functions that fork: a worker answers only as itself, and the process that was forked ends where it would answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.applications import MASTERS, App, running, with_workers


def test_job_whose_function_forks_gives_each_record_once(app: App) -> None:
    def fork(record: int) -> int:
        import os

        os.fork()
        return record

    assert app.result(app.mapped(app.source([1, 2, 3], [4, 5]), fork)) == [[1, 2, 3], [4, 5]]
    assert app.works()


def test_generator_that_forks_gives_each_record_once(app: App) -> None:
    def fork(_partition: int, records: Iterator[int]) -> list[int]:
        import os

        def gives() -> Iterator[int]:
            for record in records:
                if record == 2:
                    os.fork()
                yield record

        return list(gives())

    assert app.result(app.source([1, 2, 3], [4, 5]), fork) == [[1, 2, 3], [4, 5]]
    assert app.works()


def test_shuffle_whose_map_side_forks_counts_each_record_once(app: App) -> None:
    def fork(record: tuple[str, int]) -> tuple[str, int]:
        import os

        if record[1] == 2:
            os.fork()
        return record

    pairs = app.mapped(app.source([("a", 1), ("a", 2)], [("a", 3), ("b", 2)]), fork)
    assert app.collected(app.reduced(pairs)) == [("a", 6), ("b", 2)]


def test_exception_after_a_fork_is_the_jobs_once(app: App) -> None:
    def fail(_partition: int, _records: Any) -> None:
        import os

        os.fork()
        raise ValueError("in both")

    with pytest.raises(ValueError, match="in both"):
        app.result(app.source([1]), fail)
    assert app.works()


def test_forked_process_does_what_it_was_forked_for(app: App, tmp_path: Any) -> None:
    path = str(tmp_path / "by the child")

    def fork(record: int) -> int:
        import os

        pid = os.fork()
        if pid == 0:
            with open(path, "w") as file:
                file.write(f"{record} from {os.getpid()}")
            return -1
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert app.result(app.mapped(app.source([7]), fork)) == [[0]]
    with open(path) as file:
        assert file.read().startswith("7 from ")


def test_multiprocessing_in_a_task_gives_what_its_processes_return(app: App) -> None:
    def double(record: int) -> tuple[int, int | None]:
        import multiprocessing

        context = multiprocessing.get_context("fork")
        answers = context.SimpleQueue()
        process = context.Process(target=lambda: answers.put(2 * record))
        process.start()
        answer = answers.get()
        process.join()
        return answer, process.exitcode

    assert app.result(app.mapped(app.source([1], [2]), double)) == [[(2, 0)], [(4, 0)]]


@pytest.mark.parametrize("master", MASTERS[1:])
def test_what_a_task_printed_before_it_forked_is_printed_once(
    master: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def say(record: int) -> int:
        import os

        print("before", end=" ")
        pid = os.fork()
        if pid == 0:
            print("child", end=" ")
            return record
        os.waitpid(pid, 0)
        print("parent")
        return record

    with running(master, tmp_path) as app:
        app.result(app.mapped(app.source([1]), say))
    assert capfd.readouterr().out == "before child parent\n"


@with_workers
def test_task_that_ends_its_worker_fails_its_job_and_no_other(app: App) -> None:
    def leave(_partition: int, _records: Any) -> None:
        import os

        os._exit(0)

    with pytest.raises(Exception, match="exited with code 0"):
        app.result(app.source([1]), leave)
    assert app.works()


@with_workers
def test_thread_that_a_task_leaves_behind_disturbs_no_later_task(app: App) -> None:
    def leave_a_thread(record: int) -> int:
        import threading
        import time

        def print_on() -> None:
            while True:
                time.sleep(0.001)
                print("", end="")

        threading.Thread(target=print_on, daemon=True).start()
        return record

    for _ in range(2):
        assert app.result(app.mapped(app.source([1], [2]), leave_a_thread)) == [[1], [2]]
    assert app.works()
