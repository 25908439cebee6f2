"""Paths as programs write them: which file system they belong to, which files they stand for, and how to open those.

- A path is plain, `file:/x`, `file:///x`, or a URL. Plain ones are local. Messages show it qualified: `file:/x`.
- Input is a list of paths and globs, separated by commas; names that begin with `_` or `.` aren't data.
"""

from __future__ import annotations

import io
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import BinaryIO, TypeVar, cast

from headwater.filesystem.base import Entry, FileStatus, FileSystem, InvalidInputException, is_hidden, name_of
from headwater.filesystem.compression import decompressed
from headwater.filesystem.local import LocalFileSystem
from headwater.filesystem.options import is_url
from headwater.filesystem.private import PrivateFileSystem
from headwater.filesystem.remote import RemoteFileSystem
from headwater.filesystem.transfers import REQUESTS_MAX, RangedReader, pool

T = TypeVar("T")

_GLOB = re.compile(r"[*?\[{]")
_FIRST_BRACES = re.compile(r"\{([^{}]*)\}")

_local, _private = LocalFileSystem(), PrivateFileSystem()


def resolve(path: str) -> tuple[FileSystem, str]:
    """The file system of a path, and the path as that file system's methods take it.

    >>> resolve("file:/tmp/a")[1], resolve("file:///tmp/b/")[1], resolve("/tmp/c*")[1]
    ('/tmp/a', '/tmp/b', '/tmp/c*')
    """
    if path.startswith("file:"):
        path = path[len("file:") :]
        if path.startswith("//"):  # file:///x and file://localhost/x
            path = path[2:].removeprefix("localhost")
    elif is_url(path):
        remote = RemoteFileSystem(path)
        return remote, remote.path
    return _local, os.path.abspath(path)


def resolve_private(path: str) -> tuple[FileSystem, str]:
    """As `resolve`, for files of Headwater's own: those on this machine are for their owner alone."""
    filesystem, resolved = resolve(path)
    return _private if filesystem is _local else filesystem, resolved


def names_in(directory: str) -> list[str]:
    """The names in a directory; none if it isn't there."""
    filesystem, resolved = resolve(directory)
    if not filesystem.is_directory(resolved):
        return []
    return [name_of(child.rstrip("/")) for child in filesystem.children(resolved)]


def qualify(path: str) -> str:
    """The path as Spark's messages and records show it.

    >>> qualify("/tmp/a")
    'file:/tmp/a'
    """
    filesystem, path = resolve(path)
    return filesystem.qualify(path)


def is_local(path: str) -> bool:
    """Whether it belongs to the machine, not to a file system over a network."""
    return not is_url(path) or path.startswith("file:")


def exists(path: str) -> bool:
    """Whether there is a file or a directory."""
    filesystem, path = resolve(path)
    return filesystem.exists(path)


def remove(path: str) -> None:
    """Remove a file, or a directory with what is in it; it need not exist."""
    filesystem, path = resolve(path)
    filesystem.remove(path)


# ------------------------------------------------------------------------------------------------ input
def list_files(path: str, *, recursive: bool = False) -> list[FileStatus]:
    """The input files of a list of paths and globs: files as such, of directories their direct children.

    Globs know `*`, `?`, `[ab]`, `[^ab]` and `{a,b}`. The files of each path come in the order of their names.

    Args:
        path: the list, separated by commas.
        recursive: of directories, take what is in their directories too.

    Raises:
        InvalidInputException: a path doesn't exist, a glob matches nothing, or a directory holds another one.
    """
    return [file for part in split_paths(path) for file in _list_path(part, recursive)]


def split_paths(paths: str) -> list[str]:
    """A list of paths taken apart at its commas, except for those within braces.

    >>> split_paths("/a,/b/{c,d}")
    ['/a', '/b/{c,d}']
    """
    parts, depth = [""], 0
    for character in paths:
        depth += (character == "{") - (character == "}")
        if character == "," and depth <= 0:
            parts.append("")
        else:
            parts[-1] += character
    return [part for part in parts if part]


def expand(path: str) -> list[str]:
    """The paths that a glob stands for, sorted. A path without a wildcard stands for itself, there or not."""
    filesystem, resolved = resolve(path)
    if not _GLOB.search(resolved):
        return [filesystem.openable(resolved)]
    return [entry.file.path for entry in _matches(filesystem, resolved)]


def _matches(filesystem: FileSystem, resolved: str) -> list[Entry]:
    """What a path with wildcards stands for, by path; itself, if there is such a name."""
    if filesystem.exists(resolved):
        status = filesystem.status(resolved)
        return [Entry(status, filesystem.is_directory(resolved))]
    patterns = [pattern.replace("[^", "[!") for pattern in _expand_braces(resolved)]
    found = {entry.file.path: entry for pattern in patterns for entry in filesystem.glob(pattern)}
    return [found[match] for match in sorted(found) if not is_hidden(match)]


