"""A whole application on real masters: what its caller sees when all goes well, and when processes are killed."""

from __future__ import annotations

import gc
import os
import queue
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import headwater
from headwater import accumulators
from headwater.broadcast import Broadcast
from headwater.clock import Clock, SystemClock
from headwater.conf import SparkConf
from headwater.engine.application import Application, JobHandle
from headwater.engine.events import ReceiverLost
from headwater.engine.lineage import (
    Aggregator,
    Dataset,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
)
from headwater.errors import IllegalStateException, JobCancelled, SerializationError, SparkException, TaskError
from headwater.hashing import portable_hash
from headwater.serializers import dump_records, dumps
from headwater.storagelevel import StorageLevel
from tests.engine.processes import (
    PATIENCE_SECONDS,
    alive,
    await_true,
    descendants,
    executors,
    name_of,
    scratch_directories,
    workers,
)

ROOT = Path(headwater.__file__).parents[1]
MASTERS = ["local", "local[2]", "local-cluster[2,1,512]"]


class App:
    """An application with words for datasets and jobs. Every wait has its timeout."""

    def __init__(self, master: str, local_dir: Path, clock: Clock | None = None, **settings: Any) -> None:
        conf = SparkConf(loadDefaults=False).setAppName("tests").set("spark.local.dir", str(local_dir))
        for key, value in settings.items():
            conf.set(key.replace("_", "."), value)
        self.application = Application(conf, master, "app-1", merge_accumulators=accumulators.merge, clock=clock)

    def source(self, *partitions: list[Any]) -> Dataset:
        payloads = [dump_records(records) for records in partitions]
        return Dataset(self.application.new_dataset_id(), Slice(), (), len(partitions), payloads=payloads)

    def mapped(self, parent: Dataset, function: Callable[[Any], Any], level: StorageLevel | None = None) -> Dataset:
        dataset_id = self.application.new_dataset_id()
        dataset = Dataset(dataset_id, PerRecord("map", function), (parent,), parent.num_partitions)
        dataset.storage_level = level
        return dataset

    def reduced(self, parent: Dataset, partitions: int = 2) -> Dataset:
        """The pairs' values added up by key."""
        aggregator = Aggregator(None, lambda a, b: a + b, lambda a, b: a + b)
        write = ShuffleWrite(partitions, portable_hash, aggregator)
        shuffle = Shuffle(self.application.new_shuffle_id(), parent, write)
        dataset_id = self.application.new_dataset_id()
        return Dataset(dataset_id, ShuffleRead(aggregator), (), partitions, shuffle=shuffle)

    def submit(self, dataset: Dataset, function: Any = None, **more: Any) -> JobHandle:
        action = function or (lambda partition, records: list(records))
        more = {"partitions": range(dataset.num_partitions), "properties": {}, "call_site": "here", **more}
        return self.application.submit_job(dataset, action, **more)

    def result(self, dataset: Dataset, function: Any = None, **more: Any) -> list[Any]:
        return self.submit(dataset, function, **more).result(PATIENCE_SECONDS)

    def collected(self, dataset: Dataset) -> list[Any]:
        return sorted(record for part in self.result(dataset) for record in part)

    def await_all_executors(self, directory: Path) -> None:
        """Run a task on each, which waits for the others."""
        directory.mkdir()
        path, executors = str(directory), 2

        def meet(partition: int, _records: Any) -> None:
            import os
            import time

            with open(os.path.join(path, str(partition)), "w"):
                pass
            while len(os.listdir(path)) < executors:
                time.sleep(0.001)

        self.result(self.source(*[[]] * executors), meet)

    def works(self) -> bool:
        """A job with a shuffle gives what it should."""
        pairs = self.source([("a", 1), ("b", 2)], [("a", 3)])
        return self.collected(self.reduced(pairs)) == [("a", 4), ("b", 2)]

    def broadcast(self, value: Any) -> Broadcast[Any]:
        class Context:
            _application = self.application

        return Broadcast(Context(), value)  # type: ignore[arg-type]

    def blocks(self, prefix: str) -> list[str]:
        """The files of blocks whose id starts so, on all executors."""
        directories = scratch_directories({os.getpid(), *descendants()})
        return sorted(
            str(path) for directory in directories for path in Path(directory).rglob(f"{prefix}*") if path.is_file()
        )


