"""Which segments of the receivers' logs are needed, and when the others go."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from headwater import SparkContext
from headwater.clock import ManualClock
from headwater.streaming.recovery.ledger import BatchBegun, Block, BlockAdded, Forgotten, Ledger
from headwater.streaming.recovery.log import LogSettings, LogWriter
from headwater.streaming.recovery.safekeeping import Safekeeping, oldest_needed
from headwater.streaming.recovery.segment import LogPosition


def block(number: int, stream: int, start_ms: int) -> Block:
    path = f"/checkpoints/receivedData/{stream}/log-{start_ms}-{start_ms + 60_000}-{number}-0123abcd"
    return Block(f"input-{stream}-{number}", 1, 0, LogPosition(path, 16, 100))


def test_oldest_needed_segment_is_that_of_the_oldest_block_of_each_log() -> None:
    ledger = Ledger(1000, 0)
    for entry in (
        BlockAdded("a", block(1, 0, 100)),
        BlockAdded("a", block(2, 0, 200)),
        BlockAdded("a", Block("input-0-3", 1, 0, None)),
        BlockAdded("b", block(1, 1, 300)),
        BatchBegun(1000, {"files": [["/f", 1, 2, 3]]}, {"a": ["input-0-1"]}, {}),
    ):
        ledger.apply(entry)
    assert oldest_needed(ledger, ["a", "b"]) == {"0": 100, "1": 300}
    ledger.apply(Forgotten({"a": 1000}, {}, -1))
    assert oldest_needed(ledger, ["a", "b"]) == {"0": 200, "1": 300}
    assert oldest_needed(ledger, ["b"]) == {"1": 300}


ROLLING_MS, STORE_TIMEOUT_MS = 60_000, 30_000  # as the settings have them


class Kept:
    """A context's safekeeping on a clock that stands still, and the log of its one receiver."""

    def __init__(self, sc: SparkContext, directory: Path, clock: ManualClock) -> None:
        self._log = directory / "receivedData" / "0"
        self._keeping = Safekeeping(sc, str(directory), b"program", Ledger(1000, 0), None, {}, clock=clock)
        self._keeping.started(["a"], {}, {}, receiving=["a"])
        self._keeping.start()
        self._writer = LogWriter(str(self._log), LogSettings(rolling_ms=1000), clock)

    def store(self, number: int) -> None:
        """A block comes, and is logged."""
        (position,) = self._writer.append([b"records"])
        self._keeping.block_stored("a", Block(f"input-0-{number}", 1, 0, position), lambda error: None)

    def begin(self, time_ms: int, number: int) -> None:
        """A batch takes a block."""
        self._keeping.batch_begun(time_ms, {}, {"a": [f"input-0-{number}"]}, {}, lambda error: None)

    def forget(self, until_ms: int) -> int:
        """Batches up to a time are needed no more; returns how many segments there are then."""
        self._keeping.forget({"a": until_ms}, {}, -1)
        durable = threading.Event()
        self._keeping.when_durable(durable.set)
        assert durable.wait(30)
        return len(list(self._log.glob("log-*")))

    def stop(self) -> None:
        self._writer.close()
        self._keeping.stop()


@pytest.mark.parametrize("master", ["local"], indirect=True)
def test_segments_that_no_batch_needs_go_once_the_rolling_interval_is_over(sc: SparkContext, tmp_path: Path) -> None:
    clock = ManualClock(1_000_000)
    kept = Kept(sc, tmp_path, clock)
    try:
        for number in (1, 2, 3):  # a segment each
            kept.store(number)
            kept.begin(1000 * number, number)
            clock.advance(2000)
        clock.advance(ROLLING_MS - 6001)
        assert kept.forget(2000) == 3  # it isn't time yet
        clock.advance(1)
        assert kept.forget(2000) == 1
        clock.advance(STORE_TIMEOUT_MS + ROLLING_MS)
        kept.store(4)
        assert kept.forget(3000) == 1  # the segment of the block that waits
    finally:
        kept.stop()
