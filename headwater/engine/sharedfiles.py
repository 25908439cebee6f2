"""The files that each executor of an application has for its tasks: those that were added, read when they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import NamedTuple

from headwater.engine.backend import Backend, ExecutorHandle


class _File(NamedTuple):
    name: str  # relative to SparkFiles' directory
    data: bytes
    importable: bool


class SharedFiles:
    """Any thread; one lock."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._lock = threading.Lock()  # guards the list below
        self._files: list[_File] = []  # what executors to come get as well

    def add(self, name: str, path: str, *, importable: bool) -> None:
        """Give a file, or all files below a directory, to every executor, present and future."""
        for relative, found in _files_below(name, path):
            with open(found, "rb") as source:
                file = _File(relative, source.read(), importable)
            with self._lock:
                self._files.append(file)
            for executor in self._backend.executors().values():
                executor.add_file(*file)

    def send_to(self, executor: ExecutorHandle) -> None:
        """Give a new executor all files that there are."""
        with self._lock:
            files = list(self._files)
        for file in files:
            executor.add_file(*file)


def _files_below(name: str, path: str) -> Iterator[tuple[str, str]]:
    if not os.path.isdir(path):
        yield name, path
        return
    for directory, _, files in os.walk(path):
        for file in files:
            full = os.path.join(directory, file)
            yield os.path.join(name, os.path.relpath(full, path)), full
