"""Redis: the system's server, on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.servers import leave_out
from tests.servers.processes import await_answer, free_port, running


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server, started once, with nothing on disk."""
    program = shutil.which("redis-server")
    if program is None:
        leave_out("Redis", "apt-get install redis-server")
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)]
    with running([*command, "--maxmemory", "200mb"], directory / "log") as process:
        await_answer(port, process, directory / "log")
        yield port
