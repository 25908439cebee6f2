"""The coordinator: which shards a worker reads, and what it writes to the lease table.

- A core: reading and writing the table are actions, their outcomes events. A lease has one write under way at most.
- A lease is held from a write that the table accepted until `lease_ms` after that write was *asked* for. Others take it
  when they have seen it unmoved for `lease_ms`, so never while its owner may still believe in it. Only balancing takes
  a lease from an owner that lives; that one learns of it by its next write.
- Every write is conditional on owner and counter, so a checkpoint is never written by a worker that lost the lease.
- A shard is read once its parents were read to their ends.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, replace
from typing import NamedTuple

from headwater.base.exhaustive import assert_never
from headwater.engine.events import Wake, Woken
from headwater.streaming.kinesis.leases import (
    AT_TIMESTAMP,
    LATEST,
    InitialPosition,
    Shard,
    ShardCheckpoint,
    ShardLease,
    missing_leases,
)

# Shards are listed this often, and whenever one ends.
LIST_MS = 60_000


# ------------------------------------------------------------------------------------------------ events
class BeginReading(NamedTuple):
    """Start to work."""


class Listed(NamedTuple):
    """The stream's shards."""

    shards: tuple[Shard, ...]


class Scanned(NamedTuple):
    """The lease table."""

    leases: tuple[ShardLease, ...]


class Created(NamedTuple):
    """A lease is in the table, made by this worker or another."""

    key: str


class Written(NamedTuple):
    """A write was accepted."""

    key: str


class Refused(NamedTuple):
    """A write's condition did not hold; the lease as it is in the table, None: it is gone."""

    key: str
    current: ShardLease | None


class Failed(NamedTuple):
    """An action could not be done; whether a write took effect is not known."""

    action: CoordinatorCall


class Stored(NamedTuple):
    """All of a shard up to here is stored."""

    key: str
    checkpoint: ShardCheckpoint


class Leave(NamedTuple):
    """Write the last checkpoints and give all leases back; then `Left`."""


# ------------------------------------------------------------------------------------------------ actions
class ListShards(NamedTuple):
    """Ask for the stream's shards."""


class ScanLeases(NamedTuple):
    """Read the lease table."""


class Create(NamedTuple):
    """Put a lease into the table, unless it is there."""

    lease: ShardLease


class Write(NamedTuple):
    """Change a lease in the table, on condition that its owner and counter are those of `before`."""

    before: ShardLease
    after: ShardLease


class Delete(NamedTuple):
    """Remove the lease of an ended shard. Nobody waits for it."""

    lease: ShardLease


class Position(NamedTuple):
    """Where a reader begins: after a checkpoint, or at one of `BEGINNINGS`.

    `at_ms`: with AT_TIMESTAMP that; with LATEST when reading began, in case the iterator gets lost.
    """

    checkpoint: ShardCheckpoint
    at_ms: int = 0


class ReadShard(NamedTuple):
    """Start to read a shard."""

    key: str
    position: Position


class Cease(NamedTuple):
    """Stop reading a shard: it is another worker's."""

    key: str


class Left(NamedTuple):
    """Nothing is held any more."""


CoordinatorEvent = BeginReading | Listed | Scanned | Created | Written | Refused | Failed | Stored | Leave
#: What asks the outside: each has an outcome, or is `Failed`; but nobody waits for a `Delete`.
CoordinatorCall = ListShards | ScanLeases | Create | Write | Delete
CoordinatorAction = CoordinatorCall | ReadShard | Cease | Left
_Actions = list[CoordinatorAction | Wake]


# ------------------------------------------------------------------------------------------------ the core
@dataclass(slots=True)
class _HeldLease:
    """A lease that is ours. `lease` is what the table has, as far as we know."""

    lease: ShardLease
    until_ms: int  # not ours any more from then on, whatever we know
    renew_ms: int
    checkpoint_ms: int  # the next checkpoint is due then
    stored: ShardCheckpoint
    retry_ms: int = 0  # no write before this: the last one failed
    leaving: bool = False  # to be given back


