"""Which files of a directory belong to which batch: two rules, as pure functions of listings and batch times.

- A rule knows no file system and no clock: it is given what was listed, and says which files are to be taken.
- `find` marks nothing. Only `mark` does, once the files' data is there: what couldn't be read is found again.
- A file that is settled needn't be listed again until it changes: that is what makes listings cheap.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import astuple
from itertools import takewhile
from typing import Any, NamedTuple, Protocol

from headwater.filesystem import FileStatus

logger = logging.getLogger(__name__)

Accept = Callable[[str], bool]

# How programs name files that aren't complete yet.
TEMPORARY_SUFFIXES = (".tmp", ".temp", "._COPYING_", ".part", ".partial", ".crdownload", ".filepart", ".swp", "~")


# A file that is modified this much later than the batch that took no notice of it has another clock.
FUTURE_MS_MIN = 10_000

# The key under which what is ignored from the beginning stands in the memory of `ByModificationTime`.
_IGNORED = "ignoreUntil"
# The key that stands in the memory of `ByIdentity` as soon as a batch has begun, even if nothing is known.
_BEGUN = "begun"


class Listing(NamedTuple):
    """What a look at the directories brought: the files that aren't settled, or may have changed, in any order.

    `gone` are the paths of an earlier listing that weren't there any more.
    """

    files: Sequence[FileStatus]
    gone: Sequence[str] = ()


class Ignored(NamedTuple):
    """Files that a rule leaves out, each told once: those with which it began, by number, and what came later."""

    before: int = 0
    old: Sequence[FileStatus] = ()  # not modified since the stream was made, or too long ago
    future: Sequence[FileStatus] = ()  # modified after the batch time, by more than clocks may differ


class Selection(Protocol):
    """A rule. Batch times ascend."""

    def find(self, listing: Listing, time_ms: int) -> list[FileStatus]:
        """The files of a batch, by path; nothing is marked yet. Raises whatever the program's filter raises."""

    def mark(self, time_ms: int, files: Iterable[FileStatus]) -> None:
        """These files are the batch's."""

    def put_off(self, files: Iterable[FileStatus]) -> None:
        """These files that `find` gave wait for a later batch: it gives them again until they are taken or gone."""

    def take_back(self, file: FileStatus) -> None:
        """A file that was marked is not its batch's after all, as it could not be read: `find` gives it again."""

    def ignored(self) -> Ignored:
        """What the latest `find` was the first to leave out."""

    def is_settled(self, file: FileStatus) -> bool:
        """Whether the file of the latest listing will not be found later, unless it changes."""

    def changes(self) -> dict[str, Any]:
        """What a restart must know besides the files of the remembered batches, as far as that is new since asked last.

        JSON by key; None for a key that may be forgotten.
        """

    def go_on(self, next_ms: int, memory: Mapping[str, Any]) -> None:
        """A program goes on, with what `changes` had given; before the first `find`.

        Args:
            next_ms: the batch that was to be next. The first one may be a later one.
            memory: by key, what is still to be known.
        """


