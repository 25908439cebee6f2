"""The lock on a directory for checkpoints: two drivers at once would lose each other's data."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket

from headwater import filesystem
from headwater.errors import IllegalStateException

_NAME = "driver.lock"


class DirectoryLock:
    """Held from construction to `close`, or to the end of the process, however it ends.

    On file systems that aren't local there is no such lock, and none is taken.

    Args:
        directory: is made if it isn't there.

    Raises:
        IllegalStateException: another driver holds it.
    """

    def __init__(self, directory: str) -> None:
        self._file: int | None = None
        system, path = filesystem.resolve(directory)
        if not system.is_directory(path):
            with contextlib.suppress(FileExistsError):
                system.make_directory(path)
        if not isinstance(system, filesystem.LocalFileSystem):
            return
        file = os.open(os.path.join(path, _NAME), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(file, 200).decode(errors="replace").strip() or "another process"
            os.close(file)
            raise IllegalStateException(
                f"checkpoint directory {directory} is in use by {holder}. Stop that driver first, or use another "
                "directory."
            ) from None
        except BaseException:
            os.close(file)
            raise
        os.ftruncate(file, 0)
        os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        self._file = file

    def close(self) -> None:
        """Let others have it. Idempotent."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
