"""Keyed state: versions of a map per partition, each made from the one before by what a batch changes.

- The latest version lives in the heap of one worker; tasks on a partition go there (`Operator.pinned`). What a version
  replaced is kept for the last few, so that an earlier one can be seen, and evaluated, again.
- A version is stored as segments: its changes in a file of its own, upon older files. Eight segments of a level are
  merged into one of the next, so that a version has few and each change is rewritten a few times only. Any worker
  can go on from them. A segment is named in the task's reply and never written again; the driver removes it.
- An entry is immutable: atoms and tuples of atoms as they are, anything else pickled. So no function of a user can
  change a version that was there before it, and a version costs what it changes.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol
from zlib import crc32

from headwater.cipher import Cipher, KeySource, cipher_of, is_sealed, unsealed
from headwater.engine.lineage import Leaf, Operator, Records, TaskView, Thunk
from headwater.errors import SparkException
from headwater.serializers import dump_records, dumps, load_records, loads

if TYPE_CHECKING:
    from headwater.engine.spilledmap import SpilledMap
    from headwater.engine.successors import Successors

log = logging.getLogger(__name__)

# Segments of one level before they are merged: few files to read, and log8(changes) times written.
FANOUT = 8
_WHOLE = 255  # the level of a segment with all entries, which is never merged
# Versions before the latest that can be seen without a look at the segments.
UNDO_VERSIONS = 2
# What an entry weighs besides its pickled bytes: a slot of the dict, two objects.
_ENTRY_BYTES = 200
_MAGIC = b"HWS\x01"  # the last byte is the format's version
_ATOMS = frozenset({str, int, float, bool, type(None), bytes, complex})
_KEY_SECTIONS, _FROZEN_VALUES = (0, 3, 6), 4

#: Stands for "no entry", in a change for a removal.
GONE: Any = type("Gone", (), {"__slots__": (), "__repr__": lambda self: "GONE"})()


# ------------------------------------------------------------------------------------------------ entries
class Frozen:
    """A value that could be changed in place, as its pickled bytes."""

    __slots__ = ("data",)

    def __init__(self, data: bytes) -> None:
        self.data = data


def freeze(value: Any) -> Any:
    """A value as an entry."""
    kind = type(value)
    if kind in _ATOMS or (kind is tuple and _ATOMS.issuperset(map(type, value))):
        return value
    return Frozen(dumps(value))


def thaw(entry: Any) -> Any:
    """The value of an entry; a copy, if it can be changed."""
    return loads(entry.data) if type(entry) is Frozen else entry


def same(entry: Any, other: Any) -> bool:
    """Whether two entries are one for certain; numbers that are equal and differ (0.0, -0.0) are not."""
    if entry is other:
        return True
    kind = type(entry)
    if kind is not type(other):
        return False
    if kind is Frozen:
        return bool(entry.data == other.data)
    return kind is not tuple and kind is not complex and entry == other and (kind is not float or entry != 0.0)


# ------------------------------------------------------------------------------------------------ a version, to read
class View:
    """One version of a partition. `get(key, default)` gives an entry; nothing here may be changed."""

    def __init__(self, entries: dict[Any, Any] | SpilledMap, replaced: dict[Any, Any], idle: _IdleKeys | None) -> None:
        self._entries = entries
        self._replaced = replaced  # what the later versions have overwritten
        self._idle = idle
        self.get: Callable[[Any, Any], Any] = self._get if replaced else entries.get

    def _get(self, key: Any, default: Any) -> Any:
        entry = self._replaced.get(key, self)
        if entry is self:
            return self._entries.get(key, default)
        return default if entry is GONE else entry

    def settled(self) -> Iterable[tuple[Any, Any]]:
        """All keys with their entries, as they are now: to be read while the partition goes on to other versions."""
        items = self.items()
        return list(items) if isinstance(self._entries, dict) else items

    def items(self) -> Iterable[tuple[Any, Any]]:
        """All keys with their entries; to be read before anything else happens to the partition."""
        if not self._replaced:
            return self._entries.items()
        untouched = ((key, entry) for key, entry in self._entries.items() if key not in self._replaced)
        return chain(untouched, ((key, entry) for key, entry in self._replaced.items() if entry is not GONE))

    def idle(self, before_ms: int) -> list[Any]:
        """The keys of a timed state whose entry `(value, time in ms)` is older than that."""
        if self._idle is None:
            return [key for key, entry in self.items() if entry[1] < before_ms]
        get, never = self.get, (None, None)
        found = (
            key for time_ms, keys in self._idle.older(before_ms) for key in keys if get(key, never)[1] == time_ms
        )
        return list(dict.fromkeys(found))


class _IdleKeys:
    """Keys by the time of their entry, so that those that fall due are found without a look at the others.

    A key stays under all its times until they are dropped: readers look whether the entry still has that time.
    """

    def __init__(self) -> None:
        self._keys: defaultdict[int, list[Any]] = defaultdict(list)

    def add(self, changes: Iterable[tuple[Any, Any]]) -> None:
        for key, entry in changes:
            if entry is not GONE:
                self._keys[entry[1]].append(key)

    def older(self, before_ms: int) -> Iterator[tuple[int, list[Any]]]:
        for time_ms in sorted(self._keys):
            if time_ms >= before_ms:
                return
            yield time_ms, self._keys[time_ms]

    def drop(self, before_ms: int) -> None:
        for time_ms in [time_ms for time_ms in self._keys if time_ms < before_ms]:
            del self._keys[time_ms]


class Evolution(Protocol):
    """How a version follows from the one before; picklable, called in the worker, deterministic."""

    def __call__(self, view: View, inputs: Sequence[Iterator[Any]]) -> tuple[dict[Any, Any], list[Any]]:
        """The changes, key -> entry or `GONE`, and the records that the step gives.

        `inputs` are the records of the batch, one iterator a data parent.
        """


# ------------------------------------------------------------------------------------------------ a partition
class Segment(NamedTuple):
    """A stored piece of a version: a change of `keys`, or (None) all entries."""

    name: str
    level: int
    keys: frozenset[Any] | None
    size: int


class StatePartition:
    """The latest version of one partition. One thread at a time uses it: the worker's only one."""

    def __init__(self, *, timed: bool) -> None:
        self.version: int | None = None  # a batch time in ms; None: before the first
        self.entries: dict[Any, Any] | SpilledMap = {}
        self.segments: list[Segment] = []  # of the latest stored version, oldest first
        self._unstored: set[Any] = set()  # keys that were changed since
        self._undo: dict[int, tuple[int | None, dict[Any, Any]]] = {}  # version -> the one before, what it replaced
        self._timed = timed
        self._idle = _IdleKeys() if timed else None  # None also on disk, where idle keys are looked for
        self._swept: dict[int, int] = {}  # version -> times before this were looked at

    def sees(self, version: int | None) -> bool:
        """Whether that version can be viewed."""
        at = self.version
        while at != version:
            step = self._undo.get(at) if at is not None else None
            if step is None:
                return False
            at = step[0]
        return True

    def view(self, version: int | None) -> View:
        """That version, which it `sees`."""
        replaced: dict[Any, Any] = {}
        at = self.version
        while at != version:
            assert at is not None
            at, before = self._undo[at]
            replaced.update(before)
        return View(self.entries, replaced, self._idle)

    def advance(self, version: int, changes: dict[Any, Any], *, previous: int | None) -> None:
        """Make the version that follows from `previous`, which it `sees`; what came after that is undone.

        Later ones are there if a version was given up: its batch failed, here it did not.
        """
        while self.version != previous:
            self._undo_latest()
        entries, replaced = self.entries, {}
        get, pop = entries.get, entries.pop
        for key, entry in changes.items():
            replaced[key] = get(key, GONE)
            if entry is GONE:
                pop(key, None)
            else:
                entries[key] = entry
        self._undo[version] = self.version, replaced
        while len(self._undo) > UNDO_VERSIONS:
            del self._undo[next(iter(self._undo))]
        self.version = version
        self._unstored.update(changes)
        if self._idle is not None:
            self._idle.add(changes.items())

    def _undo_latest(self) -> None:
        assert self.version is not None
        self._swept.pop(self.version, None)
        self.version, replaced = self._undo.pop(self.version)
        for key, entry in replaced.items():
            if entry is GONE:
                self.entries.pop(key, None)
            else:
                self.entries[key] = entry
        self._unstored.update(replaced)
        if self._idle is not None:
            self._idle.add(replaced.items())

    def swept(self, version: int, before_ms: int) -> None:
        """That version's timeouts before a time were taken: they are kept as long as it can be evaluated again."""
        self._swept[version] = before_ms
        if self._idle is not None:
            for old in [v for v in self._swept if v not in self._undo]:
                self._idle.drop(self._swept.pop(old))

    def held_bytes(self) -> int:
        """What the entries take in memory, estimated from what their segments took on disk."""
        keys = sum(len(s.keys) if s.keys is not None else len(self.entries) for s in self.segments) or 1
        each = sum(s.size for s in self.segments) // keys
        return len(self.entries) * (each + _ENTRY_BYTES)

    def spill(self, path: str, cipher: Cipher | None = None) -> None:
        """Keep the entries in a map on disk from now on, encrypted if there is a cipher."""
        from headwater.engine.spilledmap import SpilledMap

        assert isinstance(self.entries, dict)
        self.entries, self._idle = SpilledMap(path, self.entries, cipher), None

    def close(self) -> None:
        """Remove what it has on disk, but for the segments."""
        if not isinstance(self.entries, dict):
            self.entries.close()

    # -------------------------------------------------------------------------------------------- storing
    def store(self, directory: str, name: str, cipher: Cipher | None = None) -> tuple[str, ...]:
        """Store the latest version as a new segment called `name`; returns the names of all that it stands on.

        It stands alone if others have been removed; where a look takes a network, that isn't noticed.

        Raises:
            OSError: it can't be written; what was changed goes into the next segment.
        """
        keys: set[Any] | None = set(self._unstored)
        below, level = list(self.segments), 0
        if not _are_there(directory, below):  # somebody has removed them
            below, keys = [], None
        while sum(segment.level == level for segment in below) >= FANOUT - 1:
            while below and below[-1].level == level:
                more = below.pop().keys
                keys = None if keys is None or more is None else keys | more
            level += 1
        if keys is None or not below or 2 * len(keys) >= len(self.entries):
            keys, below, level = None, [], _WHOLE
        data = self._encode(keys, level)
        _write_file(f"{directory}/{name}", data if cipher is None else cipher.sealed(data, name))
        self.segments = [*below, Segment(name, level, None if keys is None else frozenset(keys), len(data))]
        self._unstored.clear()
        return tuple(segment.name for segment in self.segments)

    def _encode(self, keys: Iterable[Any] | None, level: int) -> bytes:
        get = self.entries.get
        items = self.entries.items() if keys is None else ((key, get(key, GONE)) for key in keys)
        return encode_segment(items, timed=self._timed, level=level)

    def restore(
        self,
        directory: str,
        version: int,
        names: Sequence[str],
        cipher: Cipher | None = None,
        successors: Successors | None = None,
        belongs: Callable[[Any], bool] | None = None,
    ) -> None:
        """Make it a version as it was stored; it is empty so far.

        Args:
            directory: of the segments.
            version: its batch time in ms.
            names: of its segments, oldest first.
            cipher: of the application's key; None: there is none.
            successors: of the classes in segments of an earlier driver; None: there are none of those.
            belongs: whether a key belongs here; None: that is known.

        Raises:
            SparkException: a segment is missing or damaged, encrypted by another key, or a new program can't take it
                over.
        """
        entries = self.entries
        for name in names:
            data = _read_file(f"{directory}/{name}")
            if is_sealed(data):
                data = unsealed(cipher, data, name, f"the state's segment {directory}/{name}")
            level, items = decode_segment(data, f"{directory}/{name}", successors)
            if belongs is not None:
                items = _checked(items, belongs, f"{directory}/{name}")
            keys, number = set(), 0
            for key, entry in items:
                number += 1
                if level != _WHOLE:
                    keys.add(key)
                if entry is GONE:
                    entries.pop(key, None)
                else:
                    entries[key] = entry
            if number != (len(entries) if level == _WHOLE else len(keys)):
                raise SparkException(
                    f"{directory}/{name} can't be taken over by this program: different keys of the state have become "
                    "equal by its code. Keep their __eq__, or begin the state anew under another uid."
                )
            self.segments.append(Segment(name, level, None if level == _WHOLE else frozenset(keys), len(data)))
        self.version = version
        if self._idle is not None:
            self._idle.add(entries.items())


