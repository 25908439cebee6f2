"""The directories that a file stream watches, listed anew each batch but for what is known not to have changed.

Names are always listed; files are looked at (a call of the operating system each) only if they are new, not settled,
or another file has been put under their name. Settled files are looked at in turns: a touched one is noticed late if
the directory is large, a new one at once. Of a settled file only the name and the inode are kept.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping

from headwater import filesystem
from headwater.filesystem import FileStatus, Scan
from headwater.streaming.sources.selection import Listing

logger = logging.getLogger(__name__)

# A directory with no more settled files than this is looked at in full each time: that takes a few milliseconds.
SETTLED_IN_FULL_MAX = 1000


class DirectoryLister:
    """Lists the files of directories, incrementally.

    Args:
        pattern: a path or a glob of directories, local or a URL; the glob is expanded anew each time.
        turns: each settled file is looked at once in this many listings, at least 1.

    Raises:
        SparkException: the pattern is a URL that needs a package which isn't there.
        ValueError: it is a URL of no known kind.
    """

    def __init__(self, pattern: str, turns: int) -> None:
        self.pattern = filesystem.qualify(pattern)  # absolute: the program may go to another directory
        self._turns = turns
        self._directories: dict[str, _Directory] = {}  # those of the latest listing, by path
        self._latest: dict[str, list[FileStatus]] = {}  # the files of the latest listing, by directory
        self._was_missing = False  # whether the latest listing found no directory
        self._troubles: frozenset[str] = frozenset()  # paths that the latest listing could not look at

    def list(self) -> Listing:
        """The files that aren't settled, or may have changed, and the paths that have vanished.

        Raises:
            Exception: whatever the file system raises. The next listing then finds what this one would have.
        """
        scans = {path: self._scan(path) for path in filesystem.expand(self.pattern)}
        found = {path: scan for path, scan in scans.items() if scan is not None}
        if not found and not self._was_missing:
            logger.warning("No directory %s: there are no files until there is one", self.pattern)
        self._was_missing = not found
        self._say_troubles({_join(p, name): why for p, scan in found.items() for name, why in scan.troubles.items()})
        self._directories = {path: _Directory() for path in found} | self._directories
        gone = [
            _join(path, name)
            for path, directory in self._directories.items()
            for name in directory.update(found.get(path, _EMPTY))
        ]
        self._directories = {path: self._directories[path] for path in found}
        self._latest = {path: scan.files for path, scan in found.items()}
        return Listing([file for scan in found.values() for file in scan.files], gone)

    def settle(self, is_settled: Callable[[FileStatus], bool]) -> None:
        """Of the files just listed, those that are settled needn't be listed again until they change."""
        for path, files in self._latest.items():
            self._directories[path].settle(filter(is_settled, files))

    def _say_troubles(self, troubles: Mapping[str, OSError]) -> None:
        for path in sorted(troubles.keys() - self._troubles):
            logger.warning(
                "%s can't be looked at, and is left out until it can: %s. Let this process see it, or remove it.",
                path,
                troubles[path],
            )
        self._troubles = frozenset(troubles)

    def _scan(self, path: str) -> Scan | None:
        """None: it is no directory, or none any more."""
        files, resolved = filesystem.resolve(path)
        known = self._directories.get(path, _Directory())
        turns = self._turns if len(known.settled) > SETTLED_IN_FULL_MAX else 1
        try:
            return files.scan(resolved, known.settled, turn=known.scans, turns=turns)
        except (FileNotFoundError, NotADirectoryError):
            return None


class _Directory:
    """What is known of one directory."""

    def __init__(self) -> None:
        self.settled: dict[str, int | str | None] = {}  # name -> identity
        self._unsettled: set[str] = set()  # names of the other files
        self.scans = 0

    def update(self, scan: Scan) -> set[str]:
        """Files that were looked at are not settled, until `settle` says so; returns the names that have vanished."""
        self.scans += 1
        vanished = (self.settled.keys() - scan.names) | (self._unsettled - scan.names)
        looked_at = {_name(file) for file in scan.files}
        for name in vanished | looked_at:
            self.settled.pop(name, None)
        self._unsettled = looked_at
        return vanished

    def settle(self, files: Iterable[FileStatus]) -> None:
        for file in files:
            name = _name(file)
            self._unsettled.discard(name)
            self.settled[name] = file.identity


_EMPTY = Scan(set(), [])


def _name(file: FileStatus) -> str:
    return file.path.rpartition("/")[2]


def _join(directory: str, name: str) -> str:
    return f"{directory.rstrip('/')}/{name}"
