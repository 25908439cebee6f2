"""What a context keeps of its batches and for how long, also while several batches are processed at once."""

from __future__ import annotations

import queue
import random
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkConf, SparkContext, StorageLevel
from tests.streaming.conftest import Harness

FIRST_BATCH_S = 1_000_000
ALL_TIME = (0, 2 * FIRST_BATCH_S)
FAR_AWAY = (FIRST_BATCH_S + 1000, FIRST_BATCH_S + 2000)
CONCURRENT = "spark.streaming.concurrentJobs"


@pytest.fixture
def harness(no_context: None, request: pytest.FixtureRequest) -> Iterator[Harness]:
    """A harness with the test's settings: `@pytest.mark.parametrize("harness", [{...}], indirect=True)`."""
    settings = getattr(request, "param", {})
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("bookkeeping").setAll(settings.items())
    with SparkContext(conf=conf) as sc, Harness(sc) as made:
        yield made


def sliced_in_each_batch(harness: Harness, stream: Any, batches: int) -> list[list[Any]]:
    """What slices over all time give while each batch is processed. The batch before it is forgotten by then."""
    seen: list[list[Any]] = []
    stream.foreachRDD(lambda rdd: seen.append([part.collect() for part in stream.slice(*ALL_TIME)]))
    harness.ssc.start()
    harness.run(batches)
    return seen


# ------------------------------------------------------------------------------------------------ remembering
def test_stream_remembers_no_more_than_the_batch_before_when_nobody_asks_for_more(harness) -> None:
    stream = harness.ssc.queueStream([[n] for n in range(5)])
    assert sliced_in_each_batch(harness, stream, 5) == [[[0]], [[0], [1]], [[1], [2]], [[2], [3]], [[3], [4]]]


def test_every_stream_remembers_as_long_as_it_was_told_and_no_longer(harness) -> None:
    harness.ssc.remember(3)
    stream = harness.ssc.queueStream([[n] for n in range(6)]).map(lambda n: n)
    seen = sliced_in_each_batch(harness, stream, 6)
    assert seen[3:] == [[[0], [1], [2], [3]], [[1], [2], [3], [4]], [[2], [3], [4], [5]]]


def test_slice_computes_nothing_of_the_past_and_nothing_of_the_future(harness) -> None:
    calls = []

    def noted(time, rdd):
        calls.append(time)
        return rdd

    stream = harness.ssc.queueStream([[n] for n in range(9)]).transform(noted)
    seen = sliced_in_each_batch(harness, stream, 4)
    assert seen[-1] == [[2], [3]]
    assert len(calls) == 4
    assert stream.slice(*FAR_AWAY) == []
    assert stream.slice(FIRST_BATCH_S - 10, FIRST_BATCH_S - 1) == []
    assert len(calls) == 4


def test_slice_gives_the_batches_of_its_closed_interval(harness) -> None:
    harness.ssc.remember(60)
    stream = harness.ssc.queueStream([[n] for n in range(5)])
    harness.collected(stream)
    harness.ssc.start()
    harness.run(5)

    def sliced(begin, end):
        return [rdd.collect() for rdd in stream.slice(begin, end)]

    assert sliced(FIRST_BATCH_S + 1, FIRST_BATCH_S + 3) == [[1], [2], [3]]
    assert sliced(FIRST_BATCH_S + 0.5, FIRST_BATCH_S + 1.5) == [[1]]
    assert sliced(FIRST_BATCH_S + 3, FIRST_BATCH_S + 1) == []


def stored_rdds(harness: Harness, **remember: float) -> list[int]:
    """In each of six batches, how many RDDs of a persisted stream have stored partitions."""
    rdds: list[Any] = []
    counts = []

    def output(rdd):
        rdd.count()
        rdds.append(rdd)
        application = harness.ssc.sparkContext.application
        counts.append(sum(bool(application.cached_partitions(rdd.dataset_id)) for rdd in rdds))

    for seconds in remember.values():
        harness.ssc.remember(seconds)
    harness.ssc.queueStream([[n] for n in range(6)]).map(str).persist(StorageLevel.MEMORY_ONLY).foreachRDD(output)
    harness.ssc.start()
    harness.run(6)
    return counts


def test_persisted_rdds_are_unpersisted_with_their_batch(harness) -> None:
    assert stored_rdds(harness) == [1, 2, 2, 2, 2, 2]


def test_persisted_rdds_stay_as_long_as_remembered(harness) -> None:
    assert stored_rdds(harness, remember=3) == [1, 2, 3, 4, 4, 4]


@pytest.mark.parametrize("harness", [{"spark.streaming.unpersist": "false"}], indirect=True)
def test_persisted_rdds_stay_when_that_is_set(harness) -> None:
    assert stored_rdds(harness) == [1, 2, 3, 4, 5, 6]


