"""Batches of a driver whose machine's clock is set while it runs."""

from __future__ import annotations

import logging
import time
from itertools import pairwise

import pytest

from headwater import SparkConf, SparkContext
from headwater.clock import SystemClock
from headwater.streaming import StreamingContext
from tests.streaming.conftest import Recorder

BATCH_MS = 50
HOUR_MS = 3_600_000
LATE_MAX = 20


def test_batch_times_are_aligned_and_ascending_and_few_when_the_clock_is_set_back_and_forth(
    no_context: None, patience: float, caplog: pytest.LogCaptureFixture
) -> None:
    set_by_ms = 0
    clock = SystemClock(lambda: time.time_ns() + set_by_ms * 1_000_000)
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("set clock")
    conf.set("headwater.streaming.recovery.missedBatchesMax", str(LATE_MAX))
    recorder, times = Recorder(), []
    with SparkContext(conf=conf) as sc, caplog.at_level(logging.WARNING):
        ssc = StreamingContext(sc, BATCH_MS / 1000, clock=clock)
        ssc.addStreamingListener(recorder)
        ssc.queueStream([]).foreachRDD(lambda rdd: None)
        ssc.start()
        for hours in (0, 2, -3, -2.5, 1, 5, 4):  # of the machine's clock, ahead of the truth
            set_by_ms = round(hours * HOUR_MS)
            for _ in range(6):
                times.append(recorder.completed.get(timeout=patience).batchTime().milliseconds())
        ssc.stop()
    assert all(time_ms % BATCH_MS == 0 for time_ms in times)
    assert all(before < after for before, after in pairwise(times))
    leaps = [after - before for before, after in pairwise(times) if after - before > (LATE_MAX + 1) * BATCH_MS]
    assert [round(leap / HOUR_MS, 1) for leap in leaps] == [2.0, 3.0]
    assert caplog.text.count("batches that are due are merged into one") == 2
    assert caplog.text.count("The machine's clock was set back") == 2
