"""A receiver's supervisor, which lives in the executor with it.

A core decides when the receiver is started, stopped and started again; a loop of its own calls the receiver's methods.
"""

from __future__ import annotations

import logging
import queue
import reprlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, NamedTuple

from headwater.base.cipher import cipher_of
from headwater.base.exhaustive import assert_never
from headwater.base.lives import Table
from headwater.clock import Clock, SystemClock
from headwater.conf import SparkConf
from headwater.engine.events import Wake, Woken
from headwater.engine.failures import description, error_text, shortened
from headwater.engine.loop import Loop
from headwater.errors import SparkException
from headwater.streaming.decoding import count_undecodable
from headwater.streaming.receivers.blocks import RECORDS_MAX, BlockGenerator
from headwater.streaming.receivers.messages import (
    STOPPED_BY_DRIVER,
    BlockStored,
    Deregistered,
    Errored,
    Limit,
    Lost,
    ReceiverHost,
    ReceiverSettings,
    Registered,
    Taken,
)
from headwater.streaming.receivers.ratelimiter import RateLimiter
from headwater.streaming.receivers.receiver import Receiver, ReceiverState
from headwater.streaming.recovery.log import LogSettings, LogWriter

logger = logging.getLogger(__name__)

# Of a record, or a part of one, that an error shows.
SHOWN_CHARACTERS_MAX = 100
# How often a thread that waits for the driver looks whether it can still answer.
LOOK_SECONDS = 0.2
# A receiver that fails again without having stored anything waits twice as long each time, up to this many delays.
RESTART_DELAYS_MAX = 8


# ------------------------------------------------------------------------------------------------ the core
class BeginReceiving(NamedTuple):
    """Event: start for the first time."""


class Restart(NamedTuple):
    """Event: the receiver wants to stop and start again, after a delay of its own choice, or ours (None).

    `has_stored`: whether it has stored anything since its last start.
    """

    message: str
    error: str
    delay_ms: int | None
    has_stored: bool


class Stop(NamedTuple):
    """Event: the receiver, or the driver, wants it to end."""

    message: str
    error: str


class GiveUp(NamedTuple):
    """Event, the last one: the supervisor itself has failed."""


SupervisorEvent = BeginReceiving | Restart | Stop | GiveUp


class CallStart(NamedTuple):
    """Action: tell the driver, then call onStart."""


class CallStop(NamedTuple):
    """Action: call onStop."""


class CloseBlocks(NamedTuple):
    """Action: store what is left and take nothing more."""


class TellStopped(NamedTuple):
    """Action: tell the driver."""

    message: str
    error: str
    restarts: bool


SupervisorAction = CallStart | CallStop | CloseBlocks | TellStopped

LIFE: Table[ReceiverState, type[SupervisorEvent | Woken]] = Table(
    "the receiver",
    ReceiverState.CREATED,
    {
        (ReceiverState.CREATED, BeginReceiving): ReceiverState.STARTED,
        (ReceiverState.CREATED, Stop): ReceiverState.STOPPED,
        (ReceiverState.CREATED, GiveUp): ReceiverState.STOPPED,
        (ReceiverState.STARTED, Restart): ReceiverState.RESTARTING,
        (ReceiverState.STARTED, Stop): ReceiverState.STOPPED,
        (ReceiverState.STARTED, GiveUp): ReceiverState.STOPPED,
        (ReceiverState.RESTARTING, Woken): ReceiverState.STARTED,
        (ReceiverState.RESTARTING, Stop): ReceiverState.STOPPED,
        (ReceiverState.RESTARTING, GiveUp): ReceiverState.STOPPED,
    },
)