@pytest.fixture(autouse=True)
def _alone(no_context: None) -> None:
    """Processes are counted here: no other application may have any."""


@pytest.fixture(params=MASTERS)
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def running(master: str, local_dir: Path, clock: Clock | None = None, **settings: Any) -> Iterator[App]:
    app = App(master, local_dir, clock, **settings)
    try:
        yield app
    finally:
        app.application.stop()
        app.application._backend.stop()  # should the other have failed: executors that are left would disturb the rest


@pytest.fixture
def app(master: str, tmp_path: Path) -> Iterator[App]:
    with running(master, tmp_path / "scratch") as app:
        yield app


def on(*masters: str) -> Any:
    return pytest.mark.parametrize("master", masters, indirect=True)


with_workers = on(*MASTERS[1:])
on_a_cluster = on(MASTERS[2])


def in_background(work: Callable[[], Any]) -> queue.SimpleQueue[Any]:
    """Run this on a thread; the queue gets what it returned or raised."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def until_killed(marker: Path) -> Callable[[int, Any], None]:
    """An action that goes on until it's killed, and says by a file that it has begun."""
    path = str(marker)

    def work(_partition: int, _records: Any) -> None:
        import time

        with open(path, "w"):
            pass
        while True:
            time.sleep(0.001)

    return work


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


def test_results_come_one_by_one_to_who_asks_for_that(app: App) -> None:
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


def test_status_tells_what_became_of_jobs(app: App) -> None:
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


def test_exception_that_cannot_be_pickled_is_told_by_its_text_and_traceback(app: App) -> None:
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
    await_true((tmp_path / "runs").exists, "the job runs")
    handle.cancel("it takes too long")
    with pytest.raises(JobCancelled, match=f"Job {handle.job_id} cancelled: it takes too long") as caught:
        handle.result(PATIENCE_SECONDS)
    assert caught.value.job_id == handle.job_id
    assert app.works()


def test_group_is_cancelled_and_others_go_on(app: App, tmp_path: Path) -> None:
    doomed = app.submit(app.source([1]), until_killed(tmp_path / "runs"), properties={"spark.jobGroup.id": "nightly"})
    await_true((tmp_path / "runs").exists, "the job runs")
    other = app.submit(app.source([1]), properties={"spark.jobGroup.id": "hourly"})
    app.application.cancel_group("nightly", "enough")
    with pytest.raises(JobCancelled, match="Job group nightly cancelled: enough"):
        doomed.result(PATIENCE_SECONDS)
    assert other.result(PATIENCE_SECONDS) == [[1]]


def test_all_jobs_are_cancelled(app: App, tmp_path: Path) -> None:
    handles = [app.submit(app.source([1]), until_killed(tmp_path / "runs")) for _ in range(3)]
    await_true((tmp_path / "runs").exists, "the first job runs")
    app.application.cancel_all("enough")
    for handle in handles:
        with pytest.raises(JobCancelled):
            handle.result(PATIENCE_SECONDS)
    assert app.works()


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
    await_true(lambda: not alive(below), "all processes ended")
    assert not [directory for directory in directories if os.path.exists(directory)]


def test_jobs_that_run_fail_when_the_application_stops(app: App, tmp_path: Path) -> None:
    handle = app.submit(app.source([1]), until_killed(tmp_path / "runs"))
    await_true((tmp_path / "runs").exists, "the job runs")
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
        await_true((tmp_path / "runs").exists, "the job runs")
        below, directories = descendants(), scratch_directories({os.getpid(), *descendants()})
        clock.broken = True
        app.application.cancel_all("whatever")
        with pytest.raises(SparkException, match="the scheduler failed: .*a bug of ours"):
            handle.result(PATIENCE_SECONDS)
        with pytest.raises(IllegalStateException, match="the scheduler failed"):
            app.submit(app.source([1]))
        app.application.stop()
        await_true(lambda: not alive(below), "all processes ended")
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


