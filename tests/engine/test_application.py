"""A whole application on real masters: its jobs, what users see of their errors, cancelling, and its end."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import accumulators
from headwater.clock import SystemClock
from headwater.engine.lineage import Dataset
from headwater.errors import IllegalStateException, JobCancelled, SparkException, TaskError
from tests.engine.applications import App, in_background, running, until_killed, with_workers
from tests.engine.processes import alive, descendants, scratch_directories
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.usefixtures("no_context")  # processes are counted: no other application may have any


# ------------------------------------------------------------------------------------------------ jobs
def test_job_gives_its_results_in_the_order_of_its_partitions(app: App) -> None:
    dataset = app.mapped(app.source([1], [2, 3], []), lambda r: r * 10)
    assert app.result(dataset) == [[10], [20, 30], []]
    assert app.result(dataset, partitions=[2, 0, 0]) == [[], [10], [10]]
    assert app.result(dataset, partitions=[]) == []


def test_job_reduces_by_key_through_files(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, headwater_shuffle_inlineLimit="0") as app:
        pairs = app.source(*[[(i % 100, 1) for i in range(1000)] for _ in range(4)])
        assert app.collected(app.reduced(app.reduced(pairs, 3), 2)) == [(i, 40) for i in range(100)]


def test_jobs_run_from_several_threads_at_once(app: App) -> None:
    shared = app.reduced(app.source([(i % 7, 1) for i in range(70)], [(i % 7, 1) for i in range(70)]))

    def ask(n: int) -> list[Any]:
        return [app.collected(app.mapped(shared, lambda pair: (pair[0], pair[1] + n))) for _ in range(5)]

    outcomes = [in_background(lambda n=n: ask(n)) for n in range(6)]
    for n, outcome in enumerate(outcomes):
        assert outcome.get(timeout=PATIENCE_SECONDS) == [[(i, 20 + n) for i in range(7)]] * 5


def test_many_small_jobs_run_one_after_the_other(app: App) -> None:
    dataset = app.source([1], [2])
    assert [app.result(dataset) for _ in range(60)] == [[[1], [2]]] * 60


def test_results_come_one_by_one_when_that_is_asked_for(app: App) -> None:
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()
    handle = app.submit(app.source([1], [2], [3]), on_result=lambda position, value: came.put((position, value)))
    assert handle.result(PATIENCE_SECONDS) == [[1], [2], [3]]
    assert sorted(came.get() for _ in range(3)) == [(0, [1]), (1, [2]), (2, [3])]
    assert came.empty()
    assert handle.done()


def test_callback_that_raises_harms_neither_its_job_nor_others(app: App) -> None:
    def fail(_position: int, _value: Any) -> None:
        raise ValueError("no")

    assert app.result(app.source([1], [2]), on_result=fail) == [[1], [2]]
    assert app.works()


def test_result_may_be_asked_for_again(app: App) -> None:
    handle = app.submit(app.source([1]), lambda partition, records: b"bytes are a result as any other")
    for _ in range(2):
        assert handle.result(PATIENCE_SECONDS) == [b"bytes are a result as any other"]


def test_result_that_is_waited_for_too_long_is_a_timeout_and_the_job_goes_on(app: App, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    def wait(_partition: int, _records: Any) -> str:
        import os
        import time

        while not os.path.exists(gate):
            time.sleep(0.001)
        return "done"

    handle = app.submit(app.source([1]), wait)
    with pytest.raises(TimeoutError, match=f"job {handle.job_id} is still running after 0.01 s"):
        handle.result(0.01)
    assert not handle.done()
    Path(gate).touch()
    assert handle.result(PATIENCE_SECONDS) == ["done"]


def test_status_says_what_became_of_jobs(app: App) -> None:
    app.result(app.source([1], [2]), properties={"spark.jobGroup.id": "g"})
    with pytest.raises(ZeroDivisionError):
        app.result(app.source([1]), lambda partition, records: 1 // 0)
    assert [(job.status, job.group) for job in app.application.status.jobs()] == [("SUCCEEDED", "g"), ("FAILED", None)]
    stage = app.application.status.stage(0)
    assert stage is not None
    assert (stage.tasks, stage.completed, stage.active, stage.over) == (2, 2, 0, True)
    assert app.application.metrics["run_us"] >= 0


def test_accumulators_count_each_partition_once(app: App) -> None:
    total = accumulators.create(0)

    def tally(pair: Any) -> Any:
        total.add(1)
        return pair

    pairs = app.mapped(app.source([("a", 1), ("b", 1)], [("a", 1)]), tally)
    reduced = app.reduced(pairs)
    for _ in range(2):
        app.result(reduced)
    assert total.value == 3
    app.result(pairs)
    assert total.value == 6


def test_accumulator_that_cannot_be_added_up_does_not_end_the_application(app: App) -> None:
    class AddsOnce(accumulators.AccumulatorParam[int]):
        """Adds to nothing but zero, which fails where the driver merges the second task's sum."""

        def zero(self, value: int) -> int:
            return 0

        def addInPlace(self, value1: int, value2: int) -> int:
            if value1:
                raise ValueError("no more")
            return value2

    total = accumulators.create(0, AddsOnce())
    handle = app.submit(app.source([1], [2]), lambda partition, records: total.add(1))
    try:
        handle.result(PATIENCE_SECONDS)
    except (ValueError, SparkException) as error:
        assert "no more" in str(error)
    assert app.works()


