"""A program that copies lines of files to an output, and whose driver is killed at a named step of one batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from headwater import SparkConf, SparkContext
from headwater.streaming import BatchOutput, StreamingContext
from tests.streaming.recovery.driving import START_MS, Driver, put

PATIENCE_SECONDS = 120.0
KILLED_MS = START_MS + 1000  # the batch of the files a1 and b1
LINES = [f"{name}{second}{more}" for second in range(4) for name in "ab" for more in ("", " again")]


def put_lines(root: Path) -> None:
    """Two files for each of the batches 0 to 3, of two lines each."""
    for second in range(4):
        for name in "ab":
            put(root / "in", f"{name}{second}", f"{name}{second}\n{name}{second} again\n", 1000 * second - 100)


def kill_at(root: str, step: str) -> None:
    """Kill the driver if this is the step that this run was given, and don't go on before that has ended us."""
    if step == Path(root, "step").read_text():
        pid = int(Path(root, "driver").read_text())
        os.kill(pid, signal.SIGKILL)
        while pid != os.getpid():
            signal.pause()


def copy_lines(root: str, step: str, after_ms: str, make_output: Callable[[], BatchOutput]) -> None:
    """The program, until the batch of second 3 is done. A checkpoint has it, too.

    Args:
        root: has the directory `in` with files.
        step: where the driver is to be killed; empty: nowhere.
        after_ms: when it's started, after the zero time.
        make_output: the output to which the lines go.
    """
    Path(root, "driver").write_text(str(os.getpid()))
    Path(root, "step").write_text(step)
    settings = {
        "spark.streaming.clock": "ManualClock",
        "spark.streaming.fileStream.minRememberDuration": "2s",
        "headwater.streaming.fileStream.stabilityDuration": "0",
    }
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("lines").setAll(settings.items())

    def define(ssc: StreamingContext) -> None:
        ssc.textFileStream(f"{root}/in").output(make_output())

    with SparkContext(conf=conf):
        driver = Driver(Path(root, "checkpoints"), define)
        driver.start(int(after_ms)).until(3)
        driver.stop()


def run_at_each(
    steps: list[str], program: Callable[..., None], *arguments: str, died: Callable[[], None] = lambda: None
) -> None:
    """Run a program again and again, killed at one step after the other, then to its end.

    Args:
        program: a function of a test's module, called with the arguments, a step and `after_ms` as texts.
        arguments: its first ones.
        died: looks at what is there; is called after each death.
    """
    for attempt, step in enumerate(steps):
        assert _run(program, *arguments, step, "1500" if attempt else "-500") == -signal.SIGKILL, step
        died()
    assert _run(program, *arguments, "", "1500") == 0


def _run(program: Callable[..., None], *arguments: str) -> int:
    code = f"import sys; from {program.__module__} import {program.__name__} as program; program(*sys.argv[1:])"
    return run_code(code, *arguments)


def run_code(code: str, *arguments: str) -> int:
    """Run a Python program; returns its exit code, which is 0 or that of kill -9."""
    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        cwd=Path(__file__).parents[3],
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return ended.returncode
