"""Disks that are full and directories that can't be written: real ones, for code that runs in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PATIENCE_SECONDS = 100.0

#: For the child's code: a file system of 1 MiB on a directory, seen by it and its children only.
MOUNT = """
import os, subprocess, sys
def mount(directory, size="1m"):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", directory], check=True)
"""


def child(code: str, *arguments: object, before: tuple[str, ...] = ()) -> list[str]:
    """The lines that a process prints which runs the code, perhaps started by another command."""
    command = [*before, sys.executable, "-c", code, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def mounting() -> tuple[str, ...]:
    """The command before a child that mounts; the test is left out where that can't be done."""
    apart = ("unshare", "--map-root-user", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], capture_output=True).returncode:
        pytest.skip("a file system of one's own can't be mounted here")
    return apart


def bound_by_permissions() -> tuple[str, ...]:
    """The command before a child whom a directory's permissions bind: they don't bind root unless that's given up."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root can write anywhere, and there is no setpriv")
    return ("setpriv", "--bounding-set", "-dac_override")
