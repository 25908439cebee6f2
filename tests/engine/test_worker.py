"""What a worker does with each message, be it a process or a thread."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import broadcast
from headwater.base.pickling import dump_records, dumps, loads
from headwater.engine.blocks import Places
from headwater.engine.events import TaskSpec
from headwater.engine.interrupt import Interrupt
from headwater.engine.lineage import Action
from headwater.engine.settings import WorkerSettings
from headwater.engine.stages import Stage
from headwater.engine.worker import AddPaths, ForgetBroadcast, ForgetState, Message, RunTask, SetPeers, Worker
from headwater.files import SparkFiles
from tests.engine.tasks import COLLECT, source


@pytest.fixture(params=["process", "thread"])
def worker(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    monkeypatch.setattr(broadcast, "_reader", None)
    monkeypatch.setattr(SparkFiles, "_root", None)
    monkeypatch.setattr(sys, "path", list(sys.path))
    places = Places(str(tmp_path / "memory"), str(tmp_path / "disk"))
    places.make()
    settings = WorkerSettings(
        executor_id="a",
        secret=b"",
        places=places,
        scratch=str(tmp_path / "spill"),
        memory_limit=1 << 20,
        inline_limit=1 << 20,
        result_limit=1 << 20,
        compress=False,
        state_limit=1 << 20,
        files=str(tmp_path / "files"),
        sys_path=(),
        environment={},
        filesystems={},
    )
    yield Worker(settings, Interrupt() if request.param == "thread" else None)


def task(action: Action = COLLECT) -> RunTask:
    shipped = Stage(5, source([1]), action).ship()
    return RunTask(TaskSpec(7, 1, 5, 0, 0, shipped.name, {(0, 0): dump_records([1])}, {}, {}, {}), shipped.data)


def test_worker_replies_to_a_task(worker: Worker) -> None:
    reply = worker.apply(task())
    assert reply is not None
    assert (reply.task_id, loads(reply.value)) == (7, [1])


def test_worker_keeps_a_program(worker: Worker) -> None:
    worker.apply(task())
    reply = worker.apply(task()._replace(program=None))
    assert reply is not None
    assert loads(reply.value) == [1]


@pytest.mark.parametrize("message", [SetPeers({}), AddPaths(("/there",)), ForgetBroadcast(1), ForgetState(1)])
def test_worker_replies_to_nothing_else(worker: Worker, message: Message) -> None:
    assert worker.apply(message) is None


def test_worker_imports_from_a_path_that_is_added_again(worker: Worker) -> None:
    for paths in (("/first",), ("/first", "/second")):
        worker.apply(AddPaths(paths))
    assert [path for path in sys.path if path in ("/first", "/second")] == ["/second", "/first"]


def test_worker_reads_a_broadcast_anew_when_it_was_told_to_forget_it(worker: Worker, tmp_path: Path) -> None:
    def value(_partition: int, _records: Any) -> Any:
        return broadcast._restore(777_002).value

    def read() -> Any:
        reply = worker.apply(task(Action(value)))
        assert reply is not None
        return loads(reply.value)

    block = tmp_path / "memory" / "broadcast_777002"
    block.write_bytes(dumps("first"))
    assert read() == "first"
    block.write_bytes(dumps("second"))
    assert read() == "first"
    worker.apply(ForgetBroadcast(777_002))
    assert read() == "second"
    worker.apply(ForgetBroadcast(777_002))


def test_worker_has_the_files_of_its_executor(worker: Worker, tmp_path: Path) -> None:
    assert SparkFiles.getRootDirectory() == str(tmp_path / "files")
