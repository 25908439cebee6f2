"""A harness that drives a StreamingContext batch by batch on a clock that stands still."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkContext
from headwater.clock import ManualClock
from headwater.streaming import DStream, StreamingContext, StreamingListener

# How long a test waits for what must happen anyway.
PATIENCE_SECONDS = 30.0
# The clock's first reading: 500 ms before a batch time of any whole number of seconds that divides 1000.
FIRST_MS = 1_000_000_000 - 500


class Recorder(StreamingListener):
    """Keeps all events; `submitted` and `completed` hold the infos of batches."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.submitted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.completed: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on"):
            return self._record
        return super().__getattribute__(name)

    def _record(self, event: Any) -> None:
        self.events.append(event)
        if type(event).__name__ == "BatchSubmitted":
            self.submitted.put(event.batchInfo())
        elif type(event).__name__ == "BatchCompleted":
            self.completed.put(event.batchInfo())

    def names(self) -> list[str]:
        return [type(event).__name__ for event in self.events]


class Harness:
    """A StreamingContext of one-second batches on a manual clock."""

    def __init__(self, sc: SparkContext, batch_seconds: float = 1.0) -> None:
        self.clock = ManualClock(FIRST_MS)
        self.ssc = StreamingContext(sc, batch_seconds, clock=self.clock)
        self.recorder = Recorder()
        self.ssc.addStreamingListener(self.recorder)
        self._to_next_ms = 500

    def collected(self, stream: DStream) -> list[list[Any]]:
        """A list that gets one list of records a batch."""
        batches: list[list[Any]] = []
        stream.foreachRDD(lambda rdd: batches.append(rdd.collect()))
        return batches

    def run(self, batches: int) -> list[Any]:
        """Let so many batches pass; returns their infos."""
        infos = []
        for _ in range(batches):
            self.clock.advance(self._to_next_ms)
            self._to_next_ms = self.ssc._batch_ms
            infos.append(self.recorder.completed.get(timeout=PATIENCE_SECONDS))
        return infos


@pytest.fixture
def harness(sc: SparkContext) -> Iterator[Harness]:
    made = Harness(sc)
    yield made
    made.ssc.stop(stopSparkContext=False)


@pytest.fixture
def patience() -> float:
    return PATIENCE_SECONDS
