"""The executor's end of its warden: starts that process, sends it requests, receives its reports."""

from __future__ import annotations

import contextlib
import pickle
import socket
import subprocess
from collections.abc import Collection

from headwater.engine import interpreter
from headwater.engine.settings import WorkerSettings
from headwater.engine.wardenmessages import Fork, Kill, Report

STOP_SECONDS = 5.0
_REPORT_BYTES = 4096


class WardenLink:
    """A warden, from construction to `stop`. Any thread may send, one receives; one that has died takes no requests.

    Args:
        settings: of the workers that it forks.
        directories: what it removes when this process is gone.
        lock_fds: the locks that it holds as well, until it ends.
    """

    def __init__(self, settings: WorkerSettings, *, directories: Collection[str], lock_fds: Collection[int]) -> None:
        # Datagrams for small messages; the first one, of any size, goes by its standard input.
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            interpreter.command("headwater.engine.warden", str(theirs.fileno()), *map(str, lock_fds)),
            stdin=subprocess.PIPE,
            pass_fds=(theirs.fileno(), *lock_fds),
            env={**interpreter.environment(), "PYTHONHASHSEED": "0"},
            start_new_session=True,  # only the driver sees Ctrl-C
        )
        theirs.close()
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:  # it has ended: about to be noticed
            pickle.dump((settings, set(directories)), pipe)

    def fileno(self) -> int:
        """Of what becomes readable when a report, or its end, has come."""
        return self._socket.fileno()

    def fork(self, number: int, theirs: socket.socket) -> None:
        """Have a worker forked, whose socket is `theirs`; `Forked` is reported."""
        with contextlib.suppress(OSError):  # it has ended, which is about to be noticed, or we have closed the socket
            socket.send_fds(self._socket, [pickle.dumps(Fork(number))], [theirs.fileno()])

    def kill(self, pid: int) -> None:
        """Have a worker killed; `Ended` is reported."""
        with contextlib.suppress(OSError):  # as above
            self._socket.send(pickle.dumps(Kill(pid)))

    def receive(self) -> Report | None:
        """The next report; None when the warden is gone."""
        try:
            message = self._socket.recv(_REPORT_BYTES)
        except ConnectionResetError:
            message = b""
        report: Report | None = pickle.loads(message) if message else None
        return report

    def stop(self) -> None:
        """Close the socket, upon which it ends, and wait for that."""
        self._socket.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