class SupervisorCore:
    """When the receiver's methods are called. What the table doesn't list is ignored: it comes too late.

    Args:
        restart_ms: the first pause before a restart.
    """

    def __init__(self, restart_ms: int) -> None:
        self._life = LIFE.begin()
        self._restart_ms = restart_ms
        self._pause_ms = restart_ms  # before the next restart; grows with each after which nothing is stored
        self._start_ms = -1  # when a restarting receiver starts

    @property
    def state(self) -> ReceiverState:
        """Where in its life the receiver is; any thread may ask."""
        return self._life.state

    def handle(self, event: SupervisorEvent | Woken, now_ms: int) -> list[SupervisorAction | Wake]:
        """Take an event; returns the actions, in order."""
        if not self._life.may(type(event)) or (isinstance(event, Woken) and now_ms < self._start_ms):
            return []
        calls: list[SupervisorAction | Wake] = [CallStop()] if self.state is ReceiverState.STARTED else []
        self._life.move(type(event))
        match event:
            case BeginReceiving() | Woken():
                return [CallStart()]
            case Restart():
                delay_ms = self._delay_ms(event)
                self._start_ms = now_ms + delay_ms
                message = f"Restarting receiver with delay {delay_ms}ms: {event.message}"
                return [*calls, TellStopped(message, event.error, True), Wake(self._start_ms)]
            case Stop():
                return [*calls, CloseBlocks(), TellStopped(event.message, event.error, False)]
            case GiveUp():
                return []  # the loop is over: no action would be performed
        assert_never(event, "an event of a supervisor")

    def _delay_ms(self, event: Restart) -> int:
        if event.has_stored:
            self._pause_ms = self._restart_ms
        if event.delay_ms is not None:
            return event.delay_ms
        pause_ms = self._pause_ms
        self._pause_ms = min(2 * pause_ms, RESTART_DELAYS_MAX * self._restart_ms)
        return pause_ms


