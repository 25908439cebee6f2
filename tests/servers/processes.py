"""Servers as child processes: they end with the tests, however those end, and are waited for until they answer."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.waiting import wait_for

START_SECONDS_MAX = 100  # on a busy machine; pytest's timeout is 120
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def dies_with_its_parent() -> None:
    """Runs in a child before its program: it is killed with its parent, where the system can do that."""
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


#: Those of this process that run. They outlive a test, and are none of what it has started.
SERVERS: set[int] = set()


@contextmanager
def running(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, from its start to the end of the block, where it's killed. `log` gets what it prints."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, env=environment, preexec_fn=dies_with_its_parent
        )
    SERVERS.add(process.pid)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        SERVERS.discard(process.pid)


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def await_answer(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a process listens at a port; the error is what it has printed."""
    wait_for(
        lambda: answers(port),
        lambda: f"port {port} answers\n{log.read_text()[-3000:]}",
        process=process,
        seconds=START_SECONDS_MAX,
    )


def answers(port: int) -> bool:
    """Whether somebody listens at a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
