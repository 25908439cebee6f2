"""Paths and files: local ones with `os`, all others over fsspec.

1. A path is plain, `file:/x`, `file:///x`, or any URL that fsspec knows. Messages show it qualified: `file:/x`.
2. Input is a list of paths and globs, separated by commas; names that begin with `_` or `.` aren't data.
3. Output appears by renaming: a reader sees a part whole or not at all, and `_SUCCESS` when all parts are there.
"""

from __future__ import annotations

import glob
import importlib
import io
import os
import re
import shutil
import stat
import zlib
from collections.abc import Callable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

from headwater.errors import SparkException

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_GLOB = re.compile(r"[*?\[{]")
_FIRST_BRACES = re.compile(r"\{([^{}]*)\}")
_READ_BYTES = 1024 * 1024
_INFLATE_BYTES = 64 * 1024  # compressed bytes read at once: they may become a thousand times more


class FileAlreadyExistsException(SparkException):
    """The output directory is there already."""


class InvalidInputException(SparkException):
    """An input path matches nothing, or something that can't be read as data."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file as listed. `path` opens it: absolute and plain if local, otherwise a URL.

    `identity` is another one when the path leads to another file: the inode, or what an object store tells of an
    object's content or version (etag, generation); None where the file system tells no such thing.
    """

    path: str
    size: int
    mtime_ms: int
    identity: int | str | None = None


class Scan(NamedTuple):
    """A directory as it was found: the names of all its entries, and those of its files that were looked at."""

    names: Set[str]
    files: list[FileStatus]


class FileSystem(Protocol):
    """What is asked of a file system. Paths are as `resolve` gave them."""

    def qualify(self, path: str) -> str:
        """The path with its scheme, as messages and records show it."""

    def openable(self, path: str) -> str:
        """The path such that `resolve` finds it again."""

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool: ...

    def status(self, path: str) -> FileStatus: ...

    def children(self, path: str) -> list[str]:
        """A directory's entries, in no order."""

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        """A directory's names and files, in no order; files whose names are hidden are left out.

        Args:
            path: of the directory.
            settled: name -> identity of files that needn't be looked at, as long as the name leads to the same file.
                Each is looked at once in `turns` scans all the same.
            turn: which scan this is.
            turns: at least 1.
        """

    def glob(self, pattern: str) -> list[str]:
        """Existing paths, in no order. The pattern has no braces."""

    def open(self, path: str, mode: str) -> BinaryIO: ...

    def make_directory(self, path: str) -> None:
        """Make it, with its parents; FileExistsError if it is there, whoever else makes it at the same time."""

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing the target."""

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with what is in it; neither need exist."""


class LocalFileSystem:
    """The machine's files."""

    def qualify(self, path: str) -> str:
        return f"file:{path}"

    def openable(self, path: str) -> str:
        return path

    def exists(self, path: str) -> bool:
        return os.path.exists(path)

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def status(self, path: str) -> FileStatus:
        return _local_status(path, os.stat(path))

    def children(self, path: str) -> list[str]:
        return [os.path.join(path, name) for name in os.listdir(path)]

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        with os.scandir(path) as directory:
            inodes = {entry.name: entry.inode() for entry in directory}
        turn %= turns
        # A link's inode isn't its target's, which is the identity: links are looked at each time.
        due = [name for name, inode in inodes.items() if settled.get(name) != inode or inode % turns == turn]
        files = []
        for name in due:
            if _hidden(name):
                continue
            file = os.path.join(path, name)
            with suppress(FileNotFoundError):  # renamed or removed while we looked, or a link to nowhere
                found = os.stat(file)
                if stat.S_ISREG(found.st_mode):
                    files.append(_local_status(file, found))
        return Scan(inodes.keys(), files)

    def glob(self, pattern: str) -> list[str]:
        return glob.glob(pattern)

    def open(self, path: str, mode: str) -> BinaryIO:
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


