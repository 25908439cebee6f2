"""The receiver tracker: where each receiver runs, and which of its blocks wait for a batch.

- A core: launching and stopping are actions, and what receivers say are events.
- Each launch of a receiver is an epoch. Word of an earlier epoch about the receiver's life is ignored; its blocks
  are taken all the same: they are stored, and their source may have been told so.
- A block belongs to exactly one batch: the first `Allocate` after its arrival takes it.
- A receiver that can't start or loses its executor is launched again, later each time; one that stopped itself is not,
  nor one that has failed too often in a row without storing anything.
- When an executor has come, receivers move one after the other until no executor has two more than another: each is
  stopped in good order, then launched where the fewest are.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Set
from typing import NamedTuple

from headwater.base.exhaustive import assert_never
from headwater.engine import blockids
from headwater.engine.events import Wake, Woken
from headwater.engine.lineage import BlockRef
from headwater.errors import SparkException
from headwater.streaming.listener import ReceiverError, ReceiverInfo, ReceiverStarted, ReceiverStopped
from headwater.streaming.receivers.messages import (
    STOPPED_BY_DRIVER,
    BlockStored,
    Deregistered,
    Errored,
    Limit,
    Lost,
    Registered,
    Taken,
)
from headwater.streaming.receivers.tracked import COMPLAINTS_MAX, LIFE, Tracked, TrackedState, TrackedStep
from headwater.streaming.runtime.batches import Allocate, Allocated, Announce, Drained, LogLine, Report

# The first pause after a failed launch; it doubles up to `spark.streaming.receiverRestartDelay`.
FIRST_PAUSE_MS = 100


# ------------------------------------------------------------------------------------------------ events
class LaunchAll(NamedTuple):
    """The application starts."""


class Launched(NamedTuple):
    """The engine runs the receiver on this executor. `movable`: any other would do as well."""

    stream_id: int
    epoch: int
    executor_id: str
    movable: bool = True


class Executors(NamedTuple):
    """The executors that are there now that one has come or gone."""

    executor_ids: frozenset[str]


class Recorded(NamedTuple):
    """A block is in the ledger; or it could not be written there, and then it counts as never received."""

    stored: BlockStored
    failure: str = ""


class SetRate(NamedTuple):
    """Back-pressure: a stream's receiver may take this many records per second from now on, wherever it runs."""

    stream_id: int
    per_second: float


class StopAll(NamedTuple):
    """Stop all receivers; once they have ended, `Drained`."""


TrackerEvent = (
    BlockStored
    | Recorded
    | Allocate
    | Registered
    | Errored
    | Deregistered
    | Lost
    | Launched
    | SetRate
    | Executors
    | LaunchAll
    | StopAll
)


# ------------------------------------------------------------------------------------------------ actions
class LaunchReceiver(NamedTuple):
    """Start a receiver on any executor, then send `Launched` or `Lost`. Block ids must be above `after_ms`.

    `rate`: what back-pressure allows, records per second; None: no limit. `avoid`: an executor that lost the receiver:
    not there again, if another one will do; "": there is none.
    """

    stream_id: int
    epoch: int
    after_ms: int
    rate: float | None = None
    avoid: str = ""


class RecordBlock(NamedTuple):
    """Enter a block into the ledger, then send `Recorded`."""

    stored: BlockStored


class Tell(NamedTuple):
    """Send a message to a receiver."""

    stream_id: int
    message: Taken | Limit


class Halt(NamedTuple):
    """Stop a receiver; it answers `Deregistered` after its last block."""

    stream_id: int


TrackerAction = LaunchReceiver | RecordBlock | Tell | Halt | Allocated | Announce | Report | LogLine | Drained
_Actions = list[TrackerAction | Wake]


# ------------------------------------------------------------------------------------------------ the core
class ReceivedBatch(NamedTuple):
    """What one stream's receiver brought into a batch."""

    blocks: tuple[BlockStored, ...]

    @property
    def undecodable(self) -> int:
        """Lines that aren't UTF-8."""
        return sum(stored.undecodable for stored in self.blocks)

    @property
    def records(self) -> int:
        """How many there are; a block that wasn't counted adds none."""
        return sum(max(stored.block.records, 0) for stored in self.blocks)


