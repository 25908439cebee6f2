"""Who still needs which batches."""

from __future__ import annotations

import logging
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import SparkContext
from headwater.streaming.runtime.holds import Hold, Holds
from headwater.testing import StreamHarness

A_HOLD = st.builds(Hold, st.text(min_size=1, max_size=3), st.integers(0, 20))


@given(st.lists(A_HOLD, min_size=1), st.integers(0, 25))
def test_a_batch_is_needed_as_long_as_a_hold_reaches_back_to_it(holds: list[Hold], time_ms: int) -> None:
    owners = Holds(holds).owners(time_ms)
    assert owners == [owner for owner, until_ms in holds if until_ms < time_ms]
    assert bool(owners) == (time_ms > Holds(holds).until_ms)


@given(st.lists(A_HOLD), st.lists(A_HOLD))
def test_another_hold_never_lets_more_go(holds: list[Hold], others: list[Hold]) -> None:
    both = Holds(holds).with_(others)
    assert list(both) == [*holds, *others]
    assert not holds or both.until_ms <= Holds(holds).until_ms


def test_without_holds_nothing_is_needed() -> None:
    assert str(Holds([])) == "no batches"
    assert Holds([]).owners(1000) == []


@pytest.mark.parametrize("master", ["local"], indirect=True)
def test_log_says_who_needs_what_a_restart_would_begin_with(sc: SparkContext, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "headwater.streaming.running")
    with StreamHarness(1.0, sc) as harness:
        stream = harness.stream([[1], [2], [3], [4]])
        failing = iter([False, True, False, False])

        def output(rdd: object) -> None:
            if next(failing):
                raise ValueError("of batch 2")

        stream.foreachRDD(output)
        harness.start()
        for _ in range(4):
            harness.runBatch()
        lines = [record.getMessage() for record in caplog.records if "A restart needs" in record.getMessage()]
    assert re.fullmatch(r"A restart needs batches after (\d+) ms: batch \d+ ms, which failed; after .*", lines[-1])
