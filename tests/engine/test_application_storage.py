"""What a whole application has on its executors: partitions, shuffle files, broadcasts, added files, receivers."""

from __future__ import annotations

import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.base.pickling import dumps
from headwater.broadcast import Broadcast
from headwater.engine.events import ReceiverLost
from headwater.errors import SerializationError, SparkException
from headwater.storagelevel import StorageLevel
from tests.engine.applications import App, kill_an_executor, on, on_a_cluster, running, with_workers
from tests.engine.processes import executors
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.usefixtures("no_context")  # processes are counted: no other application may have any


# ------------------------------------------------------------------------------------------------ storage
LEVELS = ["MEMORY_ONLY", "MEMORY_AND_DISK", "DISK_ONLY", "MEMORY_ONLY_2", "MEMORY_AND_DISK_2", "DISK_ONLY_2"]


@pytest.mark.parametrize("level", LEVELS)
def test_partition_is_stored_at_its_level_and_not_computed_again(
    app: App, master: str, level: str, tmp_path: Path
) -> None:
    log = str(tmp_path / "computed")

    def note(record: Any) -> Any:
        with open(log, "a") as file:
            file.write("x")
        return record

    kept = app.mapped(app.source([1], [2]), note, getattr(StorageLevel, level))
    for _ in range(2):
        assert app.collected(kept) == [1, 2]
    assert Path(log).read_text() == "xx"
    stored = app.application.cached_partitions(kept.dataset_id)
    copies = 2 if level.endswith("_2") and "cluster" in master else 1
    assert {partition: len(ref.locations) for partition, ref in stored.items()} == {0: copies, 1: copies}
    files = app.blocks("rdd_")
    assert len(files) == 2 * copies
    assert all(Path(path).parent.name == ("disk" if level.startswith("DISK") else "memory") for path in files)


def test_unpersisted_partitions_are_removed_and_computed_again(app: App) -> None:
    kept = app.mapped(app.source([1], [2]), lambda r: r, StorageLevel.MEMORY_ONLY)
    app.result(kept)
    kept.storage_level = None
    app.application.unpersist(kept.dataset_id, blocking=True)
    assert app.application.cached_partitions(kept.dataset_id) == {}
    wait_for(lambda: not app.blocks("rdd_"), "the files are gone")
    assert app.collected(kept) == [1, 2]


@pytest.mark.parametrize("level", ["MEMORY_ONLY", "MEMORY_AND_DISK"])
def test_what_does_not_fit_into_memory_is_dropped_or_moved_as_its_level_says(tmp_path: Path, level: str) -> None:
    """Six partitions of 300 kB in a megabyte, of which a part is for blocks."""
    with running("local-cluster[1,1,1]", tmp_path) as app:
        kept = app.mapped(
            app.source(*[[i] for i in range(6)]), lambda i: (i, "x" * 300_000), getattr(StorageLevel, level)
        )
        lengths = app.mapped(kept, lambda pair: (pair[0], len(pair[1])))
        for _ in range(3):
            assert app.collected(lengths) == [(i, 300_000) for i in range(6)]
        there = len(app.blocks("rdd_"))
        assert there == 6 if level == "MEMORY_AND_DISK" else 0 < there < 6
        stored = app.application.cached_partitions
        wait_for(lambda: len(stored(kept.dataset_id)) == there, "the scheduler has heard of what was dropped")


def test_shuffle_files_are_removed_when_nothing_refers_to_their_dataset(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, headwater_shuffle_inlineLimit="0") as app:
        reduced = app.reduced(app.source([("a", 1)], [("b", 2)]))
        app.result(reduced)
        assert app.blocks("shuffle_")
        del reduced
        gc.collect()
        wait_for(lambda: not app.blocks("shuffle_"), "the files are gone")


def test_shuffle_files_are_kept_while_a_dataset_refers_to_them(master: str, tmp_path: Path) -> None:
    with running(master, tmp_path, headwater_shuffle_inlineLimit="0") as app:
        child = app.mapped(app.reduced(app.source([("a", 1)], [("b", 2)])), lambda pair: pair)
        app.result(child)
        gc.collect()
        before = app.blocks("shuffle_")
        assert app.collected(child) == [("a", 1), ("b", 2)]
        assert app.blocks("shuffle_") == before != []


# ------------------------------------------------------------------------------------------------ broadcasts, files
def test_broadcast_is_sent_to_an_executor_once(app: App, tmp_path: Path) -> None:
    """Later jobs don't need the driver's copy any more, though their programs are other ones."""
    if executors():
        app.await_all_executors(tmp_path / "met")
    words = app.broadcast({"a": 1})
    dataset = app.source([1], [2], [3])
    assert app.result(dataset, lambda p, records: words.value["a"]) == [1, 1, 1]
    copies = app.blocks(f"broadcast_{words.id}")
    assert len(copies) == 1 + max(1, len(executors()))
    (drivers,) = [path for path in copies if path.startswith(app.application.directory)]
    os.unlink(drivers)
    for n in range(3):
        assert app.result(dataset, lambda p, records, n=n: words.value["a"] + n) == [1 + n] * 3


