"""A backend to try: what it posts, and tasks and receivers to lay into it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headwater.base.pickling import dump_records, dumps, loads
from headwater.conf import SparkConf
from headwater.engine.backend import Backend, ExecutorHandle
from headwater.engine.backends.masters import make_backend, parse_master
from headwater.engine.events import (
    ExecutorJoined,
    ExecutorLeft,
    ReceiverPosted,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
)
from headwater.engine.lineage import Action, ShuffleWrite, Slice
from headwater.engine.stages import Program
from headwater.storagelevel import StorageLevel
from tests.engine.processes import descendants, executors, scratch_directories
from tests.waiting import PATIENCE_SECONDS, wait_for

PONG = ("heard", "ping")
MASTERS = {"in process": "local", "workers": "local[2]", "cluster": "local-cluster[2,1,512]"}
KINDS = [*MASTERS]
WITH_WORKERS = KINDS[1:]
SETTINGS = {
    "headwater.shuffle.inlineLimit": "0",
    "headwater.streaming.receiver.memoryLimit": "100b",
    "headwater.streaming.receiver.spillLimit": "100b",
    "spark.executorEnv.SET_FOR": "workers",
}


class Bed:
    """A backend that runs, the events that it posted, and tasks to lay into it."""

    def __init__(self, kind: str, local_dir: Path, master: str | None = None) -> None:
        self.before = set(threading.enumerate())
        self.events: list[Any] = []
        self._news = threading.Condition()
        self._task_ids = count()
        self.kind = kind
        self.executors = 2 if kind == "cluster" else 1
        self.cores = 2 if kind == "workers" else 1
        self.workers = 0 if kind == "in process" else self.executors * self.cores
        conf = SparkConf(loadDefaults=False).setAppName("bed").set("spark.local.dir", str(local_dir))
        for key, value in SETTINGS.items():
            conf.set(key, value)
        self.backend: Backend = make_backend(parse_master(master or MASTERS[kind]), conf, str(local_dir / "driver"))
        self.backend.start(self._post)
        for i in range(self.executors):
            self.wait(lambda e: isinstance(e, ExecutorJoined), i + 1)
        self.scratch = scratch_directories({os.getpid(), *descendants()})

    def _post(self, event: Any) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def wait(self, wanted: Callable[[Any], bool], number: int = 1) -> Any:
        """The `number`th event that is wanted."""

        def found() -> list[Any]:
            return [event for event in self.events if wanted(event)][number - 1 :]

        with self._news:
            assert self._news.wait_for(lambda: bool(found()), PATIENCE_SECONDS), self.events
            return found()[0]

    def handle(self) -> ExecutorHandle:
        """Any executor."""
        return next(iter(self.backend.executors().values()))

    # tasks
    def submit(self, function: Any, *, tasks: int = 1, handle: ExecutorHandle | None = None, **spec: Any) -> list[int]:
        """Tasks that do `function(records)` on two records each; returns their ids."""
        ending = (
            function if isinstance(function, ShuffleWrite) else Action(lambda partition, records: function(records))
        )
        program = dumps(Program(((Slice(), ()),), ending))
        specs = [self._spec(str(hash(program)), spec) for _ in range(tasks)]
        (handle or self.handle()).submit(tuple(specs), program)
        return [spec.task_id for spec in specs]

    def _spec(self, program: str, more: dict[str, Any]) -> TaskSpec:
        inputs = {(0, 0): dump_records([("a", 1), ("b", 2)])}
        return TaskSpec(next(self._task_ids), 0, 0, 0, 0, program, inputs, {}, {}, {})._replace(**more)

    def reply(self, task_id: int) -> TaskReply:
        return self.wait(lambda e: isinstance(e, TaskEnded) and e.reply.task_id == task_id).reply  # type: ignore[no-any-return]

    def result(self, function: Any, **more: Any) -> Any:
        (task_id,) = self.submit(function, **more)
        reply = self.reply(task_id)
        assert reply.failure is None, reply.failure
        assert isinstance(reply.value, bytes)
        return loads(reply.value)

    def failure(self, function: Any, **more: Any) -> TaskFailure:
        (task_id,) = self.submit(function, **more)
        return self.failed(task_id)

    def failed(self, task_id: int) -> TaskFailure:
        """How a task has failed."""
        failure = self.reply(task_id).failure
        assert failure is not None
        return failure

    # receivers
    def receive(self, factory: Callable[[Any], Any], receiver_id: int = 0) -> None:
        self.handle().start_receiver(receiver_id, dumps(factory))

    def posted(self, payload: Any) -> None:
        """Wait until a receiver has posted this."""
        self.wait(lambda e: isinstance(e, ReceiverPosted) and e.payload == payload)

    def await_made(self, receiver_id: int = 0) -> None:
        """Wait until an echo hears us; before, it may not have been made."""

        def heard() -> bool:
            self.handle().send_to_receiver(receiver_id, "ping")
            posted = [event for event in self.events if isinstance(event, ReceiverPosted)]
            return any((event.receiver_id, event.payload) == (receiver_id, PONG) for event in posted)

        wait_for(heard, "the receiver hears us")

    def payloads(self) -> list[Any]:
        return [event.payload for event in self.events if isinstance(event, ReceiverPosted)]


with_workers = pytest.mark.parametrize("kind", WITH_WORKERS, indirect=True)
on_a_cluster = pytest.mark.parametrize("kind", ["cluster"], indirect=True)
locally = pytest.mark.parametrize("kind", KINDS[:2], indirect=True)


def spin(marker: Path) -> Callable[[Any], None]:
    """A task that runs until it's killed, and says by a file that it does."""
    path = str(marker)

    def work(_records: Any) -> None:
        import time

        with open(path, "w"):
            pass
        while True:
            time.sleep(0.001)

    return work


def make_echo() -> Callable[[Any], Any]:
    """A receiver that says what it does."""

    def factory(host: Any) -> Any:
        class Echo:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                host.post("stopped")

        for i in range(3):
            host.post(("begins", i))
        return Echo()

    return factory


def make_filler(level: StorageLevel, blocks: int) -> Callable[[Any], Any]:
    """A receiver that puts blocks of 60 bytes."""

    def factory(host: Any) -> Any:
        import threading

        def fill() -> None:
            for i in range(blocks):
                host.post(("putting", i))
                try:
                    ref = host.put_block(f"input-{i}", [b"x" * 30, b"x" * 30], records=2, level=level)
                except Exception as error:
                    host.post(("refused", type(error).__name__))
                    return
                assert ref.records == 2
                assert ref.locations[0] == host.executor_id
                host.post(("put", i))

        class Filler:
            def stop(self) -> None:
                pass

        threading.Thread(target=fill, daemon=True).start()
        return Filler()

    return factory


def kill_one(bed: Bed) -> ExecutorLeft:
    """Kill the first executor, and wait for the news."""
    os.kill(executors()[0], signal.SIGKILL)
    left: ExecutorLeft = bed.wait(lambda e: isinstance(e, ExecutorLeft))
    return left
