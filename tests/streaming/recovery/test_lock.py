"""The lock on a local directory for checkpoints: one driver at a time, however the one before ended."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.errors import IllegalStateException, see
from headwater.streaming.recovery.lock import lock_directory

HOLDER = """
import sys
from headwater.streaming.recovery.lock import lock_directory
lock = lock_directory(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""
PATIENCE_SECONDS = 30.0


def holder(directory: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until its input ends."""
    command = [sys.executable, "-c", HOLDER, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_second_driver_is_refused_and_told_who_holds_the_directory(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(IllegalStateException) as caught:
            lock_directory(str(tmp_path))
        process.communicate(timeout=PATIENCE_SECONDS)
    assert str(caught.value) == (
        f"checkpoint directory {tmp_path} is in use by process {process.pid} on {socket.gethostname()}. Stop that "
        f"driver first, or use another directory.{see('the-directory-is-in-use')}"
    )


def test_directory_is_free_when_its_driver_was_killed(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE_SECONDS)
        lock_directory(str(tmp_path)).close()


def test_lock_is_free_when_it_is_closed_and_may_be_closed_again(tmp_path: Path) -> None:
    first = lock_directory(str(tmp_path / "made" / "by it"))
    first.close()
    second = lock_directory(str(tmp_path / "made" / "by it"))
    first.close()
    with pytest.raises(IllegalStateException, match=f"in use by process {os.getpid()}"):
        lock_directory(str(tmp_path / "made" / "by it"))
    second.close()
