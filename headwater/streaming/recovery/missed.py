"""What a restart runs first: the batches that were missed, and the first one that the clock gives."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from headwater.errors import SparkException
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.recovery.ledger import Ledger

if TYPE_CHECKING:
    from headwater.conf import SparkConf

logger = logging.getLogger("headwater.streaming.recovery")

# A restart waits this long for a clock that has been set back.
CLOCK_BEHIND_MS_MAX = 600_000
# Batches that a line of the log names one by one.
TIMES_LISTED_MAX = 100


def first_tick(ledger: Ledger, now_ms: int) -> int:
    """The first batch time that the clock gives: the next one, and none that there was already.

    Raises:
        SparkException: the clock is far behind the previous driver's last batch.
    """
    first_ms = next_multiple_ms(now_ms, ledger.batch_ms, ledger.zero_ms)
    again_ms = ledger.generated_ms + ledger.batch_ms
    if first_ms >= again_ms:
        return first_ms
    behind_ms = ledger.generated_ms - now_ms
    if behind_ms > CLOCK_BEHIND_MS_MAX:
        raise SparkException(
            f"the clock says {now_ms} ms, and the checkpoint's last batch is that of {ledger.generated_ms} ms, "
            f"{behind_ms / 1000:g} s later. Set the clock of this machine right, or use another checkpoint directory."
        )
    if behind_ms > 0:
        text = "The clock is %g s behind the previous driver's last batch: the next batch comes after that"
        logger.warning(text, behind_ms / 1000)
    return again_ms


def missed_batches(ledger: Ledger, first_ms: int, conf: SparkConf) -> list[int]:
    """The batches that a restart runs before its first tick: begun ones that aren't done, and those in between.

    The settings may have the latter merged: then their data comes with the first tick.
    """
    missed = ledger.missed(first_ms)
    if not missed or ledger.generated_ms == ledger.zero_ms:
        return []  # the previous driver did not get to its first batch
    down = [time_ms for time_ms in missed if time_ms > ledger.generated_ms]
    most = conf.read("headwater.streaming.recovery.missedBatchesMax")
    if conf.read("headwater.streaming.recovery.missedBatches") == "merge" or len(down) > most:
        logger.warning("%d batches during down time are merged into the one at %d ms", len(down), first_ms)
        down = []
    pending = [time_ms for time_ms in missed if time_ms <= ledger.generated_ms]
    for name, times in (("during down time", down), ("pending processing", pending), ("to reschedule", pending + down)):
        logger.info("Batches %s (%d batches): %s", name, len(times), listed(times))
    return pending + down


def listed(times_ms: Sequence[int]) -> str:
    """Batch times for the log: all, or the first and the last of very many."""
    if not times_ms:
        return "none"
    if len(times_ms) > TIMES_LISTED_MAX:
        return f"{times_ms[0]} ms to {times_ms[-1]} ms ({len(times_ms)})"
    return ", ".join(f"{time_ms} ms" for time_ms in times_ms)
