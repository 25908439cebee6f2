"""What fails in a batch: what is tried again, what goes on, what stops, and whose data is kept meanwhile."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.clock import EXPIRED, ManualClock
from headwater.engine import scratch
from headwater.streaming import Receiver, StreamingContext
from headwater.streaming.context import StreamingContextState
from headwater.streaming.durations import local_datetime
from headwater.streaming.runtime.batches import OutputJob, OutputJobFinished, OutputJobStarted
from headwater.streaming.runtime.jobqueue import FailurePolicy
from headwater.streaming.runtime.jobs import JobThreads
from headwater.streaming.waiter import Waiter
from tests.streaming.conftest import PATIENCE_SECONDS, Harness

FIRST_BATCH_MS = 1_000_000_000
POLICY = "headwater.streaming.failure.policy"
RETRIES = "headwater.streaming.failure.maxRetries"
WAIT = "headwater.streaming.failure.retryWait"
RETRY = {POLICY: "retry", RETRIES: "2", WAIT: "0"}


class Oops(Exception):
    pass


def raises(failure: BaseException) -> None:
    raise failure


class Failing:
    """A function that raises in its first `failures` calls, and then returns what it is given."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def __call__(self, value: Any) -> Any:
        self.calls += 1
        if self.calls <= self.failures:
            raise Oops(f"call {self.calls}")
        return value


