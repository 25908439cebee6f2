"""Blocks and files are where tasks look for them, until they are removed."""

from __future__ import annotations

import os
import resource
import signal
import threading
from pathlib import Path
from typing import Any

from headwater.base.pickling import dump_records, dumps
from headwater.engine.events import (
    Caching,
)
from tests.engine.beds import (
    Bed,
    spin,
    with_workers,
)
from tests.engine.processes import executors, workers
from tests.waiting import wait_for


def test_block_that_is_put_can_be_got_until_it_is_removed(bed: Bed) -> None:
    handle = bed.handle()
    handle.put_block("broadcast_1", b"one")
    handle.put_block("broadcast_2", b"two" * 1_000_000)
    assert handle.get_block("broadcast_1") == b"one"
    assert handle.get_block("broadcast_2") == b"two" * 1_000_000
    handle.forget_broadcast(1)
    assert handle.get_block("broadcast_1") is None
    handle.remove_blocks(["broadcast_2", "unknown"])
    assert handle.get_block("broadcast_2") is None


def test_blocks_are_removed_by_the_start_of_their_id(bed: Bed) -> None:
    handle = bed.handle()
    for block in ("rdd_1_0", "rdd_1_1", "rdd_10_0"):
        handle.put_block(block, b"x")
    handle.remove_prefix("rdd_1_")
    assert [handle.get_block(block) for block in ("rdd_1_0", "rdd_1_1", "rdd_10_0")] == [None, None, b"x"]


def test_cached_partition_is_in_the_store_when_its_task_has_ended(bed: Bed) -> None:
    (task_id,) = bed.submit(lambda records: list(records), caching={0: Caching(5, False, True, 1)})
    (stored,) = bed.reply(task_id).stored
    assert stored.block_id == "rdd_5_0"
    assert bed.handle().get_block("rdd_5_0") is not None


def test_block_is_there_before_tasks_that_are_submitted_later(bed: Bed) -> None:
    def read(_records: Any) -> Any:
        from headwater.broadcast import _restore

        return _restore(777_001).value

    bed.handle().put_block("broadcast_777001", dumps("the value"))
    assert bed.result(read) == "the value"


def test_file_is_there_before_tasks_that_are_submitted_later(bed: Bed) -> None:
    def read(_records: Any) -> str:
        from headwater.files import SparkFiles

        with open(SparkFiles.get("lists/words.txt")) as file:
            return file.read()

    bed.handle().add_file("lists/words.txt", b"one two", False)
    assert bed.result(read) == "one two"


def test_file_can_be_imported_when_it_was_added_for_that(bed: Bed) -> None:
    name = f"added_for_{bed.kind.replace(' ', '_')}"

    def use(_records: Any) -> Any:
        import importlib

        return importlib.import_module(name).ANSWER

    bed.handle().add_file(f"{name}.py", b"ANSWER = 42", True)
    assert bed.result(use) == 42


@with_workers
def test_file_reaches_workers_that_start_later(bed: Bed) -> None:
    def use(_records: Any) -> Any:
        import importlib

        return importlib.import_module("added_before_the_worker").ANSWER

    bed.handle().add_file("added_before_the_worker.py", b"ANSWER = 42", True)
    for _ in range(bed.cores):
        bed.failure(lambda records: os._exit(1))
    assert [bed.result(use) for _ in range(bed.cores)] == [42] * bed.cores


@with_workers
def test_busy_worker_holds_up_nobody_however_much_it_is_told(bed: Bed, tmp_path: Path) -> None:
    """It reads its messages between two tasks only."""
    (busy,) = bed.submit(spin(tmp_path / "runs"))
    wait_for((tmp_path / "runs").exists, "the task runs")
    handle, told = bed.handle(), threading.Event()

    def tell() -> None:
        for i in range(3000):
            handle.forget_broadcast(i)
        handle.get_block("unknown")
        told.set()

    threading.Thread(target=tell, daemon=True).start()
    in_time = told.wait(5.0)
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    bed.reply(busy)
    assert in_time


def test_executor_whose_disk_is_full_goes_on(tmp_path: Path, no_context: None) -> None:
    """Blocks that should leave memory for a disk that takes no more stay where they are."""
    bed = Bed("cluster", tmp_path, master="local-cluster[2,1,1]")
    try:
        for pid in executors():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, 1000))
        for dataset in range(4):
            (task_id,) = bed.submit(
                lambda records: list(records),
                caching={0: Caching(dataset, True, True, 1)},
                inputs={(0, 0): dump_records(["x" * 300_000])},
            )
            assert bed.reply(task_id).failure is None
        assert bed.result(lambda records: 7) == 7
    finally:
        bed.backend.stop()
