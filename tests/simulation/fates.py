"""Where a driver dies: at the n-th time that it comes to a place, as kill -9 would end it.

A place is a step after which something on disk, or what others were told, is different from before. Whatever the
process holds in memory is lost, what the operating system was given stays; a write that it dies in has come half way.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import Any, NamedTuple

#: How a process ends that came to its place.
DIED = 77

PLACES = (
    "any",  # of the places below
    "open",
    "write",
    "sync",
    "rename",
    "renamed",
    "remove",
    "directory",
    "post",  # an entry for the journal
    "commit",  # entries are posted, none is durable
    "apply",  # an entry is durable, nobody was told
    "segment",  # a state's version
    "job",  # before an output
    "job done",
    "block",  # a receiver's is logged, not stored
    "acknowledge",  # it is taken, its source hasn't heard
)


class Fate(NamedTuple):
    """Die when you come to `place` for the `number`th time, from 1."""

    place: str
    number: int


class Counter:
    """Counts the places that a process comes to, and ends it where its fate says. Any thread."""

    def __init__(self, fate: Fate | None) -> None:
        self._fate = fate
        self._left = 0 if fate is None else fate.number

    def come_to(self, place: str, last_act: Callable[[], object] = lambda: None) -> None:
        """The process is at a place; `last_act` is what it still does before it dies there."""
        if self._fate is not None and self._fate.place in (place, "any"):
            self._left -= 1
            if self._left == 0:
                last_act()
                os._exit(DIED)


def install(counter: Counter) -> None:
    """Have this process come to the places."""
    from headwater.engine.receivers import ExecutorsHost
    from headwater.engine.states import StatePartition
    from headwater.filesystem import LocalFileSystem
    from headwater.filesystem.private import PrivateFileSystem, create
    from headwater.streaming.recovery.journal import Journal
    from headwater.streaming.recovery.ledger import Ledger
    from headwater.streaming.runtime.jobs import JobThreads

    def passing(owner: Any, name: str, before: str = "", after: str = "", wanted: Any = lambda *_: True) -> None:
        original = getattr(owner, name)

        def passed(*arguments: Any, **named: Any) -> Any:
            counts = wanted(*arguments)
            if before and counts:
                counter.come_to(before)
            result = original(*arguments, **named)
            if after and counts:
                counter.come_to(after)
            return result

        setattr(owner, name, passed)

    class File(io.FileIO):
        """A file that is written."""

        def write(self, data: Any) -> int:
            view = memoryview(data)
            counter.come_to("write", lambda: super(File, self).write(view[: len(view) // 2]))
            return super().write(view)

    def open_file(system: LocalFileSystem, path: str, mode: str, size: int | None = None) -> io.FileIO:
        if mode == "rb":
            return io.FileIO(path, mode)
        counter.come_to("open")
        return File(path, mode, opener=create if mode == "wb" and type(system) is PrivateFileSystem else None)

    for kind in (LocalFileSystem, PrivateFileSystem):
        kind.open = open_file  # type: ignore[assignment, method-assign]
        passing(kind, "make_directory", "directory")
    passing(LocalFileSystem, "rename", "rename", "renamed")
    passing(LocalFileSystem, "remove", "remove")
    passing(os, "fsync", "sync")
    passing(Journal, "post", "post", wanted=lambda _journal, entry, _then: entry is not None)
    passing(Journal, "_commit", "commit", wanted=lambda _journal, posted: any(entry for entry, _ in posted))
    passing(Ledger, "apply", "apply")
    passing(StatePartition, "store", "segment")
    passing(JobThreads, "_try", "job", "job done")
    passing(ExecutorsHost, "put_block", "block")
