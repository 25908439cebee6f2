"""File systems over the network, by the drivers of fsspec.

- Paths are URLs, as the program writes them except for a slash at the end.
- Requests are tried again, and may run more than once. A rename can't: instead it is looked up what became of it.
- A process makes one driver for each root and settings, for all its threads.
"""

from __future__ import annotations

import fnmatch
import glob
import importlib
import re
import threading
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from functools import partial
from typing import Any, BinaryIO, TypeVar, cast

from headwater.base import cipher
from headwater.errors import SparkException
from headwater.filesystem import options, retries
from headwater.filesystem.base import Entry, FileStatus, Scan, is_hidden, name_of
from headwater.filesystem.transfers import RangedReader, Upload, check_length
from headwater.settings.table import read

T = TypeVar("T")

_lock = threading.Lock()  # guards all below
_drivers: dict[tuple[str, str], Any] = {}  # driver's name and options -> driver, by the settings of this version
_drivers_version = -1


class RemoteFileSystem:
    """One root: a bucket, a container, a name node.

    Args:
        url: that leads there, or below.

    Raises:
        SparkException: a package is missing; the message names the extra that brings it.
    """

    def __init__(self, url: str) -> None:
        pairs, version = options.settings()
        location = options.locate(url, pairs)
        self._driver = _driver_of(location, url, version)
        self._timeout_ms: int = read(pairs, "headwater.filesystem.retryTimeout")
        self._encrypted = cipher.is_wanted(pairs)
        self.renames = not location.object_store
        self._is_hdfs = location.driver in ("hdfs", "webhdfs")
        self._root, self._driver_root = location.root, self._root_for_driver(location)
        self.path = location.root + location.path

    def _root_for_driver(self, location: options.Location) -> str:
        """How the driver writes the root of the URLs."""
        if location.driver == "abfs" and "@" in location.authority:
            return location.authority.partition("@")[0]
        # By the driver's own scheme: it may not know the others.
        return str(self._driver._strip_protocol(f"{location.driver}://{location.authority}/x")).removesuffix("/x")

    def _to_driver(self, url: str) -> str:
        return (self._driver_root + url[len(self._root) :]) or str(self._driver.root_marker)

    def _to_url(self, path: str) -> str:
        return self._root + path.rstrip("/")[len(self._driver_root) :]

    def _try(self, what: str, url: str, call: Callable[[], T]) -> T:
        return retries.retried(f"{what} {url}", call, self._timeout_ms)

    # -------------------------------------------------------------------------------------------- what there is
    def qualify(self, path: str) -> str:
        return path

    def openable(self, path: str) -> str:
        return path

    def exists(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._try("looking at", path, lambda: self._info(path)))
        return False

    def is_directory(self, path: str) -> bool:
        with suppress(FileNotFoundError):
            return bool(self._try("looking at", path, lambda: self._info(path))["type"] == "directory")
        return False

    def status(self, path: str) -> FileStatus:
        return _status(path, self._try("looking at", path, lambda: self._info(path)))

    def _info(self, path: str) -> dict[str, Any]:
        # Not the driver's `exists`, which takes every error for an answer.
        return dict(self._driver.info(self._to_driver(path)))

    def entries(self, path: str) -> list[Entry]:
        found = self._try("listing", path, lambda: self._list(path))
        if [self._to_url(child["name"]) for child in found] == [path] and found[0]["type"] == "file":
            if found[0].get("size") or not path.endswith("/"):
                raise NotADirectoryError(f"{path} is a file")
            found = []
        return [entry for entry in map(self._entry, found) if entry.file.path != path]

    def _list(self, path: str) -> list[dict[str, Any]]:
        self._driver.invalidate_cache()  # a stream looks at a directory again and again
        return list(self._driver.ls(self._to_driver(path), detail=True))

    def _entry(self, found: Mapping[str, Any]) -> Entry:
        return Entry(_status(self._to_url(found["name"]), found), found["type"] == "directory")

    def children(self, path: str) -> list[str]:
        return [entry.file.path for entry in self.entries(path)]

    def scan(self, path: str, settled: Mapping[str, int | str | None], *, turn: int, turns: int) -> Scan:
        # One request describes all files: looking at fewer of them would save nothing.
        entries = self.entries(path)
        files = [entry.file for entry in entries if not entry.is_directory and not is_hidden(entry.file.path)]
        return Scan({name_of(entry.file.path) for entry in entries}, files)

    def glob(self, pattern: str) -> list[Entry]:
        # Not the driver's, which takes directories for empty that it couldn't list.
        directories = [self._root]
        *above, last = pattern[len(self._root) :].strip("/").split("/")
        for part in above:
            if glob.has_magic(part):
                matches = (entry for path in directories for entry in self._matching(path, part))
                directories = [entry.file.path for entry in matches if entry.is_directory]
            else:  # whether it's there shows below
                directories = [f"{path}/{part}" for path in directories]
        return [entry for path in directories for entry in self._matching(path, last)]

    def _matching(self, directory: str, part: str) -> list[Entry]:
        """What is in a directory under the names that one part of a pattern stands for."""
        with suppress(FileNotFoundError, NotADirectoryError):
            if not glob.has_magic(part):
                path = f"{directory}/{part}"
                info = self._try("looking at", path, lambda: self._info(path))
                return [Entry(_status(path, info), info["type"] == "directory")]
            matches = re.compile(fnmatch.translate(part)).match
            names = ((entry, name_of(entry.file.path)) for entry in self.entries(directory))
            return [entry for entry, name in names if matches(name) and name[0] != "."]
        return []

    # -------------------------------------------------------------------------------------------- content
    def open(self, path: str, mode: str, size: int | None = None) -> BinaryIO:
        if mode == "wb":
            return cast(BinaryIO, Upload(partial(self._store, path), in_memory=self._encrypted))
        if mode != "rb":
            raise ValueError(f"{path} can't be opened by mode {mode!r}: files over the network are read or written")
        if size is None:
            size = self.status(path).size
        return cast(BinaryIO, RangedReader(path, size, partial(self._fetch, path)))

    def _fetch(self, path: str, start: int, end: int) -> bytes:
        name = self._to_driver(path)

        def fetch() -> bytes:
            return check_length(path, self._driver.cat_file(name, start=start, end=end), start, end)

        return self._try("reading", path, fetch)

    def _store(self, path: str, content: bytes | str) -> None:
        name = self._to_driver(path)

        def store() -> None:
            if isinstance(content, bytes):
                self._driver.pipe_file(name, content)
            else:
                self._driver.put_file(content, name)

        self._try("writing", path, store)

    def create(self, path: str, content: bytes) -> None:
        """Write a small file unless there is one of its name: of several callers at once, one does.

        That holds for HDFS and for object stores; other drivers may look first and write then.

        Raises:
            FileExistsError: there is one, and it says something else.
        """
        name = self._to_driver(path)
        unfinished = f"{name}.{uuid.uuid4().hex}"

        def create() -> None:
            try:
                if self._is_hdfs:  # a file is there, empty, before it is written; the rename doesn't replace
                    self._driver.pipe_file(unfinished, content)
                    self._driver.mv(unfinished, name)
                else:
                    self._driver.pipe_file(name, content, mode="create")
            except Exception:
                with suppress(FileNotFoundError), self.open(path, "rb") as file:
                    if file.read() != content:  # else an earlier attempt succeeded, and its answer was lost
                        raise FileExistsError(path) from None
                    return
                raise

        try:
            self._try("writing", path, create)
        finally:
            if self._is_hdfs:
                self.remove(self._to_url(unfinished))

    # -------------------------------------------------------------------------------------------- changes
    def make_directory(self, path: str) -> None:
        if self.exists(path):
            raise FileExistsError(path)
        if self.renames:  # else directories are only a part of names, and the driver would make a bucket
            self._try("making", path, lambda: self._driver.makedirs(self._to_driver(path), exist_ok=True))

    def rename(self, source: str, target: str) -> None:
        if self._is_hdfs:
            move = partial(self._driver.mv, overwrite=True)
        else:
            self.remove(target)
            move = self._driver.mv
        names = self._to_driver(source), self._to_driver(target)

        def once() -> None:
            try:
                move(*names)
            except FileNotFoundError:
                if not self.exists(target):  # else an earlier attempt succeeded, and its answer was lost
                    raise

        self._try("renaming", source, once)

    def remove(self, path: str) -> None:
        def remove() -> None:
            with suppress(FileNotFoundError):
                self._driver.rm(self._to_driver(path), recursive=True)

        self._try("removing", path, remove)


