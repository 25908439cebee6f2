"""A started StreamingContext: its loops and threads, and how the actions of its cores are performed.

The batch loop runs the generator's core and, in `Generate`, the functions that users gave to transform. The receiver
loop runs the tracker's core. Output operations have threads of their own, listeners another. An exception of a user's
function ends none of them.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from headwater.base import pickling
from headwater.base.threads import WatchedThread
from headwater.base.tracebacks import summary
from headwater.clock import Clock
from headwater.engine.events import ReceiverLost
from headwater.engine.failures import description
from headwater.engine.loop import Loop
from headwater.errors import SparkException
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.graph.graph import Graph
from headwater.streaming.listener import BatchCompleted, StreamingListenerBus
from headwater.streaming.receivers import messages, tracker
from headwater.streaming.receivers.messages import ReceiverSettings
from headwater.streaming.receivers.received import ReceiverInput
from headwater.streaming.receivers.supervisor import run_receiver
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.runtime import batches
from headwater.streaming.runtime.backpressure import RateController, initial_rate
from headwater.streaming.runtime.holds import Holds
from headwater.streaming.runtime.jobqueue import failure_policy
from headwater.streaming.runtime.jobs import JobProperties, JobThreads
from headwater.streaming.waiter import Waiter

if TYPE_CHECKING:
    from headwater.conf import SparkConf
    from headwater.rdd.driver import Driver

logger = logging.getLogger("headwater.streaming.running")

# How long a stop waits for receivers, and a stop that isn't graceful for the outputs that run.
RECEIVER_STOP_SECONDS = 10.0
JOB_STOP_SECONDS = 2.0
# A graceful stop waits this long for batches that were generated.
FINISH_SECONDS_MAX = 3600.0
# A restart waits this long for a clock that has been set back.
CLOCK_BEHIND_MS_MAX = 600_000
# Clock steps below this are routine (NTP), and not logged.
CLOCK_STEP_LOGGED_MS_MIN = 1000
# Batches that a line of the log names one by one.
TIMES_LISTED_MAX = 100


def even_block_ms(batch_ms: int, interval_ms: int, cores: int) -> int:
    """A block interval near `interval_ms` of which each batch has the same number, and each core as many blocks.

    A batch has two at least, so that data isn't late by a whole batch, and each is a millisecond at least.

    >>> even_block_ms(1000, 200, 2), even_block_ms(1000, 200, 5), even_block_ms(100, 200, 2), even_block_ms(700, 200, 4)
    (250, 200, 50, 175)
    """
    wanted = max(batch_ms / interval_ms, 2)
    even = [n for n in range(2, batch_ms + 1) if batch_ms % n == 0 and n % cores == 0 and wanted / 2 <= n <= wanted * 2]
    if even:
        return batch_ms // min(even, key=lambda n: abs(n - wanted))
    return max(min(interval_ms, batch_ms // 2), 1)


class Running:
    """The threads of a started context.

    Args:
        sc: where jobs run.
        graph: the streams.
        clock: says when batches are due.
        bus: the listeners.
        waiter: is told of errors.
        properties: local properties of the thread that starts the context.
        stop_context: is called, on one of our threads, when a failure is to stop the context.
        keeping: keeps what a restart needs; ours to start and to stop.
    """

    def __init__(
        self,
        sc: Driver,
        graph: Graph,
        clock: Clock,
        *,
        bus: StreamingListenerBus,
        waiter: Waiter,
        properties: Mapping[str, str],
        stop_context: Callable[[], None],
        keeping: Keeping,
    ) -> None:
        self._sc = sc
        self._keeping = keeping
        self._application = sc.application
        self._graph = graph
        self._clock = clock
        self._bus = bus
        self._waiter = waiter
        self._stop_context = stop_context
        conf = sc.conf
        self._unpersist: bool = conf.read("spark.streaming.unpersist")
        self._graceful_ms: int = conf.read("spark.streaming.gracefulStopTimeout") or 10 * graph.batch_ms
        self._restart_ms: int = conf.read("spark.streaming.receiverRestartDelay")
        self._store_timeout_ms: int = conf.read("spark.streaming.receiver.blockStoreTimeout")
        self._logs = keeping.received_data if conf.read("spark.streaming.receiver.writeAheadLog.enable") else None
        self._rate_max: int | None = conf.read("spark.streaming.receiver.maxRate")
        if conf.contains("spark.streaming.blockInterval"):
            self._block_ms: int = conf.read("spark.streaming.blockInterval")
        else:
            interval_ms = conf.read("spark.streaming.blockInterval")
            self._block_ms = even_block_ms(graph.batch_ms, interval_ms, self._application.default_parallelism)
        self._inputs = {node.stream_id: node for node in graph.inputs if isinstance(node, ReceiverInput)}
        names = {stream_id: node.name for stream_id, node in self._inputs.items()}
        self._rates = RateController.from_conf(conf, graph.batch_ms, [node.stream_id for node in graph.inputs])
        self._rate_initial = initial_rate(conf)
        self._finished = threading.Event()  # the generator has nothing left to wait for
        self._receivers_ended = threading.Event()
        self._own_threads: set[int] = set()  # of both loops, each entered by its own thread
        self._ahead_ms = 0  # of the machine's clock, as far as that was said; the batch loop's thread's
        policy = failure_policy(conf)
        self.generator = batches.BatchGenerator(
            graph.batch_ms,
            stops_on_failure=policy.stops,
            waiting_max=conf.read("headwater.streaming.waitingBatchesMax"),
            late_max=conf.read("headwater.streaming.recovery.missedBatchesMax"),
        )
        self.tracker = tracker.ReceiverTracker(
            names,
            self._restart_ms,
            recorded=True,
            restarts_max=conf.read("headwater.streaming.receiver.maxRestarts"),
            rate=self._rate_initial,
            copies=self._copies_expected(),
            moves=conf.read("headwater.streaming.receiver.rebalance"),
        )
        self._batch_loop = Loop("streaming-batches", self.generator, self._perform, clock, self._crashed)
        self._receiver_loop = Loop("streaming-receivers", self.tracker, self._perform, clock, self._crashed)
        self._jobs = JobThreads(
            max(1, conf.read("spark.streaming.concurrentJobs")),
            policy,
            clock,
            self._batch_loop.post,
            JobProperties(sc, properties, graph.batch_ms).set,
            self._crashed,
        )
        self._performers: dict[type, Any] = {
            batches.Announce: self._announce,
            batches.Log: self._log,
            batches.Submit: self._submit,
            batches.Allocate: self._receiver_loop.post,
            batches.Allocated: self._batch_loop.post,
            batches.Generate: self._generate,
            batches.Report: lambda action: self._waiter.report(action.error),
            batches.Abort: self._abort,
            batches.Complete: self._complete,
            batches.Forget: self._forget,
            batches.StopReceivers: lambda action: self._receiver_loop.post(tracker.StopAll()),
            batches.Drained: self._drained,
            batches.Finished: lambda action: self._finished.set(),
            tracker.Launch: self._launch,
            tracker.Record: self._record,
            tracker.Halt: self._halt,
            tracker.Tell: lambda action: self._application.send_to_receiver(action.stream_id, action.message),
        }

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Start the receivers and the ticks, and before that what a restart has to do again.

        If that fails nothing is left running.
        """
        ledger = self._keeping.ledger
        first_ms = first_tick(ledger, self._clock.now_ms())
        missed = missed_batches(ledger, first_ms, self._sc.conf)
        try:
            self._graph.start(ledger.zero_ms, self._keeping)
            conf = self._sc.conf
            refuses = conf.read("headwater.streaming.recovery.positionalMatch") == "refuse"
            self._graph.match(ledger, refuses=refuses)
            drop_unknown: bool = conf.read("headwater.streaming.recovery.dropUnknown")
            states = self._graph.restore(ledger, missed, first_ms, drop_unknown=drop_unknown)
            self.tracker.begun_before(ledger.pending)
            for stream_id, node in self._inputs.items():
                waiting = node.stored_again(ledger.waiting.get(node.uid, ()), "that no batch had")
                self.tracker.restored(stream_id, waiting, used=[block.id for block in ledger.blocks(node.uid)])
            self._keeping.started(
                [node.uid for node in self._graph.inputs],
                states,
                self._graph.sources(),
                receiving=[node.uid for node in self._inputs.values()],
            )
            self._graph.begin()
            if self._rate_initial is not None:
                self._graph.limit({node.stream_id: self._rate_initial for node in self._graph.inputs})
            self._keeping.start()
            self._bus.start()
            self._jobs.start()
            self._receiver_loop.start()
            self._batch_loop.start()
        except BaseException:
            self._end()
            raise
        self._application.watch_executors(lambda ids: self._receiver_loop.post(tracker.Executors(ids)))
        self._batch_loop.post(batches.Begin(first_ms, tuple(missed)))
        self._receiver_loop.post(tracker.LaunchAll())

    def runs_here(self) -> bool:
        """Whether the caller is one of our threads, which must not wait for the end of them."""
        own = threading.get_ident() in self._own_threads
        return own or self._bus.runs_here() or self._jobs.runs_here()

    def hurry(self) -> None:
        """Turn a graceful stop that is under way into one that isn't."""
        self._batch_loop.post(batches.StopNow())

    def stop(self, *, gracefully: bool) -> None:
        """End everything; called once, not on one of our threads.

        Gracefully: what receivers hold is taken and all batches are finished, as long as that is possible.
        """
        try:
            if gracefully:
                self._batch_loop.post(batches.StopGracefully(self._graceful_ms))
                if not self._finished.wait(self._graceful_ms / 1000 + FINISH_SECONDS_MAX):
                    logger.warning("Batches %s were not finished: stopping without them", self.generator.running())
        finally:  # also when Ctrl-C ends the wait
            self._batch_loop.post(batches.StopNow())
            self._receiver_loop.post(tracker.StopAll())
            if not self._receivers_ended.wait(RECEIVER_STOP_SECONDS):
                logger.warning("Not all receivers have stopped within %g s", RECEIVER_STOP_SECONDS)
            self._end()

    def _end(self) -> None:
        """End our threads, as far as they were started, and close the streams."""
        self._application.watch_executors(None)
        if not self._jobs.close(JOB_STOP_SECONDS):
            logger.warning("An output operation still runs: it is left to its end, and nobody hears of it")
        dropped = sorted({job.time_ms for job in self._jobs.dropped()})
        if dropped:
            logger.warning("Dropped, as the context stops: outputs of the batches %s", _listed(dropped))
        self._receiver_loop.stop()
        self._batch_loop.stop()
        self._bus.close()
        self._remove_blocks(self._graph.stop())
        self._keeping.stop()

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: Any) -> None:
        self._own_threads.add(threading.get_ident())
        self._performers[type(action)](action)

    def _submit(self, action: batches.Submit) -> None:
        self._tell_oldest_pending()
        self._jobs.submit(action.jobs)

    def _tell_oldest_pending(self) -> None:
        """On the generator's thread, when a batch begins or has ended."""
        if pending := self.generator.pending():
            self._jobs.oldest_pending_ms = pending[0]

    def _announce(self, action: batches.Announce) -> None:
        self._bus.post(action.event)
        if isinstance(action.event, BatchCompleted):
            self._tell_oldest_pending()
            rates = self._rates.completed(action.event.batchInfo())
            self._graph.limit(rates)
            for stream_id in rates.keys() & self._inputs.keys():
                self._receiver_loop.post(tracker.SetRate(stream_id, rates[stream_id]))

    def _copies_expected(self) -> dict[int, int]:
        """How many copies of a received block each stream is to have, where there are executors to take them."""
        if self._logs is not None:
            return {}  # what is in the log needs none
        copies = {stream_id: node.receiver.storageLevel.replication for stream_id, node in self._inputs.items()}
        if self._application.executors_expected == 1:
            for stream_id, wanted in copies.items():
                if wanted > 1:
                    logger.info("%s", tracker.missing_copies(self._inputs[stream_id].name, wanted))
            return {}
        return copies

    def _log(self, line: batches.Log) -> None:
        """Write a line; the traceback of an error only if nobody is about to be given it by awaitTermination."""
        if line.error is None or not self._waiter.is_awaited:
            logger.log(line.level, "%s", line.text, exc_info=line.error)
        else:
            what = summary(line.error)
            logger.log(line.level, "%s: %s; awaitTermination() raises it, with its traceback", line.text, what)

    def _generate(self, action: batches.Generate) -> None:
        time_ms = action.time_ms
        self._look_at_the_clock()
        self._tell_amended()
        jobs = self._graph.generate(time_ms, action.blocks)
        inputs = self._graph.brought(time_ms)
        generated = batches.Generated(time_ms, jobs, inputs, self._clock.now_ms())
        taken = {
            self._inputs[stream_id].uid: [stored.block.block_id for stored in batch.blocks]
            for stream_id, batch in action.blocks.items()
            if batch.blocks
        }
        # The same data, should the batch have to be run again: so no job begins before that's sure.
        data, memory = self._graph.batch_data(time_ms)
        self._keeping.batch_begun(time_ms, data, taken, memory, lambda _: self._batch_loop.post(generated))

    def _look_at_the_clock(self) -> None:
        """Say that the machine's clock was set back, once each time."""
        ahead_ms = self._clock.ahead_ms()
        if ahead_ms > self._ahead_ms + CLOCK_STEP_LOGGED_MS_MIN:
            logger.warning(
                "The machine's clock was set back: batches go on at their pace, and are %g s ahead of it until it has "
                "caught up. Files that are taken by their modification time may seem too old meanwhile; with "
                "headwater.streaming.fileStream.selection=identity none is left out.",
                ahead_ms / 1000,
            )
        self._ahead_ms = ahead_ms

    def _abort(self, action: batches.Abort) -> None:
        logger.error("Stopping, as headwater.streaming.failure.policy=stop says: an output failed")
        self._waiter.abort(action.error)
        self._stop_context()

    def _tell_amended(self) -> None:
        """Keep what is known to be missing in batches, before they are done and others may take it."""
        inputs, memory = self._graph.amended()
        if inputs:
            self._keeping.batches_amended(inputs, memory)

    def _complete(self, action: batches.Complete) -> None:
        self._tell_amended()
        self._keeping.batch_done(action.time_ms)
        self._graph.completed(action.time_ms)

    def _record(self, action: tracker.Record) -> None:
        stored = action.stored

        def recorded(error: BaseException | None) -> None:
            self._receiver_loop.post(tracker.Recorded(stored, _text(error)))

        self._keeping.block_stored(self._inputs[stored.stream_id].uid, stored.kept, recorded)

    def _forget(self, action: batches.Forget) -> None:
        self._remove_blocks(self._graph.forget(action.until_ms, unpersist=self._unpersist))
        self._keeping.when_durable(functools.partial(self._release, action))

    def _release(self, action: batches.Forget) -> None:
        released = self._graph.release(Holds(action.holds))
        logger.debug("A restart needs %s", released.holds)
        self._keeping.forget(released.inputs, released.versions, action.given_up_ms)

    def _remove_blocks(self, block_ids: list[str]) -> None:
        if block_ids:
            self._application.remove_blocks(block_ids)

    def _drained(self, action: batches.Drained) -> None:
        self._receivers_ended.set()
        self._batch_loop.post(action._replace(ticks=max(self._graph.drain(), action.ticks)))

    def _launch(self, action: tracker.Launch) -> None:
        node = self._inputs[action.stream_id]
        settings = ReceiverSettings(
            action.stream_id,
            action.epoch,
            action.after_ms,
            self._block_ms,
            self._restart_ms,
            self._rate_max,
            action.rate,
            self._store_timeout_ms,
            None if self._logs is None else f"{self._logs}/{action.stream_id}",
        )
        try:
            secrets = node.receiver._secrets()
            preferred_host = node.receiver.preferredLocation()
            executor_id = self._application.start_receiver(
                action.stream_id,
                pickling.dumps(functools.partial(run_receiver, node.receiver, settings, secrets=secrets)),
                functools.partial(self._heard, action.stream_id, action.epoch),
                preferred_host=preferred_host,
                avoid=action.avoid or None,
            )
        except BaseException as error:  # of the receiver's own methods
            logger.error("Receiver for stream %d could not be launched", action.stream_id, exc_info=error)
            self._receiver_loop.post(messages.Lost(action.stream_id, action.epoch, description(error)))
            return
        movable = preferred_host is None
        self._receiver_loop.post(tracker.Launched(action.stream_id, action.epoch, executor_id, movable))

    def _heard(self, stream_id: int, epoch: int, payload: Any) -> None:
        """What a receiver posts, on a thread of the engine."""
        if isinstance(payload, ReceiverLost):
            reason = f"executor {payload.executor_id} was lost: {payload.reason}"
            payload = messages.Lost(stream_id, epoch, reason, payload.executor_id)
        elif isinstance(payload, Exception):
            payload = messages.Lost(stream_id, epoch, f"it could not be made: {type(payload).__name__}: {payload}")
        self._receiver_loop.post(payload)

    def _halt(self, action: tracker.Halt) -> None:
        # On a thread of its own: a stop may wait for a block to be stored, which may wait for a batch.
        stop = functools.partial(self._application.stop_receiver, action.stream_id, self._graceful_ms / 1000)
        WatchedThread(stop, name=f"stop-receiver-{action.stream_id}", on_failure=self._crashed).start()

    def _crashed(self, crash: BaseException) -> None:
        self._waiter.report(crash)
        self._finished.set()
        self._receivers_ended.set()


