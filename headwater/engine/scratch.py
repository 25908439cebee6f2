"""Scratch directories: where an application's blocks are files, and how those of a killed one are found and removed.

1. Each is locked (flock) by the process that owns it and by its warden, which inherits the lock; so a directory whose
   lock is free belongs to nobody and the next start sweeps it.
2. They lie in `headwater-<uid>`, the user's home below a root that others may write to (`/dev/shm`, `/tmp`). What is in
   them is unpickled: a home that isn't the user's alone is left where it is, and directories of random names lie beside
   it. No link below the root is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator

from headwater.filesystem import writers

logger = logging.getLogger(__name__)

MEMORY_FILE_SYSTEM = "/dev/shm"
# In a container the memory file system is often 64 MB: not a place for blocks.
MEMORY_BYTES_MIN = 512 << 20
_LOCK = ".lock"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

_warned: set[str] = set()  # what was said once


def memory_root() -> str | None:
    """The memory file system, if there is one of a useful size."""
    if not os.access(MEMORY_FILE_SYSTEM, os.W_OK | os.X_OK):
        return None
    return MEMORY_FILE_SYSTEM if free_bytes(MEMORY_FILE_SYSTEM) >= MEMORY_BYTES_MIN else None


def free_bytes(path: str) -> int:
    """The bytes that may still be written to the file system of a path."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def total_bytes(path: str) -> int:
    """The size of the file system of a path."""
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize


def local_root(configured: str | None) -> str:
    """The first directory of `spark.local.dir`, or the system's temporary directory."""
    return os.path.abspath(configured.split(",")[0].strip()) if configured else tempfile.gettempdir()


class ScratchDirectory:
    """A locked directory of this process; `lock_fd` is handed to whoever must keep the lock as well."""

    def __init__(self, root: str) -> None:
        os.makedirs(root, mode=0o755, exist_ok=True)
        if writers(root) is not None and not os.stat(root).st_mode & stat.S_ISVTX:
            _warn(f"others can rename Headwater's files in {root}, and so run code as this user: chmod +t {root}")
        name = f"headwater-{os.geteuid()}"
        home = os.path.join(root, name)
        sweep(root, f"{name}-app-")
        with _opened(root) as root_fd:
            fault = _make_home(root_fd, name)
            if fault is None:
                sweep(home)
                with _opened(name, root_fd) as home_fd:
                    self._make(home_fd, home, "")
            else:
                _warn(f"{home} isn't used, since {fault}. Files go to {home}-app-... Have it removed: rm -r {home}")
                self._make(root_fd, root, f"{name}-")

    def _make(self, parent_fd: int, parent: str, prefix: str) -> None:
        name = uuid.uuid4().hex
        unborn, born = f"{prefix}new-{name}", f"{prefix}app-{name}"
        os.mkdir(unborn, 0o700, dir_fd=parent_fd)
        lock = os.path.join(unborn, _LOCK)
        self.lock_fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=parent_fd)
        fcntl.flock(self.lock_fd, fcntl.LOCK_EX)
        os.rename(unborn, born, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)  # a sweep sees it from now on, locked
        self.path = os.path.join(parent, born)

    def close(self) -> None:
        """Remove the directory and release its lock."""
        shutil.rmtree(self.path, ignore_errors=True)  # a worker's last write may race; the sweep gets the rest
        os.close(self.lock_fd)


@contextlib.contextmanager
def _opened(path: str, parent_fd: int | None = None) -> Iterator[int]:
    """A directory's descriptor; below another directory no link to one will do."""
    fd = os.open(path, _DIRECTORY if parent_fd is None else _DIRECTORY | os.O_NOFOLLOW, dir_fd=parent_fd)
    try:
        yield fd
    finally:
        os.close(fd)


def _make_home(root_fd: int, name: str) -> str | None:
    """Make the user's directory below a root, if it isn't there; returns why it can't be trusted, or None if it can."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=root_fd)
    return _fault(os.stat(name, dir_fd=root_fd, follow_symlinks=False))


def _fault(found: os.stat_result) -> str | None:
    """Why something isn't a directory of this user's alone, or None if it is."""
    if not stat.S_ISDIR(found.st_mode):
        return "it is no directory"
    if found.st_uid != os.geteuid():
        return f"it belongs to user {found.st_uid}"
    mode = stat.S_IMODE(found.st_mode)
    return f"its mode is {mode:04o}, so that others may have put something there" if mode & 0o077 else None


def _warn(text: str) -> None:
    if text not in _warned:
        _warned.add(text)
        logger.warning("%s", text)


def sweep(directory: str, prefix: str = "app-") -> None:
    """Remove the directories of applications that ended without doing so.

    Args:
        directory: that they are in. What isn't ours there is left alone.
        prefix: of their names.
    """
    with _opened(directory) as directory_fd:
        for name in os.listdir(directory_fd):
            if name.startswith(prefix):
                with contextlib.suppress(OSError), _opened(name, directory_fd) as fd:  # its owner may be removing it
                    if _fault(os.fstat(fd)) is None:
                        _remove_if_dead(os.path.join(directory, name), fd)


def _remove_if_dead(path: str, fd: int) -> None:
    lock_fd = os.open(_LOCK, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=fd)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)  # which follows no links
    except BlockingIOError:
        pass  # alive
    finally:
        os.close(lock_fd)