def _driver_of(location: options.Location, url: str, version: int) -> Any:
    global _drivers_version
    key = (location.driver, repr(sorted(location.options.items())))
    with _lock:
        if version != _drivers_version:
            _drivers.clear()
            _drivers_version = version
        if key not in _drivers:
            _drivers[key] = _make_driver(location, url)
        return _drivers[key]


def _make_driver(location: options.Location, url: str) -> Any:
    try:
        fsspec = importlib.import_module("fsspec")
    except ImportError as error:
        raise SparkException(f"{url} is not a local path: it needs the package fsspec (pip install fsspec)") from error
    try:
        return _class_of(location.driver, fsspec)(skip_instance_cache=True, **location.options)
    except ImportError as error:
        extra = options.EXTRAS.get(location.driver)
        remedy = f"pip install 'headwater[{extra}]'" if extra else "install that"
        raise SparkException(f"{url} needs a package that isn't there ({error}): {remedy}") from error


def _class_of(driver: str, fsspec: Any) -> Any:
    if driver == "hdfs":  # fsspec's own goes through a JVM
        kind = importlib.import_module("hdfs_native.fsspec").HdfsFileSystem
        # Its own doesn't take what follows a ? or # for a part of the name.
        return type("HdfsFileSystem", (kind,), {"_strip_protocol": classmethod(_strip_hdfs)})
    if driver == "webhdfs":  # its own rename doesn't replace, and says nothing when it fails
        return type("WebHDFS", (fsspec.get_filesystem_class(driver),), {"mv": _rename_over_web})
    if driver in ("s3", "abfs"):
        objects = importlib.import_module("headwater.filesystem.objects")
        return objects.S3FileSystem if driver == "s3" else objects.AzureFileSystem
    if driver == "gs":  # the class that is registered asks a second service, over gRPC, what kind each bucket is
        return importlib.import_module("gcsfs.core").GCSFileSystem
    return fsspec.get_filesystem_class(driver)


