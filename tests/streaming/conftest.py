"""A harness that drives a StreamingContext batch by batch on a clock that stands still."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkContext
from headwater.streaming import DStream, StreamingListener
from headwater.testing import StreamHarness

# How long a test waits for what must happen anyway.
PATIENCE_SECONDS = 30.0


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


class Harness(StreamHarness):
    """A harness for tests of streams themselves: they look at events, and at failures in their own way."""

    def __init__(self, sc: SparkContext, batch_seconds: float = 1.0) -> None:
        super().__init__(batch_seconds, sc, patience=PATIENCE_SECONDS)
        self.recorder = Recorder()
        self.ssc.addStreamingListener(self.recorder)

    def collected(self, stream: DStream[Any]) -> list[list[Any]]:
        """A list that gets one list of records a batch."""
        return self.collect(stream)

    def run(self, batches: int = 1) -> list[Any]:
        """Let so many batches pass, failed ones too; returns their infos."""
        self.start()
        infos = []
        for _ in range(batches):
            infos.append(self.runBatch())
            self.recorder.completed.get(timeout=PATIENCE_SECONDS)
        return infos


@pytest.fixture
def harness(sc: SparkContext) -> Iterator[Harness]:
    with Harness(sc) as made:
        yield made


@pytest.fixture
def patience() -> float:
    return PATIENCE_SECONDS
