"""Mosquitto, an MQTT broker: the system's, on loopback."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import leave_out
from tests.servers.processes import await_answer, free_port, running

# Debian's is outside of a user's path.
SEARCHED = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"


class Mosquitto:
    """A broker that keeps sessions on disk.

    Args:
        program: its path.
        directory: of its configuration and its data.
    """

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        self._program = program
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
            running([self._program, "-c", str(self._directory / "mosquitto.conf")], log)
        )
        await_answer(self.port, process, log)

    def kill(self) -> None:
        """End it."""
        self._running.close()


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker, started once."""
    program = shutil.which("mosquitto", path=SEARCHED)
    if program is None:
        leave_out("MQTT (mosquitto)", "apt-get install mosquitto")
    broker = Mosquitto(program, tmp_path_factory.mktemp("mosquitto"))
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()
