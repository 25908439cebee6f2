"""Executors and workers that hang, by SIGSTOP, and a driver that does: who is given up, and what is counted."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headwater
from headwater import accumulators
from headwater.base.pickling import dumps
from headwater.errors import IllegalStateException, SparkException
from tests.engine.applications import MASTERS, in_background, on, running
from tests.engine.processes import alive, descendants, executors, scratch_directories
from tests.waiting import PATIENCE_SECONDS, wait_for

ROOT = Path(headwater.__file__).parents[1]
TWO = "local-cluster[2,1,512]"
TIMEOUT_SECONDS = 2
QUICK = {"spark_executor_heartbeatInterval": "100ms", "spark_network_timeout": f"{TIMEOUT_SECONDS}s"}

pytestmark = pytest.mark.usefixtures("no_context")  # processes are counted: no other application may have any


def at_the_gate(directory: Path, total: Any) -> Callable[[int], int]:
    """A function of a record that counts it and waits until the gate is open, and says by a file that it has begun."""
    path = str(directory)

    def wait(record: int) -> int:
        import os
        import time

        total.add(1)
        with open(os.path.join(path, f"begun-{record}"), "w"):
            pass
        while not os.path.exists(os.path.join(path, "gate")):
            time.sleep(0.001)
        return record

    return wait


def said(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records)


def test_hung_executor_is_replaced_with_all_that_it_had_and_its_tasks_run_elsewhere(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    total = accumulators.create(0)
    with running(TWO, tmp_path / "scratch", **QUICK) as app:
        handle = app.submit(app.mapped(app.source([1], [2], [3]), at_the_gate(tmp_path, total)))
        wait_for(lambda: all((tmp_path / f"begun-{i}").exists() for i in (1, 2)), "both executors are at it")
        hung = executors()[0]
        below, directories = descendants(hung), scratch_directories([hung])
        os.kill(hung, signal.SIGSTOP)
        (tmp_path / "gate").touch()
        assert handle.result(PATIENCE_SECONDS) == [[1], [2], [3]]
        assert total.value == 3
        wait_for(lambda: not alive([hung, *below]), "it is killed, with its warden and its workers")
        wait_for(lambda: not any(map(os.path.exists, directories)), "its directories are gone")
        wait_for(lambda: len(app.application.hosts()) == 2, "it is replaced")
        assert app.works()
    assert said(caplog, "gets no tasks until it is heard again") == 1
    assert said(caplog, "longer than spark.network.timeout allows. Its process is killed") == 1


def test_hung_executor_leaves_nothing_when_its_warden_and_its_workers_hang_too(tmp_path: Path) -> None:
    with running(TWO, tmp_path / "scratch", **QUICK) as app:
        app.await_all_executors(tmp_path / "met")
        hung = executors()[0]
        all_of_it, directories = {hung, *descendants(hung)}, scratch_directories([hung])
        for pid in all_of_it:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not alive(all_of_it), "all processes ended")
        wait_for(lambda: not any(map(os.path.exists, directories)), "its directories are gone")
        assert app.works()


def test_executor_that_hangs_for_a_while_gets_no_tasks_until_it_is_heard_and_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    total = accumulators.create(0)
    settings = {"spark_executor_heartbeatInterval": "1s", "spark_network_timeout": "60s"}  # a busy one isn't suspect
    with running(TWO, tmp_path / "scratch", **settings) as app:
        before = app.application.hosts()
        handle = app.submit(app.mapped(app.source([1], [2], [3], [4], [5]), at_the_gate(tmp_path, total)))
        wait_for(lambda: all((tmp_path / f"begun-{i}").exists() for i in (1, 2)), "both executors are at it")
        hung, suspected, heard = executors()[0], said(caplog, "gets no tasks"), said(caplog, "is heard again")
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: said(caplog, "gets no tasks") > suspected, "it is suspect")
        (tmp_path / "gate").touch()
        wait_for(lambda: all((tmp_path / f"begun-{i}").exists() for i in (3, 4, 5)), "the other one does the rest")
        assert not handle.done()
        os.kill(hung, signal.SIGCONT)
        assert handle.result(PATIENCE_SECONDS) == [[1], [2], [3], [4], [5]]
        assert total.value == 5
        wait_for(lambda: said(caplog, "is heard again") > heard, "it is trusted")
        app.await_all_executors(tmp_path / "met")
        assert app.application.hosts() == before


def test_driver_that_sends_to_a_hung_executor_more_than_it_takes_goes_on_when_that_is_given_up(tmp_path: Path) -> None:
    with running(TWO, tmp_path / "scratch", **QUICK) as app:
        app.await_all_executors(tmp_path / "met")
        os.kill(executors()[0], signal.SIGSTOP)
        large = app.source([b"x" * 20_000_000], [b"y" * 20_000_000])
        assert app.result(large, lambda _partition, records: len(next(iter(records)))) == [20_000_000] * 2


def test_receivers_start_where_executors_are_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def factory(_host: Any) -> Any:
        class Idle:
            def receive(self, message: Any) -> None:
                pass

            def stop(self) -> None:
                pass

        return Idle()

    caplog.set_level(logging.WARNING)
    with running(TWO, tmp_path / "scratch", **{**QUICK, "spark_network_timeout": "60s"}) as app:
        hung = executors()[0]
        os.kill(hung, signal.SIGSTOP)
        wait_for(lambda: said(caplog, "gets no tasks") == 1, "it is suspect")
        places = [app.application.start_receiver(i, dumps(factory), lambda _event: None) for i in range(3)]
        assert len(set(places)) == 1
        os.kill(hung, signal.SIGKILL)


def test_executor_that_computes_without_a_pause_is_heard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver's thread may hold the interpreter of the executor itself, switch interval by switch interval."""
    caplog.set_level(logging.WARNING)
    stop = str(tmp_path / "stop")

    def factory(host: Any) -> Any:
        class Busy:
            def receive(self, message: Any) -> None:
                pass

            def stop(self) -> None:
                pass

        def spin() -> None:
            import os

            n = 0
            while n % 1_000_000 or not os.path.exists(stop):
                n += 1

        threading.Thread(target=spin, daemon=True).start()
        host.post("busy")
        return Busy()

    with running(TWO, tmp_path / "scratch", **QUICK) as app:
        before, heard = app.application.hosts(), []
        app.application.start_receiver(0, dumps(factory), heard.append)
        wait_for(lambda: heard == ["busy"], "it spins")
        time.sleep(2 * TIMEOUT_SECONDS)  # what may pass without any harm
        assert app.works()
        assert app.application.hosts() == before
        Path(stop).touch()
    assert said(caplog, "Its process is killed") == 0


