"""Workers that die take their task along, and nothing else."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from headwater.base.hashing import portable_hash
from headwater.base.pickling import load_records, loads
from headwater.engine.events import (
    ExecutorLeft,
    FailureKind,
)
from headwater.engine.lineage import ShuffleWrite
from tests.engine.beds import (
    Bed,
    spin,
    with_workers,
)
from tests.engine.processes import descendants, name_of, workers
from tests.waiting import wait_for


@with_workers
def test_worker_that_is_killed_loses_its_task_and_is_replaced(bed: Bed) -> None:
    failure = bed.failure(lambda records: os.kill(os.getpid(), signal.SIGKILL))
    assert failure.kind is FailureKind.LOST
    assert "SIGKILL" in failure.text
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_worker_that_exits_loses_its_task_and_is_replaced(bed: Bed) -> None:
    failure = bed.failure(lambda records: os._exit(3))
    assert failure.kind is FailureKind.LOST
    assert "exited with code 3" in failure.text
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_worker_that_dies_idle_is_replaced(bed: Bed) -> None:
    wait_for(lambda: len(workers()) == bed.workers, "the workers are there")
    before = workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(workers()) == len(before) and not set(workers()) & set(before), "the workers are replaced")
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


@with_workers
def test_worker_that_dies_takes_no_other_task_with_it(bed: Bed, tmp_path: Path) -> None:
    """The tasks of the other workers, and those that wait for a core."""

    def die(_records: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    before = bed.submit(lambda records: 7, tasks=3)
    (doomed,) = bed.submit(die)
    after = bed.submit(lambda records: 7, tasks=3)
    assert bed.failed(doomed).kind is FailureKind.LOST
    assert [loads(bed.reply(task_id).value) for task_id in (*before, *after)] == [7] * 6


@with_workers
def test_executor_stays_in_service_however_many_workers_the_tasks_kill(bed: Bed) -> None:
    for _ in range(15):
        assert bed.failure(lambda records: os._exit(1)).kind is FailureKind.LOST
    assert not [event for event in bed.events if isinstance(event, ExecutorLeft)]
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_workers_die_with_their_warden_and_are_replaced(bed: Bed, tmp_path: Path) -> None:
    (task_id,) = bed.submit(spin(tmp_path / "runs"))
    wait_for((tmp_path / "runs").exists, "the task runs")

    def wardens() -> list[int]:
        return [pid for pid in descendants() if name_of(pid).startswith("hw-warden")]

    # A worker bears its warden's name for a moment.
    wait_for(lambda: len(wardens()) == bed.executors, "the workers have names of their own")
    for pid in wardens():
        os.kill(pid, signal.SIGKILL)
    failure = bed.failed(task_id)
    assert failure.kind is FailureKind.LOST
    assert "warden" in failure.text
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


@with_workers
def test_blocks_outlive_the_worker_that_wrote_them(bed: Bed) -> None:
    (task_id,) = bed.submit(ShuffleWrite(1, portable_hash), shuffle_id=0)
    ((block, size),) = bed.reply(task_id).value.blocks
    bed.failure(lambda records: os._exit(1))
    data = bed.handle().get_block(block)
    assert data is not None
    assert len(data) == size
    assert load_records(data) == [("a", 1), ("b", 2)]


@with_workers
def test_worker_that_dies_leaves_no_files_of_its_task(bed: Bed) -> None:
    """Neither spill files nor map outputs that were never reported."""

    def leave_and_die(_records: Any) -> None:
        from headwater.engine.task import current

        task = current()
        task.spill.create().append([1, 2, 3])  # type: ignore[union-attr]
        os.kill(os.getpid(), signal.SIGKILL)

    assert bed.failure(leave_and_die).kind is FailureKind.LOST
    bed.result(lambda records: 7)
    spilled = [path for directory in bed.scratch for path in Path(directory, "spill").rglob("*.spill")]
    assert spilled == []
