"""A partition of a state: its latest version, and how it goes on to the next, back, to disk and to segments.

- What a version replaced is kept for the last few, so that an earlier one can be seen, and evaluated, again.
- One thread at a time uses it: the worker's only one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from headwater.base.cipher import Cipher, is_sealed, unsealed
from headwater.engine.states import files
from headwater.engine.states.entries import GONE
from headwater.engine.states.segments import IMAGE, Segment, checked, decode_segment, encode_segment, next_segment
from headwater.engine.states.spilledmap import SpilledMap
from headwater.engine.states.view import IdleKeys, View
from headwater.engine.successors import Successors
from headwater.errors import SparkException

# Versions before the latest that can be seen without a look at the segments.
UNDO_VERSIONS = 2
# What an entry weighs besides its pickled bytes: a slot of the dict, two objects.
_ENTRY_BYTES = 200


class StatePartition:
    """The latest version of one partition.

    Args:
        timed: whether an entry is (value, time in ms), so that idle keys can be asked for.
    """

    def __init__(self, *, timed: bool) -> None:
        self.version: int | None = None  # a batch time in ms; None: before the first
        self.entries: dict[Any, Any] | SpilledMap = {}
        self.segments: list[Segment] = []  # of the latest stored version, oldest first
        self._unstored: set[Any] = set()  # keys that were changed since
        self._undo: dict[int, tuple[int | None, dict[Any, Any]]] = {}  # version -> the previous one, what it replaced
        self._timed = timed
        self._idle = IdleKeys() if timed else None  # None also on disk, where idle keys are looked for
        self._swept: dict[int, int] = {}  # version -> times before this were looked at

    # -------------------------------------------------------------------------------------------- versions
    def sees(self, version: int | None) -> bool:
        """Whether that version can be viewed."""
        at = self.version
        while at != version:
            step = self._undo.get(at) if at is not None else None
            if step is None:
                return False
            at = step[0]
        return True

    def view(self, version: int | None) -> View:
        """That version, which it `sees`."""
        replaced: dict[Any, Any] = {}
        at = self.version
        while at != version:
            assert at is not None
            at, before = self._undo[at]
            replaced.update(before)
        return View(self.entries, replaced, self._idle)

    def advance(self, version: int, changes: dict[Any, Any], *, previous: int | None) -> None:
        """Make the version that follows from `previous`, which it `sees`; what came after that is undone.

        Later ones are there if a version was given up: its batch failed, here it did not.
        """
        while self.version != previous:
            self._undo_latest()
        get = self.entries.get
        replaced = {key: get(key, GONE) for key in changes}
        self._change(changes)
        self._undo[version] = self.version, replaced
        while len(self._undo) > UNDO_VERSIONS:
            del self._undo[next(iter(self._undo))]
        self.version = version

    def _undo_latest(self) -> None:
        assert self.version is not None
        self._swept.pop(self.version, None)
        self.version, replaced = self._undo.pop(self.version)
        self._change(replaced)

    def _change(self, changes: dict[Any, Any]) -> None:
        entries = self.entries
        for key, entry in changes.items():
            if entry is GONE:
                entries.pop(key, None)
            else:
                entries[key] = entry
        self._unstored.update(changes)
        if self._idle is not None:
            self._idle.add(changes.items())

    def swept(self, version: int, before_ms: int) -> None:
        """That version's timeouts before a time were taken: they are kept as long as it can be evaluated again."""
        self._swept[version] = before_ms
        if self._idle is not None:
            for old in [v for v in self._swept if v not in self._undo]:
                self._idle.drop(self._swept.pop(old))

    # -------------------------------------------------------------------------------------------- memory
    def held_bytes(self) -> int:
        """What the entries take in memory, estimated from what their segments took on disk."""
        keys = sum(len(s.keys) if s.keys is not None else len(self.entries) for s in self.segments) or 1
        each = sum(s.size for s in self.segments) // keys
        return len(self.entries) * (each + _ENTRY_BYTES)

    def spill(self, path: str, cipher: Cipher | None = None) -> None:
        """Keep the entries in a map on disk from now on, encrypted if there is a cipher."""
        assert isinstance(self.entries, dict)
        self.entries, self._idle = SpilledMap(path, self.entries, cipher), None

    def close(self) -> None:
        """Remove what it has on disk, except for the segments."""
        if not isinstance(self.entries, dict):
            self.entries.close()

    # -------------------------------------------------------------------------------------------- segments
    def store(self, directory: str, name: str, cipher: Cipher | None = None) -> tuple[str, ...]:
        """Store the latest version as a new segment called `name`; returns the names of all that it stands on.

        It stands alone if others have been removed; over a network that isn't noticed.

        Raises:
            OSError: it can't be written; what was changed goes into the next segment.
        """
        below = self.segments if files.are_there(directory, (segment.name for segment in self.segments)) else []
        below, keys, level = next_segment(below, self._unstored, entries=len(self.entries))
        get = self.entries.get
        items = self.entries.items() if keys is None else ((key, get(key, GONE)) for key in keys)
        data = encode_segment(items, timed=self._timed, level=level)
        files.write(f"{directory}/{name}", data if cipher is None else cipher.sealed(data, name))
        self.segments = [*below, Segment(name, level, None if keys is None else frozenset(keys), len(data))]
        self._unstored.clear()
        return tuple(segment.name for segment in self.segments)

    def restore(
        self,
        directory: str,
        version: int,
        names: Sequence[str],
        *,
        cipher: Cipher | None = None,
        successors: Successors | None = None,
        belongs: Callable[[Any], bool] | None = None,
    ) -> None:
        """Make it a version as it was stored; it is empty so far.

        Args:
            directory: of the segments.
            version: its batch time in ms.
            names: of its segments, oldest first.
            cipher: of the application's key; None: there is none.
            successors: of the classes in segments of an earlier driver; None: there are none of those.
            belongs: whether a key belongs here; None: that is known.

        Raises:
            SparkException: a segment is missing or damaged, encrypted by another key, or a new program can't take it
                over.
        """
        for name in names:
            path = f"{directory}/{name}"
            data = files.read(path)
            if is_sealed(data):
                data = unsealed(cipher, data, name, f"the state's segment {path}")
            level, items = decode_segment(data, path, successors)
            if belongs is not None:
                items = checked(items, belongs, path)
            keys = self._take(items, path, image=level == IMAGE)
            self.segments.append(Segment(name, level, keys, len(data)))
        self.version = version
        if self._idle is not None:
            self._idle.add(self.entries.items())

    def _take(self, items: Iterable[tuple[Any, Any]], path: str, *, image: bool) -> frozenset[Any] | None:
        """Put what a segment holds over what is there; returns its keys, None for an image's."""
        entries, keys, number = self.entries, set(), 0
        for key, entry in items:
            number += 1
            if not image:
                keys.add(key)
            if entry is GONE:
                entries.pop(key, None)
            else:
                entries[key] = entry
        if number != (len(entries) if image else len(keys)):
            raise SparkException(
                f"{path} can't be taken over by this program: different keys of the state have become equal by its "
                "code. Keep their __eq__, or begin the state anew under another uid."
            )
        return None if image else frozenset(keys)
