"""Live states: what a worker holds, and what of it goes to disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater.base.cipher import KeySource, cipher_of
from headwater.engine.states import LiveStates, StateDescription, StatePartition
from tests.engine.states.versions import changes_of, seen


def held(live: LiveStates, number: int, keys: int, directory: Path) -> StatePartition:
    partition = StatePartition(timed=False)
    live.put(0, number, partition)
    partition.advance(1, changes_of(dict.fromkeys(range(keys), "x")), previous=None)
    partition.store(str(directory), f"p{number}")
    return partition


def spilled(partition: StatePartition) -> bool:
    return type(partition.entries) is not dict


def test_largest_partitions_go_to_disk_until_the_rest_is_within_the_limit(tmp_path: Path) -> None:
    live = LiveStates(60_000, str(tmp_path / "scratch"))
    small, large, middle = (held(live, n, keys, tmp_path) for n, keys in enumerate((50, 1000, 100)))
    live.relieve()
    assert (spilled(small), spilled(large), spilled(middle)) == (False, True, False)
    assert seen(large, 1) == dict.fromkeys(range(1000), "x")
    live.forget(0)
    assert os.listdir(tmp_path / "scratch") == []
    assert live.find(0, 0, 1) is None


def test_restored_version_goes_to_disk_at_once_when_it_is_over_the_limit(tmp_path: Path) -> None:
    held(LiveStates(1 << 30, str(tmp_path)), 0, 1000, tmp_path)
    live = LiveStates(100, str(tmp_path / "scratch"))
    live.restore(StateDescription(0, str(tmp_path), ""), 0, 1, ["p0"])
    found = live.find(0, 0, 1)
    assert found is not None and spilled(found)
    assert seen(found, 1) == dict.fromkeys(range(1000), "x")
    live.forget(0)


@pytest.mark.parametrize("key", [None, KeySource(key=b"k" * 32)], ids=["plain", "encrypted"])
def test_partitions_on_disk_can_be_read_there_unless_there_is_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: KeySource | None
) -> None:
    monkeypatch.setattr("headwater.engine.states.spilledmap._CHANGES_PER_COMMIT", 7)
    entries = {f"key-{i}": f"entry-{i}" for i in range(70)}
    partition = StatePartition(timed=False)
    partition.advance(1, dict(entries), previous=None)
    partition.store(str(tmp_path), "p0", cipher_of(key))
    live = LiveStates(100, str(tmp_path / "scratch"), key)
    live.restore(StateDescription(0, str(tmp_path), ""), 0, 1, ["p0"])
    found = live.find(0, 0, 1)
    assert found is not None and spilled(found) and seen(found, 1) == entries
    files = [path for path in tmp_path.rglob("*") if path.name in ("p0", "data.mdb")]
    assert [b"key-7" in path.read_bytes() for path in files] == [key is None] * 2
    live.forget(0)


def test_newer_partition_stays_when_an_older_one_is_restored_for_a_task(tmp_path: Path) -> None:
    live = LiveStates(1 << 30, str(tmp_path))
    first = held(live, 0, 3, tmp_path)
    for version in range(2, 8):
        first.advance(version, changes_of({0: version}), previous=version - 1)
    assert live.find(0, 0, 1) is None
    live.restore(StateDescription(0, str(tmp_path), ""), 0, 1, ["p0"])
    assert live.find(0, 0, 7) is first
    past = live.find(0, 0, 1)
    assert past is not None and past is not first
    live.end_task()
    assert live.find(0, 0, 1) is None
    assert live.find(0, 0, 7) is first


def test_newer_partition_replaces_the_latest_and_leaves_it_to_the_task_that_reads_it(tmp_path: Path) -> None:
    live = LiveStates(1 << 30, str(tmp_path / "scratch"))
    first = held(live, 0, 3, tmp_path)
    first.spill(str(tmp_path / "spilled"))
    reading = iter(first.view(1).items())
    newer = StatePartition(timed=False)
    newer.advance(5, changes_of({9: 9}), previous=None)
    live.put(0, 0, newer)
    assert len(list(reading)) == 3
    assert live.find(0, 0, 5) is newer
    live.end_task()
    assert not (tmp_path / "spilled").exists()


def test_dropped_partition_is_found_no_more(tmp_path: Path) -> None:
    live = LiveStates(1 << 30, str(tmp_path))
    dropped, other = (held(live, number, 3, tmp_path) for number in range(2))
    live.drop(0, 0)
    assert live.find(0, 0, dropped.version) is None
    assert live.find(0, 1, other.version) is other
