"""What is asked of a file system, and how it describes files."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from types import MappingProxyType
from typing import BinaryIO, NamedTuple, Protocol

from headwater.errors import SparkException


class FileAlreadyExistsException(SparkException):
    """The output directory is there already."""


class InvalidInputException(SparkException):
    """An input path matches nothing, or something that can't be read as data."""


@dataclass(frozen=True, slots=True)
class FileStatus:
    """A file as listed. `path` opens it: absolute and plain if local, otherwise a URL.

    `identity` differs when the path leads to another file. It is the inode, or what an object store says of an object's
    content or version (etag, generation); None where the file system says nothing of the kind.
    """

    path: str
    size: int
    mtime_ms: int
    identity: int | str | None = None


class Entry(NamedTuple):
    """What a directory holds under a name. For a directory only the path is sure to mean something."""

    file: FileStatus
    is_directory: bool


class Scan(NamedTuple):
    """A directory as it was found: the names of all its entries, and those of its files that were looked at.

    `troubles`: why names can't be looked at.
    """

    names: Set[str]
    files: list[FileStatus]
    troubles: Mapping[str, OSError] = MappingProxyType({})


class FileSystem(Protocol):
    """What is asked of a file system. Paths are as `resolve` gave them."""

    @property
    def renames(self) -> bool:
        """Whether a rename is one cheap step. If not, a file appears under its name, whole, when it's closed."""

    def qualify(self, path: str) -> str:
        """The path with its scheme, as messages and records show it."""

    def openable(self, path: str) -> str:
        """The path such that `resolve` finds it again."""

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool: ...

    def status(self, path: str) -> FileStatus: ...

    def entries(self, path: str) -> list[Entry]:
        """What is in a directory, in no order.

        Raises:
            FileNotFoundError: there is nothing at the path.
            NotADirectoryError: there is a file.
        """

    def children(self, path: str) -> list[str]:
        """The paths of a directory's entries, in no order; raises as `entries`."""

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        """A directory's names and files, in no order; files whose names are hidden are left out. Raises as `entries`.

        Args:
            path: of the directory.
            settled: name -> identity of files that needn't be looked at, as long as the name leads to the same file.
                Even so each is looked at once in `turns` scans.
            turn: which scan this is.
            turns: at least 1.
        """

    def glob(self, pattern: str) -> list[Entry]:
        """What exists, in no order. The pattern has no braces."""

    def open(self, path: str, mode: str, size: int | None = None) -> BinaryIO:
        """A file, to be read ("rb") or written ("wb").

        Args:
            path: of the file.
            mode: as of Python's `open`.
            size: what a listing said of a file to be read; it saves a request, and a shorter file is an error.
        """

    def make_directory(self, path: str) -> None:
        """Make it, with its parents; FileExistsError if it is there, even if others make it at the same time."""

    def rename(self, source: str, target: str) -> None:
        """Move a file, replacing the target."""

    def remove(self, path: str) -> None:
        """Remove a file, or a directory with what is in it; neither need exist."""


def name_of(path: str) -> str:
    """The last part of a path.

    >>> name_of("/a/b/"), name_of("s3a://bucket/c")
    ('b', 'c')
    """
    return path.rstrip("/").rpartition("/")[2]


def is_hidden(path: str) -> bool:
    """Names that begin with `_` or `.` aren't data."""
    return name_of(path).startswith(("_", "."))
