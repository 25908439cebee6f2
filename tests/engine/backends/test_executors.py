"""Executors come up, end with their backend, die and are replaced."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from typing import Any

from headwater.base.pickling import dumps
from headwater.engine.events import (
    ExecutorJoined,
    ExecutorLeft,
)
from tests.engine.beds import (
    Bed,
    kill_one,
    make_echo,
    on_a_cluster,
    spin,
)
from tests.engine.processes import alive, descendants, executors, name_of, scratch_directories, workers
from tests.waiting import PATIENCE_SECONDS, wait_for


def test_executor_is_announced_before_all_else_when_it_can_take_tasks(bed: Bed) -> None:
    assert all(isinstance(event, ExecutorJoined) for event in bed.events)
    assert {event.executor_id for event in bed.events} == set(bed.backend.executors())
    assert [event.cores for event in bed.events] == [bed.cores] * bed.executors
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


def test_executor_ends_with_its_backend_and_leaves_nothing(bed: Bed) -> None:
    bed.submit(lambda records: list(records), tasks=3)
    processes = descendants()
    wait_for(lambda: len(workers()) == bed.workers, "the workers are there")
    assert bed.scratch
    bed.backend.stop()
    bed.backend.stop()
    wait_for(lambda: not alive(processes), "all processes ended")
    assert not [directory for directory in bed.scratch if os.path.exists(directory)]
    wait_for(lambda: not set(threading.enumerate()) - bed.before, "all threads ended")


def test_executor_ends_with_its_backend_though_it_is_busy(bed: Bed, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def work(_records: Any) -> None:
        started.touch()
        while started.exists():
            pass

    bed.submit(work, tasks=2)
    wait_for(started.exists, "the task runs")
    processes = descendants()
    bed.backend.stop()
    started.unlink()
    wait_for(lambda: not alive(processes), "all processes ended")
    assert not [directory for directory in bed.scratch if os.path.exists(directory)]


@on_a_cluster
def test_executor_that_dies_leaves_and_is_replaced_by_one_with_a_new_id(bed: Bed) -> None:
    bed.handle().put_block("rdd_0_0", b"x")
    left = kill_one(bed)
    assert left.executor_id not in bed.backend.executors()
    assert bed.backend.left(left.executor_id, left.reason) is None
    joined = bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    assert joined.executor_id not in {event.executor_id for event in bed.events[:2]}
    new = bed.backend.executors()[joined.executor_id]
    assert bed.result(lambda records: 7, handle=new) == 7
    assert new.get_block("rdd_0_0") is None


@on_a_cluster
def test_executor_that_dies_leaves_once(bed: Bed) -> None:
    """Its connection ends and so does its process: that is one death."""
    left = kill_one(bed)
    assert bed.backend.left(left.executor_id, left.reason) is None
    bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    assert len([event for event in bed.events if isinstance(event, ExecutorLeft)]) == 1
    assert len(executors()) == 2


@on_a_cluster
def test_executor_that_gives_up_is_replaced_and_ends(bed: Bed) -> None:
    """Its warden dies again and again, so that it can run no task; its process and its connection live."""
    tired = executors()[0]
    dead: set[int] = set()

    def gives_up() -> bool:
        for pid in {pid for pid in descendants(tired) if name_of(pid).startswith("hw-warden")} - dead:
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
        return any(isinstance(event, ExecutorLeft) for event in bed.events)

    wait_for(gives_up, "the executor gives up")
    left = bed.wait(lambda e: isinstance(e, ExecutorLeft))
    assert left.executor_id not in bed.backend.executors()
    assert bed.backend.left(left.executor_id, left.reason) is None
    bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    wait_for(lambda: not alive([tired]), "its process has ended")
    assert len([event for event in bed.events if isinstance(event, ExecutorLeft)]) == 1


@on_a_cluster
def test_executor_that_dies_takes_its_workers_and_scratch_directories_along(bed: Bed, tmp_path: Path) -> None:
    for executor_id, handle in bed.backend.executors().items():
        bed.submit(spin(tmp_path / executor_id), handle=handle)
        wait_for((tmp_path / executor_id).exists, "the task runs")
    doomed = executors()[0]
    below, directories = descendants(doomed), scratch_directories([doomed])
    assert workers(doomed)
    os.kill(doomed, signal.SIGKILL)
    wait_for(lambda: not alive(below), "its warden and workers ended")
    wait_for(lambda: not any(map(os.path.exists, directories)), "its directories are gone")


@on_a_cluster
def test_calls_to_an_executor_that_is_gone_do_nothing(bed: Bed) -> None:
    gone = bed.handle()
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    bed.wait(lambda e: isinstance(e, ExecutorLeft), 2)
    assert bed.backend.executors() == {}
    bed.submit(lambda records: 7, handle=gone)
    gone.kill(0, "why not")
    gone.put_block("a", b"x")
    assert gone.get_block("a") is None
    gone.remove_blocks(["a"])
    gone.remove_prefix("a")
    gone.forget_broadcast(1)
    gone.add_file("a", b"", False)
    gone.start_receiver(0, dumps(make_echo()))
    gone.send_to_receiver(0, "hello")
    gone.stop_receiver(0)


@on_a_cluster
def test_call_that_waits_for_an_answer_is_answered_when_the_executor_dies(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "never")

    def factory(host: Any) -> Any:
        class Stubborn:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                import os
                import time

                host.post("stops")
                while not os.path.exists(gate):
                    time.sleep(0.001)

        return Stubborn()

    bed.receive(factory)
    bed.await_made()
    stopping = threading.Thread(target=bed.handle().stop_receiver, args=(0,), daemon=True)
    stopping.start()
    bed.posted("stops")
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
