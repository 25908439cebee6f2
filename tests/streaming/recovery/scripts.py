"""Runs scripts of a test's own that go on from one another, each in a process that is killed at its end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.streaming.recovery.killing import REPOSITORY

PATIENCE_SECONDS = 60.0

BEGINNING = """
import os, signal, sys
from pathlib import Path
from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from tests.streaming.recovery.driving import Driver, Results, put

root = Path(sys.argv[1])
conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("script")
conf.set("spark.streaming.clock", "ManualClock")
conf.set("headwater.streaming.fileStream.stabilityDuration", "0")
conf.setAll([pair.split("=", 1) for pair in sys.argv[2:]])
sc = SparkContext(conf=conf)
results = Results(root / "results")


def count(new, old):
    return (old or 0) + sum(new)


def die():
    sys.stderr.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def run_script(root: Path, text: str, *settings: str) -> str:
    """Run a script, which ends with `die()`; returns what it has written to stderr.

    Raises:
        AssertionError: it has ended otherwise; with what it has written.
    """
    code, errors = ended_script(root, text, *settings)
    assert code == -signal.SIGKILL, errors
    return errors


def ended_script(root: Path, text: str, *settings: str) -> tuple[int, str]:
    """Run a script to its end; returns its exit code, and what it has written to stderr."""
    path = root / "script.py"
    path.write_text(BEGINNING + text)
    ended = subprocess.run(
        [sys.executable, str(path), str(root), *settings],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}{os.pathsep}{root}"},
        stderr=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr
