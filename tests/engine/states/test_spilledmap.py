"""The map on disk against a dict."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.base.cipher import Cipher
from headwater.base.hashing import portable_hash
from headwater.engine.states.spilledmap import SpilledMap
from headwater.errors import SparkException

KEYS = st.one_of(st.integers(-2, 3), st.sampled_from([True, 1.0, None, "a", b"a", (1, "a"), (1.0, "a"), ""]))
# Equal keys and keys of one bucket: 2**61 - 1 hashes as 0.
STEPS = st.lists(st.tuples(st.sampled_from(["set", "pop", "get"]), st.one_of(KEYS, st.just(2**61 - 1)), st.integers()))


CIPHER = Cipher(bytes(32))


def opened(tmp_path: Path, entries: dict[Any, Any], cipher: Cipher | None = None) -> SpilledMap:
    return SpilledMap(str(tmp_path / f"map-{len(os.listdir(tmp_path))}"), entries, cipher)


@settings(max_examples=60)
@given(begun=st.dictionaries(KEYS, st.text()), steps=STEPS, cipher=st.sampled_from([None, CIPHER]))
def test_map_holds_what_a_dict_holds(
    tmp_path: Path, begun: dict[Any, Any], steps: list[Any], cipher: Cipher | None
) -> None:
    expected = dict(begun)
    held = opened(tmp_path, begun, cipher)
    for step, key, value in steps:
        if step == "set":
            held[key] = expected[key] = value
        elif step == "pop":
            assert held.pop(key, "none") == expected.pop(key, "none")
        assert held.get(key, "none") == expected.get(key, "none")
        assert len(held) == len(expected)
    assert dict(held.items()) == expected
    assert sorted(map(repr, held.items())) == sorted(map(repr, expected.items()))  # the keys that came first stay
    held.close()


def test_map_holds_what_it_was_given_when_it_has_committed_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headwater.engine.states.spilledmap._CHANGES_PER_COMMIT", 7)
    held = opened(tmp_path, dict.fromkeys(range(100), "x"))
    for key in range(0, 100, 2):
        held.pop(key)
    assert dict(held.items()) == dict.fromkeys(range(1, 100, 2), "x")
    held.close()


def test_reader_is_told_when_the_map_changes_under_it(tmp_path: Path) -> None:
    held = opened(tmp_path, {"a": 1, "b": 2})
    items = held.items()
    next(iter(items))
    held["c"] = 3
    with pytest.raises(SparkException, match="persist the stream of the state"):
        list(items)
    held.close()


def test_map_leaves_nothing_behind_when_it_is_closed(tmp_path: Path) -> None:
    opened(tmp_path, {"a": 1}).close()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("cipher", [None, CIPHER], ids=["plain", "encrypted"])
def test_keys_and_entries_can_be_read_on_disk_unless_they_are_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cipher: Cipher | None
) -> None:
    monkeypatch.setattr("headwater.engine.states.spilledmap._CHANGES_PER_COMMIT", 7)
    held = opened(tmp_path, {f"key-{i}": f"entry-{i}" for i in range(70)}, cipher)
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    address = (portable_hash("key-7") & 2**64 - 1).to_bytes(8, "big")
    assert [text in written for text in (b"key-7", b"entry-7", address)] == [cipher is None] * 3
    held.close()
