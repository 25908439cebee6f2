"""Durations, call arity, the listener bus, the waiter, line framing."""

from __future__ import annotations

import functools
import logging
import math
import threading
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.base.callables import takes_time
from headwater.errors import SparkException
from headwater.streaming import listener as events
from headwater.streaming.durations import duration_ms, instant_ms, local_datetime, next_multiple_ms
from headwater.streaming.listener import StreamingListener, StreamingListenerBus, StreamingStarted
from headwater.streaming.receivers.socket import LineFramer
from headwater.streaming.waiter import Waiter


# ------------------------------------------------------------------------------------------------ durations
@pytest.mark.parametrize(("seconds", "ms"), [(1, 1000), (0.5, 500), (0.29, 290), (1.0019, 1001), (0.001, 1)])
def test_durations_are_seconds_outside_and_whole_milliseconds_inside(seconds, ms) -> None:
    assert duration_ms(seconds, "x") == ms


@pytest.mark.parametrize("bad", [0, -1, 0.0005, "1", None, True, math.nan, math.inf])
def test_durations_that_make_no_sense_are_refused_by_name(bad) -> None:
    with pytest.raises(ValueError, match="batch duration must be"):
        duration_ms(bad, "batch duration")


@given(st.integers(0, 2**41), st.integers(1, 10**7))
def test_first_batch_is_the_next_multiple_of_the_interval_since_the_epoch(now, period) -> None:
    first = next_multiple_ms(now, period)
    assert first % period == 0
    assert now < first <= now + period


@given(st.integers(0, 2**41))
def test_batch_times_survive_the_way_to_a_datetime_and_back_but_for_daylight_saving(ms) -> None:
    moment = local_datetime(ms)
    assert moment.tzinfo is None
    assert (instant_ms(moment) - ms) % 1_800_000 == 0


# ------------------------------------------------------------------------------------------------ arity
class Callable_:
    def __call__(self, time, rdd):
        return rdd

    def method(self, rdd):
        return rdd


@pytest.mark.parametrize(
    ("function", "with_time"),
    [
        (lambda rdd: 0, False),
        (lambda time, rdd: 0, True),
        (lambda rdd, n=5: 0, False),
        (lambda time, rdd, n=5: 0, True),
        (lambda *rdds: 0, False),
        (print, False),
        (len, False),
        (functools.partial(lambda n, rdd: 0, 5), False),
        (functools.partial(lambda n, time, rdd: 0, 5), True),
        (Callable_(), True),
        (Callable_().method, False),
        (dict, False),
    ],
)
def test_any_callable_is_asked_whether_it_takes_the_time(function, with_time) -> None:
    assert takes_time(function, 1) is with_time


@pytest.mark.parametrize(
    ("function", "rdds", "words"),
    [(lambda: 0, 1, "one or two"), (lambda a, b, c: 0, 1, "one or two"), (lambda a: 0, 2, "two or three")],
)
def test_functions_of_another_arity_are_refused(function, rdds, words) -> None:
    with pytest.raises(AssertionError, match=f"func should take {words} arguments"):
        takes_time(function, rdds)


# ------------------------------------------------------------------------------------------------ listeners
def test_accessors_of_absent_times_give_minus_one() -> None:
    batch = events.BatchInfo(5000, {}, 5001, -1, -1, {})
    assert (batch.schedulingDelay(), batch.processingDelay(), batch.totalDelay()) == (-1, -1, -1)
    done = events.BatchInfo(5000, {1: events.StreamInputInfo(1, 4)}, 5001, 5003, 5010, {})
    assert (done.schedulingDelay(), done.processingDelay(), done.totalDelay(), done.numRecords()) == (2, 7, 9, 4)
    assert done.batchTime().milliseconds() == 5000


def test_a_listener_that_raises_is_logged_and_the_others_still_hear(caplog) -> None:
    heard = threading.Event()

    class Bad(StreamingListener):
        def onStreamingStarted(self, streamingStarted):
            raise ValueError("mine")

    class Good(StreamingListener):
        def onStreamingStarted(self, streamingStarted):
            assert streamingStarted.time() == 5
            heard.set()

    bus = StreamingListenerBus()
    bus.add(Bad())
    bus.add(object())  # duck-typed listeners may leave methods out
    bus.add(Good())
    bus.start()
    bus.post(StreamingStarted(5))
    assert heard.wait(30)
    bus.close()
    assert "Listener Bad threw an exception in onStreamingStarted" in caplog.text


def test_events_beyond_the_bound_are_dropped_and_counted(caplog, monkeypatch) -> None:
    monkeypatch.setattr(events, "QUEUED_EVENTS_MAX", 2)
    bus = StreamingListenerBus()
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            bus.post(StreamingStarted(0))
    assert bus.dropped == 3
    assert caplog.text.count("A listener is too slow") == 1


# ------------------------------------------------------------------------------------------------ the waiter
def test_waiter_raises_the_latest_error_each_time() -> None:
    waiter = Waiter()
    assert waiter.wait(0) is False
    waiter.report(ValueError("first"))
    waiter.report(KeyError("second"))
    for _ in range(2):
        with pytest.raises(KeyError, match="second"):
            waiter.wait(0)
    waiter.stop()
    with pytest.raises(KeyError):
        waiter.wait()


# ------------------------------------------------------------------------------------------------ lines
@given(st.lists(st.binary(max_size=20) | st.text("a\r\n", max_size=5).map(str.encode), max_size=20))
def test_framed_lines_are_those_that_came_wherever_they_were_cut_and_end_by_newlines(pieces) -> None:
    framer = LineFramer()
    lines = [framer.feed(piece) for piece in pieces]
    assert all(not line or line.endswith(b"\n") for line in lines)
    data = b"".join(pieces).replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    expected = data if not data or data.endswith(b"\n") else data + b"\n"
    assert b"".join([*lines, framer.close()]) == expected


def test_line_that_ends_by_a_lone_return_is_there_at_once_and_a_newline_after_it_belongs_to_it() -> None:
    framer = LineFramer()
    assert [framer.feed(piece) for piece in (b"a\rb\r", b"\nc", b"\r", b"", b"\n", b"\n")] == [
        b"a\nb\n",
        b"",
        b"c\n",
        b"",
        b"",
        b"\n",
    ]


def test_a_line_that_never_ends_is_refused() -> None:
    framer = LineFramer(line_bytes_max=10)
    framer.feed(b"12345678")
    text = "longer than 10 bytes.*headwater.streaming.receiver.maxLineSize is the limit"
    with pytest.raises(SparkException, match=text):
        framer.feed(b"90123")


def test_naive_datetimes_are_local() -> None:
    assert local_datetime(instant_ms(datetime(2026, 1, 2, 3, 4, 5, 600_000))) == datetime(2026, 1, 2, 3, 4, 5, 600_000)