class _Seen(NamedTuple):
    lease: ShardLease
    since_ms: int  # when its owner and counter were first seen


class Coordinator:
    """The core of a worker.

    Args:
        worker: its name, which no other one has ever had.
        initial: where an application begins that is new to the stream.
        lease_ms: how long a lease lives that isn't renewed.
        checkpoint_ms: how often a shard's checkpoint is written, if it moved. A renewal writes it too.
        seed: of the choice among leases.
    """

    def __init__(
        self, worker: str, *, initial: InitialPosition, lease_ms: int, checkpoint_ms: int, seed: int = 0
    ) -> None:
        self.worker = worker
        self._initial = initial
        self._lease_ms = lease_ms
        self._pulse_ms = max(1, lease_ms // 3)
        self._retry_ms = max(1, lease_ms // 10)
        self._checkpoint_ms = checkpoint_ms
        self._random = random.Random(seed)
        self._shards: dict[str, Shard] = {}  # as last listed
        self._seen: dict[str, _Seen] = {}  # the table, as last seen
        self._held: dict[str, _HeldLease] = {}
        self._writing: dict[str, tuple[Write, int]] = {}  # by lease: the write under way, and when it was asked for
        self._creating: set[str] = set()
        self._scan_ms: int | None = None  # the next one is due then; None: one is under way
        self._list_ms: int | None = None
        self._scan_again = False  # whether the scan under way came too early
        self._wake_ms = -1  # the earliest wake-up that is to come
        self._leaving = False
        self._left = False

    def handle(self, event: CoordinatorEvent | Woken, now_ms: int) -> _Actions:
        """Take an event; returns the actions, in order."""
        return [*self._take_in(event, now_ms), *self._go_on(now_ms)]

    def _take_in(self, event: CoordinatorEvent | Woken, now_ms: int) -> _Actions:
        match event:
            case Woken():
                return []
            case BeginReading():
                self._scan_ms = self._list_ms = now_ms
                return []
            case Listed(shards):
                return self._listed(shards, now_ms)
            case Scanned(leases):
                return self._scanned(leases, now_ms)
            case Created(key):
                self._creating.discard(key)
                if not self._creating:
                    self._hurry(now_ms)
                return []
            case Written(key):
                return self._written(key, now_ms)
            case Refused(key, current):
                return self._refused(key, current, now_ms)
            case Failed(action):
                return self._failed(action, now_ms)
            case Stored(key, checkpoint):
                held = self._held.get(key)
                if held is not None and checkpoint.order > held.stored.order:
                    held.stored = checkpoint
                return []
            case Leave():
                self._leaving = True
                return []
        assert_never(event, "an event of the coordinator")

    # -------------------------------------------------------------------------------------------- questions
    def held(self, now_ms: int) -> set[str]:
        """The shards whose leases this worker believes to have."""
        return {key for key, held in self._held.items() if now_ms < held.until_ms}

    def check(self) -> None:
        """Assert what is always true."""
        for key, held in self._held.items():
            assert (held.lease.key, held.lease.owner) == (key, self.worker), held
            assert held.stored.order >= held.lease.checkpoint.order, held
        for key, (write, _) in self._writing.items():
            assert write.before.key == write.after.key == key, write
            assert write.after.counter == write.before.counter + 1, write
            assert write.after.checkpoint.order >= write.before.checkpoint.order, write
        assert not (self._left and (self._held or self._writing))

    # -------------------------------------------------------------------------------------------- the table
    def _listed(self, shards: tuple[Shard, ...], now_ms: int) -> _Actions:
        self._shards = {shard.key: shard for shard in shards}
        self._list_ms = now_ms + LIST_MS
        self._hurry(now_ms)  # leases may be missing now
        for key, held in self._held.items():
            held.leaving = key not in self._shards
        return []

    def _scanned(self, leases: tuple[ShardLease, ...], now_ms: int) -> _Actions:
        before, self._seen = self._seen, {}
        for lease in leases:
            old = before.get(lease.key)
            same = old is not None and (old.lease.owner, old.lease.counter) == (lease.owner, lease.counter)
            self._seen[lease.key] = _Seen(lease, old.since_ms if old is not None and same else now_ms)
        self._scan_ms = now_ms if self._scan_again else now_ms + self._pulse_ms
        self._scan_again = False
        if self._leaving or not self._shards:
            return []
        if any(lease.key not in self._shards and not lease.checkpoint.is_end for lease in leases):
            self._list_soon(now_ms)  # another worker knows shards that we don't
        gone = [lease for lease in leases if lease.checkpoint.is_end and lease.key not in self._shards]
        missing = missing_leases(tuple(self._shards.values()), self._seen.keys(), self._initial)
        self._creating = {lease.key for lease in missing}
        takes = [self._write(write, now_ms) for write in self._takes(now_ms)]
        return [*map(Delete, gone), *map(Create, missing), *takes]

    def _takes(self, now_ms: int) -> list[Write]:
        """The leases to take: free ones up to our share, else some of the worker that has most, if it has two more."""
        live = [lease for lease, _ in self._seen.values() if self._is_ready(lease)]
        mine = sum(lease.key in self._held or lease.key in self._writing for lease in live)
        others = [lease for lease in live if lease.key not in self._held and lease.key not in self._writing]
        free = [lease for lease in others if self._is_free(lease, now_ms)]
        loads = Counter(lease.owner for lease in others if not self._is_free(lease, now_ms))
        share = -(-len(live) // (len(loads) + 1))
        wanted = max(0, share - mine)
        if not free and loads:
            victim, most = max(loads.items(), key=lambda item: (item[1], str(item[0])))
            wanted = min(wanted, (most - mine) // 2)
            free = [lease for lease in others if lease.owner == victim]
        return [self._taking(lease, now_ms) for lease in self._random.sample(free, max(0, min(wanted, len(free))))]

    def _is_ready(self, lease: ShardLease) -> bool:
        """Whether a shard may be read: it exists, isn't read to its end, and its parents are."""
        if lease.checkpoint.is_end or lease.key not in self._shards:
            return False
        for parent in lease.parents:
            seen = self._seen.get(parent)
            unread = seen is not None and not seen.lease.checkpoint.is_end and parent in self._shards
            if unread or parent in self._creating:
                return False
        return True

    def _is_free(self, lease: ShardLease, now_ms: int) -> bool:
        return lease.owner in (None, self.worker) or now_ms - self._seen[lease.key].since_ms >= self._lease_ms

    def _taking(self, lease: ShardLease, now_ms: int) -> Write:
        started_ms = now_ms if lease.started_ms is None else lease.started_ms
        switches = lease.switches + (lease.owner != self.worker)
        after = replace(lease, owner=self.worker, counter=lease.counter + 1, switches=switches, started_ms=started_ms)
        return Write(lease, after)

    # -------------------------------------------------------------------------------------------- outcomes
    def _write(self, write: Write, now_ms: int) -> Write:
        self._writing[write.before.key] = write, now_ms
        return write

    def _written(self, key: str, now_ms: int) -> _Actions:
        write, asked_ms = self._writing.pop(key)
        before, after = write
        self._seen[key] = _Seen(after, now_ms)
        held = self._held.get(key)
        if after.owner is None:
            if after.checkpoint.is_end:
                self._list_soon(now_ms)  # its children come next
                self._hurry(now_ms)
            return self._lose(key)
        until_ms = asked_ms + self._lease_ms
        if held is None:
            if now_ms >= until_ms:
                return []  # the answer came too late
            self._held[key] = _HeldLease(
                after, until_ms, asked_ms + self._pulse_ms, asked_ms + self._checkpoint_ms, after.checkpoint
            )
            return [] if self._leaving else [ReadShard(key, self._position(before, after))]
        if after.checkpoint != before.checkpoint:
            held.checkpoint_ms = asked_ms + self._checkpoint_ms
        held.lease, held.until_ms, held.renew_ms = after, until_ms, asked_ms + self._pulse_ms
        return []

    def _position(self, before: ShardLease, after: ShardLease) -> Position:
        checkpoint, started_ms = after.checkpoint, after.started_ms or 0
        if checkpoint.sequence == LATEST and before.started_ms is not None:
            # Somebody began and did not get to a checkpoint: what came since is not to be lost.
            return Position(ShardCheckpoint(AT_TIMESTAMP), started_ms)
        return Position(checkpoint, self._initial.at_ms if checkpoint.sequence == AT_TIMESTAMP else started_ms)

    def _refused(self, key: str, current: ShardLease | None, now_ms: int) -> _Actions:
        del self._writing[key]
        if current is None:
            self._seen.pop(key, None)
        else:
            self._seen[key] = _Seen(current, now_ms)
        held = self._held.get(key)
        if held is None:
            return []
        if current is not None and current.owner == self.worker:
            held.lease = current  # our own write, of which we had no answer
            held.renew_ms = now_ms
            return []
        return self._lose(key)

    def _failed(self, action: CoordinatorCall, now_ms: int) -> _Actions:
        later_ms = now_ms + self._retry_ms
        match action:
            case ListShards():
                self._list_ms = later_ms
            case ScanLeases():
                self._scan_ms = later_ms
            case Create(lease):
                self._creating.discard(lease.key)  # the next scan misses it again
            case Write(before, _):
                del self._writing[before.key]
                if before.key in self._held:
                    self._held[before.key].retry_ms = later_ms
            case Delete():
                pass  # the next scan shows it again
            case _:
                assert_never(action, "a call of the coordinator")
        return []

    def _lose(self, key: str) -> _Actions:
        return [Cease(key)] if self._held.pop(key, None) is not None else []

    # -------------------------------------------------------------------------------------------- what is due
    def _hurry(self, now_ms: int) -> None:
        """Scan now, or once more if a scan is under way: it may not show what has happened."""
        self._scan_again = self._scan_ms is None
        if self._scan_ms is not None:
            self._scan_ms = now_ms

    def _list_soon(self, now_ms: int) -> None:
        if self._list_ms is not None:
            self._list_ms = min(self._list_ms, now_ms)

    def _go_on(self, now_ms: int) -> _Actions:
        actions: _Actions = []
        for key, held in list(self._held.items()):
            if now_ms >= held.until_ms:
                actions += self._lose(key)
            elif key not in self._writing and now_ms >= self._due_ms(held):
                actions.append(self._write(self._next_write(held), now_ms))
        if self._leaving:
            if not self._left and not self._held and not self._writing:
                self._left = True
                actions.append(Left())
        else:
            if self._list_ms is not None and now_ms >= self._list_ms:
                self._list_ms = None
                actions.append(ListShards())
            if self._scan_ms is not None and now_ms >= self._scan_ms:
                self._scan_ms = None
                actions.append(ScanLeases())
        return [*actions, *self._wake(now_ms)]

    def _due_ms(self, held: _HeldLease) -> int:
        """When a lease is to be written next, unless it ends before."""
        if self._leaving or held.leaving or held.stored.is_end:
            due_ms = 0
        elif held.stored.order > held.lease.checkpoint.order:
            due_ms = min(held.checkpoint_ms, held.renew_ms)
        else:
            due_ms = held.renew_ms
        return max(due_ms, held.retry_ms)

    def _next_write(self, held: _HeldLease) -> Write:
        lease = held.lease
        moved = held.stored.order > lease.checkpoint.order
        keep = not (self._leaving or held.leaving or held.stored.is_end)
        after = replace(
            lease,
            owner=self.worker if keep else None,
            counter=lease.counter + 1,
            checkpoint=held.stored if moved else lease.checkpoint,
            switches=0 if moved else lease.switches,
        )
        return Write(lease, after)

    def _wake(self, now_ms: int) -> _Actions:
        due = [held.until_ms for held in self._held.values()]
        due += [self._due_ms(held) for key, held in self._held.items() if key not in self._writing]
        if not self._leaving:
            due += [at_ms for at_ms in (self._scan_ms, self._list_ms) if at_ms is not None]
        at_ms = min(due, default=None)
        if at_ms is None or now_ms < self._wake_ms <= at_ms:
            return []
        self._wake_ms = at_ms
        return [Wake(at_ms)]
