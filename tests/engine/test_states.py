"""State partitions: what versions they see, how they are stored and found again, and what a worker holds of them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.base.cipher import Cipher, KeySource, WrongKeyException, cipher_of
from headwater.engine.states import (
    FANOUT,
    GONE,
    Evolve,
    Frozen,
    LiveStates,
    StateDescription,
    StatePartition,
    decode_segment,
    encode_segment,
    freeze,
    same,
    thaw,
)
from headwater.errors import SparkException

KEYS = st.one_of(st.integers(0, 5), st.sampled_from([True, 1.0, None, "a", (1, "a")]))
CHANGES = st.dictionaries(KEYS, st.one_of(st.just(None), st.integers(), st.lists(st.integers(), max_size=2)))


def changes_of(values: dict[Any, Any], *, time_ms: int | None = None) -> dict[Any, Any]:
    """The changes that give keys these values; None removes one."""
    frozen = {key: GONE if value is None else freeze(value) for key, value in values.items()}
    if time_ms is None:
        return frozen
    return {key: entry if entry is GONE else (entry, time_ms) for key, entry in frozen.items()}


def applied(state: dict[Any, Any], values: dict[Any, Any]) -> dict[Any, Any]:
    state = dict(state)
    for key, value in values.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
    return state


def seen(partition: StatePartition, version: int | None) -> dict[Any, Any]:
    return {key: thaw(entry) for key, entry in partition.view(version).items()}


def in_memory(_tmp_path: Path, partition: StatePartition) -> None:
    pass


def on_disk(tmp_path: Path, partition: StatePartition) -> None:
    partition.spill(str(tmp_path / f"spilled-{len(os.listdir(tmp_path))}"))


PLACES = pytest.mark.parametrize("place", [in_memory, on_disk])


# ------------------------------------------------------------------------------------------------ entries
@pytest.mark.parametrize("value", [1, "a", None, 1.5, b"x", True, (1, "a"), (), [1, [2]], {"a": {1}}, ([],)])
def test_value_comes_back_from_its_entry(value: Any) -> None:
    assert thaw(freeze(value)) == value
    assert same(freeze(value), freeze(value)) or type(value) is tuple


def test_change_of_a_value_does_not_change_its_entry() -> None:
    value = [1]
    entry = freeze(value)
    value.append(2)
    thaw(entry).append(3)
    assert thaw(entry) == [1]


@pytest.mark.parametrize(
    ("entry", "other"), [(0.0, -0.0), (1, True), (1, 1.0), (float("nan"), float("nan")), ("a", "b")]
)
def test_entries_that_may_differ_are_not_the_same(entry: Any, other: Any) -> None:
    assert not same(entry, other)


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
def test_every_version_stored_is_restored_and_stands_on_few_segments(
    tmp_path: Path, place: Any, timed: bool
) -> None:
    segments = tmp_path / "segments"
    segments.mkdir()
    versions, keys = 400, 500
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
        partition.restore(str(tmp_path), 1, names, cipher)
        return seen(partition, 1)

    assert restored(ours) == {"key-7": "entry-7"}
    for wrong in (other, None):
        with pytest.raises(WrongKeyException, match=f"the state's segment {tmp_path}/v1 is encrypted with the key"):
            restored(wrong)
    data[-1] ^= 1
    (tmp_path / "v1").write_bytes(data)
    with pytest.raises(SparkException, match=f"the state's segment {tmp_path}/v1 is damaged, or was changed"):
        restored(ours)


# ------------------------------------------------------------------------------------------------ the file format
ITEMS = [("a", 1), ("b", Frozen(b"pickle")), (None, None), ("c", GONE), ((1, 2), (3, 4))]
TIMED = [("a", (1, 5)), ("b", (Frozen(b"pickle"), 6)), ("c", GONE)]


def as_pairs(items: Any) -> set[str]:
    return {repr((key, _shown(entry))) for key, entry in items}


def _shown(entry: Any) -> Any:
    if type(entry) is tuple:
        return tuple(map(_shown, entry))
    return entry.data if type(entry) is Frozen else entry


@pytest.mark.parametrize(("items", "timed"), [(ITEMS, False), (TIMED, True), ([], False), ([], True)])
def test_segment_is_read_as_it_was_written(items: Any, timed: bool) -> None:
    level, read = decode_segment(encode_segment(items, timed=timed, level=3), "here")
    assert level == 3
    assert as_pairs(read) == as_pairs(items)


def test_segment_begins_with_its_version_and_says_what_it_holds() -> None:
    data = encode_segment(TIMED, timed=True, level=3)
    assert data[:4] == b"HWS\x01"
    assert int.from_bytes(data[4:8], "little") == crc32(data[8:])
    size = int.from_bytes(data[8:12], "little")
    header = json.loads(data[12 : 12 + size])
    sections = header.pop("sections")
    assert header == {"timed": True, "level": 3, "entries": 2}
    assert len(sections) == 7
    assert 12 + size + sum(sections) == len(data)


def test_no_byte_of_a_segment_can_change_unnoticed() -> None:
    data = encode_segment(ITEMS, timed=False, level=0)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 0x41
        with pytest.raises(SparkException, match=r"^here is (no state segment of this version|damaged)"):
            decode_segment(bytes(damaged), "here")


def test_no_byte_of_a_segment_can_be_missing_unnoticed() -> None:
    data = encode_segment(ITEMS, timed=False, level=0)
    for size in range(len(data)):
        with pytest.raises(SparkException, match=r"^here is (no state segment of this version|damaged)"):
            decode_segment(data[:size], "here")


# ------------------------------------------------------------------------------------------------ what a worker holds
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
    monkeypatch.setattr("headwater.engine.spilledmap._CHANGES_PER_COMMIT", 7)
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




def test_partition_is_made_again_when_half_of_a_change_was_made(tmp_path: Path) -> None:
    class Torn(dict[Any, Any]):
        """Changes that can't be made to their end."""

        def items(self) -> Any:
            yield from list(super().items())[:1]
            raise OSError("no space left")

    live = LiveStates(1 << 30, str(tmp_path))
    tries = iter([Torn(a=1, b=1), {"a": 1, "b": 1}])
    state = StateDescription(0, str(tmp_path), "1")
    evolve = Evolve(state, None, 1, 0, lambda view, inputs: (next(tries), [len(list(view.items()))]), None, False)
    task: Any = SimpleNamespace(states=live)
    with pytest.raises(OSError, match="no space left"):
        evolve.compute(task, 0, [])
    assert list(evolve.compute(task, 0, [])) == [0]  # it began with an empty one
    held = live.find(0, 0, 1)
    assert held is not None and dict(held.view(1).items()) == {"a": 1, "b": 1}
