"""Functions of a stream that fork in the driver: what they fork ends with them."""

from __future__ import annotations

import os
import queue
from typing import Any

from tests.engine.processes import alive
from tests.streaming.conftest import Harness
from tests.waiting import wait_for


def test_output_that_forks_runs_once_a_batch_and_leaves_no_process(harness: Harness) -> None:
    sums: queue.SimpleQueue[int] = queue.SimpleQueue()
    reader, writer = os.pipe()

    def fork(rdd: Any) -> None:
        sums.put(rdd.sum())
        if os.fork() == 0:
            os.write(writer, f"{os.getpid()} ".encode())

    harness.ssc.queueStream([[1, 2], [3]]).foreachRDD(fork)
    infos = harness.run(2)
    assert [info.outputOperationInfos()[0].failureReason() for info in infos] == [None, None]
    assert (sums.get_nowait(), sums.get_nowait(), sums.empty()) == (3, 3, True)
    os.close(writer)
    with open(reader) as file:
        forked = file.read().split()  # which ends when they have
    assert len(forked) == 2
    wait_for(lambda: not alive(map(int, forked)), "what was forked has ended")
