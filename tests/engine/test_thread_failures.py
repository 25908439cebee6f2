"""Each thread of an application is ended by an exception: jobs go on, or fail and say why."""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from headwater.base.pickling import dumps
from headwater.errors import IllegalStateException, SparkException
from tests.engine.applications import App, on, on_a_cluster
from tests.engine.processes import alive, executors, listening_ports
from tests.injection import inject, watched_threads
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.usefixtures("untraced", "no_context")


@pytest.fixture
def threads_before() -> list[threading.Thread]:
    """Those that others have left: a task in C code can't be ended on a thread of this process."""
    return threading.enumerate()


@pytest.mark.parametrize(
    ("master", "threads"),
    [
        ("local", {"scheduler", "worker-0"}),
        ("local[2]", {"executor-driver-io", "scheduler"}),
        (
            "local-cluster[2,1,512]",
            {"cluster", "cluster-link", "executor-0-process", "executor-1-process", "executors-watch", "scheduler"},
        ),
    ],
    indirect=["master"],
)
def test_threads_of_an_application_are_these(
    threads_before: list[threading.Thread], app: App, threads: set[str]
) -> None:
    assert app.works()
    assert watched_threads(but=threads_before) == threads


def test_job_fails_and_says_why_when_the_schedulers_thread_has_failed(app: App) -> None:
    inject("scheduler")
    with pytest.raises((SparkException, IllegalStateException), match=r"the scheduler failed: Injected"):
        for _ in range(100):  # a loop that nothing wakes has nothing to fail of
            app.application.cached_partitions(0)
            app.result(app.source([1]))


@on("local[2]")
def test_job_fails_and_says_why_when_the_only_executors_thread_has_failed(app: App) -> None:
    inject("executor-driver-io")
    with pytest.raises((SparkException, IllegalStateException), match="its I/O thread has failed: Injected"):
        app.result(app.source([1]))


@on("local")
def test_task_runs_on_another_thread_when_the_workers_has_failed(app: App) -> None:
    for number in range(3):
        inject(f"worker-{number}")
        assert app.works()


@on_a_cluster
def test_executors_are_replaced_when_the_threads_that_read_their_connections_have_failed(app: App) -> None:
    assert app.works()
    before = executors()
    inject("cluster-link")
    assert app.works()
    wait_for(lambda: not alive(before) and len(executors()) == len(before), "the executors are replaced")
    assert app.works()


@on_a_cluster
def test_executor_is_let_in_when_the_thread_that_lets_in_has_failed(app: App) -> None:
    inject("cluster")
    for port in listening_ports(os.getpid()):
        socket.create_connection(("127.0.0.1", port)).close()  # it wakes, and so ends, the thread
    before = executors()
    for executor in before:
        os.kill(executor, signal.SIGKILL)
    wait_for(lambda: not alive(before) and len(executors()) == len(before), "the executors are replaced")
    assert app.works()


@on_a_cluster
def test_jobs_fail_with_the_reason_at_the_next_death_when_executors_are_no_longer_watched(app: App) -> None:
    inject("executors-watch")
    wait_for(lambda: "executors-watch" not in watched_threads(), "the watch has ended")
    for executor in executors():
        os.kill(executor, signal.SIGKILL)
    with pytest.raises((SparkException, IllegalStateException), match="the watch over the executors failed: Injected"):
        for _ in range(100):
            app.result(app.source([1]))


class Saboteur:
    """A receiver that throws an exception into a thread of its executor."""

    def __init__(self, thread: str, directory: str) -> None:
        self._thread = thread
        self._directory = directory

    def __call__(self, host: Any) -> Saboteur:
        if self._directory not in sys.path:
            sys.path.insert(0, self._directory)
        inject(self._thread.format(host.executor_id))
        host.post("done")
        return self

    def receive(self, message: Any) -> None:
        raise AssertionError(message)

    def stop(self) -> None:
        pass


@on_a_cluster
@pytest.mark.parametrize("thread", ["executor-{}-io", "block-server", "heartbeat", "MainThread"])
def test_jobs_go_on_when_a_thread_of_an_executor_has_failed(app: App, thread: str) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    factory = dumps(Saboteur(thread, str(Path(__file__).parents[2])))
    app.application.start_receiver(1, factory, heard.put)
    assert heard.get(timeout=PATIENCE_SECONDS) == "done"
    for _ in range(3):
        assert app.works()


def test_owner_of_a_receiver_is_told_when_its_making_has_left(app: App) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def leave(_host: Any) -> Any:
        raise SystemExit("from the factory")

    app.application.start_receiver(1, dumps(leave), heard.put)
    assert str(heard.get(timeout=PATIENCE_SECONDS)) == "SystemExit: from the factory"
    app.application.stop_receiver(1, PATIENCE_SECONDS)


_ENDS = """
import sys
from headwater import SparkContext
sc = SparkContext("local[2]", "tests")
print(sc.parallelize(range(8), 8).count())
from tests.injection import inject
inject("executor-driver-io")
try:
    sc.parallelize(range(8), 8).count()
except Exception as error:
    print(type(error).__name__)
"""


def test_program_ends_by_itself_after_a_thread_has_failed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    command = [sys.executable, "-c", _ENDS]
    done = run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=tmp_path, env=environment)
    assert (done.stdout.split(), done.returncode) == (["8", "JobCancelled"], 0)
