"""Records of a receiver that can't be pickled: they are reported and dropped, the others are there."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater import SparkContext
from headwater.streaming import Receiver, StreamingContext, StreamingListener
from tests.streaming.conftest import PATIENCE_SECONDS


class Storing(Receiver):
    """Stores records, of which some can't be pickled."""

    def __init__(self, store: Callable[[Receiver, list[Any]], None]) -> None:
        super().__init__()
        self._store = store

    def onStart(self) -> None:
        lock = threading.Lock()  # made in the executor: the receiver itself is pickled
        self._store(self, ["a", lock, "b", {"x" * 1000: lock}, "c"])
        self.store("last")


def in_bulk(receiver: Receiver, records: list[Any]) -> None:
    receiver.store(records)


def from_an_iterator(receiver: Receiver, records: list[Any]) -> None:
    receiver.store(iter(records))


def one_by_one(receiver: Receiver, records: list[Any]) -> None:
    for record in records:
        receiver.store(record)


@pytest.mark.parametrize("store", [in_bulk, from_an_iterator, one_by_one])
def test_good_records_are_kept_and_the_bad_ones_reported(sc: SparkContext, store: Any) -> None:
    errors: queue.SimpleQueue[Any] = queue.SimpleQueue()
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Hearing(StreamingListener):
        def onReceiverError(self, receiverError: Any) -> None:
            errors.put(receiverError.receiverInfo())

    ssc = StreamingContext(sc, 0.1)
    ssc.addStreamingListener(Hearing())
    ssc.receiverStream(Storing(store)).foreachRDD(lambda rdd: [records.put(record) for record in rdd.collect()])
    ssc.start()
    try:
        got = [records.get(timeout=PATIENCE_SECONDS) for _ in range(4)]
        told = errors.get(timeout=PATIENCE_SECONDS)
    finally:
        ssc.stop(stopSparkContext=False)
    assert sorted(got) == ["a", "b", "c", "last"]
    message = told.lastErrorMessage()
    assert re.match(r"Stream 0: [12] records that were received can't be pickled and are dropped", message)
    assert "The first of them is <unlocked _thread.lock object" in message
    assert len(message) < 500
    assert "pickle" in told.lastError()
