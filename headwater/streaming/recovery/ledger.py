"""The ledger: what must be known of a streaming application to go on after its driver has died.

- It changes by entries only, and `apply` is the one place where they take effect: live, and when a log is replayed.
- An entry is durable before anything relies on it: a receiver hears that its block is taken, a batch's jobs start, a
  batch's data is forgotten.
- An image and the entries after it make the same ledger as all entries did. Both are JSON: they outlive the code.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from headwater.base.exhaustive import assert_never
from headwater.errors import SparkException
from headwater.streaming.recovery.segment import LogPosition

FORMAT = 2
FORMATS_READ = (1, 2)  # the first knew no sources


class Block(NamedTuple):
    """A block that a receiver has stored. In JSON it is an array of its fields, and so is its position."""

    id: str
    records: int  # -1: not counted
    undecodable: int  # its text lines that aren't UTF-8
    position: LogPosition | None  # in a receiver's log; None: it is in none, and dies with those who hold it

    @classmethod
    def of(cls, fields: Sequence[Any]) -> Block:
        """The block that JSON holds; one that is a `Block` already stays as it is."""
        block_id, records, undecodable, position = fields
        return cls(block_id, records, undecodable, None if position is None else LogPosition(*position))

    def without(self, paths: Collection[str]) -> Block:
        """The block, now that these segments of logs are gone."""
        is_gone = self.position is not None and self.position.path in paths
        return self._replace(position=None) if is_gone else self


# ------------------------------------------------------------------------------------------------ entries
class Started(NamedTuple):
    """A driver begins, with these inputs; what others brought and stored isn't kept, nor blocks that are in no log.

    `states`: by uid, how many partitions a state has, and the version that it goes on from (None: it begins anew).
    `sources`: what these streams are, by uid: see `matching`.
    """

    inputs: list[str]
    states: Mapping[str, tuple[int, int | None]]
    sources: Mapping[str, Sequence[str]] = {}


class BlockAdded(NamedTuple):
    """A receiver's block is stored; no batch has it yet."""

    stream: str
    block: Block


class LogsLost(NamedTuple):
    """Segments of a receiver's log are gone: the blocks that stood there are in no log any more."""

    stream: str
    paths: list[str]


class BatchBegun(NamedTuple):
    """What each input stream brings into a batch: JSON, by the stream's uid.

    `blocks`: ids of the waiting blocks that the batch takes. `memory`: changes of what a stream must know beyond the
    remembered batches, JSON by key; None where it may forget.
    """

    time_ms: int
    inputs: Mapping[str, Any]
    blocks: Mapping[str, list[str]]
    memory: Mapping[str, Mapping[str, Any]]


class BatchesAmended(NamedTuple):
    """What batches have brought is less than was said when they began: (stream, batch time, data); see `BatchBegun`."""

    inputs: list[list[Any]]
    memory: Mapping[str, Mapping[str, Any]]


class VersionsStored(NamedTuple):
    """Versions of states: (uid, version, partition, segments)."""

    versions: list[list[Any]]


class BatchDone(NamedTuple):
    """All outputs of a batch succeeded."""

    time_ms: int


class BatchDropped(NamedTuple):
    """A begun batch is not to be run again: it did not take place. What it brought was taken from its source."""

    time_ms: int


class Forgotten(NamedTuple):
    """What came before isn't needed: batches up to a time, by the input's uid, and all versions but those listed.

    Batches up to `given_up_ms` aren't run again, even if they have failed.
    """

    inputs: Mapping[str, int]
    versions: Mapping[str, list[int]]
    given_up_ms: int


Entry = (
    Started
    | BlockAdded
    | LogsLost
    | BatchBegun
    | BatchesAmended
    | VersionsStored
    | BatchDone
    | BatchDropped
    | Forgotten
)

_ENTRIES: dict[str, type[Entry]] = {entry.__name__: entry for entry in get_args(Entry)}


def encode_entry(entry: Entry) -> bytes:
    """An entry's bytes in a log."""
    return json.dumps([type(entry).__name__, *entry], separators=(",", ":")).encode()


