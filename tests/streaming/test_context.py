"""The life of a StreamingContext: states, errors, alignment, stops."""

from __future__ import annotations

import logging
import os
import signal
import threading

import pytest

from headwater.clock import ManualClock
from headwater.errors import (
    IllegalArgumentException,
    IllegalStateException,
    SerializationError,
)
from headwater.streaming import DStream, Receiver, StreamingContext, StreamingListener, running
from headwater.streaming.context import StreamingContextState
from headwater.streaming.outputs.batchoutput import FunctionOutput
from headwater.streaming.sources.constant import ConstantInput
from tests.streaming.conftest import Harness


def with_output(sc, **more):
    ssc = StreamingContext(sc, 1, clock=ManualClock(), **more)
    ssc.queueStream([]).foreachRDD(lambda rdd: None)
    return ssc


# ------------------------------------------------------------------------------------------------ construction
@pytest.mark.parametrize("duration", [0, -1, 0.0001, "1", float("nan")])
def test_batch_duration_that_makes_no_sense_is_refused(sc, duration) -> None:
    with pytest.raises(ValueError, match="batch duration must be"):
        StreamingContext(sc, duration)


def test_missing_arguments_are_refused_with_sparks_words(sc) -> None:
    with pytest.raises(ValueError, match="Batch duration for StreamingContext cannot be null"):
        StreamingContext(sc)
    with pytest.raises(ValueError, match="both SparkContext and checkpoint as null"):
        StreamingContext(None, 1)


def test_remember_can_be_set_once(sc) -> None:
    ssc = StreamingContext(sc, 1)
    ssc.remember(5)
    with pytest.raises(IllegalArgumentException, match="Remember duration already set as 5000 ms"):
        ssc.remember(6)


# ------------------------------------------------------------------------------------------------ the states
def test_start_without_outputs_stops_the_context_for_good(sc) -> None:
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([])
    with pytest.raises(IllegalArgumentException, match="requirement failed: No output operations registered"):
        ssc.start()
    assert ssc.getState() is StreamingContextState.STOPPED
    with pytest.raises(IllegalStateException, match="StreamingContext has already been stopped"):
        ssc.start()


def test_second_start_only_warns(sc, caplog) -> None:
    ssc = with_output(sc)
    ssc.start()
    ssc.start()
    assert "StreamingContext has already been started" in caplog.text
    ssc.stop(stopSparkContext=False)


def test_stop_before_start_is_terminal(sc, caplog) -> None:
    ssc = with_output(sc)
    ssc.stop(stopSparkContext=False)
    assert "StreamingContext has not been started yet" in caplog.text
    assert ssc.awaitTerminationOrTimeout(0)
    with pytest.raises(IllegalStateException, match="already been stopped"):
        ssc.start()
    ssc.stop(stopSparkContext=False)
    assert "StreamingContext has already been stopped" in caplog.text


def test_only_one_context_is_active_and_the_other_can_start_later(sc) -> None:
    first, second = with_output(sc), with_output(sc)
    first.start()
    assert StreamingContext.getActive() is first
    with pytest.raises(IllegalStateException, match=r"Only one StreamingContext may be started.*test_context.py:\d+"):
        second.start()
    assert second.getState() is StreamingContextState.INITIALIZED
    first.stop(stopSparkContext=False)
    assert StreamingContext.getActive() is None
    second.start()
    second.stop(stopSparkContext=False)


@pytest.mark.parametrize(
    ("stopped", "words"), [(False, "after starting a context is not"), (True, "after stopping a context is not")]
)
def test_nothing_can_be_added_once_started(sc, stopped, words) -> None:
    ssc = with_output(sc)
    stream = ssc.queueStream([])
    ssc.start()
    if stopped:
        ssc.stop(stopSparkContext=False)
    for add in (
        lambda: ssc.queueStream([]),
        lambda: stream.map(str),
        lambda: stream.pprint(),
        lambda: stream.union(stream),
        lambda: ssc.union(stream, stream),
        lambda: ssc.socketTextStream("localhost", 9999),
        lambda: ssc.add_input(lambda stream_id: pytest.fail("not called")),
        lambda: ssc.add_output(ssc.graph.outputs[0]),
        lambda: stream.output(FunctionOutput(print, with_time=False)),
    ):
        with pytest.raises(IllegalStateException, match=words):
            add()
    assert ssc.has_started
    ssc.stop(stopSparkContext=False)


