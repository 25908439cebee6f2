"""Applications for the tests of whole ones, on each of the masters."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater import accumulators
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records
from headwater.broadcast import Broadcast
from headwater.clock import Clock
from headwater.conf import SparkConf
from headwater.engine.application import Application
from headwater.engine.backends.masters import make_backend, parse_master
from headwater.engine.jobhandle import JobHandle
from headwater.engine.lineage import Combiner, Dataset, PerRecord, Shuffle, ShuffleRead, ShuffleWrite, Slice
from headwater.storagelevel import StorageLevel
from tests.engine.processes import alive, descendants, executors, scratch_directories
from tests.waiting import PATIENCE_SECONDS, wait_for

MASTERS = ["local", "local[2]", "local-cluster[2,1,512]"]


class App:
    """An application with words for datasets and jobs. Every wait has its timeout."""

    def __init__(self, master: str, local_dir: Path, clock: Clock | None = None, **settings: Any) -> None:
        conf = SparkConf(loadDefaults=False).setAppName("tests").set("spark.local.dir", str(local_dir))
        for key, value in settings.items():
            conf.set(key.replace("_", "."), value)
        self.application = Application(
            conf,
            parse_master(master),
            "app-1",
            make_backend=make_backend,
            merge_accumulators=accumulators.merge,
            clock=clock,
        )

    def source(self, *partitions: list[Any]) -> Dataset:
        payloads = [dump_records(records) for records in partitions]
        return Dataset(self.application.new_dataset_id(), Slice(), (), len(partitions), payloads=payloads)

    def mapped(self, parent: Dataset, function: Callable[[Any], Any], level: StorageLevel | None = None) -> Dataset:
        dataset_id = self.application.new_dataset_id()
        dataset = Dataset(dataset_id, PerRecord("map", function), (parent,), parent.num_partitions)
        dataset.storage_level = level
        return dataset

    def reduced(self, parent: Dataset, partitions: int = 2) -> Dataset:
        """The pairs' values added up by key."""
        aggregator = Combiner(None, lambda a, b: a + b, lambda a, b: a + b)
        write = ShuffleWrite(partitions, portable_hash, aggregator)
        shuffle = Shuffle(self.application.new_shuffle_id(), parent, write)
        dataset_id = self.application.new_dataset_id()
        return Dataset(dataset_id, ShuffleRead(aggregator), (), partitions, shuffle=shuffle)

    def submit(self, dataset: Dataset, function: Any = None, **more: Any) -> JobHandle:
        action = function or (lambda partition, records: list(records))
        more = {"partitions": range(dataset.num_partitions), "properties": {}, "call_site": "here", **more}
        return self.application.submit_job(dataset, action, **more)

    def result(self, dataset: Dataset, function: Any = None, **more: Any) -> list[Any]:
        return self.submit(dataset, function, **more).result(PATIENCE_SECONDS)

    def collected(self, dataset: Dataset) -> list[Any]:
        return sorted(record for part in self.result(dataset) for record in part)

    def await_all_executors(self, directory: Path) -> None:
        """Run a task on each, which waits for the others."""
        directory.mkdir()
        path, executors = str(directory), 2

        def meet(partition: int, _records: Any) -> None:
            import os
            import time

            with open(os.path.join(path, str(partition)), "w"):
                pass
            while len(os.listdir(path)) < executors:
                time.sleep(0.001)

        self.result(self.source(*[[]] * executors), meet)

    def works(self) -> bool:
        """A job with a shuffle gives what it should."""
        pairs = self.source([("a", 1), ("b", 2)], [("a", 3)])
        return self.collected(self.reduced(pairs)) == [("a", 4), ("b", 2)]

    def broadcast(self, value: Any) -> Broadcast[Any]:
        class Context:
            application = self.application

        return Broadcast(Context(), value)

    def blocks(self, prefix: str) -> list[str]:
        """The files of blocks whose id starts so, on all executors."""
        directories = scratch_directories({os.getpid(), *descendants()})
        return sorted(
            str(path) for directory in directories for path in Path(directory).rglob(f"{prefix}*") if path.is_file()
        )


@contextmanager
def running(master: str, local_dir: Path, clock: Clock | None = None, **settings: Any) -> Iterator[App]:
    app = App(master, local_dir, clock, **settings)
    try:
        yield app
    finally:
        app.application.stop()
        app.application._backend.stop()  # should the other have failed: executors that are left would disturb the rest


def on(*masters: str) -> Any:
    return pytest.mark.parametrize("master", masters, indirect=True)


with_workers = on(*MASTERS[1:])
on_a_cluster = on(MASTERS[2])


def in_background(work: Callable[[], Any]) -> queue.SimpleQueue[Any]:
    """Run this on a thread; the queue gets what it returned or raised."""
    outcome: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def run() -> None:
        try:
            outcome.put(work())
        except BaseException as error:
            outcome.put(error)

    threading.Thread(target=run, daemon=True).start()
    return outcome


def until_killed(marker: Path) -> Callable[[int, Any], None]:
    """An action that goes on until it's killed, and says by a file that it has begun."""
    path = str(marker)

    def work(_partition: int, _records: Any) -> None:
        import time

        with open(path, "w"):
            pass
        while True:
            time.sleep(0.001)

    return work


def kill_an_executor() -> None:
    doomed = executors()[0]
    os.kill(doomed, signal.SIGKILL)
    wait_for(lambda: not alive([doomed]), "the executor is dead")