def test_broadcast_is_gone_from_everywhere_when_it_is_removed(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    dataset = app.source([1], [2])
    assert app.result(dataset, lambda p, records: sum(words.value)) == [6, 6]
    assert app.blocks(f"broadcast_{words.id}")
    words.destroy()
    wait_for(lambda: not app.blocks(f"broadcast_{words.id}"), "the files are gone")
    with pytest.raises(
        (SparkException, SerializationError), match=rf"Attempted to use Broadcast\({words.id}\) after it was destroyed"
    ):
        app.result(dataset, lambda p, records: words.value)


def adding_up(words: Broadcast[Any]) -> Callable[[int, Any], int]:
    return lambda partition, records: sum(words.value)


@with_workers
def test_broadcast_is_gone_when_nothing_refers_to_it(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    number = words.id
    assert app.result(app.source([1]), adding_up(words)) == [6]
    del words
    gc.collect()
    wait_for(lambda: not app.blocks(f"broadcast_{number}"), "the files are gone")


def test_broadcast_is_sent_again_when_it_was_only_unpersisted(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    dataset = app.source([1], [2])
    for _ in range(2):
        assert app.result(dataset, lambda p, records: sum(words.value)) == [6, 6]
        words.unpersist()


@on_a_cluster
def test_broadcast_reaches_an_executor_that_joins_later(app: App) -> None:
    words = app.broadcast([1, 2, 3])
    assert app.result(app.source([1], [2]), lambda p, records: sum(words.value)) == [6, 6]
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.result(app.source([1], [2]), lambda p, records: sum(words.value)) == [6, 6]


def test_broadcast_of_a_shuffle_that_is_made_again_is_still_there(tmp_path: Path) -> None:
    """The driver keeps it, though it was unpersisted, as long as a program that uses it may run."""
    with running("local-cluster[1,1,512]", tmp_path, headwater_shuffle_inlineLimit="0") as app:
        words = app.broadcast(10)
        reduced = app.reduced(app.mapped(app.source([("a", 1)]), lambda pair: (pair[0], pair[1] * words.value)))
        assert app.collected(reduced) == [("a", 10)]
        words.unpersist()
        kill_an_executor()
        assert app.collected(app.mapped(reduced, lambda pair: pair)) == [("a", 10)]


def read_added(_partition: int, _records: Any) -> Any:
    import importlib

    from headwater.files import SparkFiles

    with open(SparkFiles.get("words/list.txt")) as file:
        return file.read(), importlib.import_module("added_module").ANSWER


def test_added_file_reaches_every_worker(app: App, tmp_path: Path) -> None:
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "list.txt").write_text("one two")
    (tmp_path / "added_module.py").write_text("ANSWER = 42")
    app.result(app.source([1], [2]))  # the workers are there already
    app.application.add_file("words", str(tmp_path / "words"), importable=False)
    app.application.add_file("added_module.py", str(tmp_path / "added_module.py"), importable=True)
    sys.modules.pop("added_module", None)
    assert app.result(app.source([1], [2], [3]), read_added) == [("one two", 42)] * 3


@on_a_cluster
def test_added_file_reaches_executors_that_join_later(app: App, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("one two")
    (tmp_path / "added_module.py").write_text("ANSWER = 42")
    app.application.add_file("words/list.txt", str(tmp_path / "list.txt"), importable=False)
    app.application.add_file("added_module.py", str(tmp_path / "added_module.py"), importable=True)
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.result(app.source([1], [2]), read_added) == [("one two", 42)] * 2


# ------------------------------------------------------------------------------------------------ receivers
def make_echo() -> bytes:
    def factory(host: Any) -> Any:
        class Echo:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                host.post("stopped")

        host.post(("made", host.executor_id))
        return Echo()

    return dumps(factory)


class Owner:
    """Who listens to a receiver, from when it hears us."""

    def __init__(self, app: App, receiver_id: int = 0, **more: Any) -> None:
        self._heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.executor_id = app.application.start_receiver(receiver_id, make_echo(), self._take, **more)
        self._hears = threading.Event()

        def hears() -> bool:
            app.application.send_to_receiver(receiver_id, "do you hear me?")
            return self._hears.wait(0.01)

        wait_for(hears, "the receiver hears us")
        assert self.next() == ("made", self.executor_id)

    def _take(self, event: Any) -> None:
        if event == ("heard", "do you hear me?"):
            self._hears.set()
        else:
            self._heard.put(event)

    def next(self) -> Any:
        return self._heard.get(timeout=PATIENCE_SECONDS)

    def heard_nothing(self) -> bool:
        return self._heard.empty()


def test_receiver_talks_with_its_owner(app: App) -> None:
    owner = Owner(app)
    app.application.send_to_receiver(0, "hello")
    assert owner.next() == ("heard", "hello")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    assert owner.next() == "stopped"
    app.application.send_to_receiver(0, "hello again")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    app.application.stop_receiver(99, PATIENCE_SECONDS)
    assert app.works()
    assert owner.heard_nothing()


@on_a_cluster
def test_receivers_are_spread_over_the_executors(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    owners = [Owner(app, receiver_id) for receiver_id in range(4)]
    placed = [owner.executor_id for owner in owners]
    assert {placed.count(executor) for executor in placed} == {2}


@on_a_cluster
def test_receiver_avoids_an_executor_when_there_is_another(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    for receiver_id in range(3):
        assert Owner(app, receiver_id, avoid="0").executor_id == "1"


@on("local[2]")
def test_receiver_starts_on_the_executor_to_avoid_when_there_is_no_other(app: App) -> None:
    assert Owner(app, avoid="driver").executor_id == "driver"


@on_a_cluster
def test_receiver_that_is_lost_with_its_executor_is_reported_once(app: App, tmp_path: Path) -> None:
    app.await_all_executors(tmp_path / "met")
    owners = [Owner(app, receiver_id) for receiver_id in range(2)]
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    for receiver_id, owner in enumerate(owners):
        lost = owner.next()
        assert isinstance(lost, ReceiverLost)
        assert (lost.receiver_id, lost.executor_id) == (receiver_id, owner.executor_id)
    assert app.works()
    assert all(owner.heard_nothing() for owner in owners)
    again = Owner(app, 0)
    assert again.executor_id not in {owner.executor_id for owner in owners}


@on_a_cluster
def test_receiver_that_was_stopped_is_not_lost_with_its_executor(app: App) -> None:
    owner = Owner(app)
    app.application.send_to_receiver(0, "hello")
    assert owner.next() == ("heard", "hello")
    app.application.stop_receiver(0, PATIENCE_SECONDS)
    assert owner.next() == "stopped"
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    assert app.works()
    assert owner.heard_nothing()
