"""Redis, on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import debian_program
from tests.servers.processes import await_answer, free_port, running


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server, started once, with nothing on disk."""
    program, environment = debian_program("Redis", "redis-server", "redis-server")
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    command = [program, "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(directory)]
    with running([*command, "--maxmemory", "200mb"], directory / "log", environment) as process:
        await_answer(port, process, directory / "log")
        yield port
