"""The harness as users' tests see it."""

from __future__ import annotations

import operator
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, IllegalStateException
from headwater.streaming import DStream, StreamingListener
from headwater.streaming.context import StreamingContextState
from headwater.testing import ManualClock, StreamHarness

PATIENCE_SECONDS = 30.0


@pytest.fixture
def harness(sc: SparkContext) -> Iterator[StreamHarness]:
    with StreamHarness(1.0, sc) as made:
        yield made


def word_count(lines: DStream) -> DStream:
    return lines.flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(operator.add)


# ------------------------------------------------------------------------------------------------ batches
def test_batches_go_in_and_come_out(harness: StreamHarness) -> None:
    lines = harness.stream([["a b"], ["b b"], []])
    counts = harness.collect(word_count(lines), dict)
    harness.run(3)
    assert counts == [{"a": 1, "b": 1}, {"b": 2}, {}]


def test_batches_may_be_fed_later(harness: StreamHarness) -> None:
    numbers = harness.stream([[1]])
    out = harness.collect(numbers)
    harness.run(2)
    harness.feed(numbers, [2], [3])
    harness.run(3)
    assert out == [[1], [], [2], [3], []]


def test_only_its_own_streams_can_be_fed(harness: StreamHarness) -> None:
    with pytest.raises(ValueError, match="only streams that the harness's stream"):
        harness.feed(harness.stream().map(abs), [1])


def test_collect_arranges_each_batch_as_told(harness: StreamHarness) -> None:
    numbers = harness.stream([[3, 1, 3]])
    plain, ordered, counted = (harness.collect(numbers, arrange) for arrange in (list, sorted, Counter))
    harness.run()
    assert (plain, ordered, counted) == ([[3, 1, 3]], [[1, 3, 3]], [Counter({3: 2, 1: 1})])


def test_results_are_those_of_the_batches_that_were_fed(harness: StreamHarness) -> None:
    short, long = harness.stream([["a"]]), harness.stream([["b"], ["b"]])
    harness.feed(long, ["b", "a"])
    assert harness.results(short.union(long), Counter) == [Counter("ab"), Counter("b"), Counter("ab")]
    with pytest.raises(IllegalStateException, match="after starting"):
        harness.results(short)


@pytest.mark.parametrize(("batches", "expected"), [(None, [[1]]), (2, [[1], [2]])])
def test_results_of_a_stream_of_the_contexts_are_of_one_batch_or_as_many_as_told(
    harness: StreamHarness, batches: int | None, expected: list[list[int]]
) -> None:
    assert harness.results(harness.ssc.queueStream([[1], [2]]), batches=batches) == expected


def test_written_files_belong_to_the_next_batch(harness: StreamHarness, tmp_path: Path) -> None:
    lines = harness.collect(harness.ssc.textFileStream(str(tmp_path)))
    harness.write(tmp_path / "1.txt", "to be")
    harness.run()
    harness.write(str(tmp_path / "2.txt"), "or\nnöt".encode())
    harness.run(2)
    assert lines == [["to be"], ["or", "nöt"], []]


def test_several_streams_have_their_batches_together(harness: StreamHarness) -> None:
    left, right = harness.stream([[("k", 1)], [("k", 2)]]), harness.stream([[("k", "x")], []])
    joined = harness.collect(left.leftOuterJoin(right))
    harness.run(2)
    assert joined == [[("k", (1, "x"))], [("k", (2, None))]]


def test_batches_that_no_window_holds_pass_too(harness: StreamHarness) -> None:
    out = harness.collect(harness.stream([[n] for n in range(1, 7)]).window(1, 3))
    infos = harness.run(6)
    assert (out, len(infos)) == ([[3], [6]], 6)


# ------------------------------------------------------------------------------------------------ time
def test_run_returns_what_listeners_hear(harness: StreamHarness) -> None:
    harness.collect(harness.stream())
    first = harness.run(2)
    (second,) = harness.run()
    times = [info.batchTime().milliseconds() for info in harness.infos]
    assert times == [1_000_000_000, 1_000_001_000, 1_000_002_000]
    assert harness.infos == [*first, second]
    assert isinstance(harness.clock, ManualClock)
    assert harness.clock.now_ms() == times[-1]


