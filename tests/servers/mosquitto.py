"""Mosquitto, an MQTT broker, on loopback."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import debian_program
from tests.servers.processes import await_answer, free_port, running


class Mosquitto:
    """A broker that keeps sessions on disk.

    Args:
        program: its path.
        environment: of it.
        directory: of its configuration and its data.
    """

    def __init__(self, program: str, environment: Mapping[str, str], directory: Path) -> None:
        self.port = free_port()
        self._program, self._environment = program, environment
        self._directory = directory
        self._running = ExitStack()
        (directory / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {directory}/\nautosave_interval 1\nautosave_on_changes true\nuser root\n"
        )

    def start(self) -> None:
        """Start it; returns when it answers."""
        log = self._directory / "log"
        process = self._running.enter_context(
            running([self._program, "-c", str(self._directory / "mosquitto.conf")], log, self._environment)
        )
        await_answer(self.port, process, log)

    def kill(self) -> None:
        """End it."""
        self._running.close()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker, started once."""
    program, environment = debian_program("MQTT (mosquitto)", "mosquitto", "mosquitto")
    broker = Mosquitto(program, environment, tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
