"""Receivers run in an executor, post, hear and stop; those that store too much wait."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from headwater.engine.events import (
    ReceiverPosted,
)
from headwater.storagelevel import StorageLevel
from tests.engine.beds import (
    PONG,
    Bed,
    locally,
    make_echo,
    make_filler,
    on_a_cluster,
)


def test_receiver_posts_in_order_hears_messages_and_stops(bed: Bed) -> None:
    bed.receive(make_echo())
    bed.await_made()
    for i in range(3):
        bed.handle().send_to_receiver(0, i)
    bed.posted(("heard", 2))
    bed.handle().stop_receiver(0)
    bed.posted("stopped")
    bed.handle().send_to_receiver(0, "to nobody")
    bed.handle().stop_receiver(0)
    expected = [("begins", 0), ("begins", 1), ("begins", 2), ("heard", 0), ("heard", 1), ("heard", 2), "stopped"]
    assert [payload for payload in bed.payloads() if payload != PONG] == expected


def test_receiver_knows_where_it_is_and_the_configuration(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        host.post((host.executor_id, host.host, host.conf["spark.app.name"]))

    bed.receive(factory)
    (executor_id, _), *_ = bed.backend.executors().items()
    bed.posted((executor_id, "127.0.0.1", "bed"))


def test_receivers_are_told_apart(bed: Bed) -> None:
    for receiver_id in (4, 5):
        bed.receive(make_echo(), receiver_id)
        bed.await_made(receiver_id)
    bed.handle().stop_receiver(5)
    stopped = bed.wait(lambda e: isinstance(e, ReceiverPosted) and e.payload == "stopped")
    assert stopped.receiver_id == 5


def test_receiver_that_cannot_be_made_tells_its_owner_why(bed: Bed) -> None:
    class OwnError(Exception):
        pass

    def factory(host: Any) -> Any:
        raise OwnError("no such host")

    bed.receive(factory)
    posted = bed.wait(lambda e: isinstance(e, ReceiverPosted))
    assert isinstance(posted.payload, Exception)
    assert "no such host" in str(posted.payload)


def test_receiver_is_stopped_though_it_was_still_being_made(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    make = make_echo()

    def made(host: Any) -> Any:
        import os
        import time

        host.post("being made")
        while not os.path.exists(gate):
            time.sleep(0.001)
        return make(host)

    bed.receive(made)
    bed.posted("being made")
    stopping = threading.Thread(target=bed.handle().stop_receiver, args=(0,), daemon=True)
    stopping.start()
    stopping.join(0.5)  # it may wait until the receiver is made, or not
    Path(gate).touch()
    bed.posted("stopped")


def test_message_to_a_receiver_that_is_still_being_made_arrives(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    make = make_echo()

    def made(host: Any) -> Any:
        import os
        import time

        host.post("being made")
        while not os.path.exists(gate):
            time.sleep(0.001)
        return make(host)

    bed.receive(made)
    bed.posted("being made")
    bed.handle().send_to_receiver(0, "hello")
    bed.handle().get_block("unknown")  # answered after the message was taken
    Path(gate).touch()
    bed.posted(("heard", "hello"))


@pytest.mark.parametrize(
    ("level", "room"), [(StorageLevel.MEMORY_ONLY, 1), (StorageLevel.DISK_ONLY, 1), (StorageLevel.MEMORY_AND_DISK, 2)]
)
def test_receiver_waits_when_the_limits_are_reached_and_goes_on_when_blocks_are_removed(
    bed: Bed, level: StorageLevel, room: int
) -> None:
    """Both limits are 100 bytes here."""
    bed.receive(make_filler(level, blocks=room + 1))
    bed.posted(("putting", room))
    assert ("put", room) not in bed.payloads()
    assert bed.handle().get_block("input-0") == b"x" * 60
    bed.handle().remove_blocks(["input-0"])
    bed.posted(("put", room))
    assert bed.handle().get_block(f"input-{room}") == b"x" * 60


def test_block_larger_than_the_limit_is_let_in_alone(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        from headwater.storagelevel import StorageLevel

        host.put_block("input-0", b"x" * 1000, records=1, level=StorageLevel.MEMORY_ONLY)
        host.post("put")

    bed.receive(factory)
    bed.posted("put")
    assert bed.handle().get_block("input-0") == b"x" * 1000


@locally
def test_receiver_that_waits_is_told_off_when_the_backend_stops(bed: Bed) -> None:
    bed.receive(make_filler(StorageLevel.MEMORY_ONLY, blocks=2))
    bed.posted(("putting", 1))
    bed.backend.stop()
    bed.posted(("refused", "IllegalStateException"))


@locally
def test_receivers_are_stopped_with_the_backend(bed: Bed) -> None:
    bed.receive(make_echo())
    bed.await_made()
    bed.backend.stop()
    bed.posted("stopped")


@on_a_cluster
def test_block_is_copied_to_another_executor_when_its_level_asks_for_it(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        from headwater.storagelevel import StorageLevel

        ref = host.put_block("input-0", b"x" * 10, records=1, level=StorageLevel.MEMORY_AND_DISK_2)
        host.post(("put", ref.locations))

    bed.receive(factory)
    bed.posted(("put", tuple(bed.backend.executors())))
    for handle in bed.backend.executors().values():
        assert handle.get_block("input-0") == b"x" * 10