# ------------------------------------------------------------------------------------------------ users' errors
def divide(record: int) -> float:
    return 1 // record


def test_users_exception_keeps_its_type_text_and_traceback(app: App) -> None:
    with pytest.raises(ZeroDivisionError, match="integer division or modulo by zero") as caught:
        app.result(app.mapped(app.source([1], [0]), divide))
    cause = caught.value.__cause__
    assert isinstance(cause, TaskError)
    attempt = 3 if "cluster" in app.application.master else 0
    assert (cause.stage_id, cause.partition, cause.attempt) == (0, 1, attempt)
    assert "in divide\n    return 1 // record" in cause.traceback_text
    assert app.works()


def test_users_exception_keeps_its_attributes(app: App) -> None:
    class Refused(Exception):
        def __init__(self, code: int) -> None:
            super().__init__(code)
            self.code = code

    def fail(_partition: int, _records: Any) -> None:
        raise Refused(7)

    with pytest.raises(Exception, match="7") as caught:
        app.result(app.source([1]), fail)
    assert type(caught.value).__name__ == "Refused"
    assert caught.value.code == 7  # type: ignore[attr-defined]


def test_exception_that_cannot_be_pickled_is_reported_by_its_text_and_traceback(app: App) -> None:
    class Locked(Exception):
        def __init__(self) -> None:
            import threading

            super().__init__("by no means")
            self.lock = threading.Lock()

    def fail(_partition: int, _records: Any) -> None:
        raise Locked

    with pytest.raises(TaskError, match="Locked: by no means") as caught:
        app.result(app.source([1]), fail)
    assert "in fail" in caught.value.traceback_text
    assert app.works()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_task_that_would_end_its_process_fails_its_job_and_does_not_end_the_driver(
    app: App, error: type[BaseException]
) -> None:
    """Raised as it is, it would be taken for the driver's own."""

    def leave(_partition: int, _records: Any) -> None:
        raise error("from a task")

    outcome = in_background(lambda: app.result(app.source([1]), leave)).get(timeout=2 * PATIENCE_SECONDS)
    assert isinstance(outcome, SparkException)
    assert f"{error.__name__}: from a task" in str(outcome)
    assert app.works()