def decode_entry(data: bytes) -> Entry:
    """The entry that `encode_entry` wrote.

    Raises:
        SparkException: it is of a kind that this version doesn't know.
    """
    name, *values = json.loads(data)
    if name not in _ENTRIES:
        raise SparkException(f"an entry {name!r} of a log: it was written by a later version")
    entry = _ENTRIES[name](*values)
    return entry._replace(block=Block.of(entry.block)) if isinstance(entry, BlockAdded) else entry


# ------------------------------------------------------------------------------------------------ the ledger
class Ledger:
    """See above. One thread applies entries; others may not look meanwhile.

    Args:
        batch_ms: the batch interval.
        zero_ms: the application's zero time, which a restart keeps.
    """

    def __init__(self, batch_ms: int, zero_ms: int) -> None:
        self.batch_ms = batch_ms
        self.zero_ms = zero_ms
        self.generated_ms = zero_ms  # the latest batch that has begun
        self.pending: dict[int, None] = {}  # batches with an output that hasn't succeeded, ascending
        self.waiting: dict[str, list[Block]] = {}  # stream -> blocks that no batch has
        # stream -> batch -> what it brought, as long as that is needed; a receiver's: its blocks, see `received`
        self.inputs: dict[str, dict[int, Any]] = {}
        self.memory: dict[str, dict[str, Any]] = {}  # stream -> what it must know beyond them
        self.streams: list[str] = []  # the inputs of the driver that began last
        self.sources: dict[str, Sequence[str]] = {}  # what its inputs and states are; empty: that isn't known
        self.skipped: list[tuple[int, int]] = []  # (after, before): between them no batch took place; ascending
        self.partitions: dict[str, int] = {}  # state -> how many it has
        self.versions: dict[str, dict[int, dict[int, list[str]]]] = {}  # state -> version -> partition -> segments

    def apply(self, entry: Entry) -> None:
        """Take an entry."""
        match entry:
            case Started():
                self._start(entry)
            case BlockAdded(stream, block):
                self.waiting.setdefault(stream, []).append(block)
            case LogsLost():
                self._lose(entry)
            case BatchBegun():
                self._begin(entry)
            case BatchesAmended(inputs, memory):
                for stream, time_ms, data in inputs:
                    if time_ms in self.inputs.get(stream, {}):
                        self.inputs[stream][time_ms] = data
                self._remember(memory)
            case VersionsStored(versions):
                for state, version, partition, segments in versions:
                    self.versions.setdefault(state, {}).setdefault(version, {})[partition] = segments
            case BatchDone(time_ms):
                self.pending.pop(time_ms, None)
            case BatchDropped(time_ms):
                self.pending.pop(time_ms, None)
                self.skipped = sorted([*self.skipped, (time_ms - self.batch_ms, time_ms + self.batch_ms)])
            case Forgotten():
                self._forget(entry)
            case _:
                assert_never(entry, "an entry of the ledger")

    def _start(self, entry: Started) -> None:
        streams = set(entry.inputs)
        self.streams = list(entry.inputs)
        self.sources = dict(entry.sources)
        self.waiting = {
            stream: [block for block in blocks if block.position is not None]
            for stream, blocks in self.waiting.items()
            if stream in streams
        }
        self.inputs = {stream: batches for stream, batches in self.inputs.items() if stream in streams}
        self.memory = {stream: known for stream, known in self.memory.items() if stream in streams}
        self.partitions = {state: partitions for state, (partitions, _) in entry.states.items()}
        self.versions = {
            state: {version: self.versions[state][version]}
            for state, (_, version) in entry.states.items()
            if version is not None
        }

    def _begin(self, entry: BatchBegun) -> None:
        time_ms = entry.time_ms
        if time_ms > self.generated_ms + self.batch_ms:
            self.skipped.append((self.generated_ms, time_ms))
        self.generated_ms = max(self.generated_ms, time_ms)
        self.pending[time_ms] = None
        for stream, data in entry.inputs.items():
            self.inputs.setdefault(stream, {})[time_ms] = data
        for stream, ids in entry.blocks.items():
            waiting, taken = self.waiting.get(stream, []), set(ids)
            self.inputs.setdefault(stream, {})[time_ms] = [block for block in waiting if block.id in taken]
            self.waiting[stream] = [block for block in waiting if block.id not in taken]
        self._remember(entry.memory)

    def _lose(self, entry: LogsLost) -> None:
        stream, paths = entry
        if stream in self.waiting:
            self.waiting[stream] = [block.without(paths) for block in self.waiting[stream]]
        for time_ms, blocks in self.received(stream).items():
            self.inputs[stream][time_ms] = [block.without(paths) for block in blocks]

    def _remember(self, memory: Mapping[str, Mapping[str, Any]]) -> None:
        for stream, changes in memory.items():
            known = self.memory.setdefault(stream, {})
            for key, data in changes.items():
                if data is None:
                    known.pop(key, None)
                else:
                    known[key] = data

    def _forget(self, entry: Forgotten) -> None:
        for stream, until_ms in entry.inputs.items():
            batches = self.inputs.get(stream, {})
            for time_ms in [t for t in batches if t <= until_ms]:
                del batches[time_ms]
        for state, wanted in entry.versions.items():
            held = self.versions.get(state, {})
            for version in [v for v in held if v not in wanted]:
                del held[version]
        for time_ms in [t for t in self.pending if t <= entry.given_up_ms]:
            del self.pending[time_ms]
        needed_ms = min(entry.inputs.values(), default=self.zero_ms)
        self.skipped = [(after, before) for after, before in self.skipped if before > needed_ms]

    # -------------------------------------------------------------------------------------------- questions
    def missed(self, until_ms: int) -> list[int]:
        """The batches to run before going on at `until_ms`: pending ones, and those since the last that began."""
        down = range(self.generated_ms + self.batch_ms, until_ms, self.batch_ms)
        return sorted({*(t for t in self.pending if t < until_ms), *down})

    def received(self, stream: str) -> dict[int, list[Block]]:
        """The blocks that each batch of a receiver's stream is made of, by batch time."""
        return {time_ms: [Block.of(each) for each in data] for time_ms, data in self.inputs.get(stream, {}).items()}

    def blocks(self, stream: str) -> list[Block]:
        """All blocks of a receiver's stream: those that batches are made of, and those that wait for one."""
        return [*(each for blocks in self.received(stream).values() for each in blocks), *self.waiting.get(stream, ())]

    def positions(self, stream: str) -> list[LogPosition]:
        """Where the blocks of a receiver's stream are in its log, as far as they are."""
        return [block.position for block in self.blocks(stream) if block.position is not None]

    def check(self) -> None:
        """Assert what is always true."""
        assert all(t <= self.generated_ms for t in self.pending)
        assert list(self.pending) == sorted(self.pending)
        assert self.skipped == sorted(self.skipped)
        for stream, blocks in self.waiting.items():
            ids = [block.id for block in blocks]
            assert len(ids) == len(set(ids)), stream

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
            "memory": self.memory,
            "streams": self.streams,
            "sources": self.sources,
            "skipped": self.skipped,
            "partitions": self.partitions,
            "versions": self.versions,
        }

    @classmethod
    def from_image(cls, image: Mapping[str, Any]) -> Ledger:
        """The ledger of an image, as JSON gives it back."""
        ledger = cls(image["batch_ms"], image["zero_ms"])
        ledger.generated_ms = image["generated_ms"]
        ledger.pending = dict.fromkeys(image["pending"])
        ledger.waiting = {stream: [Block.of(each) for each in blocks] for stream, blocks in image["waiting"].items()}
        ledger.inputs = {stream: _by_number(batches) for stream, batches in image["inputs"].items()}
        ledger.memory = {stream: dict(known) for stream, known in image["memory"].items()}
        ledger.streams = list(image["streams"])
        ledger.sources = dict(image.get("sources", {}))
        ledger.skipped = [(after, before) for after, before in image["skipped"]]
        ledger.partitions = dict(image["partitions"])
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