def test_connector_adds_an_input_of_its_own(harness: Harness) -> None:
    ssc, rdd = harness.ssc, harness.sc.parallelize(["a", "b"])
    stream = DStream(ssc.add_input(lambda stream_id: ConstantInput(stream_id, ssc.batch_ms, rdd)), ssc)
    assert (stream.node, ssc.clock, ssc.has_started) == (ssc.graph.inputs[-1], harness.clock, False)
    collected = harness.collect(stream)
    harness.run(2)
    assert collected == [["a", "b"], ["a", "b"]]


def test_get_active_or_create(sc) -> None:
    with pytest.raises(ValueError, match="setupFunc cannot be None"):
        StreamingContext.getActiveOrCreate(None, None)
    ssc = StreamingContext.getActiveOrCreate(None, lambda: with_output(sc))
    ssc.start()
    assert StreamingContext.getActiveOrCreate(None, lambda: pytest.fail("not called")) is ssc
    ssc.stop(stopSparkContext=False)


# ------------------------------------------------------------------------------------------------ alignment
@pytest.mark.parametrize(
    ("now_ms", "batch_seconds", "first_ms"),
    [(1_000_000, 1, 1_001_000), (1_000_001, 1, 1_001_000), (1_000_000, 7, 1_001_000), (999_999, 0.25, 1_000_000)],
)
def test_first_batch_is_the_next_multiple_since_the_epoch(sc, now_ms, batch_seconds, first_ms, patience) -> None:
    clock, times, seen = ManualClock(now_ms), [], threading.Event()

    class Listener(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            times.append(batchCompleted.batchInfo().batchTime().milliseconds())
            seen.set()

    ssc = StreamingContext(sc, batch_seconds, clock=clock)
    ssc.addStreamingListener(Listener())
    ssc.queueStream([]).foreachRDD(lambda rdd: None)
    ssc.start()
    clock.advance(first_ms - now_ms)
    assert seen.wait(patience)
    ssc.stop(stopSparkContext=False)
    assert times == [first_ms]


def test_missed_batches_are_made_up_for_with_their_own_times(harness, patience) -> None:
    out = harness.collected(harness.ssc.queueStream([[1], [2], [3]]))
    harness.ssc.start()
    harness.clock.advance(500 + 2000)
    infos = [harness.recorder.completed.get(timeout=patience) for _ in range(3)]
    assert [info.batchTime().ms for info in infos] == [1_000_000_000, 1_000_001_000, 1_000_002_000]
    assert out == [[1], [2], [3]]


# ------------------------------------------------------------------------------------------------ events
def test_listener_hears_a_batch_in_sparks_order(harness) -> None:
    stream = harness.ssc.queueStream([[1]])
    harness.collected(stream)
    harness.collected(stream)
    harness.ssc.start()
    (info,) = harness.run(1)
    assert harness.recorder.names() == [
        "StreamingStarted",
        "BatchSubmitted",
        "BatchStarted",
        "OutputOperationStarted",
        "OutputOperationCompleted",
        "OutputOperationStarted",
        "OutputOperationCompleted",
        "BatchCompleted",
    ]
    submitted = harness.recorder.events[1].batchInfo().outputOperationInfos()
    assert {k: (v.startTime(), v.endTime()) for k, v in submitted.items()} == {0: (-1, -1), 1: (-1, -1)}
    outputs = info.outputOperationInfos()
    assert [outputs[k].failureReason() for k in (0, 1)] == [None, None]
    assert outputs[0].name().startswith("foreachRDD at conftest.py:")


# ------------------------------------------------------------------------------------------------ errors
class Oops(Exception):
    pass


def test_failed_output_is_raised_by_every_wait_and_the_rest_goes_on(harness, caplog) -> None:
    stream = harness.ssc.queueStream([[1], [2]])

    def fail(rdd):
        raise Oops("in the output")

    stream.foreachRDD(fail)
    out = harness.collected(stream)
    harness.ssc.start()
    infos = harness.run(2)
    assert out == [[1], [2]]
    for _ in range(2):
        with pytest.raises(Oops, match="in the output"):
            harness.ssc.awaitTerminationOrTimeout(0)
    with pytest.raises(Oops):
        harness.ssc.awaitTermination()
    assert infos[0].outputOperationInfos()[0].failureReason().endswith("Oops: in the output\n")
    assert "Error running job streaming job 1000000000 ms.0" in caplog.text
    assert harness.ssc.getState() is StreamingContextState.ACTIVE


def test_user_function_that_fails_in_a_worker_is_raised_with_its_own_type(harness) -> None:
    harness.collected(harness.ssc.queueStream([[0]]).map(lambda n: 1 / n))
    harness.ssc.start()
    harness.run(1)
    with pytest.raises(ZeroDivisionError):
        harness.ssc.awaitTerminationOrTimeout(0)


def test_failed_generation_fails_its_own_outputs_and_runs_once(harness, caplog) -> None:
    calls = []

    def fail(rdd):
        calls.append(rdd)
        raise Oops("in transform")

    bad = harness.ssc.queueStream([[1]]).transform(fail)
    harness.collected(bad)
    harness.collected(bad.map(str))
    out = harness.collected(harness.ssc.queueStream([[2]]))
    harness.ssc.start()
    harness.run(1)
    assert (len(calls), out) == (1, [[2]])
    with pytest.raises(Oops, match="in transform"):
        harness.ssc.awaitTerminationOrTimeout(0)
    assert "Error generating jobs for time 1000000000 ms" in caplog.text


def test_transform_that_returns_no_rdd_says_what_it_returned(harness) -> None:
    harness.collected(harness.ssc.queueStream([[1]]).transform(lambda rdd: rdd.collect()))
    harness.ssc.start()
    harness.run(1)
    with pytest.raises(Exception, match="must return an RDD, not list"):
        harness.ssc.awaitTerminationOrTimeout(0)


def test_a_receiver_that_cannot_travel_is_refused_at_once(sc) -> None:
    class Holding(Receiver):
        def __init__(self):
            super().__init__()
            self.lock = threading.Lock()

    ssc = StreamingContext(sc, 1)
    with pytest.raises(SerializationError):
        ssc.receiverStream(Holding())
    with pytest.raises(TypeError, match="expected a headwater.streaming.Receiver, got str"):
        ssc.receiverStream("host")


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_port_out_of_bounds_is_refused(sc, port) -> None:
    with pytest.raises(ValueError, match="port must be between 1 and 65535"):
        StreamingContext(sc, 1).socketTextStream("localhost", port)


# ------------------------------------------------------------------------------------------------ stops
@pytest.mark.parametrize("gracefully", [False, True])
def test_stop_from_within_an_output(harness, patience, gracefully) -> None:
    def stop(rdd):
        harness.ssc.stop(stopSparkContext=False, stopGraceFully=gracefully)

    harness.ssc.queueStream([]).foreachRDD(stop)
    harness.ssc.start()
    harness.clock.advance(500)
    assert harness.ssc.awaitTerminationOrTimeout(patience)
    assert harness.ssc.getState() is StreamingContextState.STOPPED
    assert "BatchCompleted" in harness.recorder.names()


@pytest.mark.parametrize("gracefully", [False, True])
def test_stop_from_within_a_transform_function(harness, patience, gracefully) -> None:
    def stop(rdd):
        harness.ssc.stop(stopSparkContext=False, stopGraceFully=gracefully)
        return rdd

    out = harness.collected(harness.ssc.queueStream([[1]]).transform(stop))
    harness.ssc.start()
    harness.clock.advance(500)
    assert harness.ssc.awaitTerminationOrTimeout(patience)
    assert harness.ssc.getState() is StreamingContextState.STOPPED
    assert out == [[1]] or not gracefully  # a graceful stop finishes the batch that it was called in


LISTENED = ["onStreamingStarted", "onBatchSubmitted", "onBatchStarted", "onOutputOperationStarted", "onBatchCompleted"]


@pytest.mark.parametrize("gracefully", [False, True])
@pytest.mark.parametrize("event", LISTENED)
def test_stop_from_within_a_listener(harness, patience, event, gracefully) -> None:
    listener = StreamingListener()
    setattr(listener, event, lambda event: harness.ssc.stop(stopSparkContext=False, stopGraceFully=gracefully))
    harness.ssc.addStreamingListener(listener)
    harness.collected(harness.ssc.queueStream([]))
    harness.ssc.start()
    harness.clock.advance(500)
    assert harness.ssc.awaitTerminationOrTimeout(patience)
    assert harness.ssc.getState() is StreamingContextState.STOPPED


def test_graceful_stop_from_within_a_listener_finishes_batches_that_wait(harness, patience) -> None:
    queued, out = threading.Event(), []

    class Stopper(StreamingListener):
        def onBatchSubmitted(self, batchSubmitted):
            if batchSubmitted.batchInfo().batchTime().milliseconds() == 1_000_002_000:
                queued.set()

        def onBatchCompleted(self, batchCompleted):
            harness.ssc.stop(stopSparkContext=False, stopGraceFully=True)

    def wait_and_collect(rdd):
        assert queued.wait(patience)
        out.append(rdd.collect())

    harness.ssc.addStreamingListener(Stopper())
    harness.ssc.queueStream([[1], [2], [3]]).foreachRDD(wait_and_collect)
    harness.ssc.start()
    harness.clock.advance(2500)
    assert harness.ssc.awaitTerminationOrTimeout(patience)
    assert out == [[1], [2], [3]]


def test_stop_from_within_an_output_stops_the_spark_context_too(no_context, patience) -> None:
    from headwater import SparkConf, SparkContext

    sc = SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("t"))
    clock = ManualClock()
    ssc = StreamingContext(sc, 1, clock=clock)
    ssc.queueStream([]).foreachRDD(lambda rdd: ssc.stop())
    ssc.start()
    clock.advance(1000)
    assert ssc.awaitTerminationOrTimeout(patience)
    assert SparkContext._active_spark_context is None