# ------------------------------------------------------------------------------------------------ several jobs at once
@pytest.mark.parametrize("harness", [{CONCURRENT: "2"}], indirect=True)
def test_batches_overlap_and_what_the_slower_one_reads_is_held(harness, patience) -> None:
    first_may_go = threading.Event()
    done: queue.SimpleQueue[int] = queue.SimpleQueue()

    def output(rdd):
        (number,) = rdd.collect()
        if number == 0:
            assert first_may_go.wait(patience)
            assert rdd.collect() == [0]
        done.put(number)

    stream = harness.ssc.queueStream([[n] for n in range(4)])
    stream.foreachRDD(output)
    harness.ssc.start()
    harness.clock.advance(3500)
    assert [done.get(timeout=patience) for _ in range(3)] == [1, 2, 3]
    completed = [harness.recorder.completed.get(timeout=patience).batchTime().ms for _ in range(3)]
    assert completed == [1_000_001_000, 1_000_002_000, 1_000_003_000]
    generator = harness.ssc._running.generator
    assert generator.running() == (1_000_000_000,)
    assert [rdd.collect() for rdd in stream.slice(*ALL_TIME)] == [[0], [1], [2], [3]]
    first_may_go.set()
    assert harness.recorder.completed.get(timeout=patience).batchTime().ms == 1_000_000_000


@pytest.mark.parametrize("harness", [{CONCURRENT: "2"}], indirect=True)
def test_outputs_of_one_batch_overlap(harness, patience) -> None:
    both = threading.Barrier(2)
    stream = harness.ssc.queueStream([])
    for _ in range(2):
        stream.foreachRDD(lambda rdd: both.wait(patience))
    harness.ssc.start()
    (info,) = harness.run(1)
    assert [o.failureReason() for o in info.outputOperationInfos().values()] == [None, None]
    assert harness.recorder.names().count("BatchStarted") == 1


def test_batches_do_not_overlap_by_default(harness, patience) -> None:
    here: list[int] = []

    def output(rdd):
        here.append(1)
        assert len(here) == 1
        rdd.collect()
        here.pop()

    stream = harness.ssc.queueStream([[n] for n in range(10)])
    for _ in range(3):
        stream.foreachRDD(output)
    harness.ssc.start()
    harness.clock.advance(9500)
    infos = [harness.recorder.completed.get(timeout=patience) for _ in range(10)]
    assert {o.failureReason() for info in infos for o in info.outputOperationInfos().values()} == {None}


RETRYING = {
    CONCURRENT: "2",
    "headwater.streaming.failure.policy": "retry",
    "headwater.streaming.failure.retryWait": "0",
}


@pytest.mark.parametrize("harness", [RETRYING], indirect=True)
def test_later_batches_of_an_output_wait_for_its_retry_while_another_output_goes_on(harness, patience) -> None:
    tries: list[int] = []
    order: list[tuple[str, int]] = []
    others_done = threading.Event()

    def failing_once(rdd):
        (number,) = rdd.collect()
        tries.append(number)
        if tries.count(0) == 1:
            raise ValueError("the first try")
        if number == 0:
            assert others_done.wait(patience)  # the other thread goes through all batches of the other output
        order.append(("failing", number))

    def other(rdd):
        (number,) = rdd.collect()
        order.append(("other", number))
        if number == 2:
            others_done.set()

    harness.ssc.queueStream([[0], [1], [2]]).foreachRDD(failing_once)
    harness.ssc.queueStream([[0], [1], [2]]).foreachRDD(other)
    harness.ssc.start()
    harness.clock.advance(2500)
    for _ in range(3):
        harness.recorder.completed.get(timeout=patience)
    assert order == [*[("other", n) for n in range(3)], *[("failing", n) for n in range(3)]]
    assert tries == [0, 0, 1, 2]


@pytest.mark.parametrize("harness", [{CONCURRENT: "4"}], indirect=True)
def test_books_are_right_after_many_overlapping_batches_of_which_some_fail(harness, patience) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    unlucky = set(random.Random(seed).sample(range(100), 20))
    ran: queue.SimpleQueue[tuple[int, int]] = queue.SimpleQueue()

    def output(which):
        def run(rdd):
            (number,) = rdd.map(lambda n: n).collect()
            ran.put((which, number))
            if which == 1 and number in unlucky:
                raise ValueError(number)

        return run

    stream = harness.ssc.queueStream([[n] for n in range(100)])
    for which in range(3):
        stream.foreachRDD(output(which))
    harness.ssc.start()
    harness.clock.advance(99_500)
    infos = [harness.recorder.completed.get(timeout=patience) for _ in range(100)]
    counts = Counter(ran.get(timeout=patience) for _ in range(300))
    assert counts == {(which, number): 1 for which in range(3) for number in range(100)}
    failed = {
        info.batchTime().ms
        for info in infos
        if any(output.failureReason() for output in info.outputOperationInfos().values())
    }
    assert failed == {FIRST_BATCH_S * 1000 + number * 1000 for number in unlucky}
    harness.ssc.stop(stopSparkContext=False)
    generator = harness.ssc._running.generator
    generator.check()
    assert generator.pending() == tuple(sorted(failed))
    assert generator.running() == ()
    assert len(stream.node.remembered()) == 1
