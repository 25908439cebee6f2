"""The machine's files, and those of file systems that are mounted on it."""

from __future__ import annotations

import errno
import glob
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from typing import BinaryIO, cast

from headwater.filesystem.base import Entry, FileStatus, Scan, is_hidden


class LocalFileSystem:
    """Paths are absolute and plain."""

    renames = True

    def qualify(self, path: str) -> str:
        return f"file:{path}"

    def openable(self, path: str) -> str:
        return path

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def status(self, path: str) -> FileStatus:
        return _status(path, os.stat(path))

    def entries(self, path: str) -> list[Entry]:
        return _entries(self.children(path))

    def children(self, path: str) -> list[str]:
        return [os.path.join(path, name) for name in os.listdir(path)]

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        with os.scandir(path) as directory:
            inodes = {entry.name: entry.inode() for entry in directory}
        turn %= turns
        # A link's inode isn't its target's, which is the identity: links are looked at each time.
        due = [name for name, inode in inodes.items() if settled.get(name) != inode or inode % turns == turn]
        files, troubles = [], {}
        for name in due:
            if not is_hidden(name):
                try:
                    entry = _entry(os.path.join(path, name), files_only=True)
                except OSError as error:  # the directory's other files can still be looked at
                    troubles[name] = error
                else:
                    if entry is not None:
                        files.append(entry.file)
        return Scan(inodes.keys(), files, troubles)

    def glob(self, pattern: str) -> list[Entry]:
        return _entries(glob.glob(pattern))

    def open(self, path: str, mode: str, size: int | None = None) -> BinaryIO:
        return cast(BinaryIO, open(path, mode, buffering=0))

    def make_directory(self, path: str) -> None:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.mkdir(path)

    def rename(self, source: str, target: str) -> None:
        os.replace(source, target)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            if os.path.isdir(path) and not os.path.islink(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)


def is_at(descriptor: int, path: str) -> bool:
    """Whether an open local file is the one at a path: it may have been removed, or moved away."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _entries(paths: list[str]) -> list[Entry]:
    return [entry for entry in map(_entry, paths) if entry is not None]


def _entry(path: str, *, files_only: bool = False) -> Entry | None:
    """None: it was renamed or removed while we looked, or is a link to nowhere or to itself."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise
    if files_only and not stat.S_ISREG(found.st_mode):
        return None
    return Entry(_status(path, found), stat.S_ISDIR(found.st_mode))


def _status(path: str, found: os.stat_result) -> FileStatus:
    return FileStatus(path, found.st_size, found.st_mtime_ns // 1_000_000, found.st_ino)
