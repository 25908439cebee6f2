"""Signals to a driver, as real processes: how it ends, with what it has done, and that nothing is left of it."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from headwater import SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.termination import Course, Termination
from tests.engine.processes import alive, descendants
from tests.waiting import wait_for

PATIENCE_SECONDS = 60.0
#: What a shell says of a program that SIGTERM has ended.
EXIT_CODE = 143

#: Arguments: master, directory, whether to stop gracefully, what the main thread and the outputs do.
PROGRAM = '''
import contextlib, os, signal, sys, threading, time
from headwater import SparkConf, SparkContext
from headwater.streaming import Receiver, StreamingContext

master, directory, gracefully, way = sys.argv[1:]


class Counting(Receiver):
    """Numbers; those of which the store has returned are in a file."""

    def onStart(self):
        threading.Thread(target=self.run, daemon=True).start()

    def onStop(self):
        if way == "is stopping":
            os.kill(os.getpid(), signal.SIGTERM)
        elif way == "endless output":
            print("receiver stopped", flush=True)

    def run(self):
        with open(f"{directory}/stored", "a") as stored, contextlib.suppress(Exception):  # it is stopped
            for n in range(10**9):
                self.store([n])
                print(n, file=stored, flush=True)


def keep(rdd):
    with open(f"{directory}/processed", "a") as processed:
        records = rdd.collect()
        processed.writelines(f"{n}\\n" for n in records)
    if way == "endless output" and records:
        time.sleep(1000)


signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have it ignored
if way == "own handler":
    signal.signal(signal.SIGTERM, lambda *_: (print("mine", flush=True), os._exit(7)))
conf = SparkConf().setMaster(master).setAppName("signals").set("spark.local.dir", f"{directory}/scratch")
conf.set("spark.streaming.receiver.maxRate", "500")  # no more than batches process, on a busy machine too
conf.set("spark.streaming.stopGracefullyOnShutdown", gracefully).set("spark.streaming.gracefulStopTimeout", "60s")
ssc = StreamingContext(SparkContext(conf=conf), 0.1)
ssc.receiverStream(Counting()).foreachRDD(keep)
ssc.start()
while not os.path.exists(f"{directory}/processed") or not os.path.getsize(f"{directory}/processed"):
    time.sleep(0.01)
try:
    print("running", flush=True)
    if way == "sleeps":
        time.sleep(1000)
    elif way == "is stopping":
        ssc.stop(stopGraceFully=True)
        print("went on", flush=True)
    ssc.awaitTermination()
finally:
    print("cleaned up", flush=True)
    if way == "stops at the end":
        ssc.stop()
'''


class Driver:
    """A driver process and what it has started."""

    def __init__(self, directory: Path, master: str, *, gracefully: bool, way: str = "waits") -> None:
        self.directory = directory
        (directory / "scratch").mkdir()
        (directory / "program.py").write_text(PROGRAM)
        arguments = [master, str(directory), str(gracefully).lower(), way]
        self.process = subprocess.Popen(
            [sys.executable, str(directory / "program.py"), *arguments], stdout=subprocess.PIPE, text=True
        )
        self._patience = threading.Timer(PATIENCE_SECONDS, self.process.kill)
        self._patience.start()
        self.says("running")
        self.children = descendants(self.process.pid)

    def says(self, line: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == line + "\n"

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Its exit code and what else it has said, once it and all that it started is gone."""
        said, _ = self.process.communicate()
        self._patience.cancel()
        assert self.children
        wait_for(lambda: not alive(self.children), "its processes are gone")
        (home,) = (self.directory / "scratch").iterdir()
        wait_for(lambda: not list(home.iterdir()), "its scratch files are gone")
        return self.process.returncode, said

    def numbers(self, name: str) -> list[int]:
        return [int(line) for line in (self.directory / name).read_text().splitlines()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def make(master: str = "local[2]", **more: Any) -> Driver:
        drivers.append(Driver(tmp_path, master, **more))
        return drivers[-1]

    yield make
    for driver in drivers:
        driver.process.kill()
        driver.process.wait()


@pytest.mark.parametrize("master", ["local[2]", "local-cluster[2,1,512]"])
@pytest.mark.parametrize("way", ["waits", "sleeps", "stops at the end"])
def test_sigterm_processes_all_that_was_stored_when_it_is_to_be_graceful(
    start: Callable[..., Driver], master: str, way: str
) -> None:
    driver = start(master, gracefully=True, way=way)
    driver.send(signal.SIGTERM)
    assert driver.end() == (EXIT_CODE, "cleaned up\n")
    stored, processed = driver.numbers("stored"), driver.numbers("processed")
    assert stored
    assert sorted(processed) == list(range(len(processed)))  # each once
    assert set(stored) <= set(processed)


@pytest.mark.parametrize("master", ["local[2]", "local-cluster[2,1,512]"])
def test_sighup_processes_all_that_was_stored_when_it_is_to_be_graceful(
    start: Callable[..., Driver], master: str
) -> None:
    driver = start(master, gracefully=True)
    driver.send(signal.SIGHUP)
    assert driver.end() == (129, "cleaned up\n")
    stored, processed = driver.numbers("stored"), driver.numbers("processed")
    assert set(stored) <= set(processed)


@pytest.mark.parametrize("master", ["local[2]", "local-cluster[1,1,512]"])
def test_sigterm_ends_the_program_in_order_when_it_need_not_be_graceful(
    start: Callable[..., Driver], master: str
) -> None:
    driver = start(master, gracefully=False)
    driver.send(signal.SIGTERM)
    assert driver.end() == (EXIT_CODE, "cleaned up\n")


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_second_signal_does_not_wait_for_what_a_graceful_stop_waits_for(
    start: Callable[..., Driver], second: int
) -> None:
    driver = start(gracefully=True, way="endless output")
    driver.send(signal.SIGTERM)
    driver.says("cleaned up")
    driver.says("receiver stopped")
    driver.send(second)
    assert driver.end() == (EXIT_CODE, "")


def test_sigterm_lets_a_stop_end_that_is_under_way_and_ends_the_program_then(start: Callable[..., Driver]) -> None:
    driver = start(gracefully=True, way="is stopping")
    assert driver.end() == (EXIT_CODE, "cleaned up\n")  # before what comes after stop()
    assert set(driver.numbers("stored")) <= set(driver.numbers("processed"))


def test_programs_own_handler_of_sigterm_is_left_alone(start: Callable[..., Driver]) -> None:
    driver = start(gracefully=True, way="own handler")
    driver.send(signal.SIGTERM)
    driver.says("mine")
    driver.process.communicate()
    assert driver.process.returncode == 7
    wait_for(lambda: not alive(driver.children), "its processes are gone")


@pytest.mark.parametrize("gracefully", [False, True])
def test_ctrl_c_reaches_the_program_and_everything_is_closed(
    start: Callable[..., Driver], gracefully: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    driver = start("local-cluster[1,1,512]", gracefully=gracefully)
    driver.send(signal.SIGINT)
    assert driver.end() == (-signal.SIGINT, "cleaned up\n")
    assert "KeyboardInterrupt" in capfd.readouterr().err
    assert not gracefully or set(driver.numbers("stored")) <= set(driver.numbers("processed"))


# ------------------------------------------------------------------------------------------------ the handler
@pytest.fixture
def default_handler() -> Iterator[None]:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_signal_that_is_ignored_stays_so(default_handler: None) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        made = Termination(lambda: Course.RUNS, lambda: None, gracefully=True)
        made.install()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        made.restore()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_handler_is_there_while_a_context_runs(sc: SparkContext, default_handler: None) -> None:
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([]).foreachRDD(lambda rdd: None)
    ssc.start()
    assert isinstance(signal.getsignal(signal.SIGTERM), Termination)
    ssc.stop(stopSparkContext=False)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_handler_is_not_installed_when_the_program_has_one_or_another_thread_starts(default_handler: None) -> None:
    made = Termination(lambda: Course.RUNS, lambda: None, gracefully=True)
    thread = threading.Thread(target=made.install, daemon=True)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL

    def own(number: int, frame: FrameType | None) -> None:
        raise AssertionError("nobody sends a signal")

    signal.signal(signal.SIGTERM, own)
    made.install()
    made.restore()
    assert signal.getsignal(signal.SIGTERM) is own


def test_first_signal_exits_and_the_second_hurries() -> None:
    hurried: list[str] = []
    made = Termination(lambda: Course.RUNS, lambda: hurried.append("hurried"), gracefully=True)
    with pytest.raises(SystemExit) as exit:
        made(signal.SIGTERM, None)
    assert (exit.value.code, made.wants_grace, hurried) == (EXIT_CODE, True, [])
    made(signal.SIGTERM, None)
    assert (made.wants_grace, hurried) == (False, ["hurried"])


@pytest.mark.parametrize(("gracefully", "hurries"), [(True, 0), (False, 1)])
def test_signal_during_a_stop_ends_the_program_after_it(gracefully: bool, hurries: int) -> None:
    hurried: list[str] = []
    made = Termination(lambda: Course.STOPS, lambda: hurried.append("hurried"), gracefully=gracefully)
    made.settle()
    made(signal.SIGTERM, None)
    assert len(hurried) == hurries
    with pytest.raises(SystemExit):
        made.settle()
    made.settle()
