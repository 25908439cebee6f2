"""A started StreamingContext: its threads, and how what the batch generator decides is done.

The batch loop runs the generator's core and, in `Generate`, the functions that users gave to transform. The receivers'
loop is that of `Receiving`. Output operations have threads of their own, listeners another. An exception of a user's
function ends none of them.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from headwater.base.exhaustive import assert_never
from headwater.base.tracebacks import summary
from headwater.clock import Clock
from headwater.engine.loop import Loop
from headwater.streaming.graph.graph import Graph
from headwater.streaming.listener import BatchCompleted, StreamingListenerBus
from headwater.streaming.receivers.received import ReceiverInput
from headwater.streaming.receiving import Receiving
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.missed import first_tick, listed, missed_batches
from headwater.streaming.runtime import batches
from headwater.streaming.runtime.backpressure import RateController, initial_rate
from headwater.streaming.runtime.holds import Holds
from headwater.streaming.runtime.jobqueue import failure_policy
from headwater.streaming.runtime.jobs import BatchJobProperties, JobThreads
from headwater.streaming.waiter import Waiter

if TYPE_CHECKING:
    from headwater.rdd.driver import Driver

logger = logging.getLogger(__name__)

# How long a stop waits for receivers, and a stop that isn't graceful for the outputs that run.
RECEIVER_STOP_SECONDS = 10.0
JOB_STOP_SECONDS = 2.0
# A graceful stop waits this long for batches that were generated.
FINISH_SECONDS_MAX = 3600.0
# Clock steps below this are routine (NTP), and not logged.
CLOCK_STEP_LOGGED_MS_MIN = 1000


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
        self._rates = RateController.from_conf(conf, graph.batch_ms, [node.stream_id for node in graph.inputs])
        self._finished = threading.Event()  # the generator has nothing left to wait for
        self._own_thread: int | None = None  # the batch loop's, once it has done something
        self._ahead_ms = 0  # of the machine's clock, as far as that was logged; the batch loop's thread's
        policy = failure_policy(conf)
        self.generator = batches.BatchGenerator(
            graph.batch_ms,
            stops_on_failure=policy.stops,
            waiting_max=conf.read("headwater.streaming.waitingBatchesMax"),
            late_max=conf.read("headwater.streaming.recovery.missedBatchesMax"),
        )
        self._batch_loop: Loop[batches.BatchEvent, batches.BatchAction] = Loop(
            "streaming-batches", self.generator, self._perform, clock, self._crashed
        )
        self._received = {node.stream_id: node for node in graph.inputs if isinstance(node, ReceiverInput)}
        self.receiving = Receiving(
            sc,
            self._received.values(),
            clock,
            batch_ms=graph.batch_ms,
            stop_ms=self._graceful_ms,
            keeping=keeping,
            tell_generator=self._hear_receivers,
            tell_program=self._tell,
            crashed=self._crashed,
        )
        self._jobs = JobThreads(
            max(1, conf.read("spark.streaming.concurrentJobs")),
            policy,
            clock,
            self._batch_loop.post,
            BatchJobProperties(sc, properties, graph.batch_ms).set,
            self._crashed,
        )

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
            self.receiving.restore(ledger)
            self._keeping.started(
                [node.uid for node in self._graph.inputs],
                states,
                self._graph.sources(),
                receiving=[node.uid for node in self._received.values()],
            )
            self._graph.begin()
            rate = initial_rate(conf)
            if rate is not None:
                self._graph.limit({node.stream_id: rate for node in self._graph.inputs})
            self._keeping.start()
            self._bus.start()
            self._jobs.start()
            self.receiving.start()
            self._batch_loop.start()
        except BaseException:
            self._end()
            raise
        self._batch_loop.post(batches.BeginBatches(first_ms, tuple(missed)))
        self.receiving.launch()

    def runs_here(self) -> bool:
        """Whether the caller is one of our threads, which must not wait for the end of them."""
        own = threading.get_ident() == self._own_thread
        return own or self.receiving.runs_here() or self._bus.runs_here() or self._jobs.runs_here()

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
            self.receiving.stop()
            if not self.receiving.wait_for_end(RECEIVER_STOP_SECONDS):
                logger.warning("Not all receivers have stopped within %g s", RECEIVER_STOP_SECONDS)
            self._end()

    def _end(self) -> None:
        """End our threads, as far as they were started, and close the streams."""
        if not self._jobs.close(JOB_STOP_SECONDS):
            logger.warning("An output operation still runs: it is left to its end, and nothing is told of it")
        dropped = sorted({job.time_ms for job in self._jobs.dropped()})
        if dropped:
            logger.warning("Dropped, as the context stops: outputs of the batches %s", listed(dropped))
        self.receiving.close()
        self._batch_loop.stop()
        self._bus.close()
        self._remove_blocks(self._graph.stop())
        self._keeping.stop()

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: batches.BatchAction) -> None:
        self._own_thread = threading.get_ident()
        match action:
            case batches.Announce() | batches.LogLine() | batches.Report():
                self._tell(action)
            case batches.Submit():
                self._submit(action)
            case batches.Allocate():
                self.receiving.allocate(action)
            case batches.Generate():
                self._generate(action)
            case batches.Complete():
                self._complete(action)
            case batches.Forget():
                self._forget(action)
            case batches.StopReceivers():
                self.receiving.stop()
            case batches.Finished():
                self._finished.set()
            case batches.Abort():
                self._abort(action)
            case _:
                assert_never(action, "an action of the batch generator")

    def _hear_receivers(self, event: batches.Allocated | batches.Drained) -> None:
        """What the receivers' loop says to the batches', on the thread of the former."""
        if isinstance(event, batches.Drained):
            event = batches.Drained(max(self._graph.drain(), event.ticks))
        self._batch_loop.post(event)

    def _tell(self, action: batches.Announce | batches.LogLine | batches.Report) -> None:
        """Tell listeners, the log or awaitTermination; on the thread of either loop."""
        match action:
            case batches.Announce():
                self._announce(action)
            case batches.LogLine():
                self._log(action)
            case batches.Report(error):
                self._waiter.report(error)
            case _:
                assert_never(action, "an action of both cores")

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
            self.receiving.limit(rates)

    def _log(self, line: batches.LogLine) -> None:
        """Write a line; the traceback of an error only if awaitTermination isn't about to raise it."""
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
            self._received[stream_id].uid: [stored.block.block_id for stored in batch.blocks]
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

    def _crashed(self, crash: BaseException) -> None:
        self._waiter.report(crash)
        self._finished.set()
        self.receiving.give_up()