# ------------------------------------------------------------------------------------------------ the driver hangs
DRIVER = """
import sys
from headwater.conf import SparkConf
from headwater.engine.application import Application
from headwater.engine.backends.masters import make_backend, parse_master
from headwater.engine.lineage import Dataset, Slice
from headwater.base.pickling import dump_records

conf = SparkConf(loadDefaults=False).set("spark.local.dir", sys.argv[1])
conf.set("spark.executor.heartbeatInterval", "100ms").set("spark.network.timeout", sys.argv[2])
master = parse_master("local-cluster[2,1,512]")
app = Application(conf, master, "app-1", make_backend=make_backend, merge_accumulators=print)

def count():
    dataset = Dataset(app.new_dataset_id(), Slice(), (), 4, payloads=[dump_records([1])] * 4)
    return sum(app.run_job(dataset, lambda p, records: len(list(records)), range(4), properties={}, call_site=""))

count()
print("ready", flush=True)
for line in sys.stdin:
    print(count(), *sorted(app.hosts()), flush=True)
app.stop()
"""


def test_driver_that_was_stopped_gives_up_no_executor(tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(tmp_path), f"{TIMEOUT_SECONDS}s"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert driver.stdin is not None
    assert driver.stdout is not None
    try:
        assert driver.stdout.readline() == "ready\n"
        driver.send_signal(signal.SIGSTOP)
        time.sleep(2 * TIMEOUT_SECONDS)  # how long it's stopped
        driver.send_signal(signal.SIGCONT)
        for _ in range(3):
            driver.stdin.write("count\n")
            driver.stdin.flush()
            assert driver.stdout.readline() == "4 0 1\n"
        _, complaints = driver.communicate(timeout=PATIENCE_SECONDS)
        assert "Its process is killed" not in complaints
    finally:
        driver.kill()


# ------------------------------------------------------------------------------------------------ workers that hang
def hang_once(marker: Path, how: str) -> Callable[[int], int]:
    """A function of a record that never returns the first time that it's called."""
    path = str(marker)

    def work(record: int) -> int:
        import os
        import signal
        import time

        try:
            with open(path, "x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return record
        if how == "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        while True:
            time.sleep(0.01)

    return work


@pytest.mark.parametrize(
    ("master", "how"),
    [(master, "spins") for master in MASTERS] + [(master, "stopped") for master in MASTERS[1:]],
)
def test_task_that_takes_longer_than_its_timeout_is_killed_and_runs_again(
    master: str, tmp_path: Path, how: str
) -> None:
    settings = {"headwater_task_timeout": "2s", "spark_task_maxFailures": 8}  # a new worker may take its time, too
    with running(master, tmp_path / "scratch", **settings) as app:
        hanging = app.mapped(app.source([1], [2]), hang_once(tmp_path / "hung", how))
        assert app.result(hanging) == [[1], [2]]
        hung = int((tmp_path / "hung").read_text())
        if master != "local":
            wait_for(lambda: not alive([hung]), "the hung worker is gone")
        assert app.works()


@on("local[2]")
def test_job_fails_naming_the_setting_when_a_task_takes_too_long(tmp_path: Path, master: str) -> None:
    with running(master, tmp_path / "scratch", headwater_task_timeout="1s") as app:
        outcome = in_background(lambda: app.result(app.mapped(app.source([1]), hang_once(tmp_path / "hung", "spins"))))
        error = outcome.get(timeout=PATIENCE_SECONDS)
        assert isinstance(error, SparkException)
        assert "task 0 in stage 0 failed 1 time" in str(error)
        assert "it ran longer than headwater.task.timeout (1000 ms), and was killed" in str(error)


# ------------------------------------------------------------------------------------------------ deaths in a row
@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each executor may die twice without a task in between, where eight times and their pauses take half a minute."""
    monkeypatch.setattr("headwater.engine.backends.watch.FRUITLESS_ROUNDS_MAX", 2)


@pytest.mark.usefixtures("impatient")
def test_application_that_works_in_between_survives_any_number_of_deaths(tmp_path: Path) -> None:
    with running("local-cluster[1,1,512]", tmp_path / "scratch") as app:
        for _ in range(4):
            assert app.works()
            os.kill(executors()[0], signal.SIGKILL)
        assert app.works()


@pytest.mark.usefixtures("impatient")
def test_job_fails_when_executors_die_again_and_again_before_they_have_done_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running("local-cluster[1,1,512]", tmp_path / "scratch") as app:
        assert app.works()
        monkeypatch.setattr(sys, "executable", "/bin/false")
        os.kill(executors()[0], signal.SIGKILL)
        error = in_background(app.works).get(timeout=PATIENCE_SECONDS)
        assert isinstance(error, SparkException | IllegalStateException)
        assert "executors died 4 times, and no task succeeded in between" in str(error)
