"""Leases: who reads a shard, and how far it was read; and which leases a stream's shards still lack.

The fields are those of the Kinesis client library, in a DynamoDB table named after the application, so that its tools
can look at them. Sequence numbers are compared as numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import NamedTuple

LATEST, TRIM_HORIZON, AT_TIMESTAMP, SHARD_END = "LATEST", "TRIM_HORIZON", "AT_TIMESTAMP", "SHARD_END"
# Where a shard's reader may begin that has read nothing yet.
BEGINNINGS = (LATEST, TRIM_HORIZON, AT_TIMESTAMP)


class ShardCheckpoint(NamedTuple):
    """All up to here was stored: a sequence number, or one of the words above.

    `sub`: of an aggregated record's parts, the last one.
    """

    sequence: str
    sub: int = 0

    @property
    def order(self) -> tuple[float, int]:
        """Sorts the checkpoints of a shard."""
        if self.sequence in BEGINNINGS:
            return -1, 0
        return (float("inf"), 0) if self.is_end else (int(self.sequence), self.sub)

    @property
    def is_end(self) -> bool:
        """Whether the shard was read to its end."""
        return self.sequence == SHARD_END


class InitialPosition(NamedTuple):
    """Where an application that is new to a stream begins: one of `BEGINNINGS`; `at_ms` with AT_TIMESTAMP."""

    kind: str
    at_ms: int = 0


class Shard(NamedTuple):
    """A shard of the stream: the shards it was split or merged from, and whether it takes records."""

    key: str
    parents: tuple[str, ...] = ()
    is_open: bool = True


@dataclass(frozen=True, slots=True)
class ShardLease:
    """A line of the lease table."""

    key: str  # the shard's id
    owner: str | None  # the worker that reads it
    counter: int  # grows with each write: a lease is alive as long as it moves
    checkpoint: ShardCheckpoint
    parents: tuple[str, ...] = ()
    switches: int = 0  # owners since the checkpoint moved
    started_ms: int | None = None  # when the first owner began, on its clock


def missing_leases(shards: Sequence[Shard], leased: Collection[str], initial: InitialPosition) -> list[ShardLease]:
    """The leases to create, parents before their children.

    What comes of a leased shard by splits and merges is read whole. Any other shard begins at the initial position;
    with LATEST that leaves out those that take no more records.
    """
    by_key = {shard.key: shard for shard in shards}
    order = TopologicalSorter({shard.key: [p for p in shard.parents if p in by_key] for shard in shards})
    known = set(leased)
    missing = []
    for key in order.static_order():
        shard = by_key[key]
        if key in known:
            continue
        begin = initial.kind
        if begin == LATEST:
            if any(parent in known for parent in shard.parents):
                begin = TRIM_HORIZON
            elif not shard.is_open:
                continue
        known.add(key)
        missing.append(ShardLease(key, None, 0, ShardCheckpoint(begin), shard.parents))
    return missing
