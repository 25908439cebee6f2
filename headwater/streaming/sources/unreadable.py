"""Files that could not be read: how long each waits until it is tried again, and when it's given up."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from headwater.filesystem import FileStatus


class Outcome(Enum):
    """What follows when a file could not be read."""

    TRIED_AGAIN = "tried again"
    STILL_TRIED = "still tried"  # as it has been before
    GIVEN_UP = "given up"


class _Failed(NamedTuple):
    file: FileStatus
    since_ms: int  # batch time of the first failure
    next_ms: int  # batch time of the next try


class Unreadable:
    """Each file is tried again with the next batch, then after as long as it has failed: 1, 1, 2, 4 ... intervals.

    One that changes is another file: it's tried at once, and has all its time again. Owned by the generator's thread.

    Args:
        slide_ms: between two batches.
        retry_ms: how long a file that stays as it is may fail; then it is given up.
    """

    def __init__(self, slide_ms: int, retry_ms: int) -> None:
        self._slide_ms = slide_ms
        self._retry_ms = retry_ms
        self._failed: dict[str, _Failed] = {}  # by path

    def fail(self, file: FileStatus, time_ms: int) -> Outcome:
        """The file could not be read at this batch time."""
        before = self._failed.get(file.path)
        since_ms = before.since_ms if before is not None and before.file == file else time_ms
        failed_ms = time_ms - since_ms
        if failed_ms >= self._retry_ms:
            self._failed.pop(file.path, None)
            return Outcome.GIVEN_UP
        self._failed[file.path] = _Failed(file, since_ms, time_ms + max(failed_ms, self._slide_ms))
        return Outcome.STILL_TRIED if before is not None else Outcome.TRIED_AGAIN

    def waits(self, file: FileStatus, time_ms: int) -> bool:
        """Whether it isn't to be tried yet at this batch time."""
        failed = self._failed.get(file.path)
        return failed is not None and failed.file == file and time_ms < failed.next_ms

    def forget(self, paths: Iterable[str]) -> None:
        """These have been read, or are gone."""
        for path in paths:
            self._failed.pop(path, None)