# ------------------------------------------------------------------------------------------------ the file format
def encode_segment(items: Iterable[tuple[Any, Any]], *, timed: bool, level: int) -> bytes:
    """A segment's bytes; see docs/formats/state.md."""
    plain: tuple[list[Any], list[Any], list[int]] = ([], [], [])
    frozen: tuple[list[Any], list[Any], list[int]] = ([], [], [])
    gone: list[Any] = []
    for key, entry in items:
        if entry is GONE:
            gone.append(key)
            continue
        if timed:
            value, time_ms = entry
            into = frozen if type(value) is Frozen else plain
            into[2].append(time_ms)
        else:
            value = entry
            into = frozen if type(value) is Frozen else plain
        into[0].append(key)
        into[1].append(value.data if into is frozen else value)
    sections = [dump_records(section) for section in (*plain, *frozen, gone)]
    entries = len(plain[0]) + len(frozen[0])
    head = {"timed": timed, "level": level, "entries": entries, "sections": [*map(len, sections)]}
    header = json.dumps(head).encode()
    body = b"".join((len(header).to_bytes(4, "little"), header, *sections))
    return b"".join((_MAGIC, crc32(body).to_bytes(4, "little"), body))


def decode_segment(
    data: bytes, path: str, successors: Successors | None = None
) -> tuple[int, Iterator[tuple[Any, Any]]]:
    """(level, keys with their entries or `GONE`) of a segment; of the successors of its classes, if they are given.

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
    if successors is None:
        sections = [*map(load_records, pickled)]
    else:
        sections = _taken_over(pickled, successors, path)
    plain_keys, plain_values, plain_times, frozen_keys, frozen_values, frozen_times, gone = sections
    thawed = map(Frozen, frozen_values)
    if header["timed"]:
        plain: Iterable[Any] = zip(plain_values, plain_times)
        frozen: Iterable[Any] = zip(thawed, frozen_times)
    else:
        plain, frozen = plain_values, thawed
    return header["level"], chain(zip(plain_keys, plain), zip(frozen_keys, frozen), ((key, GONE) for key in gone))


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


def _checked(
    items: Iterable[tuple[Any, Any]], belongs: Callable[[Any], bool], path: str
) -> Iterator[tuple[Any, Any]]:
    """What a segment holds, if its keys are in this partition for the program that takes it over."""
    for key, entry in items:
        try:
            wrong = "" if belongs(key) else "belong into another partition"
        except Exception as error:
            wrong = f"fail with {type(error).__name__}: {error}"
        if wrong:
            raise SparkException(
                f"{path} can't be taken over by this program: keys of the state, such as a {type(key).__name__}, "
                f"{wrong} by its code. Keep their __hash__ and the partition function, or begin the state anew under "
                "another uid."
            )
        yield key, entry


def _write_file(path: str, data: bytes) -> None:
    from headwater.filesystem import create_private, remove

    try:
        try:
            file = create_private(path)
        except FileNotFoundError:  # the directory was removed
            _make_parent(path)
            file = create_private(path)
        with file:
            file.write(data)
    except OSError:
        with contextlib.suppress(OSError):  # on a full disk others need the room
            remove(path)
        raise


def _make_parent(path: str) -> None:
    from headwater.filesystem import resolve_private

    system, resolved = resolve_private(path.rpartition("/")[0])
    with contextlib.suppress(FileExistsError):  # another partition's task was faster
        system.make_directory(resolved)


def _are_there(directory: str, segments: Iterable[Segment]) -> bool:
    """Whether these can be read, as far as that costs a call of the system's each and no more."""
    from headwater.filesystem import is_local, resolve

    if not is_local(directory):
        return True
    below = resolve(directory)[1]
    return all(os.path.exists(os.path.join(below, segment.name)) for segment in segments)


