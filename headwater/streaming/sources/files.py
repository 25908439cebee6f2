"""A stream of the new files of a directory, chosen by modification time as Spark does.

At batch time T a file is taken if its name is not hidden, it was modified after both the stream's construction and
T minus the remember window, not after T, and it was not taken within that window. Hidden are names that begin with
`.` or `_`. Directories are globbed anew each batch; files are their direct children.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headwater.streaming.graph import InputNode
from headwater.streaming.listener import StreamInputInfo

if TYPE_CHECKING:
    from headwater.context import SparkContext
    from headwater.rdd import RDD

logger = logging.getLogger("headwater.streaming.sources.files")


class FileSelector:
    """Which files of a directory belong to which batch.

    Args:
        directory: a path or a glob of directories.
        ignore_before_ms: files that were modified at this time or earlier are never taken.
        window_ms: how long a taken file is known, and how old a file may be.
    """

    def __init__(self, directory: str, ignore_before_ms: int, window_ms: int) -> None:
        self._directory = directory
        self._ignore_before_ms = ignore_before_ms
        self._window_ms = window_ms
        self._taken: dict[int, tuple[str, ...]] = {}  # batch time -> files; of the window's batches

    def find(self, time_ms: int) -> list[str]:
        """The files of a batch, by name; nothing is marked yet.

        Raises:
            OSError: a directory could not be listed; a missing one is just empty.
        """
        after_ms = max(self._ignore_before_ms, time_ms - self._window_ms)
        known = {path for paths in self._taken.values() for path in paths}
        found = []
        for directory in sorted(glob.glob(self._directory)):
            if not os.path.isdir(directory):
                continue
            with os.scandir(directory) as entries:
                for entry in entries:
                    if entry.name[0] in "._" or entry.path in known:
                        continue
                    try:
                        modified_ms = entry.stat().st_mtime_ns // 1_000_000
                        fits = after_ms < modified_ms <= time_ms and entry.is_file()
                    except FileNotFoundError:
                        continue  # renamed or removed while we looked
                    if fits:
                        found.append(entry.path)
        return sorted(found)

    def mark(self, time_ms: int, paths: list[str]) -> None:
        """The files are the batch's: they are not found again within the window."""
        self._taken[time_ms] = tuple(paths)
        for old in [t for t in self._taken if t <= time_ms - self._window_ms]:
            del self._taken[old]


class FileInput(InputNode):
    """New files of a directory, as one RDD a batch.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: unites the files' RDDs.
        selector: says which files are new.
        read: makes the RDD of a file.
        window_ms: how long batches are remembered at least.
    """

    def __init__(
        self,
        stream_id: int,
        batch_ms: int,
        *,
        sc: SparkContext,
        selector: FileSelector,
        read: Callable[[str], RDD[Any]],
        window_ms: int,
    ) -> None:
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._selector = selector
        self._read = read
        self.remember_ms = window_ms
        self._files: dict[int, tuple[str, ...]] = {}  # batch time -> files, as long as remembered

    def compute(self, time_ms: int) -> RDD[Any]:
        try:
            paths = self._selector.find(time_ms)
            rdds = [self._read(path) for path in paths]
        except OSError as error:
            # Nothing was marked: the next batch finds the same files again.
            logger.warning("%s: error finding new files at time %d ms: %s", self.describe(), time_ms, error)
            return self._sc.emptyRDD()
        self._selector.mark(time_ms, paths)
        self._files[time_ms] = tuple(paths)
        if not rdds:
            return self._sc.emptyRDD()
        logger.info("New files at time %d ms:\n%s", time_ms, "\n".join(paths))
        return rdds[0] if len(rdds) == 1 else self._sc.union(rdds)

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        files = self._files.get(time_ms)
        if files is None:
            return None
        return StreamInputInfo(self.stream_id, 0, {"files": list(files), "Description": "\n".join(files)})

    def forget(self, until_ms: int, *, unpersist: bool) -> None:
        super().forget(until_ms, unpersist=unpersist)
        for time_ms in [t for t in self._files if t <= until_ms - self.remember_ms]:
            del self._files[time_ms]
