"""Who still needs which batches: what may be forgotten, and why the rest may not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple


class Hold(NamedTuple):
    """A need for all batches later than `until_ms`; `owner` says whose, as in `batch 3000 ms, which failed`."""

    owner: str
    until_ms: int


class Holds:
    """All holds at one moment; a batch is needed as long as one of them reaches back to it.

    >>> holds = Holds([Hold("batch 4000 ms, which runs", 3000), Hold("batch 2000 ms, which failed", 1000)])
    >>> holds.until_ms, holds.owners(2000), holds.owners(4000)
    (1000, ['batch 2000 ms, which failed'], ['batch 4000 ms, which runs', 'batch 2000 ms, which failed'])
    >>> print(holds)
    batches after 1000 ms: batch 2000 ms, which failed; after 3000 ms: batch 4000 ms, which runs
    """

    def __init__(self, holds: Iterable[Hold]) -> None:
        self._holds = tuple(holds)

    @property
    def until_ms(self) -> int:
        """The latest batch up to which none is needed; -1 if there is no hold at all."""
        return min((hold.until_ms for hold in self._holds), default=-1)

    def owners(self, time_ms: int) -> list[str]:
        """Who needs a batch."""
        return [hold.owner for hold in self._holds if time_ms > hold.until_ms]

    def with_(self, holds: Iterable[Hold]) -> Holds:
        """These, and others."""
        return Holds((*self._holds, *holds))

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._holds)

    def __str__(self) -> str:
        if not self._holds:
            return "no batches"
        oldest_first = sorted(self._holds, key=lambda hold: hold.until_ms)
        return "batches " + "; ".join(f"after {hold.until_ms} ms: {hold.owner}" for hold in oldest_first)