def _file_bytes(path: str) -> int:
    from headwater.filesystem import resolve

    filesystem, resolved = resolve(path)
    return filesystem.status(resolved).size if filesystem.exists(resolved) else 0


def _read_file(path: str) -> bytes:
    from headwater.filesystem import InvalidInputException, open_raw

    try:
        with open_raw(path) as file:
            return file.read()
    except InvalidInputException:
        raise SparkException(
            f"a state can't be restored: its segment {path} is missing. Old versions are removed when later batches are"
            " done: if a thread, or a notebook, uses a state's RDD of an earlier batch, keep batches longer by"
            " ssc.remember(seconds), called before start()."
        ) from None


# ------------------------------------------------------------------------------------------------ a worker's partitions
class LiveStates:
    """The state partitions in one worker's heap.

    Args:
        memory_limit: bytes that the entries of all partitions may take together; the largest go to disk above it.
        scratch: the directory for those.
        key: by which those, and the segments, are encrypted; None: they aren't.
    """

    def __init__(self, memory_limit: int, scratch: str, key: KeySource | None = None) -> None:
        self._key = key
        self._memory_limit = memory_limit
        self._scratch = scratch
        self._latest: dict[tuple[int, int], StatePartition] = {}  # by (state, partition)
        self._past: list[tuple[tuple[int, int], StatePartition]] = []  # earlier ones, for the task that runs
        self._numbers = count()

    @property
    def cipher(self) -> Cipher | None:
        """Of what is stored and put on disk, if that is encrypted."""
        return cipher_of(self._key)

    def find(self, state_id: int, partition: int, version: int | None) -> StatePartition | None:
        """A partition here that sees the version."""
        key = (state_id, partition)
        latest = self._latest.get(key)
        if latest is not None and latest.sees(version):
            return latest
        return next((past for where, past in self._past if where == key and past.sees(version)), None)

    def put(self, state_id: int, partition: int, made: StatePartition) -> None:
        """Hold a partition that was begun or restored; one that is newer stays the latest."""
        key = (state_id, partition)
        latest = self._latest.get(key)
        if latest is not None and (made.version or 0) <= (latest.version or 0):
            self._past.append((key, made))
            return
        if latest is not None:
            self._past.append((key, latest))  # the task may be reading it
        self._latest[key] = made

    def restore(self, state: StateDescription, partition: int, version: int, names: Sequence[str]) -> None:
        """Hold a version as it was stored; it goes to disk at once if its segments alone are over the limit."""
        made = StatePartition(timed=state.timed)
        if sum(_file_bytes(f"{state.directory}/{name}") for name in names) > self._memory_limit:
            made.spill(self._path(state.state_id, partition), self.cipher)
        partition_of = state.taken_over
        belongs = None if partition_of is None else (lambda key: partition_of(key) == partition)
        made.restore(state.directory, version, names, self.cipher, state.successors, belongs)
        self.put(state.state_id, partition, made)

    def _path(self, state_id: int, partition: int) -> str:
        return os.path.join(self._scratch, f"state-{state_id}-{partition}-{os.getpid()}-{next(self._numbers)}")

    def relieve(self) -> None:
        """Put the largest partitions on disk as long as all together take too much memory."""
        weights = {key: held.held_bytes() for key, held in self._latest.items() if isinstance(held.entries, dict)}
        total = sum(weights.values())
        for key in sorted(weights, key=weights.__getitem__, reverse=True):
            if total <= self._memory_limit:
                return
            log.info("state %d, partition %d goes to disk", *key)
            self._latest[key].spill(self._path(*key), self.cipher)
            total -= weights[key]

    def end_task(self) -> None:
        """What only the task that has ended needed may go."""
        for _, past in self._past:
            past.close()
        self._past.clear()

    def drop(self, state_id: int, partition: int) -> None:
        """Hold a partition no more, in whatever version: it can be restored, or made again."""
        key = (state_id, partition)
        dropped = [past for where, past in self._past if where == key]
        self._past = [(where, past) for where, past in self._past if where != key]
        if key in self._latest:
            dropped.append(self._latest.pop(key))
        for held in dropped:
            held.close()

    def forget(self, state_id: int) -> None:
        """Drop all partitions of a state."""
        for key in [key for key in self._latest if key[0] == state_id]:
            self._latest.pop(key).close()


