"""A stream that runs for very long: after some thousand batches it holds no more than after the first hundreds."""

from __future__ import annotations

import gc
import logging
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from headwater import SparkConf, SparkContext
from headwater.clock import ManualClock
from headwater.engine import scratch
from headwater.streaming import Receiver, StreamingContext, StreamingListener

# Until then all that is bounded (status of jobs, remembered failures, caches of the workers) has reached its bound.
SETTLED_BATCHES = 400
BATCHES = 3000
RETAINED_JOBS = 100
# What memory may grow by, whatever the number of batches: an allocator doesn't give everything back.
RSS_BYTES_MAX = 6 << 20


class Held(NamedTuple):
    """What the driver and one of its workers hold at some moment."""

    files: int  # in the application's directories: blocks, shuffle outputs, broadcasts
    threads: int
    handles: int
    objects: int
    rss_bytes: int
    worker_handles: int
    worker_objects: int
    worker_rss_bytes: int


def own(_: Any = None) -> list[tuple[int, int, int]]:
    """Handles, objects and memory of the process that it is called in."""
    gc.collect()
    with open("/proc/self/statm") as statm:
        rss_bytes = int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return [(len(os.listdir("/proc/self/fd")), len(gc.get_objects()), rss_bytes)]


def held(sc: SparkContext) -> Held:
    workers = sc.parallelize(range(2), 2).mapPartitions(own).collect()
    files = sum(len(names) for _, _, names in os.walk(sc.getConf().get("spark.local.dir")))
    worker = [max(counts) for counts in zip(*workers, strict=True)]
    handles, objects, rss_bytes = own()[0]
    return Held(files, len(threading.enumerate()), handles, objects, rss_bytes, *worker)


class Run:
    """A context whose batches pass as fast as they can be processed."""

    def __init__(self, sc: SparkContext) -> None:
        self.sc = sc
        self.clock = ManualClock(1_000_000_000)
        self.ssc = StreamingContext(sc, 1, clock=self.clock)
        self._completed: queue.SimpleQueue[None] = queue.SimpleQueue()
        listener = StreamingListener()
        listener.onBatchCompleted = lambda event: self._completed.put(None)  # type: ignore[method-assign]
        self.ssc.addStreamingListener(listener)

    def batches(self, number: int, patience: float) -> None:
        for _ in range(number):
            self.before_batch()
            self.clock.advance(1000)
            self._completed.get(timeout=patience)

    def before_batch(self) -> None:
        """What the test does before each batch."""

    def check_that_nothing_grows(self, patience: float) -> None:
        self.ssc.start()
        self.batches(SETTLED_BATCHES, patience)
        before = held(self.sc)
        self.batches(BATCHES - SETTLED_BATCHES, patience)
        after = held(self.sc)
        for name in ("files", "threads", "handles", "worker_handles"):
            assert getattr(after, name) <= getattr(before, name) + 3, (name, before, after)
        for name in ("objects", "worker_objects"):
            # They come and go a little; a leak of one a batch is found.
            most = getattr(before, name) + (BATCHES - SETTLED_BATCHES) // 2
            assert getattr(after, name) <= most, (name, before, after)
        for name in ("rss_bytes", "worker_rss_bytes"):
            assert getattr(after, name) <= getattr(before, name) + RSS_BYTES_MAX, (name, before, after)
        running = self.ssc._running
        assert running is not None
        running.generator.check()
        running.receiving.tracker.check()
        self.sc.application._ask(self.sc.application._scheduler.check)


@pytest.fixture
def run(no_context: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("long run")
    # Small shuffle outputs are blocks too: they are files that must go.
    conf.set("spark.ui.retainedJobs", RETAINED_JOBS).set("headwater.shuffle.inlineLimit", "0")
    conf.set("spark.local.dir", str(tmp_path))
    monkeypatch.setattr(scratch, "MEMORY_FILE_SYSTEM", "none")  # so that all blocks are there
    with SparkContext(conf=conf) as sc:
        made = Run(sc)
        yield made
        made.ssc.stop()


def test_nothing_grows_over_thousands_of_batches_with_a_shuffle_and_a_cached_stream(run, patience) -> None:
    stream = run.ssc.queueStream([], default=[("a", 1), ("b", 2), ("a", 3)])
    sums = stream.reduceByKey(lambda a, b: a + b, 2).cache()
    sums.foreachRDD(lambda rdd: rdd.collect())
    sums.foreachRDD(lambda rdd: rdd.count())
    run.check_that_nothing_grows(patience)


def test_nothing_grows_when_an_output_and_a_transformation_fail_in_each_batch(run, patience, caplog) -> None:
    def fail(rdd):
        raise ValueError("no")

    # In one partition: a task that fails with its job costs the others their worker process, and so time.
    stream = run.ssc.queueStream([], default=run.sc.parallelize([1, 2, 3], 1))
    stream.foreachRDD(fail)
    stream.transform(fail).pprint()
    stream.map(lambda n: 1 // 0).foreachRDD(lambda rdd: rdd.collect())
    with caplog.at_level(logging.CRITICAL, "headwater"):  # pytest keeps all that is logged
        run.check_that_nothing_grows(patience)


class Told(Receiver):
    """Stores a block whenever the test tells it to; in `local[2]` it is a thread of this process."""

    wishes: queue.SimpleQueue[bool] = queue.SimpleQueue()
    done: queue.SimpleQueue[None] = queue.SimpleQueue()

    def onStart(self) -> None:
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while Told.wishes.get():
            self.store([("a", 1), ("b", 2)])
            Told.done.put(None)

    def onStop(self) -> None:
        Told.wishes.put(False)


def test_nothing_grows_when_each_batch_has_a_received_block(run, patience) -> None:
    def tell() -> None:
        Told.wishes.put(True)
        Told.done.get(timeout=patience)

    counts: list[int] = []
    stream = run.ssc.receiverStream(Told()).reduceByKey(lambda a, b: a + b, 2)
    stream.foreachRDD(lambda rdd: counts.append(rdd.count()))
    run.before_batch = tell  # type: ignore[method-assign]
    run.check_that_nothing_grows(patience)
    assert counts == [2] * BATCHES
