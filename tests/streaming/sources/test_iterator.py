"""Streams of Python iterables: pace, bounds, ends and errors."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections import deque
from itertools import chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.errors import SparkException
from headwater.streaming.runtime.batches import Phase
from headwater.streaming.sources import iterator as iterator_module
from headwater.streaming.sources.iterator import Puller
from tests.waiting import wait_for


def flat(batches):
    return list(chain.from_iterable(batches))


class Tap:
    """A source that gives what it's fed, and says when it has been asked for more: what came before was pulled."""

    def __init__(self, *batches):
        self.records = queue.SimpleQueue()
        self.asked = queue.SimpleQueue()
        self.closed = threading.Event()
        self.feed(*batches)

    def feed(self, *records):
        for record in records:
            self.records.put(record)

    def numbers(self):
        try:
            while (record := self.next()) is not None:
                yield record
        finally:
            self.closed.set()

    def next(self):
        self.asked.put(None)
        record = self.records.get()
        if isinstance(record, BaseException):
            raise record
        return record

    async def numbers_async(self):
        try:
            while True:
                self.asked.put(None)
                while self.records.empty():
                    await asyncio.sleep(0.001)
                record = self.records.get()
                if isinstance(record, BaseException):
                    raise record
                if record is None:
                    return
                yield record
        finally:
            self.closed.set()

    def wait_until_asked(self, times, patience):
        for _ in range(times):
            self.asked.get(timeout=patience)


@pytest.fixture
def tap():
    made = Tap()
    yield made
    made.feed(None)


both = pytest.mark.parametrize("kind", ["numbers", "numbers_async"])


# ------------------------------------------------------------------------------------------------ batches
@both
def test_records_that_came_since_the_last_batch_are_the_next_one(harness, tap, patience, kind) -> None:
    out = harness.collected(harness.ssc.iteratorStream(getattr(tap, kind)))
    harness.start()
    infos = []
    for batch in ([1, 2, 3], [], [4]):
        tap.wait_until_asked(1, patience)
        tap.feed(*batch)
        tap.wait_until_asked(len(batch), patience)
        tap.asked.put(None)  # of the request that still stands
        infos += harness.run(1)
    assert out == [[1, 2, 3], [], [4]]
    assert [info.numRecords() for info in infos] == [3, 0, 1]


@pytest.mark.parametrize(
    "make",
    [
        lambda: [1, 2, 3],
        lambda: deque([1, 2, 3]),
        lambda: range(1, 4),
        lambda: iter([1, 2, 3]),
        lambda: {1: "a", 2: "b", 3: "c"},
        lambda: (number for number in (1, 2, 3)),
        lambda: lambda: iter([1, 2, 3]),
        lambda: lambda: range(1, 4),
    ],
    ids=["list", "deque", "range", "iterator", "dict", "generator", "function", "function of an iterable"],
)
def test_any_iterable_is_a_stream_that_ends_with_it(harness, make) -> None:
    out = harness.collected(harness.ssc.iteratorStream(make()))
    while flat(out) != [1, 2, 3]:
        harness.run(1)
    harness.run(1)
    assert out[-1] == []
    assert not harness.ssc.awaitTerminationOrTimeout(0)


def test_records_are_spread_over_all_cores(harness, tap, patience) -> None:
    partitions = []
    stream = harness.ssc.iteratorStream(tap.numbers)
    stream.foreachRDD(lambda rdd: partitions.append(rdd.getNumPartitions()))
    tap.feed(*range(1, 100))
    harness.start()
    tap.wait_until_asked(100, patience)
    harness.run(1)
    assert partitions == [harness.sc.defaultParallelism]


def test_function_is_called_at_the_start_and_not_before(harness) -> None:
    calls = []
    out = harness.collected(harness.ssc.iteratorStream(lambda: calls.append(1) or [7]))
    assert calls == []
    while flat(out) != [7]:
        harness.run(1)
    assert calls == [1]


def test_each_source_stream_pulls_for_itself(harness) -> None:
    one = harness.collected(harness.ssc.iteratorStream([1]))
    two = harness.collected(harness.ssc.iteratorStream([2]))
    while (flat(one), flat(two)) != ([1], [2]):
        harness.run(1)


# ------------------------------------------------------------------------------------------------ bounds
@both
def test_source_waits_while_a_batch_waits_or_two_are_unprocessed(tap, patience, kind) -> None:
    puller = Puller(getattr(tap, kind), records_max=2, name="s", failed=pytest.fail)
    tap.feed(*range(1, 100))
    puller.start()
    tap.wait_until_asked(2, patience)
    taken = []
    for asked_again in (2, 0):  # a full batch under way lets one more gather; two under way none
        wait_for(lambda: puller.waiting == 2, "two records wait")
        taken.append(puller.take())
        tap.wait_until_asked(asked_again, patience)
    assert (taken, puller.take(), tap.asked.qsize()) == ([[1, 2], [3, 4]], [], 0)
    puller.processed(1)
    tap.wait_until_asked(1, patience)
    wait_for(lambda: puller.waiting == 1, "a record waits")
    assert (puller.take(), tap.asked.qsize()) == ([5], 0)
    puller.stop()
    assert tap.closed.wait(patience)


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 40))
def test_all_records_come_once_in_order_and_within_the_bounds(records_max, count) -> None:
    puller = Puller(range(count), records_max=records_max, name="s", failed=pytest.fail)
    puller.start()
    taken = []
    while len(taken) < count:
        batch = puller.take()
        assert len(batch) <= records_max
        assert puller.waiting <= records_max
        taken += batch
        puller.processed(len(batch))
    puller.stop()
    assert taken == list(range(count))


