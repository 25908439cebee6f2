"""Drivers of one directory after another, in this process, on a clock that stands still between batches."""

from __future__ import annotations

import json
import os
import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headwater.clock import ManualClock
from headwater.streaming import StreamingContext, StreamingListener

#: A batch time; the first driver starts half a second before it.
START_MS = 1_700_000_000_000
PATIENCE_SECONDS = 30.0


class Heard(StreamingListener):
    """Keeps the times of the batches that have completed."""

    def __init__(self) -> None:
        self.completed: queue.SimpleQueue[int] = queue.SimpleQueue()

    def onBatchCompleted(self, batchCompleted: Any) -> None:
        self.completed.put(batchCompleted.batchInfo().batchTime().milliseconds())


class Driver:
    """A context that goes on from the directory, if there is something; its streams are what `define` makes."""

    def __init__(self, directory: Path, define: Callable[[StreamingContext], None], *, upgrade: bool = False) -> None:
        from headwater import SparkContext

        def setup() -> StreamingContext:
            ssc = StreamingContext(SparkContext.getOrCreate(), 1)
            define(ssc)
            return ssc

        self.ssc = StreamingContext.getOrCreate(str(directory), setup, upgrade)
        self._heard = Heard()
        self._latest = -1
        self.ssc.addStreamingListener(self._heard)

    def start(self, after_ms: int = -500) -> Driver:
        """Start at this time after `START_MS`."""
        clock = self.ssc.clock
        assert isinstance(clock, ManualClock)
        clock.advance(START_MS + after_ms - clock.now_ms())
        self.ssc.start()
        return self

    def heard(self, batches: int) -> list[int]:
        """The times, in seconds after `START_MS`, of the next batches that complete."""
        times = [self._heard.completed.get(timeout=PATIENCE_SECONDS) for _ in range(batches)]
        seconds = [(time_ms - START_MS) // 1000 for time_ms in times]
        self._latest = max(seconds)
        return seconds

    def tick(self, batches: int = 1) -> list[int]:
        """Let so many more batches pass."""
        clock = self.ssc.clock
        assert isinstance(clock, ManualClock)
        heard = []
        for _ in range(batches):
            clock.advance(1000)
            heard += self.heard(1)
        return heard

    def until(self, second: int) -> None:
        """Let batches pass until the one of this second has completed; those that run again come before it."""
        self.tick()
        clock = self.ssc.clock
        while START_MS + 1000 * second > clock.now_ms():
            self.tick()
        while self._latest < second:
            self.heard(1)

    def leap(self, seconds: int) -> None:
        """Set the clock forward."""
        clock = self.ssc.clock
        assert isinstance(clock, ManualClock)
        clock.advance(1000 * seconds)

    def stop(self) -> None:
        self.ssc.stop(stopSparkContext=False)


class Results:
    """What outputs have seen, in files: functions of a checkpoint have no lists of the test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(exist_ok=True)

    def of(self, name: str) -> Callable[[Any, Any], None]:
        """An output that writes a file for each attempt of a batch."""
        directory = str(self._directory)

        def write(time: Any, rdd: Any) -> None:
            seconds = round(time.timestamp()) - START_MS // 1000
            with open(f"{directory}/{name}", "a") as file:
                file.write(json.dumps([seconds, sorted(rdd.collect())]) + "\n")

        return write

    def read(self, name: str) -> list[list[Any]]:
        """[batch, records] of each attempt, in order; batches as in `Driver.heard`."""
        path = self._directory / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def records(self, name: str) -> list[Any]:
        """All records of all attempts."""
        return [record for _, records in self.read(name) for record in records]


def put(directory: Path, name: str, text: str, after_ms: int) -> None:
    """A file that was modified at this time after `START_MS`."""
    directory.mkdir(exist_ok=True)
    temporary = directory / f".{name}"
    temporary.write_text(text)
    os.utime(temporary, ns=((START_MS + after_ms) * 1_000_000,) * 2)
    temporary.rename(directory / name)
