"""Partitions: what versions they see, and how they are stored and found again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.base.cipher import Cipher, WrongKeyException
from headwater.engine.states import GONE, StatePartition, thaw
from headwater.engine.states.segments import FANOUT
from headwater.errors import SparkException
from tests.engine.states.versions import applied, changes_of, seen

KEYS = st.one_of(st.integers(0, 5), st.sampled_from([True, 1.0, None, "a", (1, "a")]))
CHANGES = st.dictionaries(KEYS, st.one_of(st.just(None), st.integers(), st.lists(st.integers(), max_size=2)))


def in_memory(_tmp_path: Path, partition: StatePartition) -> None:
    pass


def on_disk(tmp_path: Path, partition: StatePartition) -> None:
    partition.spill(str(tmp_path / f"spilled-{len(os.listdir(tmp_path))}"))


PLACES = pytest.mark.parametrize("place", [in_memory, on_disk])


# ------------------------------------------------------------------------------------------------ versions
@PLACES
@settings(max_examples=40)
@given(steps=st.lists(CHANGES, min_size=1, max_size=6))
def test_partition_sees_its_last_versions(tmp_path: Path, place: Any, steps: list[dict[Any, Any]]) -> None:
    partition = StatePartition(timed=False)
    place(tmp_path, partition)
    states: list[dict[Any, Any]] = [{}]
    for n, values in enumerate(steps):
        partition.advance(n + 1, changes_of(values), previous=n or None)
        states.append(applied(states[-1], values))
        for back in range(3):
            version = n + 1 - back
            if version < 0:
                continue
            assert partition.sees(version or None)
            assert seen(partition, version or None) == states[version]
            view = partition.view(version or None)
            assert all(thaw(view.get(key, GONE)) == value for key, value in states[version].items())
        assert not partition.sees(n + 2)
        assert n < 2 or not partition.sees(n - 2 or None)
    partition.close()


@PLACES
@settings(max_examples=30)
@given(steps=st.lists(CHANGES, min_size=3, max_size=3), other=CHANGES)
def test_partition_goes_on_from_an_earlier_version_when_one_was_given_up(
    tmp_path: Path, place: Any, steps: list[dict[Any, Any]], other: dict[Any, Any]
) -> None:
    directory = tmp_path / f"segments-{len(os.listdir(tmp_path))}"
    directory.mkdir()
    partition = StatePartition(timed=False)
    place(tmp_path, partition)
    for n, values in enumerate(steps):
        partition.advance(n + 1, changes_of(values), previous=n or None)
        names = partition.store(str(directory), f"v{n}")
    partition.advance(9, changes_of(other), previous=1)
    expected = applied(applied({}, steps[0]), other)
    assert seen(partition, 9) == expected
    assert seen(partition, 1) == applied({}, steps[0])
    assert not partition.sees(2) and not partition.sees(3)
    names = partition.store(str(directory), "v9")
    restored = StatePartition(timed=False)
    restored.restore(str(directory), 9, names)
    assert seen(restored, 9) == expected
    partition.close()


@PLACES
def test_idle_keys_are_those_whose_entry_is_older_in_each_version_that_is_seen(tmp_path: Path, place: Any) -> None:
    partition = StatePartition(timed=True)
    place(tmp_path, partition)
    partition.advance(10, changes_of({"a": 1, "b": [2], "c": 3}, time_ms=10), previous=None)
    partition.advance(20, changes_of({"a": 2, "c": None}, time_ms=20), previous=10)
    assert sorted(partition.view(10).idle(20)) == ["a", "b", "c"]
    assert partition.view(20).idle(20) == ["b"]
    assert partition.view(20).idle(10) == []
    partition.advance(30, {"b": GONE}, previous=20)
    partition.swept(30, 20)
    assert partition.view(20).idle(20) == ["b"]  # it can be evaluated again
    assert partition.view(30).idle(20) == []
    for version in (40, 50, 60):
        partition.advance(version, {}, previous=version - 10)
        partition.swept(version, 20)
    assert partition.view(60).idle(30) == ["a"]
    partition.close()


# ------------------------------------------------------------------------------------------------ storing
@pytest.mark.parametrize("timed", [False, True])
@PLACES
def test_every_version_stored_is_restored_and_stands_on_few_segments(tmp_path: Path, place: Any, timed: bool) -> None:
    segments = tmp_path / "segments"
    segments.mkdir()
    versions, keys = 200, 500
    partition = StatePartition(timed=timed)
    place(tmp_path, partition)
    begun = {key: key for key in range(keys)}
    partition.advance(1, changes_of(begun, time_ms=1 if timed else None), previous=None)
    states = {1: begun}
    stored = {1: partition.store(str(segments), "v1")}
    for version in range(2, versions):
        key = version * 7 % keys
        values: dict[Any, Any] = {key * 3 % keys: version, ("new", version % 9): version}
        values[key] = None if version % 5 == 0 else [version]
        changes = changes_of(values, time_ms=version if timed else None)
        partition.advance(version, changes, previous=version - 1)
        states[version] = applied(states[version - 1], values)
        stored[version] = partition.store(str(segments), f"v{version}")
    assert max(map(len, stored.values())) <= 1 + 3 * FANOUT  # an image, and three levels of changes
    written = sum(path.stat().st_size for path in segments.iterdir())
    assert written < versions * os.path.getsize(segments / "v1") / 5  # far from an image each
    for version, names in stored.items():
        restored = StatePartition(timed=timed)
        restored.restore(str(segments), version, names)
        entries = dict(restored.view(version).items())
        assert {key: thaw(entry[0] if timed else entry) for key, entry in entries.items()} == states[version]
        if timed:
            idle = {key for key, entry in entries.items() if entry[1] < version}
            assert set(restored.view(version).idle(version)) == idle
    partition.close()


def test_partition_goes_on_from_its_restored_segments(tmp_path: Path) -> None:
    partition = StatePartition(timed=False)
    partition.advance(1, changes_of(dict.fromkeys(range(100), 1)), previous=None)
    names = partition.store(str(tmp_path), "v1")
    restored = StatePartition(timed=False)
    restored.restore(str(tmp_path), 1, names)
    restored.advance(2, changes_of({0: None, 1: 2}), previous=1)
    names = restored.store(str(tmp_path), "v2")
    assert names == ("v1", "v2")
    again = StatePartition(timed=False)
    again.restore(str(tmp_path), 2, names)
    assert seen(again, 2) == {1: 2, **dict.fromkeys(range(2, 100), 1)}


def test_version_that_could_not_be_stored_is_in_the_next_segment(tmp_path: Path) -> None:
    partition = StatePartition(timed=False)
    partition.advance(1, changes_of({"a": 1}), previous=None)
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        partition.store(str(tmp_path / "file"), "v1")
    partition.advance(2, changes_of({"b": 2}), previous=1)
    names = partition.store(str(tmp_path), "v2")
    restored = StatePartition(timed=False)
    restored.restore(str(tmp_path), 2, names)
    assert seen(restored, 2) == {"a": 1, "b": 2}


def test_restoring_names_the_segment_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SparkException, match=f"its segment {tmp_path}/v1 is missing"):
        StatePartition(timed=False).restore(str(tmp_path), 1, ["v1"])


def test_encrypted_segment_is_restored_by_its_key_alone(tmp_path: Path) -> None:
    ours, other = Cipher(b"a" * 32), Cipher(b"b" * 32)
    partition = StatePartition(timed=False)
    partition.advance(1, {"key-7": "entry-7"}, previous=None)
    names = partition.store(str(tmp_path), "v1", ours)
    data = bytearray((tmp_path / "v1").read_bytes())
    assert b"key-7" not in data and b"entry-7" not in data

    def restored(cipher: Cipher | None) -> dict[Any, Any]:
        partition = StatePartition(timed=False)
        partition.restore(str(tmp_path), 1, names, cipher=cipher)
        return seen(partition, 1)

    assert restored(ours) == {"key-7": "entry-7"}
    for wrong in (other, None):
        with pytest.raises(WrongKeyException, match=f"the state's segment {tmp_path}/v1 is encrypted with the key"):
            restored(wrong)
    data[-1] ^= 1
    (tmp_path / "v1").write_bytes(data)
    with pytest.raises(SparkException, match=f"the state's segment {tmp_path}/v1 is damaged, or was changed"):
        restored(ours)