# ------------------------------------------------------------------------------------------------ workers that die
def once(marker: Path, end: str) -> Callable[[Any], Any]:
    """A function of a record that ends its process the first time that it is called."""
    path = str(marker)

    def work(record: Any) -> Any:
        import os
        import signal

        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return record
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(1)

    return work


@with_workers
@pytest.mark.parametrize("end", ["kill", "exit"])
def test_job_succeeds_though_a_worker_dies_in_mid_task(app: App, tmp_path: Path, end: str) -> None:
    pairs = app.mapped(app.source([("a", 1), ("b", 1)], [("a", 1)]), once(tmp_path / "died", end))
    total = accumulators.create(0)

    def tally(pair: Any) -> Any:
        total.add(1)
        return pair

    assert app.collected(app.reduced(app.mapped(pairs, tally))) == [("a", 2), ("b", 1)]
    assert (tmp_path / "died").exists()
    assert total.value == 3


@with_workers
def test_job_fails_naming_task_and_signal_when_its_worker_dies_each_time(app: App) -> None:
    def die(record: Any) -> Any:
        import os
        import signal

        if record == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(SparkException, match=r"task 1 in stage 0 failed 4 times, .*SIGKILL"):
        app.result(app.mapped(app.source([1], [2]), die))
    assert app.works()


@with_workers
def test_application_survives_jobs_that_kill_all_their_workers(app: App) -> None:
    def die(_partition: int, _records: Any) -> None:
        import os

        os._exit(1)

    for _ in range(4):
        with pytest.raises(SparkException, match="exited with code 1"):
            app.result(app.source([1], [2]), die)
    assert app.works()


@with_workers
def test_cached_partitions_and_shuffle_files_outlive_the_workers(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path / "scratch", headwater_shuffle_inlineLimit="0") as app:
        log = str(tmp_path / "computed")

        def note(pair: Any) -> Any:
            with open(log, "a") as file:
                file.write("x")
            return pair

        pairs = app.mapped(app.source([("a", 1)], [("b", 2)]), note)
        reduced = app.mapped(app.reduced(pairs), lambda pair: pair, StorageLevel.MEMORY_ONLY)
        assert app.collected(reduced) == [("a", 1), ("b", 2)]
        for pid in workers():
            os.kill(pid, signal.SIGKILL)
        assert app.collected(app.mapped(reduced, lambda pair: pair)) == [("a", 1), ("b", 2)]
        assert Path(log).read_text() == "xx"


@on("local[2]")
def test_job_fails_and_does_not_wait_for_ever_when_no_executor_is_left(app: App) -> None:
    """Its warden dies again and again: something is wrong with the machine."""
    dead: set[int] = set()

    def no_more() -> bool:
        wardens = {pid for pid in descendants() if name_of(pid).startswith("hw-warden")} - dead
        for pid in wardens:
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
        return len(dead) > 10 and not descendants()

    await_true(no_more, "the executor gives up")
    outcome = in_background(lambda: app.result(app.source([1])))
    assert isinstance(outcome.get(timeout=2 * PATIENCE_SECONDS), SparkException | IllegalStateException)


# ------------------------------------------------------------------------------------------------ executors that die
def kill_an_executor() -> None:
    doomed = executors()[0]
    os.kill(doomed, signal.SIGKILL)
    await_true(lambda: not alive([doomed]), "the executor is dead")


def test_shuffle_files_of_a_killed_executor_are_made_again(tmp_path: Path) -> None:
    with running("local-cluster[2,1,512]", tmp_path, headwater_shuffle_inlineLimit="0") as app:
        reduced = app.reduced(app.reduced(app.source(*[[(i % 5, 1) for i in range(50)] for _ in range(4)])))
        expected = [(i, 40) for i in range(5)]
        assert app.collected(reduced) == expected
        for _ in range(2):
            kill_an_executor()
            assert app.collected(app.mapped(reduced, lambda pair: pair)) == expected


@on_a_cluster
def test_cached_partitions_of_a_killed_executor_are_computed_again(app: App) -> None:
    kept = app.mapped(app.source([1], [2], [3], [4]), lambda r: r * 10, StorageLevel.MEMORY_ONLY)
    assert app.collected(kept) == [10, 20, 30, 40]
    assert len(app.application.cached_partitions(kept.dataset_id)) == 4
    kill_an_executor()
    assert app.collected(app.mapped(kept, lambda r: r + 1)) == [11, 21, 31, 41]


