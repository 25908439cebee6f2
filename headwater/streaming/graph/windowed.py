"""Streams whose batches follow from the last batches of another stream: windows.

A window holds the batches of the last `window_ms`, the current one included, as far as the stream is old enough to have
them. It has an RDD each `slide_ms`. Both are multiples of the parent's slide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import duration_ms
from headwater.streaming.graph.node import Node
from headwater.streaming.recovery.keeping import Keeping

if TYPE_CHECKING:
    from headwater.rdd import RDD
    from headwater.rdd.driver import Driver


class Windowed(Node):
    """All records of the parent's batches in the window, old to new. A batch without an RDD adds nothing.

    Each batch of the parent is read by several windows, so the parent is persisted, unless its data is stored anyway.

    Args:
        sc: makes the unions.
        parent: the stream to take from.
        window_ms: how far back a window reaches.
        slide_ms: how often there is one.
    """

    is_stored = True  # it is made of batches that are

    def __init__(self, sc: Driver, parent: Node, window_ms: int, slide_ms: int) -> None:
        super().__init__((parent,), slide_ms)
        self._sc = sc
        self.window_ms = window_ms

    @property
    def keeper(self) -> Node:
        return self.parents[0].keeper

    @property
    def parents_remember_ms(self) -> int:
        return self.remember_ms + self.window_ms

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        super().start(zero_ms, remember_ms, keeping)
        parent = self.parents[0]
        if (not parent.is_stored or parent.holds_latest) and parent.storage_level is None:
            parent.storage_level = StorageLevel.MEMORY_ONLY

    def compute(self, time_ms: int) -> RDD[Any]:
        parent = self.parents[0]
        first_ms = time_ms - self.window_ms + parent.slide_ms
        # Old to new also because sources hand out what they have in the order in which they are asked.
        rdds = [parent.rdd(at_ms) for at_ms in range(first_ms, time_ms + 1, parent.slide_ms)]
        return self._sc.union([rdd for rdd in rdds if rdd is not None])

    def describe(self) -> str:
        return f"stream of windows of {self.window_ms} ms"


def window_and_slide_ms(parent: Node, windowDuration: Any, slideDuration: Any) -> tuple[int, int]:
    """A user's window and slide in seconds as milliseconds, checked against the stream that they are of.

    Args:
        parent: the stream.
        windowDuration: seconds.
        slideDuration: seconds, or None for the stream's own slide.

    Raises:
        ValueError: one is no number, zero or negative, or not a multiple of the stream's slide.
    """
    window = _multiple_ms(parent, "windowDuration", windowDuration)
    slide = parent.slide_ms if slideDuration is None else _multiple_ms(parent, "slideDuration", slideDuration)
    return window, slide


def _multiple_ms(parent: Node, name: str, seconds: Any) -> int:
    ms = duration_ms(seconds, name)
    slide_ms = parent.slide_ms
    if ms % slide_ms:
        below = ms // slide_ms * slide_ms
        fitting = [f"{fits / 1000:g}" for fits in (below, below + slide_ms) if fits]
        raise ValueError(
            f"{name} must be multiple of the slide duration ({slide_ms} ms) of its parent, a {parent.describe()}; "
            f"{ms} ms is not. Use {' or '.join(fitting)} seconds."
        )
    return ms
