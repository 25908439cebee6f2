"""The files of segments, on any file system."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from headwater.errors import SparkException
from headwater.filesystem import (
    InvalidInputException,
    create_private,
    is_local,
    open_raw,
    remove,
    resolve,
    resolve_private,
)


def write(path: str, data: bytes) -> None:
    """Make a file, and its directory if that was removed.

    Raises:
        OSError: it can't be written; nothing is left of it.
    """
    try:
        try:
            file = create_private(path)
        except FileNotFoundError:
            _make_parent(path)
            file = create_private(path)
        with file:
            file.write(data)
    except OSError:
        with contextlib.suppress(OSError):  # on a full disk others need the room
            remove(path)
        raise


def _make_parent(path: str) -> None:
    system, resolved = resolve_private(path.rpartition("/")[0])
    with contextlib.suppress(FileExistsError):  # another partition's task was faster
        system.make_directory(resolved)


def read(path: str) -> bytes:
    """A file's bytes.

    Raises:
        SparkException: it isn't there.
    """
    try:
        with open_raw(path) as file:
            return file.read()
    except InvalidInputException:
        raise SparkException(
            f"a state can't be restored: its segment {path} is missing. Old versions are removed when later batches are"
            " done: if a thread, or a notebook, uses a state's RDD of an earlier batch, keep batches longer by"
            " ssc.remember(seconds), called before start()."
        ) from None


def are_there(directory: str, names: Iterable[str]) -> bool:
    """Whether these can be read; over a network, where that isn't cheap to know, they are taken to be there."""
    if not is_local(directory):
        return True
    below = resolve(directory)[1]
    return all(os.path.exists(os.path.join(below, name)) for name in names)


def size(path: str) -> int:
    """A file's size in bytes; 0 if it isn't there."""
    filesystem, resolved = resolve(path)
    return filesystem.status(resolved).size if filesystem.exists(resolved) else 0
