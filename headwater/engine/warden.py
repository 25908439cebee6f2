"""The warden: a small single-threaded process that forks an executor's workers, and ends them when that is gone.

Started by exec, so that no thread of the driver is copied into a worker. It forks a worker on request and hands it the
socket that came with the request, reports each worker's end, and, when its owner is gone, kills the workers and removes
the scratch directories. Workers carry PDEATHSIG towards it. The settings come on standard input, as they may be long;
messages are small datagrams (SOCK_SEQPACKET), with the socket of a new worker attached.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import pickle
import select
import shutil
import signal
import socket
import sys
import time
import types
from typing import NoReturn

from headwater.base.exhaustive import assert_never
from headwater.engine.wardenmessages import Ended, Fork, Forked, Kill, Report, Request

_MESSAGE_BYTES = 4096
_PR_SET_PDEATHSIG = 1
# How long workers have to close what they have open, once their executor is gone; the busy ones don't see that in time.
_END_SECONDS = 0.2


def signal_text(status: int) -> str:
    """How a process ended, from what waitpid says of it."""
    if status >= 0:
        return f"exited with code {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = "a signal"
    return f"was killed by {name} (signal {-status})"


def start(owner: socket.socket, lock_fds: tuple[int, ...]) -> None:
    """The life of the process: `owner` is our end of the socket to the executor."""
    _name_process(b"hw-warden")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        settings, directories = _settings()
    except (EOFError, pickle.UnpicklingError):
        return  # the owner is gone
    _preload()
    _when_parent_dies(signal.SIGCONT)  # should we be stopped then, as all of a machine may be: there is work left
    wake_reader, wake_writer = os.pipe()
    for fd in (wake_reader, wake_writer):
        os.set_blocking(fd, False)
    signal.set_wakeup_fd(wake_writer)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    workers: set[int] = set()
    try:
        while True:
            readable, _, _ = select.select([owner.fileno(), wake_reader], [], [])
            if wake_reader in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(wake_reader, 4096)
                _report_ends(owner, workers)
            if owner.fileno() in readable:
                request, fds, _, _ = socket.recv_fds(owner, _MESSAGE_BYTES, 1)
                if not request:
                    return  # the owner is gone
                asked: Request = pickle.loads(request)
                match asked:
                    case Fork(number):
                        pid = os.fork()
                        if pid == 0:
                            for fd in (owner.fileno(), wake_reader, wake_writer, *lock_fds):
                                os.close(fd)
                            _work(fds[0], settings)
                        os.close(fds[0])
                        workers.add(pid)
                        _report(owner, Forked(number, pid))
                    case Kill(pid):
                        if pid in workers:
                            os.kill(pid, signal.SIGKILL)
                    case _:
                        assert_never(asked, "a request of the executor")
    except (BrokenPipeError, ConnectionResetError):
        return  # the owner is gone
    finally:
        _await_ends(wake_reader, workers)
        for pid in workers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in workers:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)  # its last write would keep the directory
        for directory in directories:
            shutil.rmtree(directory, ignore_errors=True)


def _settings() -> tuple[object, set[str]]:
    """What standard input brings, which is empty for workers then."""
    with open(0, "rb", closefd=False) as pipe:
        settings, directories = pickle.load(pipe)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return settings, directories


def _preload() -> None:
    """Import what workers need once, here, so that a fork is ready at once."""
    gc.disable()  # what is imported stays: a tenth of the time would go into looking at it
    import cloudpickle  # noqa: F401

    import headwater.engine.worker
    import headwater.resultiterable  # noqa: F401

    gc.enable()
    gc.collect()
    gc.freeze()  # a worker's collector needn't touch, and so copy, our pages


def _report_ends(owner: socket.socket, workers: set[int]) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        workers.discard(pid)
        _report(owner, Ended(pid, os.waitstatus_to_exitcode(status)))


def _report(owner: socket.socket, report: Report) -> None:
    owner.send(pickle.dumps(report))


def _await_ends(wake_reader: int, workers: set[int]) -> None:
    """Leave those workers out that end by themselves, because their executor has, within the time they have for it."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        with contextlib.suppress(BlockingIOError):
            os.read(wake_reader, 4096)
        workers.difference_update([pid for pid in workers if os.waitpid(pid, os.WNOHANG)[0]])
        left = deadline - time.monotonic()
        if not workers or left <= 0:
            return
        select.select([wake_reader], [], [], left)


def _work(fd: int, settings: object) -> NoReturn:
    """The life of a forked worker."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _die_with_parent()
        _name_process(b"hw-worker")
        # The script isn't here: what refers to it must not find us under its name.
        sys.modules["__main__"] = types.ModuleType("__main__")
        from headwater.engine import wire, worker

        worker.serve(wire.Channel(socket.socket(fileno=fd)), settings)  # type: ignore[arg-type]
        atexit._run_exitfuncs()  # of the user's modules: connections to be closed, buffers to be written
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _die_with_parent() -> None:
    """Have Linux kill us when the warden dies; elsewhere the end of the socket must do."""
    parent = os.getppid()
    _when_parent_dies(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)  # it died before we asked


def _when_parent_dies(number: signal.Signals) -> None:
    """Ask Linux for a signal when the thread that started us ends, at the latest with its process."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)


def _name_process(name: bytes) -> None:
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb") as file:
        file.write(name)


if __name__ == "__main__":
    start(socket.socket(fileno=int(sys.argv[1])), tuple(map(int, sys.argv[2:])))
