"""`headwater supervise`: a program that is started again when it dies.

- `RestartPolicy` decides, and is pure. The rest runs one process at a time, and waits for its end and for signals.
- The program has a session of its own: Ctrl-C of a terminal reaches it once, passed on by us.
- It is killed when we die, where the system offers that (Linux).
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType

from headwater.errors import IllegalArgumentException

HOUR_MS = 3_600_000
# Signals that end the supervision; they are passed on first.
_STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_PDEATHSIG = 1
# What shells add to the number of the signal that a process died of.
_SIGNALLED = 128


class RestartPolicy:
    """Whether a program that died is started again, and when. The pause doubles each time, up to a bound.

    Args:
        first_pause_ms: before the first restart, above 0.
        longest_pause_ms: the bound, at least that.
        reset_after_ms: a program that ran for this long begins with the first pause again.
        restarts_max: in any hour; 0 is never.

    Raises:
        IllegalArgumentException: the longest pause is shorter than the first.

    >>> policy = RestartPolicy(first_pause_ms=1000, longest_pause_ms=60_000, reset_after_ms=60_000, restarts_max=3)
    >>> [policy.died(at_ms, ran_ms=100) for at_ms in (1000, 2100, 4200, 8300)]
    [1000, 2000, 4000, None]
    """

    def __init__(self, *, first_pause_ms: int, longest_pause_ms: int, reset_after_ms: int, restarts_max: int) -> None:
        if longest_pause_ms < first_pause_ms:
            raise IllegalArgumentException(
                f"the longest pause between restarts, {longest_pause_ms / 1000:g} s, is shorter than the first, "
                f"{first_pause_ms / 1000:g} s. Give both, or a longer one."
            )
        self.restarts_max = restarts_max
        self._first_pause_ms = first_pause_ms
        self._longest_pause_ms = longest_pause_ms
        self._reset_after_ms = reset_after_ms
        self._next_pause_ms = first_pause_ms  # never above the longest
        self._restarts: deque[int] = deque()  # when decided, in the last hour, ascending; `restarts_max` at most

    def died(self, now_ms: int, *, ran_ms: int) -> int | None:
        """The pause in ms before the next start; None if there is none any more.

        Args:
            now_ms: on a clock that never goes back.
            ran_ms: how long the program had run.
        """
        while self._restarts and self._restarts[0] <= now_ms - HOUR_MS:
            self._restarts.popleft()
        if len(self._restarts) >= self.restarts_max:
            return None
        self._restarts.append(now_ms)
        pause_ms = self._first_pause_ms if ran_ms >= self._reset_after_ms else self._next_pause_ms
        self._next_pause_ms = min(2 * pause_ms, self._longest_pause_ms)
        return pause_ms


def run(
    program: str,
    arguments: Sequence[str],
    *,
    policy: RestartPolicy,
    log: str | None = None,
    pid_file: str | None = None,
) -> int:
    """Run `python program arguments...` until it ends well, may not be started again, or a signal ends us.

    SIGTERM, SIGINT and SIGHUP are passed on to the program, and it isn't started again; at a second one it is killed.
    Called on the main thread.

    Args:
        program: the path of a script.
        arguments: the script's.
        policy: when to start it again after it died.
        log: a file to append a line to for each start and end; None is stderr.
        pid_file: a file that holds our process id while we run; None for none.

    Returns:
        The program's last exit code; 128 + n if it died of signal n.

    Raises:
        IllegalArgumentException: there is no such program, a file can't be written, or another one holds the pid file.
    """
    if not os.path.exists(program):
        raise IllegalArgumentException(f"there is no program {program!r} in {os.getcwd()}. Check its path.")
    say = partial(_append, log)
    command = [sys.executable, program, *arguments]
    with contextlib.ExitStack() as held:
        try:
            if log is not None:
                open(log, "a").close()
            if pid_file is not None:
                held.enter_context(_pid_file(pid_file))
        except OSError as error:
            raise IllegalArgumentException(f"{error.filename} can't be written: {error.strerror}.") from error
        return _supervise(command, policy, held.enter_context(_Signals()), say)


def _supervise(command: Sequence[str], policy: RestartPolicy, signals: _Signals, say: Callable[[str], None]) -> int:
    while True:
        began_ms = _now_ms()
        child = _start(command)
        say(f"pid {child.pid} started: {command[1]}")  # and not the arguments: passwords may be among them
        asked_to_stop = _await_end(child, signals, say)
        now_ms = _now_ms()
        code, reason = _end_of(child)
        ended = f"pid {child.pid} {reason} after {(now_ms - began_ms) / 1000:.1f} s"
        if code == 0 or asked_to_stop:
            say(f"{ended}; the supervision ends")
            return code
        pause_ms = policy.died(now_ms, ran_ms=now_ms - began_ms)
        if pause_ms is None:
            say(f"{ended}; it is not started again: the limit is {policy.restarts_max} restarts an hour")
            return code
        say(f"{ended}; it is started again in {pause_ms / 1000:g} s")
        stop = _await_stop(signals, now_ms + pause_ms)
        if stop is not None:
            say(f"{signal.Signals(stop).name} received; it is not started again")
            return code


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    # No other thread runs here that could hold a lock while we fork.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    return subprocess.Popen(command, start_new_session=True, preexec_fn=partial(_die_with, os.getpid(), prctl))


def _die_with(parent: int, prctl: Callable[[int, int], int] | None) -> None:
    """Ask Linux to kill us, a process about to become the program, when the supervisor dies."""
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)  # it died before we asked


def _await_end(child: subprocess.Popen[bytes], signals: _Signals, say: Callable[[str], None]) -> bool:
    """Wait until the program has ended; returns whether a signal told us to stop, which was passed on."""
    asked = False
    while child.poll() is None:
        received = signals.get()
        if received in _STOPS:
            passed_on = signal.SIGKILL if asked else signal.Signals(received)
            say(f"{signal.Signals(received).name} received; {passed_on.name} is sent to pid {child.pid}")
            child.send_signal(passed_on)
            asked = True
    return asked


def _await_stop(signals: _Signals, deadline_ms: int) -> int | None:
    """The signal that told us to stop until the deadline; None: there was none."""
    while (left_ms := deadline_ms - _now_ms()) > 0:
        received = signals.get(left_ms)
        if received in _STOPS:
            return received
    return None


def _end_of(child: subprocess.Popen[bytes]) -> tuple[int, str]:
    """(exit code, why it ended) of a process that has."""
    code = child.returncode
    if code >= 0:
        return code, f"ended with exit code {code}"
    return _SIGNALLED - code, f"was killed by {signal.Signals(-code).name}"


class _Signals:
    """Those that end the supervision, and the news of an ended process, one after the other. Use it in a `with`.

    Signals that are ignored when we start, as under `nohup`, stay so.
    """

    def __init__(self) -> None:
        self._arrived, self._wakeup = socket.socketpair()
        self._arrived.setblocking(False)
        self._wakeup.setblocking(False)
        self._before: dict[int, object] = {}  # the handlers that ours stand in for

    def get(self, timeout_ms: int | None = None) -> int | None:
        """The number of the next signal; None if it has not come within the timeout (None: wait for ever)."""
        select.select([self._arrived], [], [], None if timeout_ms is None else timeout_ms / 1000)
        try:
            return self._arrived.recv(1)[0]
        except BlockingIOError:
            return None

    def __enter__(self) -> _Signals:
        # Python's own handlers write the number here at once, even if no Python code runs just now.
        signal.set_wakeup_fd(self._wakeup.fileno())
        for number in (*_STOPS, signal.SIGCHLD):
            if number == signal.SIGCHLD or signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, _noted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(-1)
        self._arrived.close()
        self._wakeup.close()


def _noted(number: int, frame: object) -> None:
    """A handler for what `_Signals` reads."""


@contextlib.contextmanager
def _pid_file(path: str) -> Iterator[None]:
    """A file with our process id. It is locked: one that a killed supervisor has left behind is in no way.

    Raises:
        IllegalArgumentException: another supervisor holds it.
        OSError: it can't be written.
    """
    fd = _locked(path)
    try:
        os.ftruncate(fd, 0)
        os.write(fd, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.unlink(path)
        os.close(fd)


def _locked(path: str) -> int:
    """A descriptor of the file at this path, made if need be, with our lock on it."""
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)  # no link leads us to another file
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), os.stat(path)):
                return fd
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode().strip()
            os.close(fd)
            raise IllegalArgumentException(
                f"{path}: a supervisor with pid {holder} is running. Stop it, or give another pid file."
            ) from None
        except FileNotFoundError:
            pass  # its owner has removed the file since we opened it
        os.close(fd)


def _append(path: str | None, text: str) -> None:
    """Write a line with the time. The file is opened each time, so that it may be rotated."""
    line = f"{datetime.now().astimezone().isoformat(timespec='seconds')} headwater supervise: {text}\n"
    if path is not None:
        try:
            with open(path, "a") as file:
                file.write(line)
            return
        except OSError as error:  # a full disk is no reason to let the program die
            line = f"{line.rstrip()} [not in {path}: {error.strerror}]\n"
    sys.stderr.write(line)
    sys.stderr.flush()


def _now_ms() -> int:
    """Milliseconds of a clock that never goes back."""
    return time.monotonic_ns() // 1_000_000
