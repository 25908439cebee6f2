"""Which batches a restart runs first."""

from __future__ import annotations

import logging

import pytest

from headwater import SparkConf
from headwater.errors import SparkException
from headwater.streaming.recovery.ledger import BatchBegun, BatchDone, Ledger
from headwater.streaming.recovery.missed import (
    CLOCK_BEHIND_MS_MAX,
    TIMES_LISTED_MAX,
    first_tick,
    listed,
    missed_batches,
)


def ledger_of(*done: int, pending: tuple[int, ...] = ()) -> Ledger:
    """Batches of a second, from 10 s on."""
    ledger = Ledger(1000, 10_000)
    for time_ms in sorted((*done, *pending)):
        ledger.apply(BatchBegun(time_ms, {}, {}, {}))
        if time_ms not in pending:
            ledger.apply(BatchDone(time_ms))
    return ledger


def conf(**settings: str) -> SparkConf:
    made = SparkConf(loadDefaults=False)
    for name, value in settings.items():
        made.set(f"headwater.streaming.recovery.{name}", value)
    return made


@pytest.mark.parametrize(
    ("now_ms", "first_ms"), [(11_000, 12_000), (11_999, 12_000), (12_001, 13_000), (11_500, 12_000), (10_900, 12_000)]
)
def test_first_tick_is_the_clocks_next_but_none_that_there_was(now_ms: int, first_ms: int) -> None:
    assert first_tick(ledger_of(11_000), now_ms) == first_ms


def test_clock_that_is_a_little_behind_is_waited_for_and_said(caplog: pytest.LogCaptureFixture) -> None:
    assert first_tick(ledger_of(90_000), 60_000) == 91_000
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "30 s behind the previous driver's last batch" in record.getMessage()


def test_clock_that_is_far_behind_is_refused() -> None:
    last_ms = 20_000 + CLOCK_BEHIND_MS_MAX
    with pytest.raises(SparkException, match="Set the clock of this machine right"):
        first_tick(ledger_of(last_ms), last_ms - CLOCK_BEHIND_MS_MAX - 1)
    assert first_tick(ledger_of(last_ms), last_ms - CLOCK_BEHIND_MS_MAX) == last_ms + 1000


def test_missed_batches_are_the_pending_ones_and_those_of_the_down_time() -> None:
    ledger = ledger_of(11_000, 13_000, pending=(12_000,))
    assert missed_batches(ledger, 16_000, conf()) == [12_000, 14_000, 15_000]


@pytest.mark.parametrize("settings", [{"missedBatches": "merge"}, {"missedBatchesMax": "1"}])
def test_missed_batches_of_the_down_time_are_merged_if_the_settings_say_so(settings: dict[str, str]) -> None:
    ledger = ledger_of(11_000, 13_000, pending=(12_000,))
    assert missed_batches(ledger, 16_000, conf(**settings)) == [12_000]


def test_nothing_is_missed_of_a_driver_that_did_not_get_to_its_first_batch() -> None:
    assert missed_batches(ledger_of(), 16_000, conf()) == []


def test_batch_times_are_listed_up_to_a_limit() -> None:
    assert listed([]) == "none"
    assert listed([1000, 2000]) == "1000 ms, 2000 ms"
    assert listed(range(TIMES_LISTED_MAX + 1)) == f"0 ms to {TIMES_LISTED_MAX} ms ({TIMES_LISTED_MAX + 1})"
