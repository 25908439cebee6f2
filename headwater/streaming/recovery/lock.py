"""The lock on a directory for checkpoints: two drivers at once would lose each other's data.

What is in the directory is unpickled: so who else can write to it is looked at before.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Protocol

from headwater import filesystem
from headwater.base.threads import WatchedThread, nothing_depends
from headwater.errors import IllegalStateException
from headwater.streaming.recovery.lease import Lease, in_use, this_process

logger = logging.getLogger("headwater.streaming.recovery")

FILE = "driver.lock"


class DirectoryLock(Protocol):
    """Held from construction to `close`, or to the end of the process, however it ends."""

    def check(self) -> None:
        """Asked before a checkpoint is written.

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
        IllegalStateException: another driver holds it, or it can't be trusted.
    """
    system, path = filesystem.resolve_private(directory)
    if not system.is_directory(path):
        with contextlib.suppress(FileExistsError):
            system.make_directory(path)
    if isinstance(system, filesystem.LocalFileSystem):
        _check_writers(directory, path)
        return FileLock(directory, os.path.join(path, FILE))
    return Lease(path)


def _check_writers(directory: str, path: str) -> None:
    """Look who else can write to a local directory, and so have the next driver run code of theirs.

    A warning is all, where it may be meant so: a group may be trusted, and some file systems know no permissions.

    Args:
        directory: for checkpoints, for messages.
        path: of the directory.

    Raises:
        IllegalStateException: all users can, and it isn't ours, or something in it is another user's.
    """
    others = filesystem.writers(path)
    if others is None:
        return
    danger = f"{others} can write to the checkpoint directory {directory}, and so have this program run any code"
    if others == filesystem.EVERYBODY:
        stranger = path if os.stat(path).st_uid != os.geteuid() else _entry_of_another(path)
        if stranger is not None:
            raise IllegalStateException(
                f"{danger}; {stranger} isn't this user's. Use a directory of this program's own, which may be one "
                "below it."
            )
    logger.warning("%s. Take that from them: chmod go-w %s", danger, path)


def _entry_of_another(path: str) -> str | None:
    """What another user, other than root, has put into a directory."""
    for directory, directories, files in os.walk(path):
        for name in (*directories, *files):
            entry = os.path.join(directory, name)
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if os.lstat(entry).st_uid not in (os.geteuid(), 0):
                    return entry
    return None


class FileLock:
    """A lock of the operating system's, which no other process can take from this one.

    Args:
        directory: for checkpoints, for messages.
        path: of the file in it that is locked.

    Raises:
        IllegalStateException: another driver holds it.
    """

    def __init__(self, directory: str, path: str) -> None:
        self._directory = directory
        self._path = path
        self._file: int | None = None
        self._then: list[Callable[[BaseException], None]] = []  # who is told if it is lost; once
        self._take()

    def _take(self) -> None:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise in_use(self._directory, holder) from None
        except BaseException:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.pwrite(file, f"{this_process()}\n".encode(), 0)
        self._file = file

    def check(self) -> None:
        """Take the directory again if the file was removed; another driver may have been faster."""
        before = self._file
        if before is None or filesystem.is_at(before, self._path):
            return
        system, path = filesystem.resolve_private(os.path.dirname(self._path))
        with contextlib.suppress(FileExistsError):
            system.make_directory(path)
        try:
            _check_writers(self._directory, path)  # another user may have made it
            self._take()
        except IllegalStateException as loss:
            told, self._then = self._then, []
            for then in told:
                # Not a daemon: the interpreter must not end before the context has been told.
                stop = partial(then, loss)
                WatchedThread(stop, name="streaming-lock-lost", on_failure=nothing_depends, daemon=False).start()
            raise
        os.close(before)

    def when_lost(self, then: Callable[[BaseException], None]) -> None:
        """Only `check` finds that out, and only where the file was removed; `then` has a thread of its own."""
        self._then.append(then)

    def close(self) -> None:
        """Let others have it. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