class ByModificationTime:
    """Spark's rule: a file is taken at batch time T if it was modified after both `ignore_until_ms` and T less the
    window, not after T, and if no file of its path was taken within the window.

    So it forgets what it took with the window. A file from before the window, or one whose modification time lies
    before that of the stream, is never taken, and a touched one is taken again. One that was found in time and put off
    is taken however old it becomes.

    Args:
        ignore_until_ms: files that were modified at this time or earlier are never taken.
        window_ms: how long a taken path is known, and how old a file may be.
        accept: the program's filter, asked for each path that the rule would take.
    """

    def __init__(self, *, ignore_until_ms: int, window_ms: int, accept: Accept | None = None) -> None:
        self._ignore_until_ms = ignore_until_ms
        self._window_ms = window_ms
        self._accept = accept
        self._after_ms = ignore_until_ms  # the threshold of the latest batch
        self._reaches_ms: int | None = None  # the first batch after a restart takes what was modified after this
        self._told = False  # whether `changes` was asked
        self._taken: dict[str, int] = {}  # path -> batch time; of the window's batches
        self._put_off: set[str] = set()  # paths that are taken however old they have become
        self._seen: set[str] | None = None  # paths in the directory that were taken or ignored; None: before the first
        self._ignored = Ignored()
        self._told_put_off: set[str] = set()  # as `changes` said last

    def find(self, listing: Listing, time_ms: int) -> list[FileStatus]:
        reaches_ms = time_ms - self._window_ms
        if self._reaches_ms is not None:
            reaches_ms, self._reaches_ms = min(reaches_ms, self._reaches_ms), None
        self._after_ms = max(self._ignore_until_ms, reaches_ms)
        self._forget(reaches_ms)
        if self._put_off:
            self._put_off &= {file.path for file in listing.files}
        self._ignored = self._newly_ignored(listing, time_ms)
        found = [
            file
            for file in listing.files
            if (self._after_ms < file.mtime_ms or file.path in self._put_off)
            and file.mtime_ms <= time_ms
            and file.path not in self._taken
            and (self._accept is None or self._accept(file.path))
        ]
        return sorted(found, key=_path)

    def mark(self, time_ms: int, files: Iterable[FileStatus]) -> None:
        taken = dict.fromkeys((file.path for file in files), time_ms)
        self._taken.update(taken)
        self._put_off.difference_update(taken)
        if self._seen is not None:
            self._seen.update(taken)

    def put_off(self, files: Iterable[FileStatus]) -> None:
        self._put_off.update(file.path for file in files)

    def take_back(self, file: FileStatus) -> None:
        self._taken.pop(file.path, None)
        self._put_off.add(file.path)

    def ignored(self) -> Ignored:
        return self._ignored

    def _newly_ignored(self, listing: Listing, time_ms: int) -> Ignored:
        future_ms = time_ms + FUTURE_MS_MIN
        left_out = [
            file
            for file in listing.files
            if (file.mtime_ms <= self._after_ms or file.mtime_ms > future_ms)
            and file.path not in self._taken
            and file.path not in self._put_off
            and (self._seen is None or file.path not in self._seen)
        ]
        old = [file for file in left_out if file.mtime_ms <= self._after_ms]
        is_first, seen = self._seen is None, self._seen or set()
        seen.difference_update(listing.gone)
        seen.update(file.path for file in left_out)
        self._seen = seen
        later = sorted((file for file in left_out if file.mtime_ms > future_ms), key=_path)
        return Ignored(len(old), (), later) if is_first else Ignored(0, sorted(old, key=_path), later)

    def is_settled(self, file: FileStatus) -> bool:
        if file.path in self._put_off:
            return False
        # One that was modified after it was taken may be taken again, once the window has passed.
        return file.mtime_ms <= max(self._after_ms, self._taken.get(file.path, -1))

    def changes(self) -> dict[str, Any]:
        told, self._told = self._told, True
        changes: dict[str, Any] = {} if told else {_IGNORED: self._ignore_until_ms}
        changes |= dict.fromkeys(self._put_off - self._told_put_off, True)
        changes |= dict.fromkeys(self._told_put_off - self._put_off)
        self._told_put_off = set(self._put_off)
        return changes

    def go_on(self, next_ms: int, memory: Mapping[str, Any]) -> None:
        # A later batch that takes its place must not find the files too old for it.
        self._reaches_ms = next_ms - self._window_ms
        if _IGNORED in memory:
            self._ignore_until_ms = memory[_IGNORED]
            self._told = True
        self._put_off = set(memory) - {_IGNORED}
        self._told_put_off = set(self._put_off)

    def _forget(self, until_ms: int) -> None:
        for path in [path for path, taken_ms in self._taken.items() if taken_ms <= until_ms]:
            del self._taken[path]


class _Known(NamedTuple):
    """A file that is old: it was taken, or was there before the stream."""

    file: FileStatus
    taken: bool


