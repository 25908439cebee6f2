"""The receivers of a started context: how they are launched, heard and halted, as their tracker decides.

The tracker's loop has a thread of its own. What receivers say comes on the engine's threads, and is posted to it.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from headwater.base import pickling
from headwater.base.exhaustive import assert_never
from headwater.base.threads import WatchedThread
from headwater.clock import Clock
from headwater.engine.events import ReceiverLost
from headwater.engine.failures import description
from headwater.engine.loop import Loop
from headwater.streaming.receivers.messages import Lost, ReceiverSettings
from headwater.streaming.receivers.received import ReceiverInput
from headwater.streaming.receivers.supervisor import run_receiver
from headwater.streaming.receivers.tracker import (
    Executors,
    Halt,
    LaunchAll,
    Launched,
    LaunchReceiver,
    ReceiverTracker,
    RecordBlock,
    Recorded,
    SetRate,
    StopAll,
    Tell,
    TrackerAction,
    TrackerEvent,
    missing_copies,
)
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.runtime.backpressure import initial_rate
from headwater.streaming.runtime.batches import Allocate, Allocated, Announce, Drained, LogLine, Report

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.rdd.driver import Driver

logger = logging.getLogger(__name__)


class Receiving:
    """The receivers of a started context.

    Args:
        sc: where they run.
        inputs: the streams that have receivers.
        clock: says when a receiver is launched again.
        batch_ms: the batch interval.
        stop_ms: how long a receiver's own stop may take.
        keeping: is told of blocks.
        tell_generator: is given the blocks of a batch, and told once all receivers have ended; on our thread.
        tell_program: is given what listeners, the log or awaitTermination are to show; on our thread.
        crashed: is told that a thread of ours has failed.
    """

    def __init__(
        self,
        sc: Driver,
        inputs: Iterable[ReceiverInput],
        clock: Clock,
        *,
        batch_ms: int,
        stop_ms: int,
        keeping: Keeping,
        tell_generator: Callable[[Allocated | Drained], None],
        tell_program: Callable[[Announce | LogLine | Report], None],
        crashed: Callable[[BaseException], None],
    ) -> None:
        self._application = sc.application
        self._inputs = {node.stream_id: node for node in inputs}
        self._stop_ms = stop_ms
        self._keeping = keeping
        self._tell_generator = tell_generator
        self._tell_program = tell_program
        self._crashed = crashed
        conf = sc.conf
        self._logs = keeping.received_data if conf.read("spark.streaming.receiver.writeAheadLog.enable") else None
        self._settings = _settings(conf, block_interval_ms(conf, batch_ms, self._application.default_parallelism))
        self.tracker = ReceiverTracker(
            {stream_id: node.name for stream_id, node in self._inputs.items()},
            self._settings.restart_delay_ms,
            recorded=True,
            restarts_max=conf.read("headwater.streaming.receiver.maxRestarts"),
            rate=initial_rate(conf),
            copies=self._copies_expected(),
            moves=conf.read("headwater.streaming.receiver.rebalance"),
        )
        self._loop: Loop[TrackerEvent, TrackerAction] = Loop(
            "streaming-receivers", self.tracker, self._perform, clock, crashed
        )
        self._ended = threading.Event()  # all receivers have, or none would be heard
        self._own_thread: int | None = None  # the loop's, once it has done something

    def _copies_expected(self) -> dict[int, int]:
        """How many copies of a received block each stream is to have, where there are executors to take them."""
        if self._logs is not None:
            return {}  # what is in the log needs none
        copies = {stream_id: node.receiver.storageLevel.replication for stream_id, node in self._inputs.items()}
        if self._application.executors_expected == 1:
            for stream_id, wanted in copies.items():
                if wanted > 1:
                    logger.info("%s", missing_copies(self._inputs[stream_id].name, wanted))
            return {}
        return copies

    # -------------------------------------------------------------------------------------------- life
    def restore(self, ledger: Ledger) -> None:
        """Go on with what a previous driver's receivers have brought; before the start."""
        self.tracker.begun_before(ledger.pending)
        for stream_id, node in self._inputs.items():
            waiting = node.stored_again(ledger.waiting.get(node.uid, ()), "that no batch had")
            self.tracker.restored(stream_id, waiting, used=[block.id for block in ledger.blocks(node.uid)])

    def start(self) -> None:
        """Begin to answer; receivers are launched by `launch`."""
        self._loop.start()

    def launch(self) -> None:
        """Start the receivers."""
        self._application.watch_executors(lambda executor_ids: self._loop.post(Executors(executor_ids)))
        self._loop.post(LaunchAll())

    def allocate(self, batch: Allocate) -> None:
        """Have the generator given the blocks of a batch."""
        self._loop.post(batch)

    def limit(self, rates: Mapping[int, float]) -> None:
        """Back-pressure: what the receivers among these streams may take from now on, records per second."""
        for stream_id in rates.keys() & self._inputs.keys():
            self._loop.post(SetRate(stream_id, rates[stream_id]))

    def stop(self) -> None:
        """Stop the receivers; returns at once."""
        self._loop.post(StopAll())

    def wait_for_end(self, seconds: float) -> bool:
        """Wait until all receivers have ended; returns whether they have within `seconds`."""
        return self._ended.wait(seconds)

    def give_up(self) -> None:
        """A loop has failed: no end of the receivers would be noticed, so none is waited for."""
        self._ended.set()

    def close(self) -> None:
        """End the loop's thread, if it was started."""
        self._application.watch_executors(None)
        self._loop.stop()

    def runs_here(self) -> bool:
        """Whether the caller is the loop's thread."""
        return threading.get_ident() == self._own_thread

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: TrackerAction) -> None:
        self._own_thread = threading.get_ident()
        match action:
            case LaunchReceiver():
                self._launch(action)
            case Halt(stream_id):
                self._halt(stream_id)
            case Tell(stream_id, message):
                self._application.send_to_receiver(stream_id, message)
            case RecordBlock():
                self._record(action)
            case Allocated():
                self._tell_generator(action)
            case Drained():
                self._ended.set()
                self._tell_generator(action)
            case Announce() | LogLine() | Report():
                self._tell_program(action)
            case _:
                assert_never(action, "an action of the receiver tracker")

    def _launch(self, action: LaunchReceiver) -> None:
        stream_id, epoch = action.stream_id, action.epoch
        receiver = self._inputs[stream_id].receiver
        settings = self._settings._replace(
            stream_id=stream_id,
            epoch=epoch,
            after_ms=action.after_ms,
            rate=action.rate,
            log_directory=None if self._logs is None else f"{self._logs}/{stream_id}",
        )
        try:
            secrets = receiver._secrets()
            preferred_host = receiver.preferredLocation()
            executor_id = self._application.start_receiver(
                stream_id,
                pickling.dumps(functools.partial(run_receiver, receiver, settings, secrets=secrets)),
                functools.partial(self._heard, stream_id, epoch),
                preferred_host=preferred_host,
                avoid=action.avoid or None,
            )
        except BaseException as error:  # of the receiver's own methods
            logger.error("Receiver for stream %d could not be launched", stream_id, exc_info=error)
            self._loop.post(Lost(stream_id, epoch, description(error)))
            return
        self._loop.post(Launched(stream_id, epoch, executor_id, movable=preferred_host is None))

    def _heard(self, stream_id: int, epoch: int, payload: Any) -> None:
        """What a receiver posts, on a thread of the engine."""
        if isinstance(payload, ReceiverLost):
            reason = f"executor {payload.executor_id} was lost: {payload.reason}"
            payload = Lost(stream_id, epoch, reason, payload.executor_id)
        elif isinstance(payload, Exception):
            payload = Lost(stream_id, epoch, f"it could not be made: {type(payload).__name__}: {payload}")
        self._loop.post(payload)

    def _halt(self, stream_id: int) -> None:
        # On a thread of its own: a stop may wait for a block to be stored, which may wait for a batch.
        stop = functools.partial(self._application.stop_receiver, stream_id, self._stop_ms / 1000)
        WatchedThread(stop, name=f"stop-receiver-{stream_id}", on_failure=self._crashed).start()

    def _record(self, action: RecordBlock) -> None:
        stored = action.stored

        def recorded(error: BaseException | None) -> None:
            self._loop.post(Recorded(stored, "" if error is None else f"{type(error).__name__}: {error}"))

        self._keeping.block_stored(self._inputs[stored.stream_id].uid, stored.kept, recorded)