def _local_status(path: str, found: os.stat_result) -> FileStatus:
    return FileStatus(path, found.st_size, found.st_mtime_ns // 1_000_000, found.st_ino)


class RemoteFileSystem:
    """A file system of fsspec."""

    def __init__(self, url: str) -> None:
        try:
            fsspec = importlib.import_module("fsspec.core")
        except ImportError as error:
            raise SparkException(
                f"{url} is not a local path: it needs the package fsspec (pip install fsspec)"
            ) from error
        self._fs, self.path = fsspec.url_to_fs(url)

    def qualify(self, path: str) -> str:
        return str(self._fs.unstrip_protocol(path))

    def openable(self, path: str) -> str:
        return self.qualify(path)

    def exists(self, path: str) -> bool:
        return bool(self._fs.exists(path))

    def is_directory(self, path: str) -> bool:
        return bool(self._fs.isdir(path))

    def status(self, path: str) -> FileStatus:
        found = self._fs.info(path)
        return self._status_of(path, found)

    def _status_of(self, path: str, found: dict[str, Any]) -> FileStatus:
        return FileStatus(self.openable(path), int(found["size"] or 0), _mtime_ms(found), _identity(found))

    def children(self, path: str) -> list[str]:
        self._fs.invalidate_cache(path)  # a stream looks at a directory again and again
        return [child for child in self._fs.ls(path, detail=False) if child.rstrip("/") != path.rstrip("/")]

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        self._fs.invalidate_cache(path)
        # One request tells everything of all files: there is nothing to spare them.
        found = {child["name"].rstrip("/").rpartition("/")[2]: child for child in self._fs.ls(path, detail=True)}
        files = [
            self._status_of(child["name"], child)
            for name, child in found.items()
            if child["type"] == "file" and not _hidden(name)
        ]
        return Scan(set(found), files)

    def glob(self, pattern: str) -> list[str]:
        self._fs.invalidate_cache()
        return list(self._fs.glob(pattern))

    def open(self, path: str, mode: str) -> BinaryIO:
        return cast(BinaryIO, self._fs.open(path, mode))

    def make_directory(self, path: str) -> None:
        if self.exists(path):
            raise FileExistsError(path)
        self._fs.makedirs(path, exist_ok=True)  # object stores have no directory to make, nor a way to win a race

    def rename(self, source: str, target: str) -> None:
        self.remove(target)
        self._fs.mv(source, target)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._fs.rm(path, recursive=True)


def _mtime_ms(found: dict[str, Any]) -> int:
    """The time of change from what a file system tells; they don't agree on its name. 0 if it tells none."""
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = found.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return int((value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp() * 1000)
        if isinstance(value, (int, float)):
            return int(value * 1000)
    return 0


def _identity(found: dict[str, Any]) -> str | None:
    """What a file system tells that changes with an object's content; they don't agree on its name."""
    for name in ("ETag", "etag", "generation", "version_id", "VersionId", "md5Hash", "content_md5", "checksum"):
        if found.get(name):
            return str(found[name])
    return None


_local = LocalFileSystem()


def resolve(path: str) -> tuple[FileSystem, str]:
    """The file system of a path, and the path as that file system's methods take it.

    >>> resolve("file:/tmp/a")[1], resolve("file:///tmp/b/")[1], resolve("/tmp/c*")[1]
    ('/tmp/a', '/tmp/b', '/tmp/c*')
    """
    if path.startswith("file:"):
        path = path[len("file:") :]
        if path.startswith("//"):  # file:///x and file://localhost/x
            path = path[2:].removeprefix("localhost")
    elif _URL.match(path):
        remote = RemoteFileSystem(path)
        return remote, remote.path
    return _local, os.path.abspath(path)


def qualify(path: str) -> str:
    """The path as Spark's messages and records show it.

    >>> qualify("/tmp/a")
    'file:/tmp/a'
    """
    filesystem, path = resolve(path)
    return filesystem.qualify(path)


def exists(path: str) -> bool:
    """Is there a file or directory?"""
    filesystem, path = resolve(path)
    return filesystem.exists(path)


def sync(file: BinaryIO) -> None:
    """Have what was written survive the machine, where the file system can promise that before the file is closed."""
    file.flush()
    try:
        descriptor = file.fileno()
    except (OSError, AttributeError):  # a remote file has none
        return
    os.fsync(descriptor)


def remove(path: str) -> None:
    """Remove a file, or a directory with what is in it; it need not exist."""
    filesystem, path = resolve(path)
    filesystem.remove(path)


def list_files(path: str) -> list[FileStatus]:
    """The input files of a list of paths and globs: files as such, of directories their direct children.

    Globs know `*`, `?`, `[ab]`, `[^ab]` and `{a,b}`. The files of each path come in the order of their names.

    Raises:
        InvalidInputException: a path doesn't exist, a glob matches nothing, or a directory holds another one.
    """
    return [file for part in split_paths(path) for file in _list_path(part)]


def split_paths(paths: str) -> list[str]:
    """A list of paths taken apart at its commas, but for those within braces.

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
    """The paths that a path or glob stands for, sorted; a path without a wildcard stands for itself if it exists."""
    filesystem, resolved = resolve(path)
    if not _GLOB.search(resolved) or filesystem.exists(resolved):
        return [filesystem.openable(resolved)] if filesystem.exists(resolved) else []
    patterns = [pattern.replace("[^", "[!") for pattern in _expand_braces(resolved)]
    found = {match for pattern in patterns for match in filesystem.glob(pattern) if not _hidden(match)}
    return [filesystem.openable(match) for match in sorted(found)]


def _expand_braces(pattern: str) -> Iterator[str]:
    braces = _FIRST_BRACES.search(pattern)
    if braces is None:
        yield pattern
        return
    for choice in braces.group(1).split(","):
        yield from _expand_braces(pattern[: braces.start()] + choice + pattern[braces.end() :])


def _hidden(path: str) -> bool:
    return path.rstrip("/").rpartition("/")[2].startswith(("_", "."))


def _list_path(path: str) -> Iterator[FileStatus]:
    matches = expand(path)
    if not matches:
        if _GLOB.search(path):
            raise InvalidInputException(f"Input Pattern {qualify(path)} matches 0 files")
        raise InvalidInputException(f"Input path does not exist: {qualify(path)}")
    for match in matches:
        filesystem, resolved = resolve(match)
        if not filesystem.is_directory(resolved):
            yield filesystem.status(resolved)
            continue
        for child in sorted(filesystem.children(resolved)):
            if _hidden(child):
                continue
            if filesystem.is_directory(child):
                raise InvalidInputException(
                    f"Not a file: {filesystem.qualify(child)}. The input {qualify(path)} is a directory that holds"
                    f" directories; name those by a glob such as {qualify(path).rstrip('/')}/*"
                )
            yield filesystem.status(child)


def open_raw(path: str) -> BinaryIO:
    """A file's bytes as they are stored."""
    filesystem, resolved = resolve(path)
    try:
        return filesystem.open(resolved, "rb")
    except FileNotFoundError as error:
        raise InvalidInputException(f"Input path does not exist: {filesystem.qualify(resolved)}") from error


def open_read(path: str) -> BinaryIO:
    """A file's bytes, decompressed if its name ends in .gz, .bz2, .zst or .deflate."""
    file = open_raw(path)
    decompressor = _DECOMPRESSORS.get(os.path.splitext(path)[1])
    return decompressor(file) if decompressor else file


def is_compressed(path: str) -> bool:
    """Does `open_read` decompress this file? Then it can't be read from the middle."""
    return os.path.splitext(path)[1] in _DECOMPRESSORS


class _Decompressed(io.BufferedReader):
    """A decompressing stream that closes the file below with itself."""

    def __init__(self, stream: Any, below: BinaryIO) -> None:
        super().__init__(stream, _READ_BYTES)
        self._below = below

    def close(self) -> None:
        super().close()
        self._below.close()


class _Inflating(io.RawIOBase):
    """Compressed streams one after the other, each read by a decompressor of its own (as `zlib.decompressobj()`)."""

    def __init__(self, below: BinaryIO, decompressor: Callable[[], Any]) -> None:
        self._below = below
        self._new = decompressor
        self._current: Any = None  # None between two streams
        self._input = b""  # what a stream left for the next
        self._output = memoryview(b"")  # decompressed, not handed out yet

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._output:
            data = self._input or self._below.read(_INFLATE_BYTES)
            if not data:
                if self._current is not None:
                    raise EOFError("Compressed file ended before the end-of-stream marker was reached")
                return 0
            self._current = self._current or self._new()
            self._output = memoryview(self._current.decompress(data))
            self._input = b""
            if self._current.eof:
                self._input = self._current.unused_data
                self._current = None
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count


def _gunzip(file: BinaryIO) -> BinaryIO:
    import gzip

    return _Decompressed(gzip.GzipFile(fileobj=file, mode="rb"), file)


def _bunzip(file: BinaryIO) -> BinaryIO:
    import bz2

    return _Decompressed(bz2.BZ2File(file), file)


def _unzstd(file: BinaryIO) -> BinaryIO:
    return _Decompressed(_Inflating(file, lambda: zstandard().ZstdDecompressor().decompressobj()), file)


def _inflate(file: BinaryIO) -> BinaryIO:
    return _Decompressed(_Inflating(file, zlib.decompressobj), file)


_DECOMPRESSORS = {".gz": _gunzip, ".bz2": _bunzip, ".zst": _unzstd, ".deflate": _inflate}


def zstandard() -> Any:
    """The package zstandard, which only some users need."""
    try:
        return importlib.import_module("zstandard")
    except ImportError as error:
        raise SparkException("zstd compression needs the package zstandard (pip install zstandard)") from error


class OutputDirectory:
    """A directory that a job writes, a part a partition.

    The driver prepares it and, at the end, commits or aborts; tasks, in other processes, write to `task_path` and
    commit that. Until its task commits, a part is below `_temporary`, which readers ignore.
    """

    def __init__(self, path: str) -> None:
        filesystem, resolved = resolve(path)
        self.path = filesystem.openable(resolved)  # absolute: a worker may stand in another directory
        self._prepared = False  # did prepare() make the directory? Only then is it ours to remove

    def __getstate__(self) -> str:
        return self.path

    def __setstate__(self, path: str) -> None:
        self.path = path
        self._prepared = False

    def prepare(self) -> None:
        """Make the directory.

        Raises:
            FileAlreadyExistsException: it, or a file of its name, is there.
        """
        filesystem, resolved = resolve(self.path)
        try:
            filesystem.make_directory(resolved)
        except FileExistsError as error:
            name = filesystem.qualify(resolved)
            raise FileAlreadyExistsException(f"Output directory {name} already exists") from error
        self._prepared = True
        filesystem.make_directory(f"{resolved}/_temporary")

    def task_path(self, partition: int, attempt: int, extension: str = "") -> str:
        """Where an attempt writes its part; `open_write` opens it. Never one that another attempt writes."""
        return f"{self.path}/_temporary/attempt-{partition:05d}-{attempt}{extension}"

    def commit_task(self, partition: int, attempt: int, extension: str = "") -> str:
        """Make an attempt's file the partition's part, instead of an earlier attempt's; returns the part's path."""
        filesystem, source = resolve(self.task_path(partition, attempt, extension))
        part = f"{self.path}/part-{partition:05d}{extension}"
        filesystem.rename(source, resolve(part)[1])
        return part

    def abort_task(self, partition: int, attempt: int, extension: str = "") -> None:
        """Remove what an attempt has written."""
        filesystem, source = resolve(self.task_path(partition, attempt, extension))
        filesystem.remove(source)

    def commit(self) -> None:
        """All parts are there: say so."""
        filesystem, resolved = resolve(self.path)
        filesystem.remove(f"{resolved}/_temporary")
        filesystem.open(f"{resolved}/_SUCCESS", "wb").close()

    def abort(self) -> None:
        """Remove what was written, and the directory if nobody else has put something there."""
        if not self._prepared:
            return
        filesystem, resolved = resolve(self.path)
        filesystem.remove(f"{resolved}/_temporary")  # first: an attempt that still runs then fails to commit
        if not filesystem.exists(resolved):
            return
        children = filesystem.children(resolved)
        ours = [child for child in children if child.rpartition("/")[2].startswith(("part-", "_SUCCESS"))]
        for child in ours:
            filesystem.remove(child)
        if len(ours) == len(children):
            filesystem.remove(resolved)


def open_write(path: str) -> BinaryIO:
    """A new or emptied file to write, buffered."""
    filesystem, resolved = resolve(path)
    file = filesystem.open(resolved, "wb")
    return cast(BinaryIO, io.BufferedWriter(file)) if isinstance(file, io.RawIOBase) else file
