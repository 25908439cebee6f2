"""A started StreamingContext: its loops and threads, and how the actions of its cores are performed.

The batch loop runs the generator's core and, in `Generate`, the functions that users gave to transform. The receiver
loop runs the tracker's core. Output operations have threads of their own, listeners another. An exception of a user's
function ends none of them.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from headwater import serializers
from headwater.clock import Clock
from headwater.engine.events import ReceiverLost
from headwater.engine.loop import Loop
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.graph import Graph
from headwater.streaming.listener import StreamingListenerBus
from headwater.streaming.runtime import batches, receivers
from headwater.streaming.runtime.jobs import JobProperties, JobThreads
from headwater.streaming.runtime.waiter import Waiter
from headwater.streaming.sources.received import ReceiverInput
from headwater.streaming.sources.receiver import ReceiverSettings, run_receiver

if TYPE_CHECKING:
    from headwater.context import SparkContext

logger = logging.getLogger("headwater.streaming.runtime")

# How long a stop waits for receivers, and a stop that isn't graceful for the outputs that run.
RECEIVER_STOP_SECONDS = 10.0
JOB_STOP_SECONDS = 2.0
# A graceful stop waits this long for batches that were generated.
FINISH_SECONDS_MAX = 3600.0


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
    """

    def __init__(
        self,
        sc: SparkContext,
        graph: Graph,
        clock: Clock,
        *,
        bus: StreamingListenerBus,
        waiter: Waiter,
        properties: Mapping[str, str],
    ) -> None:
        self._sc = sc
        self._application = sc._application
        self._graph = graph
        self._clock = clock
        self._bus = bus
        self._waiter = waiter
        conf = sc._conf
        self._unpersist: bool = conf.read("spark.streaming.unpersist")
        self._graceful_ms: int = conf.read("spark.streaming.gracefulStopTimeout") or 10 * graph.batch_ms
        self._restart_ms: int = conf.read("spark.streaming.receiverRestartDelay")
        self._rate_max: int | None = conf.read("spark.streaming.receiver.maxRate")
        if conf.contains("spark.streaming.blockInterval"):
            self._block_ms: int = conf.read("spark.streaming.blockInterval")
        else:
            interval_ms = conf.read("spark.streaming.blockInterval")
            self._block_ms = even_block_ms(graph.batch_ms, interval_ms, self._application.default_parallelism)
        self._inputs = {node.stream_id: node for node in graph.inputs if isinstance(node, ReceiverInput)}
        names = {stream_id: node.name for stream_id, node in self._inputs.items()}
        self._finished = threading.Event()  # the generator has nothing left to wait for
        self._receivers_ended = threading.Event()
        self._own_threads: set[int] = set()  # of both loops, each entered by its own thread
        self._last_executor: dict[int, str] = {}  # where a receiver was lost: not there again, if it can be helped
        self.generator = batches.BatchGenerator(graph.batch_ms)
        self.tracker = receivers.ReceiverTracker(names, self._restart_ms)
        self._batch_loop = Loop("streaming-batches", self.generator, self._perform, clock, self._crashed)
        self._receiver_loop = Loop("streaming-receivers", self.tracker, self._perform, clock, self._crashed)
        self._jobs = JobThreads(
            max(1, conf.read("spark.streaming.concurrentJobs")),
            clock,
            self._batch_loop.post,
            JobProperties(sc, properties, graph.batch_ms).set,
        )
        self._performers: dict[type, Any] = {
            batches.Announce: lambda action: self._bus.post(action.event),
            batches.Log: self._log,
            batches.Submit: lambda action: self._jobs.submit(action.jobs),
            batches.Allocate: self._receiver_loop.post,
            batches.Allocated: self._batch_loop.post,
            batches.Generate: self._generate,
            batches.Report: lambda action: self._waiter.report(action.error),
            batches.Forget: self._forget,
            batches.StopReceivers: lambda action: self._receiver_loop.post(receivers.StopAll()),
            batches.Drained: self._drained,
            batches.Finished: lambda action: self._finished.set(),
            receivers.Launch: self._launch,
            receivers.Halt: self._halt,
        }

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Fix the zero time, start the receivers and the ticks."""
        first_ms = next_multiple_ms(self._clock.now_ms(), self._graph.batch_ms)
        self._graph.start(first_ms - self._graph.batch_ms)
        self._bus.start()
        self._jobs.start()
        self._receiver_loop.start()
        self._batch_loop.start()
        self._batch_loop.post(batches.Begin(first_ms))
        self._receiver_loop.post(receivers.LaunchAll())

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
        if gracefully:
            self._batch_loop.post(batches.StopGracefully(self._graceful_ms))
            if not self._finished.wait(self._graceful_ms / 1000 + FINISH_SECONDS_MAX):
                logger.warning("Batches %s were not finished: stopping without them", self.generator.pending())
        self._batch_loop.post(batches.StopNow())
        self._receiver_loop.post(receivers.StopAll())
        if not self._receivers_ended.wait(RECEIVER_STOP_SECONDS):
            logger.warning("Not all receivers have stopped within %g s", RECEIVER_STOP_SECONDS)
        if not self._jobs.close(JOB_STOP_SECONDS):
            logger.warning("An output operation still runs: it is left to its end, and nobody hears of it")
        self._receiver_loop.stop()
        self._batch_loop.stop()
        self._bus.close()
        self._remove_blocks(self._graph.stop())

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: Any) -> None:
        self._own_threads.add(threading.get_ident())
        self._performers[type(action)](action)

    def _log(self, line: batches.Log) -> None:
        logger.log(line.level, "%s", line.text, exc_info=line.error)

    def _generate(self, action: batches.Generate) -> None:
        time_ms = action.time_ms
        jobs = self._graph.generate(time_ms, action.blocks)
        inputs = self._graph.brought(time_ms)
        self._batch_loop.post(batches.Generated(time_ms, jobs, inputs, self._clock.now_ms()))

    def _forget(self, action: batches.Forget) -> None:
        self._remove_blocks(self._graph.forget(action.until_ms, unpersist=self._unpersist))

    def _remove_blocks(self, block_ids: list[str]) -> None:
        if block_ids:
            self._application.remove_blocks(block_ids)

    def _drained(self, action: batches.Drained) -> None:
        self._receivers_ended.set()
        self._batch_loop.post(action)

    def _launch(self, action: receivers.Launch) -> None:
        node = self._inputs[action.stream_id]
        settings = ReceiverSettings(
            action.stream_id, action.epoch, action.after_ms, self._block_ms, self._restart_ms, self._rate_max
        )
        try:
            executor_id = self._application.start_receiver(
                action.stream_id,
                serializers.dumps(functools.partial(run_receiver, node.receiver, settings)),
                functools.partial(self._heard, action.stream_id, action.epoch),
                preferred_host=node.receiver.preferredLocation(),
                avoid=self._last_executor.get(action.stream_id),
            )
        except Exception as error:
            logger.error("Receiver for stream %d could not be launched", action.stream_id, exc_info=error)
            self._receiver_loop.post(receivers.Lost(action.stream_id, action.epoch, f"{type(error).__name__}: {error}"))
            return
        self._receiver_loop.post(receivers.Launched(action.stream_id, action.epoch, executor_id))

    def _heard(self, stream_id: int, epoch: int, payload: Any) -> None:
        """What a receiver posts, on a thread of the engine."""
        if isinstance(payload, ReceiverLost):
            self._last_executor[stream_id] = payload.executor_id
            payload = receivers.Lost(stream_id, epoch, f"executor {payload.executor_id} was lost: {payload.reason}")
        elif isinstance(payload, Exception):
            payload = receivers.Lost(stream_id, epoch, f"it could not be made: {type(payload).__name__}: {payload}")
        self._receiver_loop.post(payload)

    def _halt(self, action: receivers.Halt) -> None:
        # On a thread of its own: a stop may wait for a block to be stored, which may wait for a batch.
        stop = functools.partial(self._application.stop_receiver, action.stream_id, self._graceful_ms / 1000)
        threading.Thread(target=stop, name=f"stop-receiver-{action.stream_id}", daemon=True).start()

    def _crashed(self, crash: BaseException) -> None:
        self._waiter.report(crash)
        self._finished.set()
        self._receivers_ended.set()
