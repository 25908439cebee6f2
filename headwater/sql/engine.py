"""The engine that runs SQL: what the rest asks of one, and Sail's, a process that serves its driver alone.

Sail listens on a port of 127.0.0.1 and asks nobody for a password: who reaches it reads files and runs functions as the
driver's user. So once the driver is connected the kernel is told to drop whatever else comes to that port, and then it
is looked up in the kernel's table that nobody else had come before. A lost connection can't be made again: the engine
counts as dead, and another one takes its place (`engines.py`).
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from typing import Any, Protocol

import grpc

from headwater.engine import interpreter
from headwater.errors import SparkException, see

__all__ = ["Engine", "SailEngine"]

logger = logging.getLogger(__name__)

_STARTS = 5  # that may be spoilt by somebody who connects first
_LISTENING = "0A"
_START_SECONDS = 60.0
_STOP_SECONDS = 5.0
_YEARS_OF_IDLING = str(10 * 365 * 86400)  # seconds; after its own 900 a session's views would be gone
_CHANNEL_OPTIONS = [
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # a connection that was closed for idling can't be made again
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


class Engine(Protocol):
    """Runs the plans of Spark Connect. It may die at any time; then it stays dead."""

    @property
    def channel(self) -> grpc.Channel:
        """The connection to it. Its users don't close it."""

    def is_alive(self) -> bool:
        """Whether it may still answer."""

    def memory(self) -> int:
        """What it has in memory, in bytes; 0 if it's dead."""

    def follow(self) -> None:
        """Have it see the driver's working directory and import path as they are now; for functions of programs."""

    def stop(self) -> None:
        """End it, and whatever it is at. Idempotent."""


class SailEngine:
    """A Sail server in a process of its own, which ends with the driver. Any thread may use it.

    Args:
        broadcasts: the directory where broadcast values are, for functions of programs.
        unprotected: whether to go on where others can't be kept from it.

    Raises:
        SparkException: it doesn't start; or others can't be kept from it.
    """

    def __init__(self, broadcasts: str = "", *, unprotected: bool = False) -> None:
        self._broadcasts = broadcasts
        self._asking = threading.Lock()  # held from a request over the control socket to its answer
        for _ in range(_STARTS):
            self._start()
            try:
                self._connect()
                if unprotected or self._close_the_door():
                    return
            except BaseException:
                self.stop()
                raise
            logger.warning("Somebody else has connected to the SQL engine, process %d: starting another", self.pid)
            self.stop()
        raise SparkException(
            f"Somebody else has connected to each of {_STARTS} SQL engines before they were closed to others, so there "
            "is none. Find out which process of this machine connects to ports that have just been opened."
        )

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._followed: tuple[list[str], str] | None = None
        with theirs:
            self._process = subprocess.Popen(
                interpreter.command("headwater.sql.server", str(theirs.fileno()), self._broadcasts),
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={
                    "RUST_LOG": "error",
                    **interpreter.environment(),
                    "SAIL_SPARK__SESSION_TIMEOUT_SECS": _YEARS_OF_IDLING,
                },
                start_new_session=True,  # Ctrl-C is the driver's to handle: its last batch may use SQL
            )
        self.pid = self._process.pid
        self._control = ours
        self._lines = ours.makefile("rw", encoding="utf-8")

    def _connect(self) -> None:
        self._port = int(self._answer())
        self.channel: grpc.Channel = grpc.insecure_channel(f"127.0.0.1:{self._port}", options=_CHANNEL_OPTIONS)
        grpc.channel_ready_future(self.channel).result(timeout=_START_SECONDS)

    def _answer(self) -> Any:
        line = self._lines.readline()
        if not line:
            code = self._process.wait(_STOP_SECONDS)
            raise SparkException(f"The SQL engine has ended with exit code {code}: its error is above this one")
        return json.loads(line)

    def _ask(self, request: object) -> Any:
        print(json.dumps(request), file=self._lines, flush=True)
        return self._answer()

    def _close_the_door(self) -> bool:
        """Whether the driver is the only one who has come, and will be."""
        if not sys.platform.startswith("linux"):
            raise SparkException(
                "On this platform other users of the machine can't be kept from the SQL engine's port. If there are "
                "none that matter, set headwater.sql.engine.unprotected to true." + see("the-sql-engine")
            )
        if refusal := self._ask("shut"):
            raise SparkException(
                f"Other users of the machine can't be kept from the SQL engine's port: {refusal}. If there are none "
                "that matter, set headwater.sql.engine.unprotected to true." + see("the-sql-engine")
            )
        return only_peer(self._port)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def memory(self) -> int:
        try:
            with open(f"/proc/{self.pid}/statm") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError):  # it has just ended; or there is no /proc
            return 0

    def follow(self) -> None:
        try:
            now = (list(sys.path), os.getcwd())
        except FileNotFoundError:  # the directory has been removed
            return
        with self._asking:
            if now == self._followed:
                return
            try:
                self._ask({"path": now[0], "directory": now[1]})
            except (OSError, SparkException):  # it has died, which the next call is about to notice
                return
            self._followed = now

    def stop(self) -> None:
        if hasattr(self, "channel"):  # not if it ended before it listened
            self.channel.close()
        try:
            self._lines.close()
        except BrokenPipeError:  # it has ended before
            pass
        self._control.close()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def only_peer(port: int) -> bool:
    """Whether this process has the only connection that there is or lately was with a port of 127.0.0.1.

    The kernel's tables have a line for each end of a connection: ours is told by its inode, which is open here.
    """
    ours = _open_sockets()
    ends: set[int] = set()
    for local, remote, state, inode in _connections():
        if local == port and state != _LISTENING:
            ends.add(remote)
        elif remote == port:
            if inode not in ours:
                return False
            ends.add(local)
    return len(ends) == 1


def _open_sockets() -> set[int]:
    """The inodes of this process's sockets."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            kind, _, inode = os.readlink(f"/proc/self/fd/{name}").partition(":")
        except OSError:  # closed since
            continue
        if kind == "socket":
            found.add(int(inode.strip("[]")))
    return found


def _connections() -> list[tuple[int, int, str, int]]:
    """(local port, remote port, state, inode) of the machine's sockets; a mapped address stands in the second table."""
    rows = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:
                rows += [line.split() for line in file.readlines()[1:]]
        except FileNotFoundError:  # without IPv6
            continue
    return [(int(row[1][-4:], 16), int(row[2][-4:], 16), row[3], int(row[9])) for row in rows]