def _rename_over_web(driver: Any, path1: str, path2: str, overwrite: bool = False) -> None:
    # The option stands in Hadoop's source (RenameOptionSetParam), not in its documentation.
    option = "OVERWRITE" if overwrite else "NONE"
    driver._call("RENAME", method="put", path=path1, destination=path2, renameoptions=option)


def _strip_hdfs(kind: Any, path: str) -> str:
    scheme, separator, rest = path.partition("://")
    return (("/" + rest.partition("/")[2]) if separator else scheme).rstrip("/") or "/"


def _status(path: str, found: Mapping[str, Any]) -> FileStatus:
    return FileStatus(path, int(found.get("size") or 0), _mtime_ms(found), _identity(found))


def _mtime_ms(found: Mapping[str, Any]) -> int:
    """The time of change in a driver's description of a file; they don't agree on its name. 0 if there is none."""
    for name in ("modificationTime", "modification_time"):  # HDFS: milliseconds
        if name in found:
            return int(found[name])
    for name in ("mtime", "LastModified", "last_modified", "updated", "modified", "created"):
        value = found.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value.replace("Z", "+00:00"))
        if isinstance(value, datetime):
            return int((value if value.tzinfo else value.replace(tzinfo=timezone.utc)).timestamp() * 1000)
        if isinstance(value, (int, float)):
            return int(value * 1000)
    return 0


def _identity(found: Mapping[str, Any]) -> str | None:
    """What changes with an object's content in a driver's description of it; they don't agree on its name."""
    names = ("ETag", "etag", "generation", "version_id", "VersionId", "md5Hash", "content_md5", "checksum", "fileId")
    return next((str(found[name]) for name in names if found.get(name)), None)
