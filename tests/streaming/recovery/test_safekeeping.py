"""Which segments of the receivers' logs are needed."""

from __future__ import annotations

from headwater.streaming.recovery.ledger import BatchBegun, Block, BlockAdded, Forgotten, Ledger
from headwater.streaming.recovery.safekeeping import oldest_needed
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
