"""The lease on a directory for checkpoints, where there are no locks: one driver at a time, however others ended."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import uuid
from typing import Any

import pytest

from headwater import SparkContext, filesystem
from headwater.errors import IllegalStateException, see
from headwater.filesystem.remote import RemoteFileSystem
from headwater.streaming import StreamingContext
from headwater.streaming.recovery import lease
from headwater.streaming.recovery.lock import lock_directory
from tests.injection import inject
from tests.waiting import wait_for

PATIENCE_SECONDS = 30.0


@pytest.fixture
def directory() -> str:
    return f"memory://{uuid.uuid4().hex}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 0.05)


def path(directory: str) -> str:
    """Of the lease that counts."""
    return max(file.path for file in filesystem.list_files(f"{directory}/leases"))


def read(directory: str) -> dict[str, Any]:
    with filesystem.open_raw(path(directory)) as file:
        return dict(json.loads(file.read()))


def write(directory: str, **changes: Any) -> None:
    """The lease as it is, but for some of what it says."""
    filesystem.write_whole(path(directory), json.dumps({**read(directory), **changes}).encode())


def left_behind(directory: str, **changes: Any) -> None:
    """A lease that nobody has released."""
    lock_directory(directory).close()
    write(directory, id="another", process="process 7 on elsewhere", released=False, **changes)


def take_over(directory: str) -> None:
    """Another driver's lease, which counts more."""
    lease = {**read(directory), "id": "another", "number": 2, "process": "process 7 on elsewhere"}
    filesystem.write_whole(f"{directory}/leases/2", json.dumps(lease).encode())


def test_second_driver_is_refused_and_told_who_holds_the_directory(directory: str) -> None:
    first = lock_directory(directory)
    with pytest.raises(IllegalStateException) as caught:
        lock_directory(directory)
    first.close()
    assert str(caught.value) == (
        f"checkpoint directory {directory} is in use by {lease.this_process()}. Stop that driver first, or use another "
        f"directory.{see('the-directory-is-in-use')}"
    )


def test_directory_is_free_when_its_lease_is_closed_and_that_may_be_closed_again(directory: str) -> None:
    first = lock_directory(directory)
    first.close()
    second = lock_directory(directory)
    first.close()
    with pytest.raises(IllegalStateException):
        lock_directory(directory)
    second.close()


def test_lease_that_is_being_replaced_is_waited_for(directory: str) -> None:
    first = lock_directory(directory)
    file, content = path(directory), json.dumps(read(directory)).encode()
    filesystem.write_whole(f"{file}.tmp", content)
    filesystem.remove(file)
    replacing = threading.Timer(0.3, filesystem.write_whole, (file, content))
    replacing.start()
    with pytest.raises(IllegalStateException, match="is in use by"):
        lock_directory(directory)
    replacing.join()
    first.close()


@pytest.mark.usefixtures("quick")
@pytest.mark.usefixtures("untraced")
def test_driver_whose_lease_cannot_be_renewed_any_more_loses_the_directory(directory: str) -> None:
    losses: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    first = lock_directory(directory)
    first.when_lost(losses.put)
    inject("streaming-lease")
    told = losses.get(timeout=PATIENCE_SECONDS)
    assert f"checkpoint directory {directory}: its lease is renewed no more" in str(told)
    with pytest.raises(IllegalStateException, match="its lease is renewed no more"):
        first.check()
    first.close()


def test_process_of_this_machine_that_is_gone_is_not_waited_for(
    directory: str, caplog: pytest.LogCaptureFixture
) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait(PATIENCE_SECONDS)
    left_behind(directory, pid=gone.pid, born="12345")
    lock_directory(directory).close()
    assert "waiting for" not in caplog.text


def test_other_process_that_got_the_same_id_is_not_taken_for_the_holder(directory: str) -> None:
    left_behind(directory, born="0")
    lock_directory(directory).close()


@pytest.mark.usefixtures("quick")
def test_holder_on_another_machine_that_gives_no_sign_is_taken_for_dead(directory: str) -> None:
    left_behind(directory, machine="elsewhere")
    lock_directory(directory).close()


