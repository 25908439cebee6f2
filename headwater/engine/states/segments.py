"""Segments, the stored pieces of versions: which ones a version stands on, and their bytes (docs/formats/state.md).

- A segment has what was changed since the one below, or all entries: then it is an image, and stands alone.
- `FANOUT` segments of a level are merged into one of the next. So a version stands on few, and each change is
  written again a few times only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple
from zlib import crc32

from headwater.base.pickling import dump_records, load_records
from headwater.engine.states.entries import GONE, Frozen
from headwater.engine.successors import Successors
from headwater.errors import SparkException

# Segments of one level before they are merged: few files to read, and log8(changes) times written.
FANOUT = 8
# The level of an image, which is never merged.
IMAGE = 255
_MAGIC = b"HWS\x01"  # the last byte is the format's version
_KEY_SECTIONS, _FROZEN_VALUES = (0, 3, 6), 4


class Segment(NamedTuple):
    """What a partition knows of a segment that it stands on."""

    name: str
    level: int
    keys: frozenset[Any] | None  # that were changed; None: all of them, it's an image
    size: int  # bytes


def next_segment(
    below: Sequence[Segment], changed: Iterable[Any], *, entries: int
) -> tuple[list[Segment], set[Any] | None, int]:
    """What a partition's next segment is: (the segments that it is put upon, its keys, its level).

    Args:
        below: the segments of the last stored version, oldest first.
        changed: the keys that were changed since.
        entries: how many there are. If half of them have changed, the segment is an image: its keys are None.
    """
    kept, keys, level = list(below), set(changed), 0
    while sum(segment.level == level for segment in kept) >= FANOUT - 1:
        while kept and kept[-1].level == level:
            keys.update(kept.pop().keys or ())
        level += 1
    if not kept or 2 * len(keys) >= entries:
        return [], None, IMAGE
    return kept, keys, level


class _Section(NamedTuple):
    """Entries of one sort."""

    keys: list[Any]
    values: list[Any]
    times: list[int]


def encode_segment(items: Iterable[tuple[Any, Any]], *, timed: bool, level: int) -> bytes:
    """A segment's bytes.

    Args:
        items: keys with their entries, or with `GONE`.
        timed: whether an entry is (value, time in ms).
        level: of the segment.
    """
    plain, frozen, gone = _Section([], [], []), _Section([], [], []), []
    for key, entry in items:
        if entry is GONE:
            gone.append(key)
            continue
        value = entry[0] if timed else entry
        if type(value) is Frozen:
            value = value.data
            keys, values, times = frozen
        else:
            keys, values, times = plain
        keys.append(key)
        values.append(value)
        if timed:
            times.append(entry[1])
    sections = [dump_records(section) for section in (*plain, *frozen, gone)]
    entries = len(plain.keys) + len(frozen.keys)
    head = {"timed": timed, "level": level, "entries": entries, "sections": [*map(len, sections)]}
    header = json.dumps(head).encode()
    body = b"".join((len(header).to_bytes(4, "little"), header, *sections))
    return b"".join((_MAGIC, crc32(body).to_bytes(4, "little"), body))


def decode_segment(
    data: bytes, path: str, successors: Successors | None = None
) -> tuple[int, Iterator[tuple[Any, Any]]]:
    """(level, keys with their entries or `GONE`) of a segment.

    Args:
        data: its bytes.
        path: where it is, for errors.
        successors: of the classes in segments of an earlier driver; None: there are none of those.

    Raises:
        SparkException: it isn't one of this version, or damaged; or the successors can't take over.
    """
    if data[: len(_MAGIC)] != _MAGIC:
        raise SparkException(f"{path} is no state segment of this version")
    body = memoryview(data)[8:]
    if not body or crc32(body) != int.from_bytes(data[4:8], "little"):
        raise SparkException(f"{path} is damaged: its checksum is wrong")
    at = 4 + int.from_bytes(body[:4], "little")
    header = json.loads(bytes(body[4:at]))
    pickled = []
    for size in header["sections"]:
        pickled.append(body[at : at + size])
        at += size
    sections = [*map(load_records, pickled)] if successors is None else _taken_over(pickled, successors, path)
    plain, frozen, gone = _Section(*sections[:3]), _Section(*sections[3:6]), sections[6]
    thawed = map(Frozen, frozen.values)
    if header["timed"]:
        entries: tuple[Iterable[Any], Iterable[Any]] = (zip(plain.values, plain.times), zip(thawed, frozen.times))
    else:
        entries = (plain.values, thawed)
    removed = ((key, GONE) for key in gone)
    return header["level"], chain(zip(plain.keys, entries[0]), zip(frozen.keys, entries[1]), removed)


def _taken_over(pickled: Sequence[memoryview], successors: Successors, path: str) -> list[Any]:
    """The sections of a segment that an earlier driver may have written."""
    try:
        sections = [
            (successors.load_keys if number in _KEY_SECTIONS else successors.load)(section)
            for number, section in enumerate(pickled)
        ]
        sections[_FROZEN_VALUES] = [*map(successors.renew, sections[_FROZEN_VALUES])]
    except Exception as error:
        raise SparkException(f"{path} can't be read by this program: {type(error).__name__}: {error}.") from error
    return sections


def checked(items: Iterable[tuple[Any, Any]], belongs: Callable[[Any], bool], path: str) -> Iterator[tuple[Any, Any]]:
    """What a segment holds, if its keys are in this partition for the program that takes it over.

    Raises:
        SparkException: a key isn't, or can't be hashed or compared by that program's code.
    """
    for key, entry in items:
        try:
            wrong = "" if belongs(key) else "belong into another partition"
            _ = key == copy.deepcopy(key)  # as it will be with the keys of batches: that must not raise
        except Exception as error:
            wrong = f"fail with {type(error).__name__}: {error}"
        if wrong:
            raise SparkException(
                f"{path} can't be taken over by this program: keys of the state, such as a {type(key).__name__}, "
                f"{wrong} by its code. Keep their __hash__ and the partition function, or begin the state anew under "
                "another uid."
            )
        yield key, entry