def _settings(conf: SparkConf, block_ms: int) -> ReceiverSettings:
    """What all launches have in common; `_launch` says the rest."""
    return ReceiverSettings(
        stream_id=-1,
        epoch=-1,
        after_ms=-1,
        block_interval_ms=block_ms,
        restart_delay_ms=conf.read("spark.streaming.receiverRestartDelay"),
        rate_max=conf.read("spark.streaming.receiver.maxRate"),
        store_timeout_ms=conf.read("spark.streaming.receiver.blockStoreTimeout"),
    )


def block_interval_ms(conf: SparkConf, batch_ms: int, cores: int) -> int:
    """The block interval: the setting's, or one near its default that suits batches and cores."""
    interval_ms: int = conf.read("spark.streaming.blockInterval")
    if conf.contains("spark.streaming.blockInterval"):
        return interval_ms
    return even_block_ms(batch_ms, interval_ms, cores)


def even_block_ms(batch_ms: int, interval_ms: int, cores: int) -> int:
    """A block interval near `interval_ms` by which all batches have equally many blocks, and so do all cores.

    A batch has two at least, so that data isn't late by a whole batch, and each is a millisecond at least.

    >>> even_block_ms(1000, 200, 2), even_block_ms(1000, 200, 5), even_block_ms(100, 200, 2), even_block_ms(700, 200, 4)
    (250, 200, 50, 175)
    """
    wanted = max(batch_ms / interval_ms, 2)
    even = [n for n in range(2, batch_ms + 1) if batch_ms % n == 0 and n % cores == 0 and wanted / 2 <= n <= wanted * 2]
    if even:
        return batch_ms // min(even, key=lambda n: abs(n - wanted))
    return max(min(interval_ms, batch_ms // 2), 1)