def _expand_braces(pattern: str) -> Iterator[str]:
    braces = _FIRST_BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for choice in braces.group(1).split(","):
        yield from _expand_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _list_path(path: str, recursive: bool) -> Iterator[FileStatus]:
    filesystem, resolved = resolve(path)
    if not _GLOB.search(resolved):
        with suppress(FileNotFoundError):
            yield from _files_of(filesystem, resolved, path, recursive)
            return
        raise InvalidInputException(f"Input path does not exist: {filesystem.qualify(resolved)}")
    matches = _matches(filesystem, resolved)
    if not matches:
        raise InvalidInputException(f"Input Pattern {filesystem.qualify(resolved)} matches 0 files")
    for match in matches:
        if match.is_directory:
            yield from _files_of(filesystem, resolve(match.file.path)[1], path, recursive)
        else:
            yield match.file


def _files_of(filesystem: FileSystem, resolved: str, path: str, recursive: bool) -> list[FileStatus]:
    """A file, or the files of a directory. One listing describes them all: to ask for each would cost a request."""
    try:
        entries = [entry for entry in filesystem.entries(resolved) if not is_hidden(entry.file.path)]
    except NotADirectoryError:
        return [filesystem.status(resolved)]
    directories = [entry.file.path for entry in entries if entry.is_directory]
    if directories and not recursive:
        raise InvalidInputException(
            f"Not a file: {qualify(directories[0])}. The input {qualify(path)} is a directory that holds"
            f" directories; name those by a glob such as {qualify(path).rstrip('/')}/*"
        )
    files = [entry.file for entry in entries if not entry.is_directory]
    for directory in directories:
        files += _files_of(filesystem, resolve(directory)[1], path, recursive)
    return sorted(files, key=lambda file: file.path)


def open_raw(path: str, size: int | None = None) -> BinaryIO:
    """A file's bytes as they are stored.

    Args:
        path: of the file.
        size: what a listing said; over a network it saves a request, and a shorter file is an error.
    """
    filesystem, resolved = resolve(path)
    try:
        return filesystem.open(resolved, "rb", size)
    except FileNotFoundError as error:
        raise InvalidInputException(f"Input path does not exist: {filesystem.qualify(resolved)}") from error


def open_read(path: str, size: int | None = None) -> BinaryIO:
    """A file's bytes, decompressed if its name ends in .gz, .bz2, .zst or .deflate; `size` is as for `open_raw`."""
    return decompressed(open_raw(path, size), path)


def open_ahead(files: Iterable[T], open_file: Callable[[T], BinaryIO]) -> Iterator[tuple[T, BinaryIO | Exception]]:
    """The files opened one after the other, those over a network some ahead, and with their first bytes there.

    One that can't be opened comes with the exception, and the others follow. The caller closes the files that it takes,
    the iterator the others.
    """
    coming: deque[tuple[T, BinaryIO | Exception, Callable[[], object]]] = deque()
    try:
        for file in files:
            ready: Callable[[], object] = _nothing
            try:
                opened: BinaryIO | Exception = open_file(file)
            except Exception as error:
                opened = error
            if isinstance(opened, RangedReader):
                ready = pool().submit(opened.prime).result
            coming.append((file, opened, ready))
            if len(coming) > REQUESTS_MAX or ready is _nothing:
                yield _next(coming)
        while coming:
            yield _next(coming)
    finally:
        for _, opened, _ in coming:
            if not isinstance(opened, Exception):
                opened.close()


def _next(
    coming: deque[tuple[T, BinaryIO | Exception, Callable[[], object]]],
) -> tuple[T, BinaryIO | Exception]:
    file, opened, ready = coming.popleft()
    try:
        ready()
    except Exception as error:
        assert isinstance(opened, RangedReader)
        opened.close()
        return file, error
    return file, opened


def _nothing() -> None:
    """A local file needs no preparation."""


# ------------------------------------------------------------------------------------------------ output
def open_write(path: str) -> BinaryIO:
    """A new or emptied file to write, buffered. Over a network it appears, whole, when it is closed."""
    return _buffered(*resolve(path))


def create_private(path: str) -> BinaryIO:
    """As `open_write`, for a file of Headwater's own: one on this machine is for its owner alone."""
    return _buffered(*resolve_private(path))


def _buffered(filesystem: FileSystem, resolved: str) -> BinaryIO:
    file = filesystem.open(resolved, "wb")
    return cast(BinaryIO, io.BufferedWriter(file)) if isinstance(file, io.RawIOBase) else file


def write_whole(path: str, content: bytes) -> None:
    """Write a file of Headwater's own that appears when it's whole and durable, instead of another one.

    Raises:
        OSError: it can't be written; what was there stays.
    """
    filesystem, target = resolve_private(path)
    if not filesystem.renames:
        with filesystem.open(target, "wb") as file:
            write_all(file, content)
        return
    temporary = f"{target}.tmp"
    try:
        with filesystem.open(temporary, "wb") as file:
            write_all(file, content)
            sync(file)
        filesystem.rename(temporary, target)
    except BaseException:
        with suppress(OSError):  # what counts is why it failed; on a full disk others need the room
            filesystem.remove(temporary)
        raise


def write_all(file: BinaryIO, data: bytes) -> None:
    """Write all of it: a raw file may take only a part, near a limit; others take all, and some return nothing."""
    rest = memoryview(data)
    while rest:
        written = file.write(rest)
        rest = rest[written if isinstance(file, io.RawIOBase) else len(rest) :]


def sync(file: BinaryIO) -> None:
    """Have what was written survive the machine, where the file system can promise that before the file is closed."""
    file.flush()
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError):  # a remote file has none
        return
    os.fsync(descriptor)