class Batches(Receiver):
    """Stores a block of three records for each number that it is told to; the test tells it by `tell`."""

    told: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    stored: queue.SimpleQueue[int] = queue.SimpleQueue()

    def onStart(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while (number := Batches.told.get()) is not None:
            self.store([number, number, number])
            Batches.stored.put(number)

    def onStop(self) -> None:
        Batches.told.put(None)

    @staticmethod
    def tell(number: int) -> None:
        """Have a block stored; in `local` the receiver is a thread of this process."""
        Batches.told.put(number)
        assert Batches.stored.get(timeout=PATIENCE_SECONDS) == number


class Broken(Receiver):
    def onStart(self) -> None:
        raise Oops("no connection")

    def onStop(self) -> None:
        pass


def received_files(directory: Path) -> list[Path]:
    """The files of all received blocks of an application whose `spark.local.dir` this is."""
    return list(directory.glob("**/input-*"))


@pytest.fixture
def harness(
    no_context: None, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Harness]:
    """A harness with the test's settings: `@pytest.mark.parametrize("harness", [{...}], indirect=True)`."""
    settings = getattr(request, "param", {})
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("failures").setAll(settings.items())
    conf.set("spark.local.dir", str(tmp_path / "local"))
    (tmp_path / "local").mkdir()
    monkeypatch.setattr(scratch, "MEMORY_FILE_SYSTEM", "none")  # so that all blocks are there
    made = Harness(SparkContext(conf=conf))
    yield made
    made.ssc.stop()


def pending(harness: Harness) -> tuple[int, ...]:
    running = harness.ssc._running
    assert running is not None
    return running.generator.pending()


# ------------------------------------------------------------------------------------------------ retry
@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_failed_output_is_tried_again_alone_and_nobody_is_told_when_it_succeeds(harness, caplog) -> None:
    stream = harness.ssc.queueStream([[1], [2]])
    failing = Failing(2)
    tried = []
    stream.foreachRDD(lambda rdd: tried.append(failing(rdd).collect()))
    others = harness.collected(stream)
    harness.ssc.start()
    infos = harness.run(2)
    assert (tried, others, failing.calls) == ([[1], [2]], [[1], [2]], 4)
    assert [info.outputOperationInfos()[0].failureReason() for info in infos] == [None, None]
    assert harness.recorder.names().count("OutputOperationStarted") == 4
    assert harness.ssc.awaitTerminationOrTimeout(0) is False
    assert pending(harness) == ()
    assert "Error running job streaming job 1000000000 ms.0: it is tried again in 0 ms" in caplog.text


@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_output_that_has_used_up_its_tries_is_reported_and_later_batches_go_on(harness) -> None:
    failing = Failing(3)
    done = []
    harness.ssc.queueStream([[1], [2]]).foreachRDD(lambda rdd: done.append(failing(rdd).collect()))
    harness.ssc.start()
    infos = harness.run(2)
    assert (done, failing.calls) == ([[2]], 4)
    assert "Oops: call 3" in infos[0].outputOperationInfos()[0].failureReason()
    with pytest.raises(Oops, match="call 3"):
        harness.ssc.awaitTermination(0)
    assert pending(harness) == (FIRST_BATCH_MS,)


@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_later_outputs_and_batches_wait_while_one_is_tried_again(harness, patience) -> None:
    failing = Failing(2)
    both = threading.Event()
    order = []

    def first(time, rdd):
        assert both.wait(patience)
        order.append((time.second, "first"))
        failing(rdd)

    stream = harness.ssc.queueStream([])
    stream.foreachRDD(first)
    stream.foreachRDD(lambda time, rdd: order.append((time.second, "second")))
    harness.ssc.start()
    harness.clock.advance(1500)
    for _ in range(2):
        harness.recorder.submitted.get(timeout=patience)
    both.set()
    one, two = (harness.recorder.completed.get(timeout=patience).batchTime().ms // 1000 % 60 for _ in range(2))
    assert order == [*[(one, "first")] * 3, (one, "second"), (two, "first"), (two, "second")]


@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_failed_generation_is_tried_again_for_each_of_its_outputs(harness) -> None:
    failing = Failing(2)
    bad = harness.ssc.queueStream([[1], [2]]).transform(failing)
    one = harness.collected(bad)
    two = harness.collected(bad.map(str))
    harness.ssc.start()
    infos = harness.run(2)
    # The first batch: when it was generated, and twice for the first output; the second one finds it done.
    assert failing.calls == 4
    assert (one, two) == ([[1], [2]], [["1"], ["2"]])
    assert {o.failureReason() for info in infos for o in info.outputOperationInfos().values()} == {None}


@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_generation_that_gives_no_rdd_when_it_is_tried_again_is_a_success(harness) -> None:
    failing = Failing(1)
    out = harness.collected(harness.ssc.queueStream([[1]]).transform(lambda rdd: failing(None)))
    harness.ssc.start()
    (info,) = harness.run(1)
    assert (out, info.outputOperationInfos()[0].failureReason()) == ([], None)


@pytest.mark.parametrize("harness", [RETRY], indirect=True)
def test_received_blocks_are_held_while_their_batch_is_tried_again_and_go_after(harness, tmp_path) -> None:
    failing = Failing(1)
    held = []
    done = []

    def output(rdd):
        held.append(len(received_files(tmp_path)))
        failing(rdd)
        done.append(rdd.collect())

    harness.ssc.receiverStream(Batches()).foreachRDD(output)
    harness.ssc.start()
    Batches.tell(7)
    harness.run(1)
    assert (held, done) == ([1, 1], [[7, 7, 7]])
    harness.run(1)  # whose end forgets the first
    harness.ssc.stop(stopSparkContext=False)
    assert received_files(tmp_path) == []


@pytest.mark.parametrize("harness", [{**RETRY, WAIT: "10s"}], indirect=True)
@pytest.mark.parametrize("gracefully", [False, True])
def test_stop_ends_a_pause_between_tries_at_once_when_not_graceful(harness, patience, gracefully) -> None:
    failing, failed = Failing(1), threading.Event()
    first: list[bool] = []

    def output(time, rdd):
        first.append(time.second == local_datetime(FIRST_BATCH_MS).second)
        failed.set()
        failing(rdd)

    harness.ssc.queueStream([[1]]).foreachRDD(output)
    harness.ssc.start()
    harness.clock.advance(500)
    assert failed.wait(patience)
    if gracefully:
        stopper = threading.Thread(target=harness.ssc.stop, args=(False, True), daemon=True)
        stopper.start()
        while stopper.is_alive():  # a graceful stop finishes the batch: its pause is over when the clock says so
            harness.clock.advance(10_000)
            stopper.join(0.01)
    else:
        harness.ssc.stop(stopSparkContext=False)
    assert first[:3].count(True) == (2 if gracefully else 1)
    assert harness.ssc.getState() is StreamingContextState.STOPPED


class Pauses:
    """A clock that stands still, and keeps the deadlines of those who wait for one."""

    def __init__(self) -> None:
        self.deadlines_ms: list[int | None] = []

    def now_ms(self) -> int:
        return 5000

    def get(self, items: queue.SimpleQueue[Any], deadline_ms: int | None) -> Any:
        self.deadlines_ms.append(deadline_ms)
        return EXPIRED


def test_pause_between_tries_is_as_long_as_it_was_set(patience) -> None:
    clock, reports = Pauses(), queue.SimpleQueue()
    failing = Failing(2)
    prepared = []
    threads = JobThreads(1, FailurePolicy(retries_max=2, wait_ms=700), clock, reports.put, prepared.append, raises)
    threads.start()
    job = OutputJob(2000, 0, "out", "out at x", lambda oldest_pending_ms: failing(None))
    threads.submit((job,))
    assert [reports.get(timeout=patience) for _ in range(2)] == [
        OutputJobStarted(2000, 0, 5000),
        OutputJobFinished(2000, 0, 5000, None),
    ]
    assert threads.close(patience)
    assert clock.deadlines_ms == [5700, 5700]
    assert prepared == [job, job, job]


def test_closing_threads_that_were_never_started_ends_at_once(patience) -> None:
    threads = JobThreads(2, FailurePolicy(), ManualClock(), lambda report: None, lambda job: None, raises)
    threads.submit((job := OutputJob(2000, 0, "out", "out at x", lambda oldest_pending_ms: None),))
    assert threads.close(patience)
    assert threads.dropped() == (job,)


def test_closing_drops_what_waits_and_lets_end_what_runs(patience) -> None:
    begun, gate, reports = threading.Event(), threading.Event(), queue.SimpleQueue()

    def slow(oldest_pending_ms):
        begun.set()
        assert gate.wait(patience)

    threads = JobThreads(1, FailurePolicy(), ManualClock(), reports.put, lambda job: None, raises)
    threads.start()
    threads.submit((OutputJob(2000, 0, "out", "out at x", slow), second := OutputJob(3000, 0, "out", "", slow)))
    assert begun.wait(patience)
    closer = threading.Thread(target=threads.close, args=(patience,), daemon=True)
    closer.start()
    while not threads.dropped():
        closer.join(0.001)
    gate.set()
    closer.join(patience)
    assert [reports.get(timeout=patience) for _ in range(2)] == [
        OutputJobStarted(2000, 0, 0),
        OutputJobFinished(2000, 0, 0, None),
    ]
    assert (reports.empty(), threads.dropped()) == (True, (second,))


# ------------------------------------------------------------------------------------------------ stop
@pytest.mark.parametrize("harness", [{POLICY: "stop"}], indirect=True)
def test_first_failure_stops_the_context_and_names_what_is_dropped(harness, patience, caplog) -> None:
    all_there = threading.Event()
    calls = []

    def fail(rdd):
        calls.append(rdd)
        assert all_there.wait(patience)
        raise Oops("first")

    stream = harness.ssc.queueStream([])
    stream.foreachRDD(fail)
    stream.foreachRDD(lambda rdd: calls.append(rdd))
    harness.ssc.start()
    harness.clock.advance(2500)
    for _ in range(3):
        harness.recorder.submitted.get(timeout=patience)
    all_there.set()
    with pytest.raises(Oops, match="first"):
        harness.ssc.awaitTermination(patience)
    # It raises once the context has stopped, so that another one may start.
    assert (harness.ssc.getState(), StreamingContext.getActive()) == (StreamingContextState.STOPPED, None)
    assert len(calls) == 1
    dropped = "outputs of the batches 1000000000 ms, 1000001000 ms, 1000002000 ms"
    assert f"Dropped, as the context stops: {dropped}" in caplog.text
    assert harness.ssc.sparkContext.parallelize([1]).count() == 1
    with pytest.raises(Oops):
        harness.ssc.awaitTerminationOrTimeout(0)


def test_error_that_ends_the_context_is_raised_once_it_has_ended_or_the_time_is_over(patience) -> None:
    waiter, raised = Waiter(), queue.SimpleQueue()

    def wait(seconds):
        try:
            waiter.wait(seconds)
        except Oops as error:
            raised.put(error)

    waiting = threading.Thread(target=wait, args=(patience,), daemon=True)
    waiting.start()
    waiter.abort(error := Oops())
    wait(0)
    assert raised.get(timeout=patience) is error
    assert raised.empty()
    waiter.stop()
    assert raised.get(timeout=patience) is error
    waiting.join(patience)


@pytest.mark.parametrize("harness", [{POLICY: "stop"}], indirect=True)
def test_failed_generation_stops_the_context_too(harness, patience) -> None:
    harness.collected(harness.ssc.queueStream([[1]]).transform(Failing(1)))
    harness.ssc.start()
    harness.clock.advance(500)
    with pytest.raises(Oops):
        harness.ssc.awaitTermination(patience)
    assert harness.ssc.getState() is StreamingContextState.STOPPED


@pytest.mark.parametrize("harness", [{POLICY: "stop"}], indirect=True)
def test_failure_during_a_graceful_stop_ends_it(harness, patience) -> None:
    begun, gate = threading.Event(), threading.Event()

    def fail(rdd):
        begun.set()
        assert gate.wait(patience)
        raise Oops

    harness.ssc.queueStream([]).foreachRDD(fail)
    harness.ssc.start()
    harness.clock.advance(1500)
    assert begun.wait(patience)
    stopper = threading.Thread(target=harness.ssc.stop, args=(False, True), daemon=True)
    stopper.start()
    gate.set()
    stopper.join(patience)
    assert not stopper.is_alive()
    with pytest.raises(Oops):
        harness.ssc.awaitTermination(patience)


# ------------------------------------------------------------------------------------------------ one bad, others good
def test_failing_transform_takes_no_received_block_from_other_outputs(harness, tmp_path) -> None:
    def fail(rdd):
        raise Oops("in transform")

    received = harness.ssc.receiverStream(Batches())
    harness.collected(received.transform(fail))
    good = harness.collected(received)
    harness.ssc.start()
    for number in (1, 2, 3):
        Batches.tell(number)
        harness.run(1)
    assert good == [[1] * 3, [2] * 3, [3] * 3]
    assert len(received_files(tmp_path)) <= 2  # the last batch may not be forgotten yet, nor the one before it
    harness.ssc.stop(stopSparkContext=False)
    assert received_files(tmp_path) == []


def place(directory, name, modified_ms):
    path = directory / name
    path.write_text(f"{name}\n")
    os.utime(path, ns=(modified_ms * 1_000_000, modified_ms * 1_000_000))


def test_failing_transform_takes_no_file_from_other_outputs(harness, tmp_path) -> None:
    files = harness.ssc.textFileStream(str(tmp_path))
    harness.collected(files.transform(Failing(1)))
    good = harness.collected(files)
    harness.ssc.start()
    place(tmp_path, "one", FIRST_BATCH_MS - 100)
    harness.run(1)
    place(tmp_path, "two", FIRST_BATCH_MS + 900)
    harness.run(1)
    assert good == [["one"], ["two"]]


def test_failing_listing_of_one_directory_harms_no_other_stream_and_loses_no_file(
    harness, tmp_path, monkeypatch
) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    for directory in (bad, good):
        directory.mkdir()
    broken = threading.Event()
    broken.set()

    def breaking(function):
        def listing(path=".", *rest):
            if broken.is_set() and str(path).rstrip("/") == str(bad):
                raise PermissionError(13, "Permission denied", str(path))
            return function(path, *rest)

        return listing

    for name in ("scandir", "listdir"):
        monkeypatch.setattr(os, name, breaking(getattr(os, name)))
    from_bad = harness.collected(harness.ssc.textFileStream(str(bad)))
    from_good = harness.collected(harness.ssc.textFileStream(str(good)))
    harness.ssc.start()
    for directory in (bad, good):
        place(directory, "early", FIRST_BATCH_MS - 100)
    harness.run(1)
    broken.clear()
    harness.run(1)
    assert from_good == [["early"], []]
    assert from_bad == [[], ["early"]]


def test_failing_receiver_harms_no_other_receiver(harness, caplog) -> None:
    bad = harness.collected(harness.ssc.receiverStream(Broken()))
    good = harness.collected(harness.ssc.receiverStream(Batches()))
    harness.ssc.start()
    for number in (1, 2):
        Batches.tell(number)
        harness.run(1)
    assert (bad, good) == ([[], []], [[1] * 3, [2] * 3])
    assert "no connection" in caplog.text


def test_waits_that_raise_again_and_again_do_not_lengthen_the_traceback(harness) -> None:
    def fail(rdd):
        raise Oops

    harness.ssc.queueStream([]).foreachRDD(fail)
    harness.ssc.start()
    harness.run(1)
    lengths = set()
    for _ in range(5):
        with pytest.raises(Oops) as raised:
            harness.ssc.awaitTerminationOrTimeout(0)
        lengths.add(len(raised.traceback))
    assert len(lengths) == 1
