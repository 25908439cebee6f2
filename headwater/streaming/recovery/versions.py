"""Which versions of a state are stored, and in which segments.

One lock guards the table: tasks' replies come in on an engine's thread, the stream asks and forgets on the generator's.
A segment is removed when no version that is kept stands on it. What several attempts stored of one version is kept
together: a worker may go on from any of them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence

from headwater import filesystem
from headwater.engine.events import StoredVersion

logger = logging.getLogger(__name__)


class StoredVersions:
    """The stored versions of one state.

    Args:
        directory: of its segments, on any file system.
        partitions: how many the state has.
    """

    def __init__(self, directory: str, partitions: int) -> None:
        self.directory = directory
        self._partitions = partitions
        self._lock = threading.Lock()  # guards all below
        self._chains: dict[int, dict[int, list[tuple[str, ...]]]] = {}  # version -> partition -> as reported
        self._unwanted: set[str] = set()  # segments of attempts that don't count

    def make(self, epoch: str) -> None:
        """Make the directory for the segments of this run."""
        system, path = filesystem.resolve_private(f"{self.directory}/{epoch}")
        if not system.is_directory(path):
            system.make_directory(path)

    def restore(self, version: int, versions: Mapping[int, Mapping[int, Sequence[str]]]) -> None:
        """Begin with one of the versions that a previous driver has stored; the others' segments may go."""
        with self._lock:
            for stored in versions.values():
                self._unwanted.update(name for segments in stored.values() for name in segments)
            chains = {partition: [tuple(segments)] for partition, segments in versions[version].items()}
            self._chains[version] = chains
            self._unwanted -= _names([chains])

    def missing(self, versions: Iterable[Mapping[int, Sequence[str]]]) -> set[str]:
        """The segments of versions that aren't there: nothing needs them any more, or others have removed them."""
        names = {name for stored in versions for segments in stored.values() for name in segments}
        epochs = {name.partition("/")[0] for name in names}
        return names - {f"{e}/{name}" for e in epochs for name in filesystem.names_in(f"{self.directory}/{e}")}

    def versions(self) -> list[int]:
        """The complete versions, ascending."""
        with self._lock:
            return sorted(version for version, chains in self._chains.items() if len(chains) == self._partitions)

    def add(self, stored: StoredVersion, wanted: bool) -> None:
        """A task has stored a version of a partition."""
        with self._lock:
            if wanted:
                self._chains.setdefault(stored.version, {}).setdefault(stored.partition, []).append(stored.segments)
            else:
                self._unwanted.add(stored.segments[-1])

    def complete(self, version: int) -> bool:
        """Whether all partitions of a version are stored."""
        with self._lock:
            return len(self._chains.get(version, ())) == self._partitions

    def segments(self, version: int) -> list[tuple[str, ...]]:
        """A complete version's segments, by partition."""
        with self._lock:
            chains = self._chains[version]
            return [chains[p][-1] for p in range(self._partitions)]

    def keep(self, versions: Iterable[int]) -> None:
        """Remove what none of these versions, and none that comes later, stands on."""
        wanted = set(versions)
        with self._lock:
            newest = max(wanted, default=-1)
            dropped = {v: self._chains.pop(v) for v in list(self._chains) if v not in wanted and v < newest}
            if not dropped:
                return
            held = _names(self._chains.values())
            gone = (_names(dropped.values()) | self._unwanted) - held
            self._unwanted &= held
        for name in sorted(gone):
            try:
                filesystem.remove(f"{self.directory}/{name}")
            except OSError as error:
                logger.warning("segment %s/%s could not be removed: %s", self.directory, name, error)


def _names(versions: Iterable[dict[int, list[tuple[str, ...]]]]) -> set[str]:
    return {name for chains in versions for reported in chains.values() for segments in reported for name in segments}
