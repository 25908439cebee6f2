"""Workers, executors and drivers of a whole application are killed: what its caller sees, and what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater
from headwater import accumulators
from headwater.errors import IllegalStateException, SparkException
from headwater.storagelevel import StorageLevel
from tests.engine.applications import App, in_background, kill_an_executor, on, on_a_cluster, running, with_workers
from tests.engine.processes import alive, descendants, executors, name_of, scratch_directories, workers
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(headwater.__file__).parents[1]

pytestmark = pytest.mark.usefixtures("no_context")  # processes are counted: no other application may have any


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

    wait_for(no_more, "the executor gives up")
    outcome = in_background(lambda: app.result(app.source([1])))
    assert isinstance(outcome.get(timeout=2 * PATIENCE_SECONDS), SparkException | IllegalStateException)


# ------------------------------------------------------------------------------------------------ executors that die
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
    wait_for((tmp_path / "begun").exists, "the job runs")
    kill_an_executor()
    Path(gate).touch()
    assert handle.result(PATIENCE_SECONDS) == [[1], [2], [3]]


@on_a_cluster
def test_application_goes_on_with_replacements_when_all_executors_die(app: App) -> None:
    assert app.works()
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.works()
    wait_for(lambda: len(executors()) == 2, "both are replaced")


# ------------------------------------------------------------------------------------------------ the driver ends
DRIVER = """
import os, sys, time
from headwater.conf import SparkConf
from headwater.engine.application import Application
from headwater.engine.backends.masters import make_backend, parse_master
from headwater.engine.lineage import Dataset, Slice
from headwater.base.pickling import dump_records

master, local_dir = sys.argv[1:]
conf = SparkConf(loadDefaults=False).set("spark.local.dir", local_dir)
app = Application(conf, parse_master(master), "app-1", make_backend=make_backend, merge_accumulators=print)

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
            wait_for(lambda: bool(workers(self.process.pid)), "the workers are there")
        self.below = descendants(self.process.pid)
        self.directories = scratch_directories({self.process.pid, *self.below})
        assert self.directories

    def heard(self, word: str) -> None:
        assert self._words.readline().strip() == word, self.process.stderr and self.process.stderr.read()

    def ends(self, code: int) -> str:
        """Wait for the end of it and of all that it started; returns what it complained of."""
        _, complaints = self.process.communicate(timeout=PATIENCE_SECONDS)
        assert self.process.returncode == code, complaints
        wait_for(lambda: not alive(self.below), "all processes ended")
        return complaints

    def left(self) -> list[str]:
        return [directory for directory in self.directories if os.path.exists(directory)]

    def leaves_nothing(self) -> None:
        """Whose warden or executor is left cleans up at once; the rest is swept by the next start."""
        later = {"local": len(self.directories), "local[2]": 0}.get(self._master, 1)
        wait_for(lambda: len(self.left()) <= later, "the directories are gone")
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
    driver = Driver(master, tmp_path, f"sys.stdin.read()\n{how}")
    complaints = driver.ends(code)
    assert "Traceback" not in complaints.replace("Traceback", "", 1 if how == "1 / 0" else 0)
    driver.leaves_nothing()


def test_stopped_driver_is_silent(master: str, tmp_path: Path) -> None:
    driver = Driver(master, tmp_path, "sys.stdin.read(); app.stop()")
    assert driver.ends(0) == ""
    assert driver.left() == []