# ------------------------------------------------------------------------------------------------ operators
class StateDescription(NamedTuple):
    """What tasks must know of a state."""

    state_id: int
    directory: str  # of its segments, on any file system
    epoch: str  # the part of it that this run writes to
    timed: bool = False  # entries are (value, time in ms), and idle keys can be asked for
    successors: Successors | None = None  # of the classes in segments of earlier drivers, if there were any
    taken_over: Callable[[Any], int] | None = None  # a key's partition, by the program that took an earlier one's state


@dataclass(frozen=True, eq=False)
class Evolve(Operator):
    """The step to a version: its parents are the version before (if `previous` isn't None) and `width` data parents.

    Its records are those that the evolution gives.
    """

    pinned: ClassVar[bool] = True

    state: StateDescription
    previous: int | None
    version: int
    width: int
    evolution: Evolution
    idle_before_ms: int | None  # of a timed state: which entries the evolution takes for idle
    stores: bool

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(parent, partition) for parent in range(self.width + (self.previous is not None))]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        live, state_id = task.states, self.state.state_id
        data = parents
        if self.previous is None:
            found = live.find(state_id, partition, None)
            if found is None:
                found = StatePartition(timed=self.state.timed)
                live.put(state_id, partition, found)
        else:
            data = parents[1:]
            found = live.find(state_id, partition, self.previous)
            if found is None:
                parents[0]()
                found = live.find(state_id, partition, self.previous)
                assert found is not None, (state_id, partition, self.previous)
        changes, records = self.evolution(found.view(self.previous), [iter(parent()) for parent in data])
        if not found.sees(self.version):
            try:
                found.advance(self.version, changes, previous=self.previous)
            except BaseException:  # a full disk, or the task is killed: half of the changes may be made
                live.drop(state_id, partition)
                raise
            if self.idle_before_ms is not None:
                found.swept(self.version, self.idle_before_ms)
            if self.stores:
                self._store(task, partition, found)
        return records

    def _store(self, task: TaskView, partition: int, held: StatePartition) -> None:
        name = f"{self.state.epoch}/p{partition:05d}-{self.version}-{task.task_id}"
        try:
            segments = held.store(self.state.directory, name, task.states.cipher)
        except OSError as error:
            # Nothing is lost: the version can be made again from the last one that was stored.
            log.error("%s: state %d could not be stored: %s", name, self.state.state_id, error)
            return
        task.report_version(
            state_id=self.state.state_id, version=self.version, partition=partition, segments=segments
        )
        task.states.relieve()