def test_exception_is_raised_anew_for_each_who_waits(app: App) -> None:
    handle = app.submit(app.source([0]), lambda partition, records: 1 // 0)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            handle.result(PATIENCE_SECONDS)


def test_task_is_tried_as_often_as_is_set(tmp_path: Path) -> None:
    with running("local-cluster[1,1,512]", tmp_path / "scratch", spark_task_maxFailures="3") as app:
        log = str(tmp_path / "attempts")

        def fail(_partition: int, _records: Any) -> None:
            from headwater.taskcontext import TaskContext

            with open(log, "a") as file:
                file.write(f"{TaskContext.get().attemptNumber()} ")  # type: ignore[union-attr]
            raise ValueError("no")

        with pytest.raises(ValueError, match="no") as caught:
            app.result(app.source([1]), fail)
        assert Path(log).read_text() == "0 1 2 "
        assert isinstance(caught.value.__cause__, TaskError)
        assert caught.value.__cause__.attempt == 2


@pytest.mark.parametrize(("master", "attempts"), [("local", 1), ("local[2]", 1), ("local[2,3]", 3)])
def test_task_is_tried_once_on_a_local_master_unless_it_says_otherwise(
    master: str, attempts: int, tmp_path: Path
) -> None:
    with running(master, tmp_path / "scratch") as app:
        log = str(tmp_path / "attempts")

        def fail(_partition: int, _records: Any) -> None:
            with open(log, "a") as file:
                file.write("x")
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            app.result(app.source([1]), fail)
        assert len(Path(log).read_text()) == attempts


def test_result_that_cannot_be_pickled_is_refused(app: App) -> None:
    with pytest.raises(SparkException, match="Could not serialize object: TypeError: cannot pickle '_thread.lock'"):
        app.result(app.source([1]), lambda partition, records: threading.Lock())
    assert app.works()


class Unreadable:
    """Can be pickled, and not be read again."""

    def __reduce__(self) -> Any:
        return int, ("not a number",)


@pytest.mark.parametrize("on_result", [None, lambda position, value: None], ids=["waited for", "one by one"])
def test_result_that_cannot_be_read_fails_its_job_alone(app: App, on_result: Any) -> None:
    def make(_partition: int, _records: Any) -> Any:
        class AlsoUnreadable:
            def __reduce__(self) -> Any:
                return int, ("not a number",)

        return AlsoUnreadable()

    with pytest.raises((ValueError, SparkException), match="not a number"):
        app.result(app.source([1]), make, on_result=on_result)
    assert app.works()


def test_program_that_cannot_be_read_by_workers_fails_its_job_alone(app: App) -> None:
    unreadable = Unreadable()
    for _ in range(2):
        with pytest.raises(ValueError, match="not a number"):
            app.result(app.source([1], [2]), lambda partition, records: unreadable)
    assert app.works()


def test_results_above_the_limit_are_refused(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, spark_driver_maxResultSize="1000b") as app:
        with pytest.raises(SparkException, match=r"bigger than spark.driver.maxResultSize \(1000 bytes\)"):
            app.result(app.source([1]), lambda partition, records: "x" * 2000)
        with pytest.raises(SparkException, match=r"total size of serialized results of .* tasks .* is bigger than"):
            app.result(app.source([1], [2], [3]), lambda partition, records: "x" * 400)
        assert app.works()


def test_zero_sets_no_limit_to_results(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, spark_driver_maxResultSize="0") as app:
        assert [len(r) for r in app.result(app.source([1]), lambda partition, records: "x" * 100_000)] == [100_000]


# ------------------------------------------------------------------------------------------------ cancelling
def test_job_is_cancelled_while_it_runs(app: App, tmp_path: Path) -> None:
    handle = app.submit(app.source([1], [2]), until_killed(tmp_path / "runs"))
    wait_for((tmp_path / "runs").exists, "the job runs")
    handle.cancel("it takes too long")
    with pytest.raises(JobCancelled, match=f"Job {handle.job_id} cancelled: it takes too long") as caught:
        handle.result(PATIENCE_SECONDS)
    assert caught.value.job_id == handle.job_id
    assert app.works()


def test_group_is_cancelled_and_others_go_on(app: App, tmp_path: Path) -> None:
    doomed = app.submit(app.source([1]), until_killed(tmp_path / "runs"), properties={"spark.jobGroup.id": "nightly"})
    wait_for((tmp_path / "runs").exists, "the job runs")
    other = app.submit(app.source([1]), properties={"spark.jobGroup.id": "hourly"})
    app.application.cancel_group("nightly", "enough")
    with pytest.raises(JobCancelled, match="Job group nightly cancelled: enough"):
        doomed.result(PATIENCE_SECONDS)
    assert other.result(PATIENCE_SECONDS) == [[1]]


def test_all_jobs_are_cancelled(app: App, tmp_path: Path) -> None:
    handles = [app.submit(app.source([1]), until_killed(tmp_path / "runs")) for _ in range(3)]
    wait_for((tmp_path / "runs").exists, "the first job runs")
    app.application.cancel_all("enough")
    for handle in handles:
        with pytest.raises(JobCancelled):
            handle.result(PATIENCE_SECONDS)
    assert app.works()


@with_workers
def test_failed_job_is_over_when_none_of_its_tasks_runs_any_more(app: App, tmp_path: Path) -> None:
    pid_file = str(tmp_path / "pid")

    def work(partition: int, _: Any) -> None:
        import os
        import time

        if partition == 0:
            with open(pid_file + ".tmp", "w") as file:
                file.write(str(os.getpid()))
            os.rename(pid_file + ".tmp", pid_file)
        while partition == 0 or not os.path.exists(pid_file):
            time.sleep(0.01)
        raise ValueError("one")

    for _ in range(10):  # a worker that is killed is gone very soon
        with pytest.raises(ValueError, match="one"):
            app.result(app.source([1], [2]), work)
        assert not alive([int(Path(pid_file).read_text())])
        os.remove(pid_file)


def test_jobs_that_are_cancelled_as_they_end_do_no_harm_to_others(app: App) -> None:
    dataset = app.source([1], [2])
    for _ in range(25):
        doomed, innocent = app.submit(dataset), app.submit(dataset)
        doomed.cancel()
        assert innocent.result(PATIENCE_SECONDS) == [[1], [2]]
    assert app.works()


# ------------------------------------------------------------------------------------------------ stopping
def test_application_ends_with_all_that_it_started(app: App) -> None:
    app.works()
    below, directories = descendants(), scratch_directories({os.getpid(), *descendants()})
    assert directories
    app.application.stop()
    app.application.stop()
    wait_for(lambda: not alive(below), "all processes ended")
    assert not [directory for directory in directories if os.path.exists(directory)]


def test_jobs_that_run_fail_when_the_application_stops(app: App, tmp_path: Path) -> None:
    handle = app.submit(app.source([1]), until_killed(tmp_path / "runs"))
    wait_for((tmp_path / "runs").exists, "the job runs")
    app.application.stop()
    with pytest.raises(SparkException, match="the application was stopped"):
        handle.result(PATIENCE_SECONDS)


def test_application_that_was_stopped_refuses_jobs(app: App) -> None:
    app.application.stop()
    with pytest.raises(IllegalStateException, match="the application was stopped"):
        app.submit(app.source([1]))


def test_application_whose_scheduler_failed_fails_its_jobs_and_can_still_be_stopped(
    master: str, tmp_path: Path
) -> None:
    class Broken(SystemClock):
        """Stands for a bug of ours."""

        broken = False

        def now_ms(self) -> int:
            if self.broken:
                raise RuntimeError("a bug of ours")
            return super().now_ms()

    clock = Broken()
    with running(master, tmp_path, clock) as app:
        handle = app.submit(app.source([1]), until_killed(tmp_path / "runs"))
        wait_for((tmp_path / "runs").exists, "the job runs")
        below, directories = descendants(), scratch_directories({os.getpid(), *descendants()})
        clock.broken = True
        app.application.cancel_all("whatever")
        with pytest.raises(SparkException, match="the scheduler failed: .*a bug of ours"):
            handle.result(PATIENCE_SECONDS)
        with pytest.raises(IllegalStateException, match="the scheduler failed"):
            app.submit(app.source([1]))
        app.application.stop()
        wait_for(lambda: not alive(below), "all processes ended")
        assert not [directory for directory in directories if os.path.exists(directory)]


def test_job_that_is_submitted_while_the_application_stops_ends(app: App) -> None:
    """It is being pickled when the application goes."""

    class Slow:
        def __reduce__(self) -> Any:
            app.application.stop()
            return int, ()

    slow = Slow()
    outcome = in_background(lambda: app.result(app.source([1]), lambda partition, records: slow))
    assert isinstance(outcome.get(timeout=2 * PATIENCE_SECONDS), SparkException | IllegalStateException)


def test_question_to_an_application_that_was_stopped_is_answered(app: App) -> None:
    app.application.stop()
    questions: list[Callable[[], Any]] = [
        lambda: app.application.cached_partitions(0),
        lambda: app.application.unpersist(0, blocking=True),
    ]
    for question in questions:
        outcome = in_background(question).get(timeout=PATIENCE_SECONDS)
        assert outcome in ({}, None) or isinstance(outcome, IllegalStateException)


def test_application_stops_while_jobs_end_and_begin(master: str, tmp_path: Path) -> None:
    for _ in range(3):
        app = App(master, tmp_path)
        dataset = app.source([1], [2])

        def ask(app: App = app, dataset: Dataset = dataset) -> None:
            while True:
                app.result(dataset)

        outcomes = [in_background(ask) for _ in range(3)]
        app.result(dataset)
        stopped = in_background(app.application.stop)
        assert stopped.get(timeout=PATIENCE_SECONDS) is None
        for outcome in outcomes:
            assert isinstance(outcome.get(timeout=2 * PATIENCE_SECONDS), SparkException | IllegalStateException)
