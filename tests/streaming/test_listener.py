"""What listeners are told: each event with all its accessors, and the listener that reports distributions."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headwater.streaming import StatsReportListener, StreamingListener
from headwater.streaming import listener as events
from headwater.streaming.listener import StreamingListenerBus, distribution

BATCH_MS = 1_000_000_000

INPUT_INFO = events.StreamInputInfo(3, 7, {"files": ["a"], "Description": "one file"})
FAILED = events.OutputOperationInfo(5000, 1, "foreachRDD at x.py:3", "x.py:3 in <module>", 5004, 5010, "Oops: no")
BATCH = events.BatchInfo(5000, {3: INPUT_INFO}, 5001, 5003, 5011, {1: FAILED})
RECEIVER = events.ReceiverInfo(3, "Mine-3", True, "host", "driver", "reset", "OSError: reset", 4999)

# (object, accessor, value): all that PySpark's events and their parts have.
ACCESSORS = [
    (events.StreamingStarted(17), "time", 17),
    *[(kind(RECEIVER), "receiverInfo", RECEIVER) for kind in (events.ReceiverStarted, events.ReceiverError)],
    (events.ReceiverStopped(RECEIVER), "receiverInfo", RECEIVER),
    *[(kind(BATCH), "batchInfo", BATCH) for kind in (events.BatchSubmitted, events.BatchStarted)],
    (events.BatchCompleted(BATCH), "batchInfo", BATCH),
    (events.OutputOperationStarted(FAILED), "outputOperationInfo", FAILED),
    (events.OutputOperationCompleted(FAILED), "outputOperationInfo", FAILED),
    (RECEIVER, "streamId", 3),
    (RECEIVER, "name", "Mine-3"),
    (RECEIVER, "active", True),
    (RECEIVER, "location", "host"),
    (RECEIVER, "executorId", "driver"),
    (RECEIVER, "lastErrorMessage", "reset"),
    (RECEIVER, "lastError", "OSError: reset"),
    (RECEIVER, "lastErrorTime", 4999),
    (BATCH, "streamIdToInputInfo", {3: INPUT_INFO}),
    (BATCH, "submissionTime", 5001),
    (BATCH, "processingStartTime", 5003),
    (BATCH, "processingEndTime", 5011),
    (BATCH, "schedulingDelay", 2),
    (BATCH, "processingDelay", 8),
    (BATCH, "totalDelay", 10),
    (BATCH, "numRecords", 7),
    (BATCH, "outputOperationInfos", {1: FAILED}),
    (FAILED, "id", 1),
    (FAILED, "name", "foreachRDD at x.py:3"),
    (FAILED, "description", "x.py:3 in <module>"),
    (FAILED, "startTime", 5004),
    (FAILED, "endTime", 5010),
    (FAILED, "failureReason", "Oops: no"),
    (INPUT_INFO, "inputStreamId", 3),
    (INPUT_INFO, "numRecords", 7),
    (INPUT_INFO, "metadata", {"files": ["a"], "Description": "one file"}),
    (INPUT_INFO, "metadataDescription", "one file"),
]


@pytest.mark.parametrize(("thing", "accessor", "value"), ACCESSORS)
def test_accessor_gives_its_field(thing, accessor, value) -> None:
    assert getattr(thing, accessor)() == value


@pytest.mark.parametrize("thing", [BATCH, FAILED])
def test_batch_time_is_an_object_that_knows_its_milliseconds(thing) -> None:
    assert (thing.batchTime().milliseconds(), str(thing.batchTime())) == (5000, "5000 ms")


def test_absent_numbers_are_minus_one_and_absent_texts_none() -> None:
    queued = events.OutputOperationInfo(5000, 0, "out", "out")
    assert (queued.startTime(), queued.endTime(), queued.failureReason()) == (-1, -1, None)
    waiting = events.BatchInfo(5000, {}, 5001, -1, -1, {0: queued})
    delays = (waiting.schedulingDelay(), waiting.processingDelay(), waiting.totalDelay())
    assert delays == (waiting.processingStartTime(), waiting.processingEndTime(), -1) == (-1, -1, -1)
    fine = events.ReceiverInfo(0, "Mine-0", False, "", "")
    assert (fine.lastErrorMessage(), fine.lastError(), fine.lastErrorTime()) == ("", "", -1)
    assert events.StreamInputInfo(0, 0).metadataDescription() is None


# ------------------------------------------------------------------------------------------------ the bus
def test_each_event_has_its_method_and_they_are_called_in_order() -> None:
    heard: list[Any] = []
    sent = [thing for thing, accessor, _ in ACCESSORS if type(thing).__name__ in _event_names()]

    class Listener(StreamingListener):
        def __getattribute__(self, name):
            if not name.startswith("on"):
                return super().__getattribute__(name)
            return lambda event: heard.append((name, event))

    bus = StreamingListenerBus()
    bus.add(Listener())
    bus.start()
    for event in sent:
        bus.post(event)
    bus.close()
    assert heard == [("on" + type(event).__name__, event) for event in sent]
    assert {name for name, _ in heard} == {f"on{name}" for name in _event_names()}


def _event_names() -> list[str]:
    return [name.removeprefix("on") for name in vars(StreamingListener) if name.startswith("on")]


def test_there_are_nine_events() -> None:
    assert len(_event_names()) == 9


def test_listener_that_is_added_later_hears_what_comes_later(harness) -> None:
    harness.collected(harness.ssc.queueStream([]))
    harness.ssc.start()
    harness.run(1)
    late = type(harness.recorder)()
    harness.ssc.addStreamingListener(late)
    harness.run(1)
    assert late.completed.get(timeout=30).batchTime().milliseconds() == BATCH_MS + 1000
    assert "StreamingStarted" not in late.names()


# ------------------------------------------------------------------------------------------------ distributions
def test_distribution_shows_sparks_quantiles() -> None:
    assert distribution("Total delay", range(1, 101)) == [
        "Total delay: (count: 100, mean: 50.5, stdev: 28.86607004772212, max: 100.0, min: 1.0)",
        "\t0%\t5%\t10%\t25%\t50%\t75%\t90%\t95%\t100%",
        "\t1.0 ms\t6.0 ms\t11.0 ms\t26.0 ms\t51.0 ms\t76.0 ms\t91.0 ms\t96.0 ms\t100.0 ms",
    ]


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0.0 ms"), (1000, "1000.0 ms"), (1500, "1.5 s"), (90_000, "1.5 min"), (5_400_000, "1.5 h")]
)
def test_durations_of_a_distribution_have_the_unit_that_fits(ms, text) -> None:
    assert distribution("x", [ms])[2] == "\t" + "\t".join([text] * 9)


def completed(total_ms: int, processing_ms: int) -> events.BatchCompleted:
    return events.BatchCompleted(events.BatchInfo(0, {}, 5000, 5000 + total_ms - processing_ms, 5000 + total_ms, {}))


def test_stats_report_covers_the_latest_batches(caplog) -> None:
    listener = StatsReportListener(2)
    with caplog.at_level(logging.INFO, "headwater.streaming"):
        for total_ms, processing_ms in ((900, 800), (40, 20), (60, 30)):
            caplog.clear()
            listener.onBatchCompleted(completed(total_ms, processing_ms))
    assert caplog.messages == [
        *distribution("Total delay", [40, 60]),
        *distribution("Processing time", [20, 30]),
    ]


def test_stats_report_of_a_running_context_covers_ten_batches(harness, caplog) -> None:
    harness.collected(harness.ssc.queueStream([]))
    harness.ssc.addStreamingListener(StatsReportListener())
    with caplog.at_level(logging.INFO, "headwater.streaming"):
        harness.ssc.start()
        harness.run(12)
        harness.ssc.stop(stopSparkContext=False)
    counts = [line.partition(",")[0] for line in caplog.messages if line.startswith("Processing time: ")]
    assert counts == [f"Processing time: (count: {min(n, 10)}" for n in range(1, 13)]


@pytest.mark.parametrize("number", [0, -1])
def test_stats_report_of_no_batches_is_refused(number) -> None:
    with pytest.raises(ValueError, match="numBatchInfos must be at least 1"):
        StatsReportListener(number)
