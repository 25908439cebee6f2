"""What a receiver's executor and the driver say to each other, and what each side is given to say it by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from headwater.base.cipher import KeySource
from headwater.engine.lineage import BlockRef
from headwater.storagelevel import StorageLevel
from headwater.streaming.recovery.ledger import Block
from headwater.streaming.recovery.segment import LogPosition

# What a receiver says that has stopped because it was halted.
STOPPED_BY_DRIVER = "Stopped by driver"


# ------------------------------------------------------------------------------------------------ from the executors
class Registered(NamedTuple):
    """A receiver is about to run (again)."""

    stream_id: int
    epoch: int
    host: str
    executor_id: str


class Deregistered(NamedTuple):
    """A receiver has stopped: to start again by itself, or for good."""

    stream_id: int
    epoch: int
    message: str
    error: str
    restarts: bool


class Errored(NamedTuple):
    """A receiver reports an error and goes on."""

    stream_id: int
    epoch: int
    message: str
    error: str


class Lost(NamedTuple):
    """The receiver ended without a word: its launch failed, or its executor, `executor_id`, died."""

    stream_id: int
    epoch: int
    reason: str
    executor_id: str = ""


class BlockStored(NamedTuple):
    """A block is stored as its level promises; the thread that stored it waits for `Taken`.

    `undecodable`: its text lines that aren't UTF-8. `log`: where the receivers' log has it.
    """

    stream_id: int
    block: BlockRef
    undecodable: int = 0
    log: LogPosition | None = None

    @property
    def locations(self) -> tuple[str, ...]:
        """The executors that hold it."""
        return self.block.locations

    @property
    def kept(self) -> Block:
        """What the ledger keeps of it."""
        return Block(self.block.block_id, self.block.records, self.undecodable, self.log)

    @classmethod
    def again(cls, stream_id: int, kept: Block, logs: str | None) -> BlockStored:
        """The block after a restart: no executor holds it, only the log, which is below the directory `logs` now."""
        log = None if kept.position is None else kept.position.below(logs or "")
        return cls(stream_id, BlockRef(kept.id, (), kept.records), kept.undecodable, log)


# ------------------------------------------------------------------------------------------------ to the executors
class ReceiverSettings(NamedTuple):
    """What a supervisor must know; travels with the receiver. Rates are records per second, None without a limit.

    `rate`: where back-pressure has got to, or begins; never above `rate_max`.
    """

    stream_id: int
    epoch: int
    after_ms: int
    block_interval_ms: int
    restart_delay_ms: int
    rate_max: float | None
    rate: float | None = None
    store_timeout_ms: int = 30_000
    log_directory: str | None = None  # of the write-ahead log, if there is one


class Taken(NamedTuple):
    """To a receiver: the driver has a block and won't lose it, or why it hasn't."""

    block_id: str
    failure: str = ""


class Limit(NamedTuple):
    """To a receiver: take at most this many records per second; None: as many as there are."""

    per_second: float | None


# ------------------------------------------------------------------------------------------------ in the executors
class ReceiverHost(Protocol):
    """What an executor offers to a receiver. Safe to use from any thread."""

    executor_id: str
    host: str
    conf: Mapping[str, str]
    key: KeySource | None  # of what is written; None: that isn't encrypted

    @property
    def closing(self) -> bool:
        """Whether the executor is about to end."""

    def put_block(self, block_id: str, data: bytes | list[bytes], *, records: int, level: StorageLevel) -> BlockRef:
        """Store a block as its level promises; waits while the executor has no room for received data."""

    def post(self, payload: Any) -> None:
        """Tell the driver; in order."""
