"""Files that the driver ships to every executor, and where they lie there."""

from __future__ import annotations

import os

from headwater.errors import IllegalStateException

__all__ = ["SparkFiles"]


class SparkFiles:
    """Finds files that were shipped by `SparkContext.addFile`. All methods are class methods."""

    _root: str | None = None  # the directory of this process's copies, once there is an application

    def __init__(self) -> None:
        raise NotImplementedError("Do not construct SparkFiles objects")

    @classmethod
    def get(cls, filename: str) -> str:
        """The absolute path, in this process, of the file that was added under this name."""
        return os.path.abspath(os.path.join(cls.getRootDirectory(), filename))

    @classmethod
    def getRootDirectory(cls) -> str:
        """The directory that holds this process's copies.

        Raises:
            IllegalStateException: no SparkContext runs.
        """
        if cls._root is None:
            raise IllegalStateException("SparkFiles: there is no directory of added files, as no SparkContext runs")
        return cls._root

    @classmethod
    def _set_root(cls, path: str | None) -> None:
        """Called by the context in the driver and by the engine in workers."""
        cls._root = path