# ------------------------------------------------------------------------------------------------ the shell
class Supervisor:
    """Runs a receiver in an executor; the handle that the engine keeps."""

    def __init__(
        self, receiver: Receiver, settings: ReceiverSettings, host: ReceiverHost, clock: Clock | None = None
    ) -> None:
        clock = clock or SystemClock()
        self.settings = settings
        self.core = SupervisorCore(settings.restart_delay_ms)
        self._receiver = receiver
        self._host = host
        self._clock = clock
        self._has_stored = False  # since the receiver's last start
        self._ended = threading.Event()
        self._log = None if settings.log_directory is None else _open_log(settings.log_directory, host)
        self._taken: dict[str, queue.SimpleQueue[Taken]] = {}  # by block: where the thread that stored it waits
        self._limiter = RateLimiter(self._capped(settings.rate), clock)
        self._blocks = BlockGenerator(
            settings.stream_id,
            interval_ms=settings.block_interval_ms,
            after_ms=settings.after_ms,
            store=self._store,
            clock=clock,
            on_error=self._block_failed,
            on_refused=self._records_refused,
        )
        name = f"receiver-supervisor-{settings.stream_id}"
        self._loop: Loop[SupervisorEvent, SupervisorAction] = Loop(name, self.core, self._perform, clock, self._crashed)
        receiver._attached = self

    def start(self) -> None:
        """Start the receiver."""
        self._blocks.start()
        self._loop.start()
        self._loop.post(BeginReceiving())

    # -------------------------------------------------------------------------------------------- for the receiver
    @property
    def state(self) -> ReceiverState:
        """Where in its life the receiver is."""
        return self.core.state

    @property
    def conf(self) -> SparkConf:
        """The application's settings; what is read here is in no checkpoint."""
        return SparkConf(loadDefaults=False).setAll(self._host.conf.items())

    def store_one(self, record: Any) -> None:
        """One record into the current interval's block."""
        self._limiter.acquire()
        self._blocks.add(record)
        self._has_stored = True

    def store_many(self, records: Iterator[Any]) -> None:
        """Blocks of their own, of `RECORDS_MAX` records or what passes in a second; returns once they are stored."""
        while block := list(islice(records, self._records_max())):
            self._limiter.acquire(len(block))
            self._blocks.store_now(block)
            self._has_stored = True

    def store_encoded(self, block: bytes, records: int = 0) -> None:
        """A block that is in the engine's encoding; 0 records: they were not counted, so no rate holds for it."""
        self._limiter.acquire(records)
        self._blocks.store_encoded(block, records)
        self._has_stored = True

    def store_text(self, data: bytes) -> None:
        """Whole lines of raw text, each ended by a newline, into the current interval's block."""
        lines, rate = data.count(b"\n"), self._limiter.per_second
        if rate is not None:
            most = max(1, int(rate / 10))
            if lines > most:
                for piece in _pieces_of_lines(data, most):
                    self.store_text(piece)
                return
            self._limiter.acquire(lines)
        self._blocks.add_text(data, lines, count_undecodable(data))
        self._has_stored = True

    def restart(self, message: str, error: BaseException | None, delay_ms: int | None) -> None:
        """Stop and start again."""
        delay_ms = None if delay_ms is None else max(0, delay_ms)
        self._loop.post(Restart(_plain(message), error_text(error), delay_ms, self._has_stored))

    def stop_itself(self, message: str, error: BaseException | None) -> None:
        """Stop for good, by the receiver's own wish."""
        self._loop.post(Stop(_plain(message), error_text(error)))

    def report_error(self, message: str, error: BaseException | None) -> None:
        """Tell the driver."""
        self._host.post(Errored(self.settings.stream_id, self.settings.epoch, _plain(message), error_text(error)))

    # -------------------------------------------------------------------------------------------- for the engine
    def receive(self, message: Taken | Limit) -> None:
        """A message from the driver."""
        match message:
            case Taken():
                answer = self._taken.get(message.block_id)
                if answer is not None:  # else the wait is over, or a previous launch of the receiver stored it
                    answer.put(message)
            case Limit(per_second):
                self._limiter.limit(self._capped(per_second))
            case _:
                assert_never(message, "a message to a receiver")

    def stop(self) -> None:
        """Stop the receiver and store what it added; waits for that."""
        self._loop.post(Stop(STOPPED_BY_DRIVER, ""))
        self._limiter.close()
        self._ended.wait()
        self._loop.stop()
        if self._log is not None:
            self._log.close()

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: SupervisorAction) -> None:
        match action:
            case CallStart():
                self._call_start()
            case CallStop():
                self._call_stop()
            case CloseBlocks():
                self._limiter.close()
                self._blocks.stop()
            case TellStopped(message, error, restarts):
                settings = self.settings
                self._host.post(Deregistered(settings.stream_id, settings.epoch, message, error, restarts))
                if not restarts:
                    self._ended.set()
            case _:
                assert_never(action, "an action of a supervisor")

    def _call_start(self) -> None:
        settings, host = self.settings, self._host
        host.post(Registered(settings.stream_id, settings.epoch, host.host, host.executor_id))
        self._has_stored = False
        try:
            self._receiver.onStart()
        except (Exception, SystemExit) as error:
            self.restart(f"Error starting receiver {settings.stream_id}", error, None)

    def _call_stop(self) -> None:
        try:
            self._receiver.onStop()
        except (Exception, SystemExit) as error:
            self.report_error(f"Error stopping receiver {self.settings.stream_id}", error)

    def _store(self, block_id: str, data: bytes | list[bytes], records: int, undecodable: int) -> None:
        level, log = self._receiver.storageLevel, None
        if self._log is not None:
            # What is in the log needs no second copy.
            level = replace(level, replication=1)
            (log,) = self._log.append([data if isinstance(data, bytes) else b"".join(data)])
        ref = self._host.put_block(block_id, data, records=records, level=level)
        answer = self._taken[block_id] = queue.SimpleQueue()
        try:
            self._host.post(BlockStored(self.settings.stream_id, ref, undecodable, log))
            self._wait_until_taken(block_id, answer)
        finally:
            del self._taken[block_id]
        logger.debug("Pushed block %s", block_id)

    def _wait_until_taken(self, block_id: str, answer: queue.SimpleQueue[Taken]) -> None:
        """Return once the driver has the block, so that a reliable receiver may acknowledge it to its source."""
        deadline_ms = self._clock.now_ms() + self.settings.store_timeout_ms
        while True:
            try:
                failure = answer.get(timeout=LOOK_SECONDS).failure
            except queue.Empty:
                if self._host.closing:
                    failure = "the executor is closing"
                elif self._clock.now_ms() < deadline_ms:
                    continue
                else:
                    failure = f"the driver did not answer within {self.settings.store_timeout_ms} ms"
            if failure:
                raise SparkException(f"block {block_id} was stored, but it does not count: {failure}")
            return

    def _capped(self, rate: float | None) -> float | None:
        """A rate, but never more than the setting allows; zero and less mean no limit."""
        rates = [r for r in (rate, self.settings.rate_max) if r is not None and r > 0]
        return min(rates, default=None)

    def _records_max(self) -> int:
        """How many records go into one block; under a limit no more than pass in a second."""
        rate = self._limiter.per_second
        return RECORDS_MAX if rate is None else max(1, min(RECORDS_MAX, int(rate)))

    def _block_failed(self, error: BaseException) -> None:
        self.report_error(f"A block of stream {self.settings.stream_id} was received but could not be stored", error)

    def _records_refused(self, refused: list[Any], error: Exception) -> None:
        brief = reprlib.Repr()
        brief.maxother = brief.maxstring = SHOWN_CHARACTERS_MAX
        shown = brief.repr(refused[0])[: 2 * SHOWN_CHARACTERS_MAX]
        self.report_error(
            f"Stream {self.settings.stream_id}: {len(refused)} records that were received can't be pickled and are "
            f"dropped; the others of their block are stored. The first of them is {shown}. Store plain data: text, "
            "bytes, numbers, tuples, lists, dicts",
            error,
        )

    def _crashed(self, crash: BaseException) -> None:
        """The receiver has no supervisor any more: it ends, so that the driver can start it anew."""
        settings = self.settings
        self.core.handle(GiveUp(), self._clock.now_ms())
        try:
            self._limiter.close()
            self._call_stop()
            self._blocks.stop()
        finally:
            reason = f"its supervisor has failed: {description(crash)}"
            self._host.post(Lost(settings.stream_id, settings.epoch, reason))
            self._ended.set()


