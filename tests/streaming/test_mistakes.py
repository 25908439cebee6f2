"""Mistakes of programs that streams can't prevent: what their writers are told, and that it's told once."""

from __future__ import annotations

import logging
import operator
import queue
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater import SparkContext
from headwater.errors import BlockLost, IllegalStateException, SparkException, TaskError
from headwater.streaming import Receiver, StreamingContext, StreamingListener
from tests.streaming.conftest import PATIENCE_SECONDS, Harness

FIRST_MS = 1_000_000_000


def of_stream(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def run_program(body: str) -> subprocess.CompletedProcess[str]:
    """Run a script that has a SparkContext `sc`, and `words`, which makes a stream of a context's own."""
    start = """
        import gc
        from headwater import SparkContext
        from headwater.streaming import StreamingContext
        sc = SparkContext("local", "mistakes")
        def words(ssc):
            return ssc.queueStream([["a"]] * 100)
    """
    script = textwrap.dedent(start) + textwrap.dedent(body)
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_SECONDS)


# ------------------------------------------------------------------------------------------------ operations
@pytest.mark.parametrize(
    ("operation", "make"),
    [
        ("reduceByKey", lambda stream: stream.reduceByKey(operator.add)),
        ("join", lambda stream: stream.join(stream)),
        ("mapValues", lambda stream: stream.mapValues(str)),
        ("reduceByKeyAndWindow", lambda stream: stream.reduceByKeyAndWindow(operator.add, None, 2)),
        ("groupByKeyAndWindow", lambda stream: stream.groupByKeyAndWindow(2, 1)),
        ("map", lambda stream: stream.map(lambda record: 1 // 0)),
        ("pprint", lambda stream: stream.filter(bool)),
    ],
)
def test_error_of_a_task_names_the_streams_operation_and_its_line(
    harness: Harness, operation: str, make: Callable[[Any], Any]
) -> None:
    stream = make(harness.ssc.queueStream([[7]]))
    if operation == "pprint":
        stream = stream.mapPartitions(lambda records: 1 // 0)
    stream.pprint()
    harness.run(1)
    with pytest.raises((TypeError, ZeroDivisionError)) as caught:
        harness.ssc.awaitTermination()
    cause = caught.value.__cause__
    assert isinstance(cause, TaskError)
    assert re.fullmatch(rf"{operation} at test_mistakes\.py:\d+", cause.operation)


def test_operation_within_foreach_rdd_is_named_by_its_own_line(harness: Harness) -> None:
    harness.ssc.queueStream([[7]]).foreachRDD(lambda rdd: rdd.reduceByKey(operator.add).collect())
    harness.run(1)
    with pytest.raises(TypeError, match=r"^reduceByKey at test_mistakes\.py:\d+ needs \(key, value\) pairs, got 7$"):
        harness.ssc.awaitTermination()


# ------------------------------------------------------------------------------------------------ transform
@pytest.mark.parametrize(
    ("operation", "make"),
    [
        ("transform", lambda ssc, s: s.transform(lambda rdd: None)),
        ("transformWith", lambda ssc, s: s.transformWith(lambda a, b: None, s)),
        ("transform", lambda ssc, s: ssc.transform([s], lambda rdds: None)),
    ],
)
def test_transform_that_returns_none_is_warned_of_once(
    harness: Harness, caplog: pytest.LogCaptureFixture, operation: str, make: Callable[[Any, Any], Any]
) -> None:
    out = harness.collected(make(harness.ssc, harness.ssc.queueStream([[1], [2], [3]])))
    harness.run(3)
    assert out == []
    (warning,) = [text for text in of_stream(caplog) if "returned None" in text]
    assert re.match(rf"{operation} at test_mistakes\.py:\d+: its function returned None for the batch of", warning)
    assert f"batch of {FIRST_MS} ms" in warning
    assert "rdd.context.emptyRDD()" in warning


def test_transform_that_returns_something_else_is_named_by_its_line(harness: Harness) -> None:
    harness.collected(harness.ssc.queueStream([[1]]).transform(lambda rdd: rdd.collect()))
    harness.run(1)
    with pytest.raises(SparkException, match=r"^transform at test_mistakes\.py:\d+: the function .* not list, at time"):
        harness.ssc.awaitTermination()


# ------------------------------------------------------------------------------------------------ awaitTermination
class Listening(StreamingListener):
    def __init__(self, act: Callable[[], Any]) -> None:
        self.act = act
        self.raised: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def onBatchCompleted(self, batchCompleted: Any) -> None:
        try:
            self.act()
        except BaseException as error:
            self.raised.put(error)


@pytest.mark.parametrize("wait", [lambda ssc: ssc.awaitTermination(), lambda ssc: ssc.awaitTerminationOrTimeout(60)])
@pytest.mark.parametrize(
    "use", [lambda stream, f: stream.foreachRDD(lambda rdd: f()), lambda stream, f: stream.transform(lambda r: f())]
)
def test_wait_for_the_end_within_a_function_of_the_stream_is_refused(
    harness: Harness, wait: Callable[[Any], Any], use: Callable[[Any, Any], Any]
) -> None:
    made = use(harness.ssc.queueStream([[1]]), lambda: wait(harness.ssc))
    if made is not None:
        harness.collected(made)
    harness.run(1)
    with pytest.raises(IllegalStateException, match="it would wait for its own end"):
        harness.ssc.awaitTermination()


def test_wait_for_the_end_within_a_listener_is_refused(harness: Harness) -> None:
    listener = Listening(harness.ssc.awaitTermination)
    harness.ssc.addStreamingListener(listener)
    harness.collected(harness.ssc.queueStream([[1]]))
    harness.run(1)
    assert isinstance(listener.raised.get(timeout=PATIENCE_SECONDS), IllegalStateException)


class Heard(logging.Handler):
    """Says when a line with some text was logged."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.was_said = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.text in record.getMessage():
            self.was_said.set()


def test_wait_for_a_context_that_is_not_started_says_so_and_goes_on_waiting(sc: SparkContext) -> None:
    heard = Heard("awaitTermination() waits for a StreamingContext that has not been started")
    logging.getLogger("headwater.streaming").addHandler(heard)
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([]).foreachRDD(print)
    waits = threading.Thread(target=ssc.awaitTermination)
    waits.start()
    try:
        assert heard.was_said.wait(PATIENCE_SECONDS)
        ssc.start()
        assert waits.is_alive()
    finally:
        ssc.stop(stopSparkContext=False)
        logging.getLogger("headwater.streaming").removeHandler(heard)
    waits.join(PATIENCE_SECONDS)
    assert not waits.is_alive()


def test_wait_with_a_timeout_for_a_context_that_is_not_started_ends_in_time(sc: SparkContext) -> None:
    assert StreamingContext(sc, 1).awaitTerminationOrTimeout(0.01) is False


# ------------------------------------------------------------------------------------------------ start
def test_contexts_that_were_never_started_are_told_of_when_they_go_and_when_the_program_ends() -> None:
    done = run_program("""
        dropped = StreamingContext(sc, 1)
        words(dropped).pprint()
        del dropped
        gc.collect()
        without_outputs = StreamingContext(sc, 1)
        words(without_outputs).map(str)
        stopped = StreamingContext(sc, 1)
        words(stopped).pprint()
        stopped.stop(stopSparkContext=False)
        started = StreamingContext(sc, 60)
        words(started).pprint()
        started.start()
        started.stop(stopSparkContext=False)
        forgotten = StreamingContext(sc, 1)
        words(forgotten).foreachRDD(print)
        sc.stop()
    """)
    said = re.findall(r"StreamingContext made at (\S+) was never started.*\((\w+) at", done.stderr)
    assert [operation for _, operation in said] == ["pprint", "foreachRDD"]
    assert done.returncode == 0


def test_program_that_ends_by_an_error_is_not_told_that_it_did_not_start() -> None:
    done = run_program("""
        ssc = StreamingContext(sc, 1)
        words(ssc).pprint()
        raise ValueError("before the start")
    """)
    assert "ValueError: before the start" in done.stderr
    assert "never started" not in done.stderr


# ------------------------------------------------------------------------------------------------ errors in the log
def test_error_of_an_output_is_printed_once_when_the_program_waits_for_the_end() -> None:
    done = run_program("""
        def divide(word):
            return 1 // 0
        ssc = StreamingContext(sc, 0.2)
        words(ssc).map(divide).pprint()
        ssc.start()
        ssc.awaitTermination()
    """)
    assert done.returncode == 1
    assert done.stderr.count(", in divide\n") == 1
    (line,) = [line for line in done.stderr.splitlines() if "Error running job" in line][:1]
    assert "ZeroDivisionError: integer division or modulo by zero, in map at <string>:" in line
    assert "on the record 'a'" in line


def test_error_of_an_output_is_logged_with_its_traceback_when_nobody_waits(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    def divide(rdd: Any) -> Any:
        return 1 // 0

    harness.ssc.queueStream([[1]]).foreachRDD(divide)
    harness.run(1)
    (record,) = [record for record in caplog.records if "Error running job" in record.getMessage()]
    assert record.exc_info is not None
    assert ", in divide\n" in caplog.text
    assert "_run" not in caplog.text.partition("Error running job")[2]


# ------------------------------------------------------------------------------------------------ batches that are over
class Some(Receiver):
    """Stores one record after the other."""

    def onStart(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def onStop(self) -> None:
        pass

    def run(self) -> None:
        while not self.isStopped():
            self.store([1])


def test_data_of_a_batch_that_is_over_is_missed_with_the_remedy(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 0.1)
    rdds: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ssc.receiverStream(Some()).foreachRDD(lambda rdd: rdds.put(rdd) if rdd.getNumPartitions() else None)
    ssc.start()
    try:
        kept = rdds.get(timeout=PATIENCE_SECONDS)
        with pytest.raises(BlockLost, match="^could not compute partition .* not found: .* is over") as caught:
            for _ in range(1000):
                rdds.get(timeout=PATIENCE_SECONDS)
                kept.count()
        assert "ssc.remember(seconds)" in str(caught.value)
    finally:
        ssc.stop(stopSparkContext=False)


def test_state_of_a_batch_that_is_over_is_missed_with_the_remedy(harness: Harness) -> None:
    harness.checkpoint()
    rdds: list[Any] = []
    pairs = harness.ssc.queueStream([[("a", 1)]] * 6)
    pairs.updateStateByKey(lambda new, old: (old or 0) + sum(new)).foreachRDD(rdds.append)
    harness.run(6)
    assert rdds[-1].collect() == [("a", 6)]
    with pytest.raises(SparkException, match=r"is missing\. Old versions are removed .* ssc\.remember\(seconds\)"):
        rdds[0].collect()