@on_a_cluster
def test_copies_outlive_a_killed_executor(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    log = str(tmp_path / "computed")

    def note(record: Any) -> Any:
        with open(log, "a") as file:
            file.write("x")
        return record

    kept = app.mapped(app.source([1], [2], [3]), note, StorageLevel.MEMORY_ONLY_2)
    assert app.collected(kept) == [1, 2, 3]
    refs = app.application.cached_partitions(kept.dataset_id).values()
    assert [len(ref.locations) for ref in refs] == [2, 2, 2]
    kill_an_executor()
    assert app.collected(app.mapped(kept, lambda r: r)) == [1, 2, 3]
    assert Path(log).read_text() == "xxx"


@on_a_cluster
def test_job_succeeds_though_an_executor_dies_in_mid_task(app: App, tmp_path: Path) -> None:
    gate, begun = str(tmp_path / "gate"), str(tmp_path / "begun")

    def wait(record: int) -> int:
        import os
        import time

        with open(begun, "w"):
            pass
        while not os.path.exists(gate):
            time.sleep(0.001)
        return record

    handle = app.submit(app.mapped(app.source([1], [2], [3]), wait))
    await_true((tmp_path / "begun").exists, "the job runs")
    kill_an_executor()
    Path(gate).touch()
    assert handle.result(PATIENCE_SECONDS) == [[1], [2], [3]]


@on_a_cluster
def test_application_goes_on_with_replacements_when_all_executors_die(app: App) -> None:
    assert app.works()
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.works()
    await_true(lambda: len(executors()) == 2, "both are replaced")


# ------------------------------------------------------------------------------------------------ storage
LEVELS = ["MEMORY_ONLY", "MEMORY_AND_DISK", "DISK_ONLY", "MEMORY_ONLY_2", "MEMORY_AND_DISK_2", "DISK_ONLY_2"]


@pytest.mark.parametrize("level", LEVELS)
def test_partition_is_stored_at_its_level_and_not_computed_again(
    app: App, master: str, level: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "computed")

    def note(record: Any) -> Any:
        with open(log, "a") as file:
            file.write("x")
        return record

    kept = app.mapped(app.source([1], [2]), note, getattr(StorageLevel, level))
    for _ in range(2):
        assert app.collected(kept) == [1, 2]
    assert Path(log).read_text() == "xx"
    stored = app.application.cached_partitions(kept.dataset_id)
    copies = 2 if level.endswith("_2") and "cluster" in master else 1
    assert {partition: len(ref.locations) for partition, ref in stored.items()} == {0: copies, 1: copies}
    files = app.blocks("rdd_")
    assert len(files) == 2 * copies
    assert all(Path(path).parent.name == ("disk" if level.startswith("DISK") else "memory") for path in files)


def test_unpersisted_partitions_are_removed_and_computed_again(app: App) -> None:
    kept = app.mapped(app.source([1], [2]), lambda r: r, StorageLevel.MEMORY_ONLY)
    app.result(kept)
    kept.storage_level = None
    app.application.unpersist(kept.dataset_id, blocking=True)
    assert app.application.cached_partitions(kept.dataset_id) == {}
    await_true(lambda: not app.blocks("rdd_"), "the files are gone")
    assert app.collected(kept) == [1, 2]


@pytest.mark.parametrize("level", ["MEMORY_ONLY", "MEMORY_AND_DISK"])
def test_what_does_not_fit_into_memory_is_dropped_or_moved_as_its_level_says(tmp_path: Path, level: str) -> None:
    """Six partitions of 300 kB in a megabyte, of which a part is for blocks."""
    with running("local-cluster[1,1,1]", tmp_path) as app:
        kept = app.mapped(
            app.source(*[[i] for i in range(6)]), lambda i: (i, "x" * 300_000), getattr(StorageLevel, level)
        )
        lengths = app.mapped(kept, lambda pair: (pair[0], len(pair[1])))
        for _ in range(3):
            assert app.collected(lengths) == [(i, 300_000) for i in range(6)]
        there = len(app.blocks("rdd_"))
        assert there == 6 if level == "MEMORY_AND_DISK" else 0 < there < 6
        stored = app.application.cached_partitions
        await_true(lambda: len(stored(kept.dataset_id)) == there, "the scheduler has heard of what was dropped")


def test_shuffle_files_are_removed_when_nothing_refers_to_their_dataset(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, headwater_shuffle_inlineLimit="0") as app:
        reduced = app.reduced(app.source([("a", 1)], [("b", 2)]))
        app.result(reduced)
        assert app.blocks("shuffle_")
        del reduced
        gc.collect()
        await_true(lambda: not app.blocks("shuffle_"), "the files are gone")


def test_shuffle_files_are_kept_while_a_dataset_refers_to_them(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, headwater_shuffle_inlineLimit="0") as app:
        child = app.mapped(app.reduced(app.source([("a", 1)], [("b", 2)])), lambda pair: pair)
        app.result(child)
        gc.collect()
        before = app.blocks("shuffle_")
        assert app.collected(child) == [("a", 1), ("b", 2)]
        assert app.blocks("shuffle_") == before != []


# ------------------------------------------------------------------------------------------------ broadcasts, files
def test_broadcast_is_sent_to_an_executor_once(app: App, tmp_path: Path) -> None:
    """Later jobs don't need the driver's copy any more, though their programs are other ones."""
    if executors():
        app.await_all_executors(tmp_path / "met")
    words = app.broadcast({"a": 1})
    dataset = app.source([1], [2], [3])
    assert app.result(dataset, lambda p, records: words.value["a"]) == [1, 1, 1]
    copies = app.blocks(f"broadcast_{words.id}")
    assert len(copies) == 1 + max(1, len(executors()))
    (drivers,) = [path for path in copies if path.startswith(app.application.directory)]
    os.unlink(drivers)
    for n in range(3):
        assert app.result(dataset, lambda p, records, n=n: words.value["a"] + n) == [1 + n] * 3


def test_broadcast_is_gone_from_everywhere_when_it_is_removed(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    dataset = app.source([1], [2])
    assert app.result(dataset, lambda p, records: sum(words.value)) == [6, 6]
    assert app.blocks(f"broadcast_{words.id}")
    words.destroy()
    await_true(lambda: not app.blocks(f"broadcast_{words.id}"), "the files are gone")
    with pytest.raises(
        (SparkException, SerializationError), match=rf"Attempted to use Broadcast\({words.id}\) after it was destroyed"
    ):
        app.result(dataset, lambda p, records: words.value)


def adding_up(words: Broadcast[Any]) -> Callable[[int, Any], int]:
    return lambda partition, records: sum(words.value)


@with_workers
def test_broadcast_is_gone_when_nothing_refers_to_it(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    number = words.id
    assert app.result(app.source([1]), adding_up(words)) == [6]
    del words
    gc.collect()
    await_true(lambda: not app.blocks(f"broadcast_{number}"), "the files are gone")


def test_broadcast_is_sent_again_when_it_was_only_unpersisted(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    dataset = app.source([1], [2])
    for _ in range(2):
        assert app.result(dataset, lambda p, records: sum(words.value)) == [6, 6]
        words.unpersist()


@on_a_cluster
def test_broadcast_reaches_an_executor_that_joins_later(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    assert app.result(app.source([1], [2]), lambda p, records: sum(words.value)) == [6, 6]
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.result(app.source([1], [2]), lambda p, records: sum(words.value)) == [6, 6]


def test_broadcast_of_a_shuffle_that_is_made_again_is_still_there(tmp_path: Path) -> None:
    """The driver keeps it, though it was unpersisted, as long as a program that uses it may run."""
    with running("local-cluster[1,1,512]", tmp_path, headwater_shuffle_inlineLimit="0") as app:
        words = app.broadcast(10)
        reduced = app.reduced(app.mapped(app.source([("a", 1)]), lambda pair: (pair[0], pair[1] * words.value)))
        assert app.collected(reduced) == [("a", 10)]
        words.unpersist()
        kill_an_executor()
        assert app.collected(app.mapped(reduced, lambda pair: pair)) == [("a", 10)]


def read_added(_partition: int, _records: Any) -> Any:
    import importlib

    from headwater.files import SparkFiles

    with open(SparkFiles.get("words/list.txt")) as file:
        return file.read(), importlib.import_module("added_module").ANSWER


def test_added_file_reaches_every_worker(app: App, tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "list.txt").write_text("one two")
    (tmp_path / "added_module.py").write_text("ANSWER = 42")
    app.result(app.source([1], [2]))  # the workers are there already
    app.application.add_file("words", str(tmp_path / "words"), importable=False)
    app.application.add_file("added_module.py", str(tmp_path / "added_module.py"), importable=True)
    sys.modules.pop("added_module", None)
    assert app.result(app.source([1], [2], [3]), read_added) == [("one two", 42)] * 3


@on_a_cluster
def test_added_file_reaches_executors_that_join_later(app: App, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one two")
    (tmp_path / "added_module.py").write_text("ANSWER = 42")
    app.application.add_file("words/list.txt", str(tmp_path / "list.txt"), importable=False)
    app.application.add_file("added_module.py", str(tmp_path / "added_module.py"), importable=True)
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.result(app.source([1], [2]), read_added) == [("one two", 42)] * 2


# ------------------------------------------------------------------------------------------------ receivers
def make_echo() -> bytes:
    def factory(host: Any) -> Any:
        class Echo:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                host.post("stopped")

        host.post(("made", host.executor_id))
        return Echo()

    return dumps(factory)


class Owner:
    """Who listens to a receiver, from when it hears us."""

    def __init__(self, app: App, receiver_id: int = 0, **more: Any) -> None:
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.executor_id = app.application.start_receiver(receiver_id, make_echo(), self._take, **more)
        self._hears = threading.Event()

        def hears() -> bool:
            app.application.send_to_receiver(receiver_id, "do you hear me?")
            return self._hears.wait(0.01)

        await_true(hears, "the receiver hears us")
        assert self.next() == ("made", self.executor_id)

    def _take(self, event: Any) -> None:
        if event == ("heard", "do you hear me?"):
            self._hears.set()
        else:
            self._heard.put(event)

    def next(self) -> Any:
        return self._heard.get(timeout=PATIENCE_SECONDS)

    def heard_nothing(self) -> bool:
        return self._heard.empty()


def test_receiver_talks_with_its_owner(app: App) -> None:
    owner = Owner(app)
    app.application.send_to_receiver(0, "hello")
    assert owner.next() == ("heard", "hello")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    assert owner.next() == "stopped"
    app.application.send_to_receiver(0, "hello again")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    app.application.stop_receiver(99, PATIENCE_SECONDS)
    assert app.works()
    assert owner.heard_nothing()


@on_a_cluster
def test_receivers_are_spread_over_the_executors(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    owners = [Owner(app, receiver_id) for receiver_id in range(4)]
    placed = [owner.executor_id for owner in owners]
    assert {placed.count(executor) for executor in placed} == {2}


@on_a_cluster
def test_receiver_avoids_an_executor_when_there_is_another(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    for receiver_id in range(3):
        assert Owner(app, receiver_id, avoid="0").executor_id == "1"


@on("local[2]")
def test_receiver_starts_on_the_executor_to_avoid_when_there_is_no_other(app: App) -> None:
    assert Owner(app, avoid="driver").executor_id == "driver"


@on_a_cluster
def test_receiver_that_is_lost_with_its_executor_is_told_once(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    owners = [Owner(app, receiver_id) for receiver_id in range(2)]
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    for receiver_id, owner in enumerate(owners):
        lost = owner.next()
        assert isinstance(lost, ReceiverLost)
        assert (lost.receiver_id, lost.executor_id) == (receiver_id, owner.executor_id)
    assert app.works()
    assert all(owner.heard_nothing() for owner in owners)
    again = Owner(app, 0)
    assert again.executor_id not in {owner.executor_id for owner in owners}


@on_a_cluster
def test_receiver_that_was_stopped_is_not_lost_with_its_executor(app: App) -> None:
    owner = Owner(app)
    app.application.send_to_receiver(0, "hello")
    assert owner.next() == ("heard", "hello")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    assert owner.next() == "stopped"
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.works()
    assert owner.heard_nothing()


# ------------------------------------------------------------------------------------------------ the driver ends
DRIVER = """
import os, sys, time
from headwater.conf import SparkConf
from headwater.engine.application import Application
from headwater.engine.lineage import Dataset, Slice
from headwater.serializers import dump_records

master, local_dir = sys.argv[1:]
conf = SparkConf(loadDefaults=False).set("spark.local.dir", local_dir)
app = Application(conf, master, "app-1", merge_accumulators=print)

def source():
    return Dataset(app.new_dataset_id(), Slice(), (), 2, payloads=[dump_records([1])] * 2)

def run(function):
    return app.run_job(source(), function, range(2), properties={}, call_site="")

def forever(partition, records):
    if partition == 0:
        print("busy", flush=True)
    while True:
        time.sleep(0.001)

run(lambda partition, records: None)
print("ready", flush=True)
"""


class Driver:
    """A driver in a process of its own, with all that it started."""

    def __init__(self, master: str, local_dir: Path, ending: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER + textwrap.dedent(ending), master, str(local_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self._master, self._local_dir = master, local_dir
        assert self.process.stdout is not None
        self._words = self.process.stdout
        self.heard("ready")
        if master != "local":
            await_true(lambda: bool(workers(self.process.pid)), "the workers are there")
        self.below = descendants(self.process.pid)
        self.directories = scratch_directories({self.process.pid, *self.below})
        assert self.directories

    def heard(self, word: str) -> None:
        assert self._words.readline().strip() == word, self.process.stderr and self.process.stderr.read()

    def ends(self, code: int) -> str:
        """Wait for the end of it and of all that it started; returns what it complained of."""
        _, complaints = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == code, complaints
        await_true(lambda: not alive(self.below), "all processes ended")
        return complaints

    def left(self) -> list[str]:
        return [directory for directory in self.directories if os.path.exists(directory)]

    def leaves_nothing(self) -> None:
        """Whose warden or executor is left cleans up at once; the rest is swept by the next start."""
        later = {"local": len(self.directories), "local[2]": 0}.get(self._master, 1)
        await_true(lambda: len(self.left()) <= later, "the directories are gone")
        with running("local", self._local_dir):
            assert self.left() == []


BUSY = {"idle": "sys.stdin.read()", "busy": "run(forever)"}


@pytest.mark.parametrize("state", BUSY)
def test_killed_driver_leaves_nothing(master: str, tmp_path: Path, state: str) -> None:
    driver = Driver(master, tmp_path, BUSY[state])
    if state == "busy":
        driver.heard("busy")
    driver.process.kill()
    driver.ends(-signal.SIGKILL)
    driver.leaves_nothing()


def test_interrupted_driver_ends_and_leaves_nothing(master: str, tmp_path: Path) -> None:
    driver = Driver(master, tmp_path, "run(forever)")
    driver.heard("busy")
    driver.process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in driver.ends(-signal.SIGINT)
    driver.leaves_nothing()


def test_interrupted_driver_may_go_on(master: str, tmp_path: Path) -> None:
    """The job is cancelled, and the next one runs."""
    go_on = """
        try:
            run(forever)
        except KeyboardInterrupt:
            print(run(lambda partition, records: 7), flush=True)
        app.stop()
    """
    driver = Driver(master, tmp_path, go_on)
    driver.heard("busy")
    driver.process.send_signal(signal.SIGINT)
    driver.heard("[7, 7]")
    assert driver.ends(0) == ""
    assert driver.left() == []


@pytest.mark.parametrize(("how", "code"), [("sys.exit(3)", 3), ("1 / 0", 1), ("pass", 0)])
def test_driver_that_ends_without_stopping_leaves_nothing(master: str, tmp_path: Path, how: str, code: int) -> None:
    driver = Driver(master, tmp_path, how)
    complaints = driver.ends(code)
    assert "Traceback" not in complaints.replace("Traceback", "", 1 if how == "1 / 0" else 0)
    driver.leaves_nothing()


def test_stopped_driver_is_silent(master: str, tmp_path: Path) -> None:
    driver = Driver(master, tmp_path, "sys.stdin.read(); app.stop()")
    assert driver.ends(0) == ""
    assert driver.left() == []