def test_batches_of_a_fast_source_are_bounded_and_it_goes_on_as_they_are_processed(harness) -> None:
    out = harness.collected(harness.ssc.iteratorStream(range(25), maxRecordsPerBatch=10))
    while len(flat(out)) < 25:
        harness.run(1)
    assert flat(out) == list(range(25))
    assert max(map(len, out)) <= 10


def test_records_that_cannot_be_pickled_stay_and_the_batch_fails(harness, tap, patience) -> None:
    out = harness.collected(harness.ssc.iteratorStream(tap.numbers))
    tap.feed(threading.Lock())
    harness.start()
    tap.wait_until_asked(2, patience)
    harness.run(1)
    with pytest.raises(Exception, match="pickle"):
        harness.ssc.awaitTermination(0)
    (node,) = harness.ssc.graph.inputs
    assert (out, node.puller.waiting) == ([], 1)


# ------------------------------------------------------------------------------------------------ ends
@both
def test_what_the_source_raises_names_the_stream_and_what_came_before_is_processed(
    harness, tap, patience, kind
) -> None:
    out = harness.collected(harness.ssc.iteratorStream(getattr(tap, kind)))
    tap.feed(1, ValueError("bad weather"))
    harness.start()
    assert tap.closed.wait(patience)
    with pytest.raises(SparkException, match=f"iterator stream 0 of {kind}: the source raised ValueError: bad") as info:
        harness.ssc.awaitTermination(patience)
    assert isinstance(info.value.__cause__, ValueError)
    harness.run(2)
    assert out == [[1], []]
    assert "ReceiverError" in harness.recorder.names()


def test_function_that_returns_nothing_iterable_is_told(harness, patience) -> None:
    harness.collected(harness.ssc.iteratorStream(lambda: 5))
    harness.start()
    with pytest.raises(SparkException, match="the function must return an iterable or an asynchronous one, not 5"):
        harness.ssc.awaitTermination(patience)


@both
def test_graceful_stop_processes_what_was_pulled_and_closes_the_generator(harness, tap, patience, kind) -> None:
    out = harness.collected(harness.ssc.iteratorStream(getattr(tap, kind)))
    harness.start()
    tap.feed(1, 2)
    tap.wait_until_asked(3, patience)
    stopping = threading.Thread(target=harness.ssc.stop, args=(False, True), daemon=True)
    stopping.start()
    wait_for(lambda: harness.ssc._running.generator.phase is Phase.LAST_TICKS, "the last batches come")
    tap.feed(3)  # too late
    harness.clock.advance(500)
    stopping.join(patience)
    assert not stopping.is_alive()
    assert out == [[1, 2]]
    assert tap.closed.wait(patience)


@both
def test_stop_closes_a_generator_that_waits_for_room_and_says_what_is_lost(tap, patience, kind, caplog) -> None:
    puller = Puller(getattr(tap, kind), records_max=2, name="stream", failed=pytest.fail)
    tap.feed(1, 2, 3)
    puller.start()
    wait_for(lambda: puller.waiting == 2, "two records wait")
    puller.stop()
    assert tap.closed.is_set()
    assert caplog.messages == ["stream: 2 records that were pulled are not processed"]


def test_stop_ends_an_asynchronous_generator_that_waits_for_its_source(patience) -> None:
    waits, closed = threading.Event(), threading.Event()

    async def silent():
        try:
            waits.set()
            await asyncio.sleep(10**6)
            yield 1
        finally:
            closed.set()

    puller = Puller(silent, records_max=2, name="s", failed=pytest.fail)
    puller.start()
    assert waits.wait(patience)
    puller.stop()
    assert closed.is_set()
    assert not puller._thread.is_alive()


def test_stop_leaves_a_source_that_waits_for_ever_to_its_thread(tap, patience, caplog, monkeypatch) -> None:
    monkeypatch.setattr(iterator_module, "STOP_SECONDS_MAX", 0.01)
    puller = Puller(tap.numbers, records_max=2, name="stream", failed=pytest.fail)
    puller.start()
    tap.wait_until_asked(1, patience)
    puller.stop()
    assert caplog.messages == ["stream: the source still waits for something: it is left to its thread"]
    with caplog.at_level(logging.WARNING):
        tap.feed(1)
        assert tap.closed.wait(patience)
    assert "stream: a record that came while the stream was stopping is dropped" in caplog.messages


def test_source_may_stop_the_context_itself(harness, patience) -> None:
    closed = threading.Event()

    def numbers():
        try:
            yield 1
            harness.ssc.stop(stopSparkContext=False)
        finally:
            closed.set()

    harness.collected(harness.ssc.iteratorStream(numbers))
    harness.start()
    assert harness.ssc.awaitTerminationOrTimeout(patience)
    assert closed.wait(patience)


@pytest.mark.parametrize("source", ["text", b"bytes", 5, None])
def test_source_that_is_no_iterable_is_refused(harness, source) -> None:
    with pytest.raises(TypeError, match="source must be an iterable, or a function that returns one, not "):
        harness.ssc.iteratorStream(source)


@pytest.mark.parametrize("most", [0, -1, 1.5, True])
def test_bound_of_a_batch_is_at_least_one_record(harness, most) -> None:
    with pytest.raises(ValueError, match="maxRecordsPerBatch must be an int of at least 1"):
        harness.ssc.iteratorStream([1], maxRecordsPerBatch=most)