def test_advance_lets_the_batches_pass_that_become_due(sc: SparkContext) -> None:
    with StreamHarness(0.25, sc) as harness:
        times: list[Any] = []
        harness.stream().foreachRDD(lambda time, rdd: times.append((time, harness.clock.now_ms())))
        start = harness.clock.now_ms()
        assert len(harness.advance(1.1)) == 4
        assert len(harness.advance(0.1)) == 0
        assert len(harness.advance(0.1)) == 1
        assert harness.clock.now_ms() == start + 1300
        # each batch ran when the clock stood at its time
        assert [now for _, now in times] == [start + 250 * n for n in range(1, 6)]
        assert (times[1][0] - times[0][0]).total_seconds() == 0.25


# ------------------------------------------------------------------------------------------------ failures
def test_failure_of_a_batch_is_raised_and_the_next_run_goes_on(harness: StreamHarness) -> None:
    out = harness.collect(harness.stream([[1], [0], [2]]).map(lambda n: 1 / n))
    harness.run()
    with pytest.raises(ZeroDivisionError):
        harness.run(2)
    harness.run()
    assert out == [[1.0], [0.5]]
    failed = [[o.failureReason() is not None for o in i.outputOperationInfos().values()] for i in harness.infos]
    assert failed == [[False, False], [True, False], [False, False]]


def test_failure_of_a_transform_function_is_raised(harness: StreamHarness) -> None:
    harness.collect(harness.stream().transform(lambda rdd: {}["no such key"]))
    with pytest.raises(KeyError, match="no such key"):
        harness.run()


def test_failure_can_be_looked_at_instead(harness: StreamHarness) -> None:
    harness.collect(harness.stream([[0]]).map(lambda n: 1 / n))
    harness.start()
    reasons = [output.failureReason() for output in harness.runBatch().outputOperationInfos().values()]
    assert "ZeroDivisionError" in reasons[0]
    assert reasons[1:] == [None]


def test_batch_that_never_ends_says_which_output_hangs(sc: SparkContext) -> None:
    gate, submitted = threading.Event(), threading.Event()

    class Heard(StreamingListener):
        def onBatchSubmitted(self, batchSubmitted: Any) -> None:
            submitted.set()

    with StreamHarness(1.0, sc, patience=0.0) as harness:
        harness.ssc.addStreamingListener(Heard())
        harness.stream().foreachRDD(lambda rdd: gate.wait(PATIENCE_SECONDS))
        harness.start()
        harness.clock.advance(500)
        assert submitted.wait(PATIENCE_SECONDS)
        try:
            with pytest.raises(TimeoutError, match=r"not completed within 0 s.*test_harness.py:\d+ of 1000000000 ms"):
                harness.run()
        finally:
            gate.set()


def test_context_that_stops_by_itself_says_so(harness: StreamHarness) -> None:
    harness.stream().foreachRDD(lambda rdd: harness.ssc.stop(stopSparkContext=False))
    with pytest.raises(IllegalStateException, match="the context stopped before the batch of"):
        harness.run(100)


def test_stop_for_a_failure_raises_the_failure(no_context: None) -> None:
    conf = SparkConf(loadDefaults=False).set("headwater.streaming.failure.policy", "stop")
    with StreamHarness(conf=conf) as harness:
        harness.collect(harness.stream([[0]]).map(lambda n: 1 / n))
        with pytest.raises(ZeroDivisionError):
            harness.run(2)


def test_nothing_to_run_says_so(harness: StreamHarness) -> None:
    harness.stream()
    with pytest.raises(IllegalArgumentException, match="No output operations registered"):
        harness.run()


# ------------------------------------------------------------------------------------------------ contexts
def test_context_of_its_own_ends_with_it(no_context: None) -> None:
    with StreamHarness(conf=SparkConf(loadDefaults=False).set("spark.default.parallelism", "3")) as harness:
        assert harness.sc.master == "local[2]"
        assert harness.sc.defaultParallelism == 3
    assert SparkContext._active_spark_context is None


def test_context_that_is_given_goes_on(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.collect(harness.stream())
        harness.run()
    assert harness.ssc.getState() is StreamingContextState.STOPPED
    assert sc.parallelize([1]).collect() == [1]


def test_context_and_settings_together_are_refused(sc: SparkContext) -> None:
    with pytest.raises(ValueError, match="the SparkContext that is given has settings already"):
        StreamHarness(1.0, sc, SparkConf())


def test_program_is_stopped_when_its_test_fails(sc: SparkContext) -> None:
    with pytest.raises(AssertionError), StreamHarness(1.0, sc) as harness:
        harness.collect(harness.stream())
        harness.run()
        raise AssertionError
    assert harness.ssc.getState() is StreamingContextState.STOPPED


def test_checkpoint_directory_goes_with_the_harness(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        path = harness.checkpoint()
        assert harness.checkpoint() == path
        assert os.path.isdir(path)
    assert not os.path.exists(path)