def test_holder_on_another_machine_that_lives_keeps_the_directory(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 1.0)
    left_behind(directory, machine="elsewhere")
    ended = threading.Event()

    def live() -> None:
        beat = 0
        while not ended.wait(0.02):
            beat += 1
            write(directory, beat=beat)

    living = threading.Thread(target=live)
    living.start()
    try:
        with pytest.raises(IllegalStateException, match="in use by process 7 on elsewhere"):
            lock_directory(directory)
    finally:
        ended.set()
        living.join()


def test_holder_on_another_machine_may_release_it_while_it_is_watched(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease, "BEAT_SECONDS", 1.0)
    monkeypatch.setattr(lease, "BEATS_MISSED_MAX", 1000)
    left_behind(directory, machine="elsewhere")
    releasing = threading.Timer(0.1, write, (directory,), {"released": True})
    releasing.start()
    lock_directory(directory).close()
    releasing.join()


@pytest.mark.usefixtures("quick")
def test_holder_renews_its_lease_and_writes_it_again_when_it_was_removed(directory: str) -> None:
    held = lock_directory(directory)
    wait_for(lambda: read(directory)["beat"] >= 2, "the lease is renewed twice")
    filesystem.remove(f"{directory}/leases")
    wait_for(lambda: filesystem.exists(f"{directory}/leases/1"), "the lease is there again")
    held.close()
    assert read(directory)["released"]


@pytest.mark.usefixtures("quick")
def test_store_that_is_away_does_not_end_the_lease(
    directory: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    held = lock_directory(directory)
    store = RemoteFileSystem._store

    def refuse(self: RemoteFileSystem, path: str, content: bytes | str) -> None:
        raise PermissionError(path)

    monkeypatch.setattr(RemoteFileSystem, "_store", refuse)
    wait_for(lambda: "the lease could not be renewed" in caplog.text, "it is told")
    monkeypatch.setattr(RemoteFileSystem, "_store", store)
    beat = read(directory)["beat"]
    wait_for(lambda: read(directory)["beat"] > beat, "the lease is renewed")
    held.check()
    held.close()


@pytest.mark.usefixtures("quick")
def test_holder_that_was_taken_for_dead_is_told_and_leaves_the_lease_alone(directory: str) -> None:
    held = lock_directory(directory)
    losses: list[BaseException] = []
    held.when_lost(losses.append)
    take_over(directory)
    wait_for(lambda: bool(losses), "the loss is told")
    with pytest.raises(IllegalStateException, match="was taken over by process 7 on elsewhere"):
        held.check()
    with pytest.raises(IllegalStateException, match="was taken over"):
        held.when_lost(losses.append)
    held.close()
    assert read(directory)["id"] == "another"
    assert not read(directory)["released"]


@pytest.mark.usefixtures("quick")
def test_what_a_holder_writes_late_does_not_make_the_other_one_lose(directory: str) -> None:
    held = lock_directory(directory)
    losses: list[BaseException] = []
    held.when_lost(losses.append)
    late = read(directory)
    take_over(directory)
    wait_for(lambda: bool(losses), "the loss is told")
    filesystem.write_whole(f"{directory}/leases/1", json.dumps(late).encode())
    assert read(directory)["id"] == "another"
    held.close()


@pytest.mark.usefixtures("quick")
def test_driver_that_was_taken_for_dead_stops_and_writes_no_more_checkpoints(
    directory: str, no_context: None, caplog: pytest.LogCaptureFixture
) -> None:
    with SparkContext("local", "lease") as sc:
        ssc = StreamingContext(sc, 0.05)
        ssc.checkpoint(directory)
        ssc.queueStream([[1]]).foreachRDD(lambda rdd: rdd.count())
        ssc.start()
        take_over(directory)
        with pytest.raises(IllegalStateException, match="was taken over by process 7 on elsewhere"):
            ssc.awaitTerminationOrTimeout(PATIENCE_SECONDS)
    assert f"A checkpoint can't be written to {directory}" in caplog.text  # the last one, which a stop writes
