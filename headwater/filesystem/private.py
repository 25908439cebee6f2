"""Directories and files of Headwater's own on this machine: for their owner alone, and never written through a link.

- Directories have mode 0700 and files 0600 whatever the umask: what is in them is unpickled, and may be confidential.
- A file is made anew: a link or a file that is there under its name is replaced, not written to.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import BinaryIO, cast

from headwater.filesystem.local import LocalFileSystem

EVERYBODY, ITS_GROUP = "everybody", "its group"


class PrivateFileSystem(LocalFileSystem):
    """The local file system, as Headwater's own files use it."""

    def open(self, path: str, mode: str, size: int | None = None) -> BinaryIO:
        return cast(BinaryIO, open(path, mode, buffering=0, opener=create if mode == "wb" else None))

    def make_directory(self, path: str) -> None:
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            with suppress(FileExistsError):
                self.make_directory(parent)
        os.mkdir(path, 0o700)


def create(path: str, flags: int) -> int:
    """An opener, for Python's `open`, of a file that is made anew."""
    with suppress(FileExistsError):
        return os.open(path, flags | os.O_EXCL, 0o600)  # which doesn't follow links
    os.unlink(path)
    return os.open(path, flags | os.O_EXCL, 0o600)


def writers(directory: str) -> str | None:
    """Who can put something into a directory besides its owner: `EVERYBODY`, `ITS_GROUP` or None.

    A group with its user's number is that user's own, as many systems have them.
    """
    found = os.stat(directory)
    if found.st_mode & stat.S_IWOTH:
        return EVERYBODY
    return ITS_GROUP if found.st_mode & stat.S_IWGRP and found.st_gid != found.st_uid else None