def test_interrupt_of_a_wait_leaves_a_context_that_can_be_stopped(harness) -> None:
    harness.ssc.queueStream([]).foreachRDD(lambda rdd: os.kill(os.getpid(), signal.SIGINT))
    harness.ssc.start()
    with pytest.raises(KeyboardInterrupt):
        harness.clock.advance(500)
        harness.ssc.awaitTermination()
    assert harness.ssc.getState() is StreamingContextState.ACTIVE
    harness.ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert harness.ssc.getState() is StreamingContextState.STOPPED
    assert harness.ssc.awaitTerminationOrTimeout(0)


@pytest.mark.parametrize("last", ["has no job", "fails"])
def test_graceful_stop_ends_at_once_when_its_last_batch(harness, patience, last) -> None:
    def without_job(rdd):
        return None

    def failing(rdd):
        raise Oops("in transform")

    stream = harness.ssc.queueStream([])
    ended = harness.collected(stream) if last == "fails" else None
    harness.collected(stream.transform(failing if last == "fails" else without_job))
    harness.ssc.start()
    if last == "fails":
        harness.run(2)
        assert ended == [[], []]
    else:
        harness.clock.advance(1500)
    # The clock stands still: whatever waited for a deadline would wait for ever.
    stopper = threading.Thread(target=harness.ssc.stop, args=(False, True), daemon=True)
    stopper.start()
    stopper.join(patience)
    assert not stopper.is_alive()


