"""The machine's files, and those of file systems that are mounted on it."""

from __future__ import annotations

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
        found = _entries([os.path.join(path, name) for name in due if not is_hidden(name)], files_only=True)
        return Scan(inodes.keys(), [entry.file for entry in found])

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


def _entries(paths: list[str], *, files_only: bool = False) -> list[Entry]:
    entries = []
    for path in paths:
        with suppress(FileNotFoundError):  # renamed or removed while we looked, or a link to nowhere
            found = os.stat(path)
            if not files_only or stat.S_ISREG(found.st_mode):
                entries.append(Entry(_status(path, found), stat.S_ISDIR(found.st_mode)))
    return entries


def _status(path: str, found: os.stat_result) -> FileStatus:
    return FileStatus(path, found.st_size, found.st_mtime_ns // 1_000_000, found.st_ino)
