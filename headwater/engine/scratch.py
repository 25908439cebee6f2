"""Scratch directories: where an application's blocks are files, and how those of a killed one are found and removed.

Each is locked (flock) by the process that owns it and by its warden, which inherits the lock; so a directory whose lock
is free belongs to nobody and the next start sweeps it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import uuid

MEMORY_FILE_SYSTEM = "/dev/shm"
# In a container the memory file system is often 64 MB: not a place for blocks.
MEMORY_BYTES_MIN = 512 << 20
_LOCK = ".lock"


def memory_root() -> str | None:
    """The memory file system, if there is one of a useful size."""
    if not os.access(MEMORY_FILE_SYSTEM, os.W_OK | os.X_OK):
        return None
    return MEMORY_FILE_SYSTEM if free_bytes(MEMORY_FILE_SYSTEM) >= MEMORY_BYTES_MIN else None


def free_bytes(path: str) -> int:
    """The bytes that may still be written to the file system of a path."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def local_root(configured: str | None) -> str:
    """The first directory of `spark.local.dir`, or the system's temporary directory."""
    return os.path.abspath(configured.split(",")[0].strip()) if configured else tempfile.gettempdir()


class ScratchDirectory:
    """A locked directory of this process; `lock_fd` is handed to whoever must keep the lock as well."""

    def __init__(self, root: str) -> None:
        home = os.path.join(root, f"headwater-{os.getuid()}")
        os.makedirs(home, mode=0o700, exist_ok=True)
        sweep(home)
        name = uuid.uuid4().hex
        unborn = os.path.join(home, f"new-{name}")
        self.path = os.path.join(home, f"app-{name}")
        os.mkdir(unborn, 0o700)
        self.lock_fd = os.open(os.path.join(unborn, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX)
        os.rename(unborn, self.path)  # only now can a sweep see it, and it's locked

    def close(self) -> None:
        """Remove the directory and release its lock."""
        shutil.rmtree(self.path, ignore_errors=True)  # a worker's last write may race; the sweep gets the rest
        os.close(self.lock_fd)


def sweep(home: str) -> None:
    """Remove the directories of applications that ended without doing so."""
    for entry in os.scandir(home):
        if not entry.name.startswith("app-"):
            continue
        try:
            fd = os.open(os.path.join(entry.path, _LOCK), os.O_RDWR)
        except OSError:
            continue  # its owner is removing it at this moment
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(entry.path, ignore_errors=True)
        except BlockingIOError:
            continue  # alive
        finally:
            os.close(fd)
