"""The lock on a directory for checkpoints: two drivers at once would lose each other's data."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from typing import Protocol

from headwater import filesystem
from headwater.streaming.recovery.lease import Lease, in_use, this_process

FILE = "driver.lock"


class DirectoryLock(Protocol):
    """Held from construction to `close`, or to the end of the process, however it ends."""

    def check(self) -> None:
        """Whoever is about to write a checkpoint asks.

        Raises:
            IllegalStateException: another driver has taken the directory over.
        """

    def when_lost(self, then: Callable[[BaseException], None]) -> None:
        """Have `then` called, on the lock's thread, when another driver takes the directory over; raises as `check`."""

    def close(self) -> None:
        """Let others have it. Idempotent."""


def lock_directory(directory: str) -> DirectoryLock:
    """Take a directory: on local file systems by a lock of the system's, on others by a lease.

    Args:
        directory: is made if it isn't there.

    Raises:
        IllegalStateException: another driver holds it.
    """
    system, path = filesystem.resolve(directory)
    if not system.is_directory(path):
        with contextlib.suppress(FileExistsError):
            system.make_directory(path)
    if isinstance(system, filesystem.LocalFileSystem):
        return FileLock(directory, os.path.join(path, FILE))
    return Lease(path)


class FileLock:
    """A lock of the operating system's, which no other process can take from this one.

    Args:
        directory: for checkpoints, for messages.
        path: of the file in it that is locked.

    Raises:
        IllegalStateException: another driver holds it.
    """

    def __init__(self, directory: str, path: str) -> None:
        self._file: int | None = None
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise in_use(directory, holder) from None
        except BaseException:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.pwrite(file, f"{this_process()}\n".encode(), 0)
        self._file = file

    def check(self) -> None:
        """It can't be lost."""

    def when_lost(self, then: Callable[[BaseException], None]) -> None:
        """It can't be lost."""

    def close(self) -> None:
        """Let others have it. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
