"""One receiver as its tracker knows it: its life, and what is always true of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from headwater.base.lives import Life, Table
from headwater.engine import blockids
from headwater.streaming.listener import ReceiverInfo
from headwater.streaming.receivers.messages import BlockStored

# Different errors of a receiver that are told apart; further ones are logged each time.
COMPLAINTS_MAX = 100


class TrackedState(Enum):
    """Where in its life a receiver is, as the driver sees it."""

    NEW = "new"
    LAUNCHING = "launching"
    RUNNING = "running"
    PAUSED = "paused"  # between an end and the next launch
    RESTARTING = "restarting"  # pauses in its executor, by its own wish
    MOVING = "moving"  # stopping, to be launched where fewer are
    STOPPING = "stopping"
    STOPPED = "stopped"


TrackedStep = Literal[
    "launch", "registers", "restarts", "leaves", "ends", "is lost", "is lost for good", "fails for good", "stop"
]
LIFE: Table[TrackedState, TrackedStep] = Table(
    "receiver",
    TrackedState.NEW,
    {
        (TrackedState.NEW, "launch"): TrackedState.LAUNCHING,
        (TrackedState.NEW, "stop"): TrackedState.STOPPED,
        (TrackedState.LAUNCHING, "registers"): TrackedState.RUNNING,
        (TrackedState.LAUNCHING, "restarts"): TrackedState.RESTARTING,
        (TrackedState.LAUNCHING, "ends"): TrackedState.STOPPED,
        (TrackedState.LAUNCHING, "is lost"): TrackedState.PAUSED,
        (TrackedState.LAUNCHING, "is lost for good"): TrackedState.STOPPED,
        (TrackedState.LAUNCHING, "stop"): TrackedState.STOPPING,
        (TrackedState.RUNNING, "registers"): TrackedState.RUNNING,
        (TrackedState.RUNNING, "restarts"): TrackedState.RESTARTING,
        (TrackedState.RUNNING, "leaves"): TrackedState.MOVING,
        (TrackedState.RUNNING, "ends"): TrackedState.STOPPED,
        (TrackedState.RUNNING, "is lost"): TrackedState.PAUSED,
        (TrackedState.RUNNING, "is lost for good"): TrackedState.STOPPED,
        (TrackedState.RUNNING, "stop"): TrackedState.STOPPING,
        (TrackedState.RESTARTING, "registers"): TrackedState.RUNNING,
        (TrackedState.RESTARTING, "restarts"): TrackedState.RESTARTING,
        (TrackedState.RESTARTING, "fails for good"): TrackedState.STOPPING,
        (TrackedState.RESTARTING, "ends"): TrackedState.STOPPED,
        (TrackedState.RESTARTING, "is lost"): TrackedState.PAUSED,
        (TrackedState.RESTARTING, "is lost for good"): TrackedState.STOPPED,
        (TrackedState.RESTARTING, "stop"): TrackedState.STOPPING,
        (TrackedState.PAUSED, "launch"): TrackedState.LAUNCHING,
        (TrackedState.PAUSED, "stop"): TrackedState.STOPPED,
        # One that restarts while its end is awaited answers once more.
        (TrackedState.MOVING, "restarts"): TrackedState.MOVING,
        (TrackedState.MOVING, "launch"): TrackedState.LAUNCHING,
        (TrackedState.MOVING, "ends"): TrackedState.STOPPED,
        (TrackedState.MOVING, "is lost"): TrackedState.PAUSED,
        (TrackedState.MOVING, "is lost for good"): TrackedState.STOPPED,
        (TrackedState.MOVING, "stop"): TrackedState.STOPPING,
        (TrackedState.STOPPING, "restarts"): TrackedState.STOPPING,
        (TrackedState.STOPPING, "ends"): TrackedState.STOPPED,
        (TrackedState.STOPPING, "is lost for good"): TrackedState.STOPPED,
    },
)


@dataclass(slots=True)
class Tracked:
    """A stream's receiver, over all of its launches."""

    stream_id: int
    name: str
    life: Life[TrackedState, TrackedStep]
    epoch: int = 0  # the number of launches so far; 0 as long as it is NEW, and if it was stopped before the first
    # Where it is. Each launch empties them; the executor is known once the engine or the receiver has answered, and
    # with the receiver's word the host.
    host: str = ""
    executor_id: str = ""
    movable: bool | None = None  # None: the engine hasn't answered. One that isn't True never is MOVING
    # Where it was.
    moved_from: str = ""  # the executor that it leaves while MOVING, or has left since it was RUNNING last
    lost_on: str = ""  # the executor that lost it last; its launches avoid that
    rate: float | None = None  # what back-pressure allows, records per second; each launch begins with it
    # How it fails.
    pause_ms: int = 0  # before the next launch; grows with each failure, 0 once it has run for a while
    failures: int = 0  # restarts and launches in a row, without a block in between
    relaunch_ms: int = -1  # when it is launched; set while it is PAUSED, and only then
    running_since_ms: int = -1  # when it registered last; -1 before the first time
    error_message: str = ""  # the latest error: what the receiver said,
    error: str = ""  # what was raised,
    error_ms: int = -1  # and when; -1: there was none, and the two above are empty
    complained: set[str] = field(default_factory=set)  # what was logged as a warning since the last block
    # What it brings.
    last_block_ms: int = -1  # the greatest time in the id of a block; no launch uses one again
    undecodable: int = 0  # lines so far
    copies: int = 1  # of each block, as its storage level asks; 1 once a lack of them was said
    blocks: list[BlockStored] = field(default_factory=list)  # not yet allocated; each id once
    recording: int = 0  # blocks on their way into the ledger

    @property
    def state(self) -> TrackedState:
        """Where in its life it is."""
        return self.life.state

    @property
    def info(self) -> ReceiverInfo:
        """What listeners are told of it."""
        return ReceiverInfo(
            self.stream_id,
            self.name,
            self.state is TrackedState.RUNNING,
            self.host,
            self.executor_id,
            self.error_message,
            self.error,
            self.error_ms,
        )

    def check(self) -> None:
        """Assert what is always true."""
        state = self.state
        assert self.epoch > 0 or state in (TrackedState.NEW, TrackedState.STOPPED), self
        assert self.epoch == 0 or state is not TrackedState.NEW, self
        assert self.executor_id or not self.host, self
        assert state is not TrackedState.RUNNING or (self.running_since_ms >= 0 and not self.moved_from), self
        assert state is not TrackedState.MOVING or (self.movable and self.moved_from == self.executor_id), self
        assert (self.relaunch_ms >= 0) == (state is TrackedState.PAUSED), self
        assert self.error_ms >= 0 or not (self.error_message or self.error), self
        assert len(self.complained) <= COMPLAINTS_MAX, self
        assert self.pause_ms >= 0 and self.failures >= 0 and self.undecodable >= 0 and self.recording >= 0, self
        assert self.copies >= 1, self
        ids = [blockids.time_ms_of(stored.block.block_id) for stored in self.blocks]
        assert len(set(ids)) == len(ids) and max(ids, default=-1) <= self.last_block_ms, self
