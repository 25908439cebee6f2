"""The lease on a directory for checkpoints on a file system over a network, where there are no locks.

1. It is a file that the holder writes again every few seconds. Its name is a number; the highest is the lease that
   counts, so that what a holder writes late, when another one has come, does no harm.
2. A driver that finds one of its own machine looks whether that process lives. One of another machine it watches: if
   the file stays as it is for as long as the holder would have written it several times, the holder is taken for dead.
3. A holder that finds a higher lease than its own has lost the directory (it was stopped for a while, or cut off from
   the network): it writes no more checkpoints, and its context stops.
No clocks are compared, and nothing is asked of the file system but that a file is replaced as a whole, and that of
several drivers that create it at the same moment one succeeds.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace

from headwater import filesystem
from headwater.base.threads import WatchedThread
from headwater.engine.failures import description
from headwater.errors import IllegalStateException, see

logger = logging.getLogger("headwater.streaming.recovery")

LEASES = "leases"
BEAT_SECONDS = 5.0
BEATS_MISSED_MAX = 3
LOOKS_MAX, LOOK_SECONDS = 10, 0.1  # for a file that is being replaced


def this_process() -> str:
    """How the holder of a directory is called in the error of another driver."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def in_use(directory: str, holder: str) -> IllegalStateException:
    """The error of a driver that is refused."""
    return IllegalStateException(
        f"checkpoint directory {directory} is in use by {holder}. Stop that driver first, or use another directory."
        + see("the-directory-is-in-use")
    )


@dataclass(frozen=True)
class _Holder:
    """What the file says."""

    number: int  # the file's name
    id: str
    process: str  # for messages
    machine: str  # what sees the same process ids
    pid: int
    born: str  # of the process: ids come again
    beat: int = 0
    released: bool = False


class Lease:
    """Held from construction to `close`, or until the process ends or is taken for dead.

    Its thread writes the file; the lock guards what is known of the loss.

    Args:
        directory: for checkpoints.

    Raises:
        IllegalStateException: another driver holds it.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._closed = threading.Event()
        before = self._newest()
        if before is not None and not before.released and not self._has_ended(before):
            raise in_use(directory, before.process)
        pid, number = os.getpid(), 1 if before is None else before.number + 1
        self._mine = _Holder(number, uuid.uuid4().hex, this_process(), _machine(), pid, _born(pid))
        self._create()
        if before is not None:
            filesystem.remove(self._path(before.number))
        self._lock = threading.Lock()  # guards both below
        self._loss: IllegalStateException | None = None
        self._then: list[Callable[[BaseException], None]] = []
        self._thread = WatchedThread(self._beat, name="streaming-lease", on_failure=self._failed)
        self._thread.start()

    def check(self) -> None:
        with self._lock:
            if self._loss is not None:
                raise self._loss

    def when_lost(self, then: Callable[[BaseException], None]) -> None:
        with self._lock:
            if self._loss is not None:
                raise self._loss
            self._then.append(then)

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        if threading.current_thread() is not self._thread:
            self._thread.join()
        if self._loss is None:
            self._mine = replace(self._mine, released=True)
            try:
                self._write()
            except Exception as error:
                logger.warning("%s: the lease could not be released", self._directory, exc_info=error)

    # -------------------------------------------------------------------------------------------- its thread
    def _beat(self) -> None:
        while not self._closed.wait(BEAT_SECONDS):
            try:
                other = self._other()
                if other is None:
                    self._mine = replace(self._mine, beat=self._mine.beat + 1)
                    self._write()
            except Exception as error:
                logger.warning("%s: the lease could not be renewed", self._directory, exc_info=error)
            else:
                if other is not None:
                    self._lose(
                        IllegalStateException(
                            f"checkpoint directory {self._directory} was taken over by {other.process}, which took "
                            "this driver for dead: it had not renewed its lease for "
                            f"{BEAT_SECONDS * BEATS_MISSED_MAX:g} s"
                        )
                    )
                    return

    def _failed(self, failure: BaseException) -> None:
        text = "its lease is renewed no more, so that another driver may take it: the thread that did it has failed"
        self._lose(IllegalStateException(f"checkpoint directory {self._directory}: {text}: {description(failure)}"))

    def _lose(self, loss: IllegalStateException) -> None:
        logger.error("%s. This driver stops", loss)
        with self._lock:
            self._loss = loss
            then = list(self._then)
        for each in then:
            each(loss)

    # -------------------------------------------------------------------------------------------- the files
    def _has_ended(self, held: _Holder) -> bool:
        if held.machine == _machine():
            return _born(held.pid) != held.born
        seconds = BEAT_SECONDS * BEATS_MISSED_MAX
        logger.warning(
            "%s has a lease of %s: waiting for %g s to see whether that is alive",
            self._directory,
            held.process,
            seconds,
        )
        for _ in range(BEATS_MISSED_MAX):
            self._closed.wait(BEAT_SECONDS)
            found = self._newest()
            if found is None or found.released:
                return True
            if found != held:
                return False
        return True

    def _other(self) -> _Holder | None:
        """Who has taken the directory over."""
        newest = self._newest()
        if newest is None or newest.id == self._mine.id or newest.number < self._mine.number:
            return None  # it was removed, maybe with all the directory: it is written again
        return newest

    def _newest(self) -> _Holder | None:
        system, path = filesystem.resolve(f"{self._directory}/{LEASES}")
        for _ in range(LOOKS_MAX):
            try:
                names = [filesystem.name_of(child) for child in system.children(path)]
            except FileNotFoundError:
                return None
            numbers = [int(name) for name in names if name.isdigit()]
            # Some file systems can't replace a file in one step: it's away for a moment then.
            with suppress(FileNotFoundError, filesystem.InvalidInputException):
                if numbers:
                    with filesystem.open_raw(self._path(max(numbers))) as file:
                        return _Holder(**json.loads(file.read()))
            if not names:
                return None
            self._closed.wait(LOOK_SECONDS)
        return None

    def _create(self) -> None:
        self._make_directory()
        with suppress(FileExistsError):
            path = self._path(self._mine.number)
            filesystem.RemoteFileSystem(path).create(path, self._content())
        newest = self._newest()
        if newest is None or newest.id != self._mine.id:  # it came at the same time
            raise in_use(self._directory, newest.process if newest else "another process")

    def _write(self) -> None:
        self._make_directory()
        filesystem.write_whole(self._path(self._mine.number), self._content())

    def _make_directory(self) -> None:
        system, path = filesystem.resolve(f"{self._directory}/{LEASES}")
        if system.renames and not system.is_directory(path):
            with suppress(FileExistsError):
                system.make_directory(path)

    def _content(self) -> bytes:
        return json.dumps(asdict(self._mine)).encode()

    def _path(self, number: int) -> str:
        return f"{self._directory}/{LEASES}/{number}"


def _machine() -> str:
    """What sees the same process ids as this process: the machine since its start, and the container."""
    parts = [socket.gethostname()]
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id") as file:
        parts.append(file.read().strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return " ".join(parts)


def _born(pid: int) -> str:
    """When a process of this machine began, as far as that can be told; empty if there is none of that id."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, *fields = file.read().rpartition(")")[2].split()
        return "" if state in "ZX" else fields[18]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return ""
    try:
        os.kill(pid, 0)
    except OSError:
        return ""
    return "lives"
