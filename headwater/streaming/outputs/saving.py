"""Saving each batch of a stream into a directory of its own, `prefix-TIME_IN_MS[.suffix]`.

A batch's directory is complete or absent: `_SUCCESS` in it says that it is complete. A batch that runs again (after a
crash, or because another of its outputs failed) leaves a complete directory as it is and replaces a half-written one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from headwater import filesystem
from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger(__name__)

# What a save writes; anything else in a directory is somebody's, and stays.
_OURS = ("part-", "_", ".")


class DirectoryOutput(BatchOutput):
    """The output of `saveAsTextFiles` and its like.

    Args:
        prefix: of the directories, a path or URL.
        suffix: of the directories, after a dot; None for neither.
        save: writes an RDD to a directory that doesn't exist yet.
        skip_empty: whether a batch without records gets no directory.

    Raises:
        TypeError: prefix or suffix is no string.
    """

    def __init__(
        self, prefix: str, suffix: str | None, save: Callable[[RDD[Any], str], None], *, skip_empty: bool
    ) -> None:
        if not isinstance(prefix, str):
            raise TypeError(f"prefix should be a str, got {prefix!r} of type {type(prefix).__name__}")
        if not isinstance(suffix, (str, type(None))):
            raise TypeError(f"suffix should be a str or None, got {suffix!r} of type {type(suffix).__name__}")
        self._prefix = prefix
        self._suffix = suffix
        self._save = save
        self._skip_empty = skip_empty

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        path = batch_path(self._prefix, self._suffix, batch.time_ms)
        if filesystem.exists(f"{path}/_SUCCESS"):
            logger.info("%s is complete already: this batch was saved by an earlier attempt", path)
        elif not (self._skip_empty and rdd.isEmpty()):
            _discard_incomplete(path)
            self._save(rdd, path)


def batch_path(prefix: str, suffix: str | None, time_ms: int) -> str:
    """The directory of a batch, named as PySpark does.

    >>> batch_path("/out/words", None, 1500), batch_path("/out/words", "txt", 1500)
    ('/out/words-1500', '/out/words-1500.txt')
    """
    return f"{prefix}-{time_ms}" if suffix is None else f"{prefix}-{time_ms}.{suffix}"


def _discard_incomplete(path: str) -> None:
    """Remove what an attempt has left that didn't come to its end; a directory with other things is left to `save`."""
    files, resolved = filesystem.resolve(path)
    if files.is_directory(resolved) and all(
        child.rstrip("/").rpartition("/")[2].startswith(_OURS) for child in files.children(resolved)
    ):
        logger.warning("%s is incomplete: an attempt that failed has left it. It is replaced", path)
        files.remove(resolved)