_ENDED = (TrackedState.STOPPED, TrackedState.NEW)
_IN_PLACE = (TrackedState.LAUNCHING, TrackedState.RUNNING, TrackedState.RESTARTING)


class ReceiverTracker:
    """The core of receiver tracking.

    Args:
        names: stream id -> name of its receiver.
        restart_delay_ms: the longest pause before a launch.
        recorded: whether blocks are entered into a ledger before they count.
        restarts_max: how often in a row a receiver is started again without storing anything; None: without end.
        rate: what each may take to begin with, records per second; None: no limit.
        copies: stream id -> how many copies of a block are expected, if more than one.
        moves: whether receivers move when an executor has come.
    """

    def __init__(
        self,
        names: dict[int, str],
        restart_delay_ms: int,
        *,
        recorded: bool = False,
        restarts_max: int | None = None,
        rate: float | None = None,
        copies: Mapping[int, int] | None = None,
        moves: bool = True,
    ) -> None:
        self._receivers = {
            stream_id: Tracked(stream_id, name, LIFE.begin(name), rate=rate, copies=(copies or {}).get(stream_id, 1))
            for stream_id, name in names.items()
        }
        self._restart_delay_ms = restart_delay_ms
        self._restarts_max = restarts_max
        self._recorded = recorded
        self._moves = moves
        self._executors: frozenset[str] = frozenset()  # as was last told
        self._uneven = False  # an executor has come that may have less than its share
        self._begun_before: Set[int] = frozenset()  # the batches that a previous driver has begun
        self._stopping = False
        self._drained = False  # whether `Drained` was given

    def handle(self, event: TrackerEvent | Woken, now_ms: int) -> _Actions:
        """Take an event; returns the actions, in order."""
        match event:
            case BlockStored():
                return self._block_stored(event)
            case Recorded():
                return self._block_recorded(event)
            case Allocate():
                return [self._allocate(event.time_ms)]
            case Registered():
                return self._registered(event, now_ms)
            case Errored():
                return self._errored(event, now_ms)
            case Deregistered():
                return self._deregistered(event, now_ms)
            case Lost():
                return self._lost(event, now_ms)
            case Launched():
                return self._launched(event)
            case SetRate():
                return self._set_rate(event)
            case Executors():
                return self._executors_changed(event)
            case Woken():
                return self._woken(now_ms)
            case LaunchAll():
                return [self._launch(receiver) for receiver in self._receivers.values()]
            case StopAll():
                return self._stop_all()
        assert_never(event, "an event of the receiver tracker")

    # -------------------------------------------------------------------------------------------- questions
    def unallocated(self) -> int:
        """Blocks that wait for a batch."""
        return sum(len(receiver.blocks) for receiver in self._receivers.values())

    def infos(self) -> dict[int, ReceiverInfo]:
        """The receivers by stream id."""
        return {receiver.stream_id: receiver.info for receiver in self._receivers.values()}

    def check(self) -> None:
        """Assert what is always true."""
        assert self._stopping or not self._drained
        assert Counter(receiver.state for receiver in self._receivers.values())[TrackedState.MOVING] <= 1
        for receiver in self._receivers.values():
            receiver.check()
            assert not self._stopping or receiver.state in (TrackedState.STOPPING, TrackedState.STOPPED), receiver
            assert not self._drained or (receiver.state is TrackedState.STOPPED and not receiver.recording), receiver
            assert self._recorded or not receiver.recording, receiver
            assert 0 <= receiver.pause_ms <= max(self._restart_delay_ms, FIRST_PAUSE_MS), receiver
            assert self._restarts_max is None or receiver.failures <= self._restarts_max + 1, receiver

    # -------------------------------------------------------------------------------------------- blocks
    def restored(self, stream_id: int, waiting: Iterable[BlockStored], *, used: Iterable[str]) -> None:
        """A stream's blocks from before a restart that no batch has, and all its block ids; before the first event."""
        receiver = self._receivers[stream_id]
        receiver.blocks.extend(waiting)
        receiver.last_block_ms = max(map(blockids.time_ms_of, used), default=-1)

    def begun_before(self, times_ms: Iterable[int]) -> None:
        """A previous driver has begun these batches: they have blocks of their own; before the first event."""
        self._begun_before = frozenset(times_ms)

    def _block_stored(self, event: BlockStored) -> _Actions:
        receiver = self._receivers[event.stream_id]
        # At once: a receiver that is launched meanwhile must not use the id again.
        receiver.last_block_ms = max(receiver.last_block_ms, blockids.time_ms_of(event.block.block_id))
        if self._drained:
            return [Tell(event.stream_id, Taken(event.block.block_id, "the context stops, and no batch would take it"))]
        if self._recorded:
            receiver.recording += 1
            return [RecordBlock(event)]
        return self._block_taken(receiver, event)

    def _block_recorded(self, event: Recorded) -> _Actions:
        stored = event.stored
        receiver = self._receivers[stored.stream_id]
        receiver.recording -= 1
        if event.failure:
            return [Tell(stored.stream_id, Taken(stored.block.block_id, event.failure)), *self._drain()]
        return [*self._block_taken(receiver, stored), *self._drain()]

    def _block_taken(self, receiver: Tracked, event: BlockStored) -> _Actions:
        receiver.blocks.append(event)
        taken = Tell(event.stream_id, Taken(event.block.block_id))
        receiver.complained.clear()  # data flows: the next failure is news
        receiver.failures = 0
        actions: _Actions = [taken]
        if len(event.block.locations) < receiver.copies:
            actions.append(LogLine(logging.WARNING, missing_copies(receiver.name, receiver.copies, event.block)))
            receiver.copies = 1
        if event.undecodable and not receiver.undecodable:
            text = (
                f"{receiver.name}: a line is not valid UTF-8; the bytes in question became U+FFFD. This is said once: "
                "each batch's input metadata counts such lines as undecodableLines."
            )
            actions.append(LogLine(logging.WARNING, text))
        receiver.undecodable += event.undecodable
        return actions

    def _allocate(self, time_ms: int) -> Allocated:
        if time_ms in self._begun_before:
            return Allocated(time_ms, {})
        taken = {}
        for receiver in self._receivers.values():
            taken[receiver.stream_id] = ReceivedBatch(tuple(receiver.blocks))
            receiver.blocks = []
        return Allocated(time_ms, taken)

    # -------------------------------------------------------------------------------------------- lives
    def _launch(self, receiver: Tracked) -> LaunchReceiver:
        receiver.life.move("launch")
        receiver.epoch += 1
        receiver.relaunch_ms = -1
        receiver.host = receiver.executor_id = ""
        receiver.movable = None
        return LaunchReceiver(
            receiver.stream_id, receiver.epoch, receiver.last_block_ms, receiver.rate, receiver.lost_on
        )

    def _set_rate(self, event: SetRate) -> _Actions:
        receiver = self._receivers[event.stream_id]
        receiver.rate = event.per_second
        # To one that isn't there nothing is sent: its next launch has the rate.
        return [Tell(event.stream_id, Limit(event.per_second))]

    def _launched(self, event: Launched) -> _Actions:
        receiver = self._current(event)
        if receiver is None:
            return []
        receiver.movable = event.movable
        if receiver.executor_id:
            return self._move_one()  # it was faster than the engine's answer
        receiver.executor_id = event.executor_id
        # A stop may have come while the engine was launching it: then it had nothing to stop yet.
        return [Halt(receiver.stream_id)] if receiver.state is TrackedState.STOPPING else []

    def _registered(self, event: Registered, now_ms: int) -> _Actions:
        receiver = self._current(event)
        if receiver is None or not receiver.life.may("registers"):
            return []
        receiver.life.move("registers")
        receiver.host, receiver.executor_id = event.host, event.executor_id
        receiver.running_since_ms = now_ms
        if receiver.executor_id == receiver.moved_from:
            self._uneven = False  # it was put there again, and would be once more
        receiver.moved_from = ""
        return [Announce(ReceiverStarted(receiver.info)), *self._move_one()]

    def _executors_changed(self, event: Executors) -> _Actions:
        self._uneven |= bool(event.executor_ids - self._executors)
        self._executors = event.executor_ids
        return self._move_one()

    def _move_one(self) -> _Actions:
        """Halt a receiver of the executor that has the most, if another has two fewer; one at a time."""
        states = {receiver.state for receiver in self._receivers.values()}
        is_moving = states & {TrackedState.MOVING, TrackedState.LAUNCHING}
        if not self._moves or not self._uneven or self._stopping or is_moving:
            return []
        count = Counter(receiver.executor_id for receiver in self._receivers.values() if receiver.state in _IN_PLACE)
        least = min((count[executor_id] for executor_id in self._executors), default=0)
        too_many = [
            receiver
            for receiver in self._receivers.values()
            if receiver.state is TrackedState.RUNNING and receiver.movable and count[receiver.executor_id] >= least + 2
        ]
        if not too_many:
            # Of some it isn't known yet where they are, or whether they may move.
            self._uneven = any(
                receiver.state in (TrackedState.PAUSED, TrackedState.RESTARTING)
                or (receiver.state is TrackedState.RUNNING and receiver.movable is None)
                for receiver in self._receivers.values()
            )
            return []
        receiver = max(too_many, key=lambda receiver: count[receiver.executor_id])
        receiver.life.move("leaves")
        receiver.moved_from = receiver.executor_id
        text = f"{receiver.name} leaves executor {receiver.executor_id}: it goes where fewer receivers are"
        return [LogLine(logging.INFO, text), Halt(receiver.stream_id)]

    def _errored(self, event: Errored, now_ms: int) -> _Actions:
        receiver = self._current(event)
        if receiver is None:
            return []
        _remember_error(receiver, event.message, event.error, now_ms)
        complaint = self._complain(receiver, f"Error reported by receiver for stream {event.stream_id}")
        return [complaint, Announce(ReceiverError(receiver.info))]

    def _deregistered(self, event: Deregistered, now_ms: int) -> _Actions:
        receiver = self._current(event)
        step: TrackedStep = "restarts" if event.restarts else "ends"
        if receiver is None or not receiver.life.may(step):
            return []
        was_asked = receiver.state in (TrackedState.STOPPING, TrackedState.MOVING)
        moves = receiver.state is TrackedState.MOVING and step == "ends" and event.message == STOPPED_BY_DRIVER
        if not moves:
            receiver.life.move(step)
        text = f"Deregistered receiver for stream {event.stream_id}"
        actions: _Actions = []
        if event.restarts or event.error:
            _remember_error(receiver, event.message, event.error, now_ms)
            actions.append(self._complain(receiver, text))
        else:
            actions.append(LogLine(logging.INFO if was_asked else logging.WARNING, f"{text}: {event.message}"))
        if event.error:
            actions.append(Announce(ReceiverError(receiver.info)))
        actions.append(Announce(ReceiverStopped(receiver.info)))
        if receiver.state is TrackedState.RESTARTING and self._fails_for_good(receiver):
            receiver.life.move("fails for good")
            actions += [Halt(receiver.stream_id), self._given_up(receiver)]
        if moves:
            actions.append(self._launch(receiver))
        return [*actions, *self._drain()]

    def _lost(self, event: Lost, now_ms: int) -> _Actions:
        receiver = self._current(event)
        if receiver is None or not receiver.life.may("is lost for good"):
            return []
        receiver.lost_on = event.executor_id or receiver.lost_on
        ran = receiver.state in (TrackedState.RUNNING, TrackedState.RESTARTING, TrackedState.MOVING)
        was_given_up = receiver.state is TrackedState.STOPPING and not self._stopping
        if ran and now_ms - receiver.running_since_ms >= self._restart_delay_ms:
            receiver.pause_ms = 0
        _remember_error(receiver, event.reason, "", now_ms)
        if self._stopping:
            receiver.life.move("is lost for good")
            text = f"Receiver for stream {event.stream_id} was lost while it stopped: {event.reason}"
            return [LogLine(logging.WARNING, text), Announce(ReceiverStopped(receiver.info)), *self._drain()]
        is_over = was_given_up or self._fails_for_good(receiver)
        receiver.life.move("is lost for good" if is_over else "is lost")
        actions: _Actions = [self._complain(receiver, f"Lost receiver for stream {event.stream_id}")]
        actions.append(Announce(ReceiverStopped(receiver.info) if ran else ReceiverError(receiver.info)))
        if is_over:
            return actions if was_given_up else [*actions, self._given_up(receiver)]
        receiver.relaunch_ms = now_ms + receiver.pause_ms
        if receiver.pause_ms == 0:
            actions.append(self._launch(receiver))
        else:
            actions.append(Wake(receiver.relaunch_ms))
        # At once, then after FIRST_PAUSE_MS, then twice as long each time until it has run for a while.
        receiver.pause_ms = min(max(2 * receiver.pause_ms, FIRST_PAUSE_MS), max(self._restart_delay_ms, FIRST_PAUSE_MS))
        return actions

    def _fails_for_good(self, receiver: Tracked) -> bool:
        """Count a failure; returns whether it was one too many."""
        receiver.failures += 1
        return self._restarts_max is not None and receiver.failures > self._restarts_max

    def _given_up(self, receiver: Tracked) -> Report:
        return Report(
            SparkException(
                f"{receiver.name}: the receiver of stream {receiver.stream_id} is not started again: it failed "
                f"{receiver.failures} times in a row without storing anything, the last time with "
                f"{receiver.error_message!r}. Other streams go on. headwater.streaming.receiver.maxRestarts is "
                f"{self._restarts_max}."
            )
        )

    def _woken(self, now_ms: int) -> _Actions:
        due = [r for r in self._receivers.values() if r.state is TrackedState.PAUSED and r.relaunch_ms <= now_ms]
        return [self._launch(receiver) for receiver in due]

    def _stop_all(self) -> _Actions:
        if self._stopping:
            return []
        self._stopping = True
        actions: _Actions = []
        for receiver in self._receivers.values():
            # One that moves was halted already. One that is being launched has nothing to halt yet: see `_launched`.
            is_there = receiver.state is not TrackedState.LAUNCHING or receiver.executor_id
            if receiver.state in _IN_PLACE and is_there:
                actions.append(Halt(receiver.stream_id))
            if receiver.life.may("stop"):
                receiver.life.move("stop")
            receiver.relaunch_ms = -1
        return [*actions, *self._drain()]

    def _drain(self) -> _Actions:
        ended = all(r.state in _ENDED and not r.recording for r in self._receivers.values())
        if not self._stopping or self._drained or not ended:
            return []
        self._drained = True
        return [Drained(int(self.unallocated() > 0))]

    def _current(self, event: Launched | Registered | Deregistered | Errored | Lost) -> Tracked | None:
        receiver = self._receivers[event.stream_id]
        return receiver if event.epoch == receiver.epoch else None

    def _complain(self, receiver: Tracked, text: str) -> LogLine:
        """A warning the first time; the same error again only shows when details are asked for."""
        detail = f" - {receiver.error}" if receiver.error else ""
        # Without "Restarting receiver with delay ...:", as that grows.
        what = (receiver.error_message.partition(": ")[2] or receiver.error_message) + detail
        news = what not in receiver.complained
        if len(receiver.complained) < COMPLAINTS_MAX:
            receiver.complained.add(what)
        return LogLine(logging.WARNING if news else logging.DEBUG, f"{text}: {receiver.error_message}{detail}")


def missing_copies(name: str, copies: int, block: BlockRef | None = None) -> str:
    """What to say where received blocks can't have the copies that their level asks for."""
    there = 1 if block is None else len(block.locations)
    return (
        f"{name}: received blocks are to have {copies} copies and have {there}, as there are no more executors to take "
        "them: what isn't processed yet is lost with its executor. To keep it, set a checkpoint directory and "
        "spark.streaming.receiver.writeAheadLog.enable=true. This is said once."
    )


def _remember_error(receiver: Tracked, message: str, error: str, now_ms: int) -> None:
    receiver.error_message, receiver.error, receiver.error_ms = message, error, now_ms
