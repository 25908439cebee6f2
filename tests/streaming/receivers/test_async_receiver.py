"""AsyncReceiver: a coroutine receives, in a loop of its own."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.streaming import AsyncReceiver, StreamingContext, StreamingListener

BATCH_SECONDS = 0.1
# What receivers tell their test: they run in the driver's process, from which their copies take this by name.
told: queue.SimpleQueue[Any] = queue.SimpleQueue()


@pytest.fixture
def ssc(no_context: None) -> Iterator[StreamingContext]:
    conf = SparkConf(loadDefaults=False).setMaster("local[1]").setAppName("t")
    made = StreamingContext(SparkContext(conf=conf.set("spark.streaming.receiverRestartDelay", "20")), BATCH_SECONDS)
    while not told.empty():
        told.get()
    yield made
    made.stop()


def arrived(ssc: StreamingContext, receiver: AsyncReceiver) -> queue.SimpleQueue[Any]:
    """What the receiver has stored, as batches take it, from now on."""
    records: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ssc.receiverStream(receiver).foreachRDD(lambda rdd: [records.put(record) for record in rdd.collect()])
    ssc.start()
    return records


class Counting(AsyncReceiver):
    """Stores one and many, and shows that the loop goes on meanwhile."""

    async def receive(self) -> None:
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        turning = asyncio.create_task(turn())
        await asyncio.sleep(0)
        before = turns
        await self.storeAsync([0, 1])
        told.put(turns - before)
        await self.storeAsync(2)
        try:
            await asyncio.Event().wait()
        finally:
            turning.cancel()
            told.put("cleaned up")


def test_async_receiver_stores_while_its_loop_goes_on_and_is_cancelled_when_it_stops(ssc, patience) -> None:
    records = arrived(ssc, Counting())
    assert sorted(records.get(timeout=patience) for _ in range(3)) == [0, 1, 2]
    assert told.get(timeout=patience) > 0
    ssc.stop()
    assert told.get(timeout=patience) == "cleaned up"


class Failing(AsyncReceiver):
    """Fails the first two times."""

    starts = 0

    async def receive(self) -> None:
        self.starts += 1
        if self.starts < 3:
            raise ConnectionError(f"failure {self.starts}")
        await self.storeAsync([self.starts])
        await asyncio.Event().wait()


class Watching(StreamingListener):
    """Hears why receivers stop."""

    def __init__(self) -> None:
        self.stops: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()

    def onReceiverStopped(self, receiverStopped: Any) -> None:
        info = receiverStopped.receiverInfo()
        self.stops.put((info.lastErrorMessage(), info.lastError()))

    def onReceiverError(self, receiverError: Any) -> None:
        self.onReceiverStopped(receiverError)


def test_async_receiver_is_restarted_with_the_delay_when_it_raises(ssc, patience) -> None:
    watching = Watching()
    ssc.addStreamingListener(watching)
    assert arrived(ssc, Failing()).get(timeout=patience) == 3
    message, error = watching.stops.get(timeout=patience)
    assert message == "Restarting receiver with delay 20ms: Error receiving in Failing"
    assert "failure 1" in error


class Ending(AsyncReceiver):
    """Has no more after one record."""

    async def receive(self) -> None:
        await self.storeAsync(["last"])


def test_async_receiver_stops_for_good_when_it_returns(ssc, patience, caplog) -> None:
    watching = Watching()
    ssc.addStreamingListener(watching)
    assert arrived(ssc, Ending()).get(timeout=patience) == "last"
    watching.stops.get(timeout=patience)
    assert "Ending.receive has returned: its source has no more" in caplog.text


class Cancelled(AsyncReceiver):
    """Lets a cancellation of its own doing escape, once."""

    starts = 0

    async def receive(self) -> None:
        self.starts += 1
        if self.starts == 1:
            raise asyncio.CancelledError("mine")
        await self.storeAsync([self.starts])


def test_async_receiver_is_restarted_when_it_cancels_itself(ssc, patience) -> None:
    assert arrived(ssc, Cancelled()).get(timeout=patience) == 2


class Stubborn(AsyncReceiver):
    """Raises while it's cancelled."""

    async def receive(self) -> None:
        told.put(threading.current_thread().name)
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while cleaning up")


def test_async_receiver_reports_what_its_cleaning_up_raises(ssc, patience) -> None:
    watching = Watching()
    ssc.addStreamingListener(watching)
    arrived(ssc, Stubborn())
    assert told.get(timeout=patience) == "async-Stubborn"
    ssc.stop(stopGraceFully=True)
    messages = []
    while not watching.stops.empty():
        messages.append(watching.stops.get()[0])
    assert "Error while Stubborn.receive was stopping" in messages


def test_async_receiver_without_receive_says_what_is_missing(patience) -> None:
    with pytest.raises(NotImplementedError, match=r"AsyncReceiver\.receive"):
        asyncio.run(AsyncReceiver().receive())
