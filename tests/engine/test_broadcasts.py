from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.broadcast import Captured
from headwater.engine.broadcasts import Broadcasts
from headwater.errors import SparkException
from tests.engine.told import Told


@pytest.fixture
def broadcasts(tmp_path: Path) -> Broadcasts:
    broadcasts = Broadcasts(str(tmp_path), None)
    broadcasts.put(1, b"one")
    broadcasts.put(2, b"two")
    return broadcasts


def needed(*broadcast_ids: int) -> Captured:
    captured = Captured()
    captured.update(broadcast_ids)
    return captured


def test_executor_gets_each_value_once(broadcasts: Broadcasts) -> None:
    executor = Told()
    for captured in (needed(1), needed(1, 2), needed(2)):
        broadcasts.send(captured, "a", executor.handle)
    assert executor.taken() == [("put_block", "broadcast_1", b"one"), ("put_block", "broadcast_2", b"two")]


def test_value_is_sent_again_to_an_executor_that_was_told_to_forget_it(broadcasts: Broadcasts) -> None:
    a, b = Told(), Told()
    for name, executor in (("a", a), ("b", b)):
        broadcasts.send(needed(1), name, executor.handle)
    broadcasts.forget(1, {"a": a.handle})
    for name, executor in (("a", a), ("b", b)):
        broadcasts.send(needed(1), name, executor.handle)
    put = ("put_block", "broadcast_1", b"one")
    assert (a.taken(), b.taken()) == ([put, ("forget_broadcast", 1), put], [put])


def test_value_that_was_removed_is_left_out(broadcasts: Broadcasts, tmp_path: Path) -> None:
    broadcasts.remove(1)
    broadcasts.remove(1)
    executor = Told()
    broadcasts.send(needed(1, 2), "a", executor.handle)
    assert executor.taken() == [("put_block", "broadcast_2", b"two")]
    assert os.listdir(tmp_path) == ["broadcast_2"]


def test_value_that_an_executor_cannot_store_is_an_error_and_is_sent_again(broadcasts: Broadcasts) -> None:
    class Full(Told):
        def answer(self, name: str) -> str:
            raise OSError("no space left")

    with pytest.raises(SparkException, match="broadcast 1 could not be stored: no space left"):
        broadcasts.send(needed(1), "a", Full().handle)
    executor = Told()
    broadcasts.send(needed(1), "a", executor.handle)
    assert executor.taken() == [("put_block", "broadcast_1", b"one")]
