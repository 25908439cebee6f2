"""A directory that a job writes: a part for each partition, and `_SUCCESS` when all parts are there.

Where a rename is cheap, a part is written elsewhere and renamed when its task commits. On object stores it is written
under its own name: there an object appears whole, when it's closed. A reader that waits for `_SUCCESS` sees everything
or nothing on both.
"""

from __future__ import annotations

from headwater.filesystem.base import FileAlreadyExistsException, name_of
from headwater.filesystem.paths import resolve


class OutputDirectory:
    """The driver prepares it and, at the end, commits or aborts; tasks, in other processes, write to `task_path` and
    commit that.

    Args:
        path: of a directory that isn't there yet.
        prefix: of the parts' names.
    """

    def __init__(self, path: str, prefix: str = "part-") -> None:
        filesystem, resolved = resolve(path)
        self.path = filesystem.openable(resolved)  # absolute: a worker may have another working directory
        self._prefix = prefix
        self._renames = filesystem.renames
        self._prepared = False  # whether prepare() made the directory: only then is it ours to remove

    def __getstate__(self) -> tuple[str, str, bool]:
        return self.path, self._prefix, self._renames

    def __setstate__(self, state: tuple[str, str, bool]) -> None:
        self.path, self._prefix, self._renames = state
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
        if self._renames:
            filesystem.make_directory(f"{resolved}/_temporary")

    def task_path(self, partition: int, attempt: int, extension: str = "") -> str:
        """Where an attempt writes its part; `open_write` opens it. Never one that shows another attempt's half."""
        if self._renames:
            return f"{self.path}/_temporary/attempt-{partition:05d}-{attempt}{extension}"
        return self._part(partition, extension)

    def _part(self, partition: int, extension: str) -> str:
        return f"{self.path}/{self._prefix}{partition:05d}{extension}"

    def commit_task(self, partition: int, attempt: int, extension: str = "") -> str:
        """Make an attempt's file the partition's part, instead of an earlier attempt's; returns the part's path."""
        part = self._part(partition, extension)
        if self._renames:
            filesystem, source = resolve(self.task_path(partition, attempt, extension))
            filesystem.rename(source, resolve(part)[1])
        return part

    def abort_task(self, partition: int, attempt: int, extension: str = "") -> None:
        """Remove what an attempt has written."""
        if self._renames:  # else what is there is another attempt's: this one's was never closed
            filesystem, source = resolve(self.task_path(partition, attempt, extension))
            filesystem.remove(source)

    def commit(self) -> None:
        """All parts are there: say so."""
        filesystem, resolved = resolve(self.path)
        if self._renames:
            filesystem.remove(f"{resolved}/_temporary")
        filesystem.open(f"{resolved}/_SUCCESS", "wb").close()

    def abort(self) -> None:
        """Remove what was written, and the directory unless there is something else in it."""
        if not self._prepared:
            return
        filesystem, resolved = resolve(self.path)
        if self._renames:
            filesystem.remove(f"{resolved}/_temporary")  # first: an attempt that still runs then fails to commit
        if not filesystem.exists(resolved):
            return
        children = filesystem.children(resolved)
        ours = [child for child in children if name_of(child).startswith((self._prefix, "_SUCCESS"))]
        for child in ours:
            filesystem.remove(child)
        if self._renames and len(ours) == len(children):
            filesystem.remove(resolved)