def run_receiver(
    receiver: Receiver, settings: ReceiverSettings, host: ReceiverHost, *, secrets: Any = None
) -> Supervisor:
    """What the engine calls in the executor: starts the receiver, returns its handle."""
    receiver._reveal(secrets)
    supervisor = Supervisor(receiver, settings, host)
    supervisor.start()
    return supervisor


def _open_log(directory: str, host: ReceiverHost) -> LogWriter:
    conf = SparkConf(loadDefaults=False).setAll(host.conf.items())
    settings = LogSettings.from_conf(
        conf,
        rolling_ms=conf.read("spark.streaming.receiver.writeAheadLog.rollingIntervalSecs"),
        tries_max=conf.read("spark.streaming.receiver.writeAheadLog.maxFailures"),
        close_after_write=conf.read("spark.streaming.receiver.writeAheadLog.closeFileAfterWrite"),
        cipher=cipher_of(host.key),
    )
    return LogWriter(directory, settings)


def _plain(message: Any) -> str:
    """What a receiver says, as text: nothing else is sure to arrive. Some give an exception as the message."""
    if isinstance(message, BaseException):
        return description(message)
    return shortened(str(message))


def _pieces_of_lines(data: bytes, lines: int) -> Iterator[bytes]:
    rest = iter(data[:-1].split(b"\n"))
    while piece := list(islice(rest, lines)):
        yield b"\n".join(piece) + b"\n"