@dataclass(frozen=True, eq=False)
class Reach(Operator):
    """Sees to it that a version is in the worker's heap; without records. Its parent is the step to the version."""

    pinned: ClassVar[bool] = True

    state_id: int
    version: int

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        if task.states.find(self.state_id, partition, self.version) is None:
            parents[0]()
        return ()


@dataclass(frozen=True, eq=False)
class StoredState(Leaf):
    """Stands for `Reach` once the version is stored; a payload is (partition, its segments' names)."""

    pinned: ClassVar[bool] = True

    state: StateDescription
    version: int

    def read(self, task: TaskView, payload: tuple[int, tuple[str, ...]]) -> Records:
        partition, names = payload
        if task.states.find(self.state.state_id, partition, self.version) is None:
            task.states.restore(self.state, partition, self.version, names)
        return ()


@dataclass(frozen=True, eq=False)
class Entries(Operator):
    """The records that `function` makes of a version; parents lead to the version, the last one for certain."""

    pinned: ClassVar[bool] = True

    state_id: int
    version: int
    width: int
    function: Callable[[View], Records]

    def inputs(self, partition: int) -> Sequence[tuple[int, int]]:
        return [(parent, partition) for parent in range(self.width)]

    def compute(self, task: TaskView, partition: int, parents: Sequence[Thunk]) -> Records:
        for parent in (None, *parents):
            if parent is not None:
                parent()
            held = task.states.find(self.state_id, partition, self.version)
            if held is not None:
                return self.function(held.view(self.version))
        raise AssertionError((self.state_id, partition, self.version))
