"""Segments: which ones a version stands on, and what is read of their bytes."""

from __future__ import annotations

import json
import pickle
from typing import Any
from zlib import crc32

import pytest

from headwater.engine.states import GONE, Frozen
from headwater.engine.states.segments import FANOUT, IMAGE, Segment, decode_segment, encode_segment, next_segment
from headwater.errors import SparkException


# -------------------------------------------------------------------------------- what a version stands on
def change(level: int, *keys: int) -> Segment:
    return Segment(f"{level}-{keys}", level, frozenset(keys), 1)


ALL = Segment("image", IMAGE, None, 1)


def test_first_segment_is_an_image() -> None:
    assert next_segment([], {1}, entries=100) == ([], None, IMAGE)


def test_change_is_put_upon_the_segments_of_the_last_version() -> None:
    below = [ALL, change(0, 1)]
    assert next_segment(below, {2, 3}, entries=100) == (below, {2, 3}, 0)


def test_change_of_half_of_the_entries_is_an_image() -> None:
    assert next_segment([ALL], {1, 2}, entries=5) == ([ALL], {1, 2}, 0)
    assert next_segment([ALL], {1, 2}, entries=4) == ([], None, IMAGE)


def test_segments_of_a_level_are_merged_into_one_of_the_next() -> None:
    below = [ALL, *(change(0, key) for key in range(FANOUT - 1))]
    assert next_segment(below, {50}, entries=1000) == ([ALL], {*range(FANOUT - 1), 50}, 1)


def test_merged_segments_may_be_merged_again() -> None:
    ones = [change(1, key) for key in range(FANOUT - 1)]
    zeros = [change(0, key) for key in range(10, 9 + FANOUT)]
    assert next_segment([ALL, *ones, *zeros], {50}, entries=1000) == (
        [ALL],
        {*range(FANOUT - 1), *range(10, 9 + FANOUT), 50},
        2,
    )


def test_next_segment_leaves_what_it_is_asked_about_as_it_is() -> None:
    below, changed = [ALL, *(change(0, key) for key in range(FANOUT - 1))], {50}
    next_segment(below, changed, entries=1000)
    assert (len(below), changed) == (FANOUT, {50})


# ------------------------------------------------------------------------------------------------ bytes
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


def test_segment_has_the_bytes_that_the_page_of_the_format_shows() -> None:
    """What earlier releases have written is read."""
    sections = [pickle.dumps(section, protocol=5) for section in (["a"], [1], [], [b"data"], [b"pickle"], [], [("b",)])]
    head = {"timed": False, "level": 0, "entries": 2, "sections": [len(section) for section in sections]}
    header = json.dumps(head).encode()
    body = b"".join((len(header).to_bytes(4, "little"), header, *sections))
    level, items = decode_segment(b"HWS\x01" + crc32(body).to_bytes(4, "little") + body, "here")
    assert level == 0
    assert as_pairs(items) == as_pairs([("a", 1), (b"data", Frozen(b"pickle")), (("b",), GONE)])