def test_graceful_stop_finishes_batches_that_wait(harness, patience) -> None:
    gate, begun, out = threading.Event(), threading.Event(), []

    def slow(rdd):
        begun.set()
        assert gate.wait(patience)
        out.append(rdd.collect())

    harness.ssc.queueStream([[1], [2], [3]]).foreachRDD(slow)
    harness.ssc.start()
    harness.clock.advance(2500)
    assert begun.wait(patience)
    for _ in range(3):
        harness.recorder.submitted.get(timeout=patience)
    stopper = threading.Thread(target=harness.ssc.stop, args=(False, True), daemon=True)
    stopper.start()
    gate.set()
    stopper.join(patience)
    assert out == [[1], [2], [3]]


@pytest.mark.parametrize("graceful", [0, 1, 4])
def test_several_threads_may_stop_at_once(harness, patience, graceful) -> None:
    harness.collected(harness.ssc.queueStream([]))
    harness.ssc.start()
    threads = [threading.Thread(target=harness.ssc.stop, args=(False, n < graceful), daemon=True) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(patience)
        assert not thread.is_alive()
    assert harness.ssc.getState() is StreamingContextState.STOPPED


def test_stop_that_is_not_graceful_hurries_one_that_is(harness, patience, monkeypatch) -> None:
    monkeypatch.setattr(running, "JOB_STOP_SECONDS", 0.05)
    begun, stopping, gate, out = threading.Event(), threading.Event(), threading.Event(), []
    end = running.Running.stop

    def slow(rdd):
        begun.set()
        assert gate.wait(patience)
        out.append(rdd.collect())

    def stop_threads(threads, *, gracefully):
        stopping.set()
        end(threads, gracefully=gracefully)

    monkeypatch.setattr(running.Running, "stop", stop_threads)
    harness.ssc.queueStream([[1], [2]]).foreachRDD(slow)
    harness.ssc.start()
    harness.clock.advance(1500)
    assert begun.wait(patience)
    stop = harness.ssc.stop
    threads = [threading.Thread(target=stop, args=(False, graceful), daemon=True) for graceful in (True, False)]
    threads[0].start()
    assert stopping.wait(patience)
    threads[1].start()
    for thread in threads:
        thread.join(patience)  # the output doesn't end, and is not waited for
        assert not thread.is_alive()
    gate.set()
    assert out == []


def ours(threads):
    names = (thread.name for thread in threads)
    return sorted(name for name in names if name.startswith(("streaming", "receiver", "block", "stop-receiver")))


def test_no_thread_is_left_after_a_stop(harness) -> None:
    before = set(threading.enumerate())
    harness.collected(harness.ssc.queueStream([]))
    harness.ssc.start()
    harness.run(1)
    assert ours(set(threading.enumerate()) - before) != []
    harness.ssc.stop(stopSparkContext=False)
    assert ours(set(threading.enumerate()) - before) == []


@pytest.mark.parametrize(
    "thread", ["streaming-listeners", "streaming-job-executor-0", "streaming-receivers", "streaming-batches"]
)
def test_start_that_fails_halfway_leaves_nothing_running(sc, patience, monkeypatch, thread) -> None:
    before = set(threading.enumerate())
    start = threading.Thread.start

    def failing_start(self):
        if self.name == thread:
            raise RuntimeError("can't start new thread")
        start(self)

    ssc = with_output(sc)
    monkeypatch.setattr(threading.Thread, "start", failing_start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        ssc.start()
    monkeypatch.undo()
    assert ours(set(threading.enumerate()) - before) == []
    assert (ssc.getState(), StreamingContext.getActive()) == (StreamingContextState.STOPPED, None)
    assert ssc.awaitTerminationOrTimeout(patience)
    another = with_output(sc)
    another.start()
    another.stop(stopSparkContext=False)


def test_stop_of_a_stopped_context_still_stops_the_spark_context(no_context) -> None:
    from headwater import SparkConf, SparkContext

    sc = SparkContext(conf=SparkConf().setMaster("local").setAppName("t"))
    ssc = with_output(sc)
    ssc.stop(stopSparkContext=False)
    ssc.stop()
    assert SparkContext._active_spark_context is None


def test_log_lines_of_a_batch(harness, caplog) -> None:
    harness.collected(harness.ssc.queueStream([]))
    with caplog.at_level(logging.INFO, "headwater.streaming"):
        harness.ssc.start()
        harness.run(1)
        harness.ssc.stop(stopSparkContext=False)
    for line in (
        "Started JobGenerator at 1000000000 ms",
        "Added jobs for time 1000000000 ms",
        "Starting job streaming job 1000000000 ms.0 from job set of time 1000000000 ms",
        "Finished job streaming job 1000000000 ms.0 from job set of time 1000000000 ms",
        "Total delay: 0.000 s for time 1000000000 ms (execution: 0.000 s)",
    ):
        assert line in caplog.text
