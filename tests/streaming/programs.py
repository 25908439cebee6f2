"""A program with one stream, run while a test talks to its receiver."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headwater import SparkConf, SparkContext
from headwater.streaming import DStream, StreamingContext, StreamingListener

BATCH_SECONDS = 0.1
PATIENCE_SECONDS = 60.0
LOG = {"spark.streaming.receiver.writeAheadLog.enable": "true"}
# Each block is a file of its own, so that what is in the way of the next one shows at once.
FRAGILE_LOG = {
    **LOG,
    "spark.streaming.receiver.writeAheadLog.maxFailures": "1",
    "spark.streaming.receiver.writeAheadLog.closeFileAfterWrite": "true",
}


class Program(StreamingListener):
    """A running program: the records of its stream, and what its receivers complain of."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.records: list[Any] = []
        self.errors: list[str] = []

    def add(self, rdd: Any) -> None:
        with self._changed:
            self.records += rdd.collect()
            self._changed.notify_all()

    def onReceiverError(self, receiverError: Any) -> None:
        info = receiverError.receiverInfo()
        with self._changed:
            self.errors.append(f"{info.lastErrorMessage()}: {info.lastError()}")
            self._changed.notify_all()

    def wait(self, until: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(until, PATIENCE_SECONDS), (self.records[-3:], self.errors[-2:])


@contextmanager
def program(
    make: Callable[[StreamingContext], DStream[Any]],
    settings: dict[str, str] | None = None,
    checkpoint: Path | None = None,
) -> Iterator[Program]:
    """Run a program with one stream."""
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("program")
    conf.set("spark.streaming.receiverRestartDelay", "50").setAll((settings or {}).items())
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    if checkpoint is not None:
        ssc.checkpoint(str(checkpoint))
    running = Program()
    ssc.addStreamingListener(running)
    _running.append(running)
    make(ssc).foreachRDD(_add)
    ssc.start()
    try:
        yield running
    finally:
        ssc.stop()
        _running.remove(running)


# The output is a function of this module, so that it can be pickled, and finds its program here.
_running: list[Program] = []


def _add(rdd: Any) -> None:
    _running[-1].add(rdd)


@contextmanager
def broken(directory: Path) -> Iterator[None]:
    """Nothing can be written to a directory: there is a file in its place."""
    aside = directory.rename(directory.with_name("aside"))
    directory.write_text("")
    yield
    directory.unlink()
    aside.rename(directory)