class _Pending(NamedTuple):
    """A file that may not be complete yet, and the batch time since which it hasn't changed."""

    file: FileStatus
    since_ms: int


class _Away(NamedTuple):
    """A known file that isn't at its path any more, and the batch time at which that was noticed."""

    known: _Known
    since_ms: int


class ByIdentity:
    """Every complete file is taken exactly once, whatever its modification time.

    A file is complete once two listings, `stable_ms` apart or more, have found it the same, or once its modification
    time is this much before the batch. Empty files and temporary names are not complete.

    The data of a known path is new if another file has been put there: another inode, or another etag. The same inode
    is the same file: a touch, and what was appended, aren't taken; but if it has become shorter it was written anew,
    and if it grew that was never taken it was not complete when the stream began. Without either, a file is new if
    its size or modification time differs. A file that left a known path and appears under another one, or under the
    same, is known, unless size or modification time differ: then it's another one that was given its inode.

    Memory is bounded by the directory: a file that has left it is forgotten after the window.

    Args:
        ignore: files that were there before the stream, and are not to be taken.
        window_ms: how long a file that has left its path is remembered.
        stable_ms: how long a file must not have changed, from 0.
        accept: the program's filter, asked for the path of each file that is complete.
    """

    def __init__(
        self, *, ignore: Iterable[FileStatus] = (), window_ms: int, stable_ms: int, accept: Accept | None = None
    ) -> None:
        self._window_ms = window_ms
        self._stable_ms = stable_ms
        self._accept = accept
        self._known = {file.path: _Known(file, False) for file in ignore if _is_candidate(file)}
        self._ignored_before = len(self._known)  # that wasn't told yet
        self._told_begun = False  # whether `changes` was asked
        self._changed = dict.fromkeys(self._known)  # paths of which a restart must hear; none is new if it's forgotten
        self._restored: set[str] = set()  # known paths that no listing has shown since a restart; until the first one
        self._pending: dict[str, _Pending] = {}  # by path; none of them is known
        self._away: dict[int | str, _Away] = {}  # by inode, or path; oldest first

    def find(self, listing: Listing, time_ms: int) -> list[FileStatus]:
        self._forget_away(time_ms)
        for path in self._restored.difference(file.path for file in listing.files):
            self._leave(path, time_ms)
        self._restored.clear()
        for path in listing.gone:
            self._pending.pop(path, None)
            self._leave(path, time_ms)
        for file in listing.files:
            known = self._known.get(file.path)
            if known is not None and not _is_same_data(file, known):
                self._leave(file.path, time_ms)
        new = [file for file in listing.files if self._is_new(file)]
        return sorted((file for file in new if self._is_complete(file, time_ms)), key=_path)

    def mark(self, time_ms: int, files: Iterable[FileStatus]) -> None:
        for file in files:
            self._know(file, taken=True)

    def put_off(self, files: Iterable[FileStatus]) -> None:
        """They stay pending."""

    def take_back(self, file: FileStatus) -> None:
        known = self._known.get(file.path)
        if known is not None and known.file.identity != file.identity:
            return  # another file has taken its place, and was found since
        if self._known.pop(file.path, None) is None:
            away = self._away.get(_key(file))
            if away is not None and away.known.file.path == file.path:
                del self._away[_key(file)]
        self._changed[file.path] = None

    def ignored(self) -> Ignored:
        before, self._ignored_before = self._ignored_before, 0
        return Ignored(before)

    def is_settled(self, file: FileStatus) -> bool:
        return file.path in self._known or file.path.endswith(TEMPORARY_SUFFIXES)

    def changes(self) -> dict[str, Any]:
        # A file that is away is known until it's forgotten: a restart sees by itself that it isn't there.
        away = {away.known.file.path for away in self._away.values()}
        changed = [path for path in self._changed if path in self._known or path not in away]
        self._changed = {path: None for path in self._changed if path in away and path not in self._known}
        begun, self._told_begun = {} if self._told_begun else {_BEGUN: True}, True
        return begun | {path: self._data(path) for path in changed}

    def _data(self, path: str) -> list[Any] | None:
        known = self._known.get(path)
        return None if known is None else [*astuple(known.file), known.taken]

    def go_on(self, next_ms: int, memory: Mapping[str, Any]) -> None:
        if memory:  # else no batch has begun, and what is known from the beginning holds
            self._told_begun = _BEGUN in memory
            data = [data for key, data in memory.items() if key != _BEGUN]
            known = (_Known(FileStatus(*fields), taken) for *fields, taken in data)
            self._known = {each.file.path: each for each in known}
            self._restored = set(self._known)
            self._pending.clear()
            self._away.clear()
            self._changed.clear()

    def remembered(self) -> int:
        """How many files it holds in memory, for whatever reason."""
        return len(self._known) + len(self._pending) + len(self._away)

    def check(self) -> None:
        """Assert what is always true."""
        assert not self._known.keys() & self._pending.keys()
        assert all(path == known.file.path for path, known in self._known.items())

    # -------------------------------------------------------------------------------------------- what is known
    def _know(self, file: FileStatus, *, taken: bool) -> None:
        self._known[file.path] = _Known(file, taken)
        self._changed[file.path] = None
        self._pending.pop(file.path, None)

    def _leave(self, path: str, time_ms: int) -> None:
        known = self._known.pop(path, None)
        if known is not None:
            key = _key(known.file)
            self._away.pop(key, None)
            self._away[key] = _Away(known, time_ms)
            self._changed[path] = None

    def _forget_away(self, time_ms: int) -> None:
        until_ms = time_ms - self._window_ms
        for key in list(takewhile(lambda key: self._away[key].since_ms <= until_ms, self._away)):
            del self._away[key]

    # -------------------------------------------------------------------------------------------- new, and complete?
    def _is_new(self, file: FileStatus) -> bool:
        """Whether the path leads to data that isn't known. What is known is brought up to date."""
        known = self._known.get(file.path)
        if known is None:
            away = self._away.get(_key(file))
            if away is None or not _is_identical(file, away.known.file):
                return _is_candidate(file)
            del self._away[_key(file)]
            known = away.known
        if known.taken and file.size > known.file.size:
            logger.warning(
                "%s grew from %d to %d bytes after it was taken: what was appended is not read. Write a file "
                "elsewhere, and rename it into the directory once it is complete.",
                file.path,
                known.file.size,
                file.size,
            )
        self._know(file, taken=known.taken)
        return False

    def _is_complete(self, file: FileStatus, time_ms: int) -> bool:
        pending = self._pending.get(file.path)
        if pending is None or pending.file != file:
            pending = self._pending[file.path] = _Pending(file, time_ms)
        unchanged = pending.since_ms < time_ms and pending.since_ms <= time_ms - self._stable_ms
        if not unchanged and file.mtime_ms > time_ms - self._stable_ms:
            return False
        return self._accept is None or self._accept(file.path)


def _path(file: FileStatus) -> str:
    return file.path


def _key(file: FileStatus) -> int | str:
    """By what a file is found again that has left its path: local ones under any path, others under the same."""
    return file.identity if isinstance(file.identity, int) else file.path


def _is_candidate(file: FileStatus) -> bool:
    return file.size > 0 and not file.path.endswith(TEMPORARY_SUFFIXES)


def _is_identical(file: FileStatus, known: FileStatus) -> bool:
    return (file.identity, file.size, file.mtime_ms) == (known.identity, known.size, known.mtime_ms)


def _is_same_data(file: FileStatus, known: _Known) -> bool:
    before = known.file
    if file.identity is None or before.identity is None:
        return (file.size, file.mtime_ms) == (before.size, before.mtime_ms)
    if file.identity != before.identity:
        return False
    if isinstance(file.identity, str):
        return True
    return file.size == before.size or (known.taken and file.size > before.size)
