"""Each thread of a running stream is ended by an exception: the stream goes on, or its program is told, soon."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming import Receiver, StreamingContext, StreamingListener
from tests.injection import Injected, inject, watched_threads
from tests.waiting import wait_for

pytestmark = pytest.mark.usefixtures("untraced", "no_context")

PATIENCE_SECONDS = 60.0
# After the failure of one of these there can be no further batch, or none that is sure.
ENDS = [
    "executor-driver-io",
    "scheduler",
    "streaming-batches",
    "streaming-job-executor-0",
    "streaming-journal",
    "streaming-receivers",
]
# Another thread takes the place of these.
GOES_ON = ["block-generator-0", "streaming-listeners", "streaming-log"]
# This one waits for the receiver's end.
ENDS_WITH_THE_RECEIVER = ["receiver-supervisor-0"]


class Numbers(Receiver):
    """Stores numbers until it is stopped."""

    def onStart(self) -> None:
        self.ending = threading.Event()
        threading.Thread(target=self.receive, args=(self.ending,), daemon=True).start()

    def onStop(self) -> None:
        self.ending.set()

    def receive(self, ending: threading.Event) -> None:
        number = 0
        with suppress(SparkException):  # it was stopped meanwhile
            while not ending.wait(0.005):
                self.store(number)
                number += 1


class Seen(StreamingListener):
    """How many batches with records listeners have been told of."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batches = 0

    def onBatchCompleted(self, batchCompleted: Any) -> None:
        with self._changed:
            self._batches += batchCompleted.batchInfo().numRecords() > 0
            self._changed.notify_all()

    def await_batches(self, more: int) -> None:
        with self._changed:
            wanted = self._batches + more
            assert self._changed.wait_for(lambda: self._batches >= wanted, PATIENCE_SECONDS), self._batches


@contextmanager
def running(directory: Path) -> Iterator[tuple[StreamingContext, Seen]]:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("program")
    ssc = StreamingContext(SparkContext(conf=conf), 0.1)
    ssc.checkpoint(str(directory))
    seen = Seen()
    ssc.addStreamingListener(seen)
    ssc.receiverStream(Numbers()).foreachRDD(lambda rdd: rdd.count())
    ssc.start()
    try:
        seen.await_batches(1)
        yield ssc, seen
    finally:
        ssc.stop()


def test_threads_of_a_stream_are_those_that_are_ended_here(tmp_path: Path) -> None:
    before = threading.enumerate()  # others may have left some
    with running(tmp_path):
        expected = {*ENDS, *GOES_ON, *ENDS_WITH_THE_RECEIVER}
        wait_for(lambda: watched_threads(but=before) == expected, f"these are all threads: {expected}")
    wait_for(lambda: not watched_threads(but=before), "the stream's threads have ended")


@pytest.mark.parametrize("name", ENDS)
def test_program_is_told_when_a_thread_that_its_batches_need_has_failed(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as (ssc, _seen):
        inject(name)
        with suppress(SparkException, IllegalStateException):
            ssc.sparkContext.parallelize([1]).count()  # the main thread's jobs wake the scheduler's
        with pytest.raises(BaseException) as caught:
            assert not ssc.awaitTerminationOrTimeout(PATIENCE_SECONDS)
        told = f"{caught.value!r} {caught.value.__cause__!r}"
        assert Injected.__name__ in told or "its I/O thread has failed" in told or "the scheduler failed" in told


@pytest.mark.parametrize("name", GOES_ON)
def test_stream_goes_on_when_a_thread_that_can_be_replaced_has_failed(tmp_path: Path, name: str) -> None:
    with running(tmp_path) as (ssc, seen):
        for _ in range(2):
            inject(name)
            seen.await_batches(5)
        assert not ssc.awaitTerminationOrTimeout(0)


@pytest.mark.parametrize("name", ENDS_WITH_THE_RECEIVER)
def test_stream_ends_in_good_order_when_a_receivers_supervisor_has_failed(tmp_path: Path, name: str) -> None:
    before = threading.enumerate()  # others may have left some
    with running(tmp_path) as (ssc, _seen):
        inject(name)
        ssc.stop()
    wait_for(lambda: not watched_threads(but=before), "the stream's threads have ended")


class Leaves(Receiver):
    """Calls `sys.exit` where the driver asks it something."""

    def preferredLocation(self) -> str | None:
        raise SystemExit("from preferredLocation")

    def onStart(self) -> None:
        pass


def test_function_that_leaves_while_a_batch_is_generated_fails_that_batch_and_not_the_next(tmp_path: Path) -> None:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("program")
    ssc = StreamingContext(SparkContext(conf=conf), 0.1)
    seen = Seen()
    ssc.addStreamingListener(seen)
    left: list[int] = []

    def leave_once(rdd: Any) -> Any:
        if not left:
            left.append(1)
            raise SystemExit("from transform")
        return rdd

    ssc.receiverStream(Leaves())
    ssc.receiverStream(Numbers()).transform(leave_once).foreachRDD(lambda rdd: rdd.count())
    ssc.start()
    try:
        seen.await_batches(3)
        with pytest.raises(SystemExit, match="from transform"):
            ssc.awaitTermination()
    finally:
        ssc.stop()


class Told(Exception):
    """Can be pickled, but not unpickled."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


class Reporting(Receiver):
    """Reports an exception in the place of a message, then stores."""

    def onStart(self) -> None:
        self.reportError(Told(1, "first"), Told(2, "second"))  # type: ignore[arg-type]
        threading.Thread(target=self.store, args=([1, 2, 3],), daemon=True).start()


class Errors(Seen):
    """What receivers report, too."""

    def __init__(self) -> None:
        super().__init__()
        self.reported: list[tuple[str, str]] = []

    def onReceiverError(self, receiverError: Any) -> None:
        info = receiverError.receiverInfo()
        self.reported.append((info.lastErrorMessage(), info.lastError()))


@pytest.mark.parametrize("master", ["local[2]", "local-cluster[1,1,512]"])
def test_exception_that_a_receiver_reports_arrives_as_text_and_its_data_after_it(master: str) -> None:
    conf = SparkConf(loadDefaults=False).setMaster(master).setAppName("program")
    ssc = StreamingContext(SparkContext(conf=conf), 0.1)
    errors = Errors()
    ssc.addStreamingListener(errors)
    ssc.receiverStream(Reporting()).foreachRDD(lambda rdd: rdd.count())
    ssc.start()
    try:
        errors.await_batches(1)
    finally:
        ssc.stop()
    assert errors.reported == [("Told: 1: first", "Told: 2: second")]
