"""A view: one version of a partition, for a task to read, and the step that makes the next one of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Protocol

from headwater.engine.states.entries import GONE
from headwater.engine.states.spilledmap import SpilledMap


class View:
    """One version of a partition. `get(key, default)` gives an entry; nothing here may be changed.

    Args:
        entries: of the latest version.
        replaced: what versions later than this one have overwritten.
        idle: the keys by the times of their entries; None: they are looked for among the entries.
    """

    def __init__(self, entries: dict[Any, Any] | SpilledMap, replaced: dict[Any, Any], idle: IdleKeys | None) -> None:
        self._entries = entries
        self._replaced = replaced
        self._idle = idle
        self.get: Callable[[Any, Any], Any] = self._get if replaced else entries.get

    def _get(self, key: Any, default: Any) -> Any:
        entry = self._replaced.get(key, self)
        if entry is self:
            return self._entries.get(key, default)
        return default if entry is GONE else entry

    def settled(self) -> Iterable[tuple[Any, Any]]:
        """All keys with their entries, as they are now: to be read while the partition goes on to other versions."""
        items = self.items()
        return list(items) if isinstance(self._entries, dict) else items

    def items(self) -> Iterable[tuple[Any, Any]]:
        """All keys with their entries; to be read before anything else happens to the partition."""
        if not self._replaced:
            return self._entries.items()
        untouched = ((key, entry) for key, entry in self._entries.items() if key not in self._replaced)
        return chain(untouched, ((key, entry) for key, entry in self._replaced.items() if entry is not GONE))

    def idle(self, before_ms: int) -> list[Any]:
        """The keys of a timed state whose entry `(value, time in ms)` is older than that."""
        if self._idle is None:
            return [key for key, entry in self.items() if entry[1] < before_ms]
        get, never = self.get, (None, None)
        found = (key for time_ms, keys in self._idle.older(before_ms) for key in keys if get(key, never)[1] == time_ms)
        return list(dict.fromkeys(found))


class IdleKeys:
    """Keys by the time of their entry, so that those that fall due are found without a look at the others.

    A key stays under all its times until they are dropped: readers look whether the entry still has that time.
    """

    def __init__(self) -> None:
        self._keys: defaultdict[int, list[Any]] = defaultdict(list)

    def add(self, changes: Iterable[tuple[Any, Any]]) -> None:
        """Note the times of keys that were changed."""
        for key, entry in changes:
            if entry is not GONE:
                self._keys[entry[1]].append(key)

    def older(self, before_ms: int) -> Iterator[tuple[int, list[Any]]]:
        """The times before that, oldest first, each with its keys."""
        for time_ms in sorted(self._keys):
            if time_ms >= before_ms:
                return
            yield time_ms, self._keys[time_ms]

    def drop(self, before_ms: int) -> None:
        """Forget the times before that."""
        for time_ms in [time_ms for time_ms in self._keys if time_ms < before_ms]:
            del self._keys[time_ms]


class Evolution(Protocol):
    """How a version follows from the previous one; picklable, called in the worker, deterministic."""

    def __call__(self, view: View, inputs: Sequence[Iterator[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        """The changes, key -> entry or `GONE`, and the records that the step gives.

        Args:
            view: the previous version.
            inputs: the records of the batch, one iterator for each data parent.
        """