def first_tick(ledger: Ledger, now_ms: int) -> int:
    """The first batch time that the clock gives: the next one, and none that there was already.

    Raises:
        SparkException: the clock is far behind the last batch of before.
    """
    first_ms = next_multiple_ms(now_ms, ledger.batch_ms, ledger.zero_ms)
    again_ms = ledger.generated_ms + ledger.batch_ms
    if first_ms >= again_ms:
        return first_ms
    behind_ms = ledger.generated_ms - now_ms
    if behind_ms > CLOCK_BEHIND_MS_MAX:
        raise SparkException(
            f"the clock says {now_ms} ms, and the checkpoint's last batch is that of {ledger.generated_ms} ms, "
            f"{behind_ms / 1000:g} s later. Set the clock of this machine right, or use another checkpoint directory."
        )
    if behind_ms > 0:
        text = "The clock is %g s behind the last batch of the driver of before: the next batch comes after that"
        logger.warning(text, behind_ms / 1000)
    return again_ms


def missed_batches(ledger: Ledger, first_ms: int, conf: SparkConf) -> list[int]:
    """The batches that a restart runs before its first tick: begun ones that aren't done, and those in between.

    The settings may have the latter merged: then their data comes with the first tick.
    """
    missed = ledger.missed(first_ms)
    if not missed or ledger.generated_ms == ledger.zero_ms:
        return []  # the driver of before did not get to its first batch
    down = [time_ms for time_ms in missed if time_ms > ledger.generated_ms]
    most = conf.read("headwater.streaming.recovery.missedBatchesMax")
    if conf.read("headwater.streaming.recovery.missedBatches") == "merge" or len(down) > most:
        logger.warning("%d batches during down time are merged into the one at %d ms", len(down), first_ms)
        down = []
    pending = [time_ms for time_ms in missed if time_ms <= ledger.generated_ms]
    for name, times in (("during down time", down), ("pending processing", pending), ("to reschedule", pending + down)):
        logger.info("Batches %s (%d batches): %s", name, len(times), _listed(times))
    return pending + down


def _text(error: BaseException | None) -> str:
    return "" if error is None else f"{type(error).__name__}: {error}"


def _listed(times_ms: list[int]) -> str:
    """Batch times for the log: all, or the first and the last of very many."""
    if not times_ms:
        return "none"
    if len(times_ms) > TIMES_LISTED_MAX:
        return f"{times_ms[0]} ms to {times_ms[-1]} ms ({len(times_ms)})"
    return ", ".join(f"{time_ms} ms" for time_ms in times_ms)
