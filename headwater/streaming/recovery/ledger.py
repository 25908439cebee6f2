"""The ledger: what must be known of a streaming application to go on after its driver has died.

- It changes by entries only, and `apply` is the one place where they take effect: live, and when a log is replayed.
- An entry is durable before anything relies on it: a receiver hears that its block is taken, a batch's jobs start, a
  batch's data is forgotten.
- An image and the entries after it make the same ledger as all entries did. Both are JSON: they outlive the code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from headwater.errors import SparkException

FORMAT = 1


# ------------------------------------------------------------------------------------------------ entries
class BlockAdded(NamedTuple):
    """A receiver's block is stored; no batch has it yet. `block` is what `ReceivedBlock` is made of."""

    stream: str
    block: list[Any]


class BatchBegun(NamedTuple):
    """What each input stream brings into a batch: JSON, by the stream's uid.

    `blocks`: how many of the blocks that wait it takes, by the stream's uid; the longest waiting ones.
    """

    time_ms: int
    inputs: Mapping[str, Any]
    blocks: Mapping[str, int]


class VersionsStored(NamedTuple):
    """Versions of states: (uid, version, partition, segments)."""

    versions: list[list[Any]]


class BatchDone(NamedTuple):
    """All outputs of a batch succeeded."""

    time_ms: int


class Forgotten(NamedTuple):
    """Nobody needs what came before: batches up to a time, by the input's uid, and all versions but those listed."""

    inputs: Mapping[str, int]
    versions: Mapping[str, list[int]]


_ENTRIES = {entry.__name__: entry for entry in (BlockAdded, BatchBegun, VersionsStored, BatchDone, Forgotten)}


def encode_entry(entry: Any) -> bytes:
    """An entry's bytes in a log."""
    return json.dumps([type(entry).__name__, *entry], separators=(",", ":")).encode()


def decode_entry(data: bytes) -> Any:
    """The entry that `encode_entry` wrote.

    Raises:
        SparkException: it is of a kind that this version doesn't know.
    """
    name, *values = json.loads(data)
    if name not in _ENTRIES:
        raise SparkException(f"an entry {name!r} of a log: it was written by a later version")
    return _ENTRIES[name](*values)


# ------------------------------------------------------------------------------------------------ the ledger
class Ledger:
    """See the module's text. One thread applies entries; others may not look meanwhile.

    Args:
        batch_ms: the batch interval.
        zero_ms: the application's zero time, which a restart keeps.
    """

    def __init__(self, batch_ms: int, zero_ms: int) -> None:
        self.batch_ms = batch_ms
        self.zero_ms = zero_ms
        self.generated_ms = zero_ms  # the latest batch that has begun
        self.pending: dict[int, None] = {}  # batches with an output that hasn't succeeded, ascending
        self.waiting: dict[str, list[list[Any]]] = {}  # stream -> blocks that no batch has
        self.inputs: dict[str, dict[int, Any]] = {}  # stream -> batch -> what it brought; of those still needed
        self.versions: dict[str, dict[int, dict[int, list[str]]]] = {}  # state -> version -> partition -> segments

    def apply(self, entry: Any) -> None:
        """Take an entry."""
        match entry:
            case BlockAdded(stream, block):
                self.waiting.setdefault(stream, []).append(block)
            case BatchBegun(time_ms, inputs, blocks):
                self.generated_ms = max(self.generated_ms, time_ms)
                self.pending[time_ms] = None
                for stream, data in inputs.items():
                    self.inputs.setdefault(stream, {})[time_ms] = data
                for stream, number in blocks.items():
                    waiting = self.waiting.get(stream, [])
                    self.inputs.setdefault(stream, {})[time_ms] = waiting[:number]
                    del waiting[:number]
            case VersionsStored(versions):
                for state, version, partition, segments in versions:
                    self.versions.setdefault(state, {}).setdefault(version, {})[partition] = segments
            case BatchDone(time_ms):
                self.pending.pop(time_ms, None)
            case Forgotten(inputs, kept):
                for stream, until_ms in inputs.items():
                    batches = self.inputs.get(stream, {})
                    for time_ms in [t for t in batches if t <= until_ms]:
                        del batches[time_ms]
                for state, wanted in kept.items():
                    held = self.versions.get(state, {})
                    for version in [v for v in held if v not in wanted]:
                        del held[version]
            case _:
                raise TypeError(f"not an entry of the ledger: {entry!r}")

    # -------------------------------------------------------------------------------------------- questions
    def complete_versions(self, state: str, partitions: int) -> list[int]:
        """The versions of a state of which all partitions are stored, ascending."""
        return sorted(v for v, stored in self.versions.get(state, {}).items() if len(stored) == partitions)

    def missed(self, until_ms: int) -> list[int]:
        """The batches to run before going on at `until_ms`: pending ones, and those since the last that began."""
        down = range(self.generated_ms + self.batch_ms, until_ms, self.batch_ms)
        return sorted({*(t for t in self.pending if t < until_ms), *down})

    def check(self) -> None:
        """Assert what is always true."""
        assert all(t <= self.generated_ms for t in self.pending)
        assert list(self.pending) == sorted(self.pending)

    # -------------------------------------------------------------------------------------------- images
    def image(self) -> dict[str, Any]:
        """All of it, as JSON can hold it; keys that are numbers become text."""
        return {
            "format": FORMAT,
            "batch_ms": self.batch_ms,
            "zero_ms": self.zero_ms,
            "generated_ms": self.generated_ms,
            "pending": list(self.pending),
            "waiting": self.waiting,
            "inputs": self.inputs,
            "versions": self.versions,
        }

    @classmethod
    def from_image(cls, image: Mapping[str, Any]) -> Ledger:
        """The ledger of an image, as JSON gives it back."""
        ledger = cls(image["batch_ms"], image["zero_ms"])
        ledger.generated_ms = image["generated_ms"]
        ledger.pending = dict.fromkeys(image["pending"])
        ledger.waiting = {stream: list(blocks) for stream, blocks in image["waiting"].items()}
        ledger.inputs = {stream: _by_number(batches) for stream, batches in image["inputs"].items()}
        ledger.versions = {
            state: {version: _by_number(stored) for version, stored in _by_number(versions).items()}
            for state, versions in image["versions"].items()
        }
        return ledger


def replay(ledger: Ledger, entries: Iterable[bytes]) -> Ledger:
    """The ledger after the entries of a log."""
    for data in entries:
        ledger.apply(decode_entry(data))
    return ledger


def _by_number(mapping: Mapping[str, Any]) -> dict[int, Any]:
    return {int(key): value for key, value in mapping.items()}
