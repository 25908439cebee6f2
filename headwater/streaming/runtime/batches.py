"""The batch generator: which batch is due, which are under way, what may be forgotten.

- A core: it knows times, numbers and names, and neither RDDs, threads nor the clock.
- A tick goes Allocate -> `Allocated` -> Generate -> `Generated` -> Submit, one at a time and none is left out: a late
  generator catches up tick by tick, each with its nominal time. While too many batches run, ticks wait, and what they
  would take stays with the sources. Only if very many are late, as after a leap of the clock, the last stands for all.
- A batch runs from `Generated` to its last output's end. What a running batch reads is never forgotten.
- A batch is pending until all its outputs have succeeded. One that failed is complete for its listeners, and stays in
  `pending()` for a driver that goes on from it.
"""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, NamedTuple

from headwater.base.exhaustive import assert_never
from headwater.base.lives import Table
from headwater.engine.events import Wake, Woken
from headwater.streaming.listener import (
    BatchCompleted,
    BatchInfo,
    BatchStarted,
    BatchSubmitted,
    OutputOperationCompleted,
    OutputOperationInfo,
    OutputOperationStarted,
    StreamingEvent,
    StreamingStarted,
    StreamInputInfo,
)
from headwater.streaming.runtime.holds import Hold

# Batches that wait for their outputs, beyond which the next ones are late instead.
WAITING_MAX = 1000
# Ticks that are late, beyond which they become one.
LATE_MAX = 1000
# Failed batches, the latest, whose data is held for a restart, which runs them again; earlier ones are given up.
FAILED_HELD_MAX = 100
# This many batches in a row that begin later and later are a trend and not a pause; it is logged once a minute.
LATE_IN_A_ROW = 3
BEHIND_LOGGED_MS_MIN = 60_000


class Phase(Enum):
    """Where in its life the generator is."""

    CREATED = "created"
    RUNNING = "running"
    DRAINING = "draining"  # receivers are stopping; ticks go on
    LAST_TICKS = "last ticks"  # data is left, which the next ticks take along
    FINISHING = "finishing"  # no more ticks; running batches end
    STOPPED = "stopped"


LIFE: Table[Phase, Literal["begin", "stop", "some left", "none left", "last tick", "too late", "all done", "stop now"]]
LIFE = Table(
    "the batch generator",
    Phase.CREATED,
    {
        (Phase.CREATED, "begin"): Phase.RUNNING,
        (Phase.RUNNING, "stop"): Phase.DRAINING,
        (Phase.DRAINING, "some left"): Phase.LAST_TICKS,
        (Phase.DRAINING, "none left"): Phase.FINISHING,
        (Phase.DRAINING, "too late"): Phase.FINISHING,
        (Phase.LAST_TICKS, "last tick"): Phase.FINISHING,
        (Phase.LAST_TICKS, "too late"): Phase.FINISHING,
        (Phase.FINISHING, "all done"): Phase.STOPPED,
        **{(phase, "stop now"): Phase.STOPPED for phase in Phase if phase is not Phase.STOPPED},
    },
)


# ------------------------------------------------------------------------------------------------ events
class BeginBatches(NamedTuple):
    """Start ticking; `first_ms` is the first batch time. `missed`: batches from before it to run first, in order."""

    first_ms: int
    missed: tuple[int, ...] = ()


class Allocated(NamedTuple):
    """The tick's received blocks: stream id -> what `Generate` hands to that stream."""

    time_ms: int
    blocks: Mapping[int, Any]


class OutputJob(NamedTuple):
    """One output operation of one batch. The core reads the names and never calls `run`.

    `run(oldest batch that isn't done)` writes the batch.
    """

    time_ms: int
    output_id: int
    name: str
    description: str
    run: Callable[[int], None]


class Generated(NamedTuple):
    """The tick's jobs, in order, and what each input stream brought. `at_ms`: when they were ready."""

    time_ms: int
    jobs: tuple[OutputJob, ...]
    inputs: Mapping[int, StreamInputInfo]
    at_ms: int


class OutputJobStarted(NamedTuple):
    """An output began at `at_ms`."""

    time_ms: int
    output_id: int
    at_ms: int


class OutputJobFinished(NamedTuple):
    """An output ended at `at_ms`, with an error or (None) well; it isn't tried again."""

    time_ms: int
    output_id: int
    at_ms: int
    error: BaseException | None


class StopGracefully(NamedTuple):
    """Take what receivers still hold, finish it, then end; ticks go on until `timeout_ms` have passed."""

    timeout_ms: int


class Drained(NamedTuple):
    """All receivers have ended; `ticks` more are to take what waits, blocks or what other sources have."""

    ticks: int


class StopNow(NamedTuple):
    """End at once; queued outputs are dropped by the shell."""


BatchEvent = (
    BeginBatches | Allocated | Generated | OutputJobStarted | OutputJobFinished | StopGracefully | Drained | StopNow
)


# ------------------------------------------------------------------------------------------------ actions
class Allocate(NamedTuple):
    """Assign all received blocks to this batch, then send `Allocated`."""

    time_ms: int


class Generate(NamedTuple):
    """Ask the graph for this batch's jobs (user functions run), then send `Generated`."""

    time_ms: int
    blocks: Mapping[int, Any]


class Submit(NamedTuple):
    """Queue these jobs; each sends `OutputJobStarted` and `OutputJobFinished`."""

    jobs: tuple[OutputJob, ...]


class Announce(NamedTuple):
    """Tell the listeners."""

    event: StreamingEvent


class Report(NamedTuple):
    """Let awaitTermination raise this."""

    error: BaseException


class Abort(NamedTuple):
    """Stop the context; then let awaitTermination raise this."""

    error: BaseException


class Complete(NamedTuple):
    """All outputs of this batch, if it has any, succeeded: it won't have to be run again."""

    time_ms: int


class Forget(NamedTuple):
    """Batches up to this time are done: what no stream remembers longer may go.

    `holds`: the batches that a restart would run again. Failed ones up to `given_up_ms` aren't run again.
    """

    until_ms: int
    holds: tuple[Hold, ...]
    given_up_ms: int = -1


class LogLine(NamedTuple):
    """Write a line to the log; `error` adds its traceback."""

    level: int
    text: str
    error: BaseException | None = None


class StopReceivers(NamedTuple):
    """Stop all receivers, then send `Drained`."""


class Finished(NamedTuple):
    """Nothing runs that a stop would wait for."""


BatchAction = (
    Allocate | Generate | Submit | Announce | Report | Abort | Complete | Forget | LogLine | StopReceivers | Finished
)
_Actions = list[BatchAction | Wake]


# ------------------------------------------------------------------------------------------------ the core
_TICKING = (Phase.RUNNING, Phase.DRAINING, Phase.LAST_TICKS)


@dataclass(slots=True)
class _Batch:
    """A batch that runs. `remaining` counts its outputs that haven't ended."""

    time_ms: int
    inputs: Mapping[int, StreamInputInfo]
    submitted_ms: int
    outputs: dict[int, OutputOperationInfo]
    remaining: int
    started_ms: int = -1
    ended_ms: int = -1
    failed: bool = False

    def info(self) -> BatchInfo:
        return BatchInfo(
            self.time_ms, self.inputs, self.submitted_ms, self.started_ms, self.ended_ms, dict(self.outputs)
        )


class _Pace:
    """Whether batches are done as fast as they come."""

    def __init__(self, batch_ms: int) -> None:
        self._batch_ms = batch_ms
        self._delay_ms = 0  # how late the batch that ended last had begun
        self._late = 0  # batches in a row that began an interval too late or more, each later than the previous one
        self._took_ms: deque[int] = deque(maxlen=LATE_IN_A_ROW)  # what the last batches took
        self._logged_ms = -BEHIND_LOGGED_MS_MIN

    def ended(self, batch: _Batch, now_ms: int, *, waiting: int) -> _Actions:
        """A batch has ended, and `waiting` others haven't: a warning, if they fall behind and none was lately."""
        delay_ms = batch.started_ms - batch.time_ms
        is_late = delay_ms >= self._batch_ms and delay_ms > self._delay_ms
        self._late = self._late + 1 if is_late else 0
        self._delay_ms = delay_ms
        self._took_ms.append(batch.ended_ms - batch.started_ms)
        if self._late < LATE_IN_A_ROW or now_ms < self._logged_ms + BEHIND_LOGGED_MS_MIN:
            return []
        self._logged_ms = now_ms
        mean_ms = sum(self._took_ms) / len(self._took_ms)
        text = (
            f"Batches fall behind: one is due every {self._batch_ms / 1000:g} s and the last {len(self._took_ms)} took "
            f"{mean_ms / 1000:.3g} s on average; that of {batch.time_ms} ms began {delay_ms / 1000:.3g} s late, and "
            f"{waiting} wait. Give processing more cores or partitions, lengthen the batch interval, or slow the "
            "sources down by spark.streaming.backpressure.enabled=true."
        )
        return [LogLine(logging.WARNING, text)]


class BatchGenerator:
    """The core of batch generation.

    Args:
        batch_ms: the batch interval.
        stops_on_failure: whether a failed output stops the context; else the others go on.
        waiting_max: while this many batches run or wait for it, ticks wait; at least 1.
        late_max: if more ticks than this are late, they become one.
    """

    def __init__(
        self,
        batch_ms: int,
        *,
        stops_on_failure: bool = False,
        waiting_max: int = WAITING_MAX,
        late_max: int = LATE_MAX,
    ) -> None:
        self._batch_ms = batch_ms
        self._stops_on_failure = stops_on_failure
        self._waiting_max = waiting_max
        self._late_max = late_max
        self._held = False  # a tick waits, or has until lately: that was said
        self._life = LIFE.begin()
        self._next_ms = -1  # the next tick's nominal time, but for those that were missed
        self._missed: deque[int] = deque()  # from before the first tick, ascending
        self._generating_ms: int | None = None  # the tick between Allocate and Generated
        self._ticks_left = 0  # of the last ones
        self._last_ms: int | None = None  # the tick that is known to be the last
        self._deadline_ms: int | None = None  # of a graceful stop
        self._running: dict[int, _Batch] = {}  # by batch time, ascending: ticks come in order
        self._done_ms = -1  # the latest tick that was generated, whatever became of it
        self._forgotten_ms = -1  # what Forget said last
        self._failed: set[int] = set()  # batch times, the latest `FAILED_HELD_MAX`
        self._given_up_ms = -1  # the latest batch that failed and is held no longer
        self._pace = _Pace(batch_ms)

    def handle(self, event: BatchEvent | Woken, now_ms: int) -> _Actions:
        """Take an event; returns the actions, in order."""
        match event:
            case OutputJobStarted():
                return self._job_started(event)
            case OutputJobFinished():
                return self._job_finished(event, now_ms)
            case Woken():
                return self._woken(now_ms)
            case Allocated():
                return [Generate(event.time_ms, event.blocks)] if event.time_ms == self._generating_ms else []
            case Generated():
                return self._generated(event, now_ms)
            case BeginBatches():
                return self._begin(event, now_ms)
            case StopGracefully():
                return self._stop_gracefully(event, now_ms)
            case Drained():
                return self._drained(event, now_ms)
            case StopNow():
                return self._stop_now()
        assert_never(event, "an event of the batch generator")

    # -------------------------------------------------------------------------------------------- questions
    @property
    def phase(self) -> Phase:
        """Where in its life it is."""
        return self._life.state

    def running(self) -> tuple[int, ...]:
        """Times of the batches that have outputs that haven't ended, oldest first."""
        return tuple(self._running)

    def failed(self) -> tuple[int, ...]:
        """Times of the batches that ended with a failed output, oldest first; the latest `FAILED_HELD_MAX`."""
        return tuple(sorted(self._failed))

    def pending(self) -> tuple[int, ...]:
        """Times of the batches whose outputs have not all succeeded, oldest first: those that run or failed."""
        return tuple(sorted((*self._failed, *self._running)))

    def check(self) -> None:
        """Assert what is always true."""
        times = list(self._running)
        assert times == sorted(times), times
        assert all(batch.remaining > 0 for batch in self._running.values())
        assert not self._running.keys() & self._failed
        assert not times or self._forgotten_ms < times[0], (self._forgotten_ms, times)
        assert self._generating_ms is None or self._generating_ms < self._next_ms
        assert len(self._failed) <= FAILED_HELD_MAX
        assert self._given_up_ms < min(self._failed, default=self._given_up_ms + 1)
        assert self._deadline_ms is not None or self.phase in (Phase.CREATED, Phase.RUNNING, Phase.STOPPED)
        assert not self._ticks_left or self.phase in (Phase.LAST_TICKS, Phase.FINISHING, Phase.STOPPED)
        assert self.phase is not Phase.CREATED or not (self._running or self._failed or self._missed)

    # -------------------------------------------------------------------------------------------- ticks
    def _begin(self, event: BeginBatches, now_ms: int) -> _Actions:
        self._life.move("begin")
        self._next_ms = event.first_ms
        self._missed.extend(event.missed)
        self._forgotten_ms = min((event.first_ms, *event.missed)) - self._batch_ms
        return [
            Announce(StreamingStarted(now_ms)),
            LogLine(logging.INFO, f"Started JobGenerator at {event.first_ms} ms"),
            *self._tick(now_ms),
        ]

    def _woken(self, now_ms: int) -> _Actions:
        late = self._deadline_ms is not None and now_ms >= self._deadline_ms
        if late and self._life.may("too late"):
            self._life.move("too late")
            text = "Timed out while stopping gracefully: received data that no batch took is dropped"
            return [LogLine(logging.WARNING, text), *self._finish()]
        return self._tick(now_ms)

    def _tick(self, now_ms: int) -> _Actions:
        """Begin the next tick if it is due and none is under way; else see to it that we are woken for it."""
        if self._generating_ms is not None or self.phase not in _TICKING:
            return []
        if not self._missed and now_ms < self._next_ms:
            return [Wake(self._next_ms)]
        # A last tick is let in: what it brings was promised to be processed.
        if len(self._running) >= self._waiting_max and self.phase is not Phase.LAST_TICKS:
            return self._hold()
        if self._missed:
            self._generating_ms = self._missed.popleft()
            return [Allocate(self._generating_ms)]
        leap = self._leap(now_ms)
        self._generating_ms = self._next_ms
        if self.phase is Phase.LAST_TICKS:
            self._ticks_left -= 1
            if not self._ticks_left:
                self._last_ms = self._next_ms
        self._next_ms += self._batch_ms
        return [*leap, Allocate(self._generating_ms)]

    def _leap(self, now_ms: int) -> _Actions:
        """Have the latest of very many late ticks stand for all of them."""
        late = (now_ms - self._next_ms) // self._batch_ms
        if late <= self._late_max:
            return []
        text = (
            f"The clock says {now_ms} ms, and the next batch was that of {self._next_ms} ms: the {late + 1} batches "
            "that are due are merged into one. headwater.streaming.recovery.missedBatchesMax is the limit."
        )
        self._next_ms += late * self._batch_ms
        return [LogLine(logging.WARNING, text)]

    def _hold(self) -> _Actions:
        """Let ticks wait until a batch ends; this is said once, until half of the batches are done."""
        if self._held:
            return []
        self._held = True
        text = (
            f"{len(self._running)} batches wait, the oldest since {next(iter(self._running))} ms: processing can't "
            "keep up, so the next batches are late, and sources are read no faster than data is processed. Slow them "
            "down by spark.streaming.backpressure.enabled=true, give processing more cores, or lengthen the batch "
            "interval. The limit is headwater.streaming.waitingBatchesMax."
        )
        return [LogLine(logging.WARNING, text)]

    def _generated(self, event: Generated, now_ms: int) -> _Actions:
        if event.time_ms != self._generating_ms:
            return []  # stopped meanwhile
        self._generating_ms = None
        self._done_ms = event.time_ms
        if self._last_ms == event.time_ms and self._life.may("last tick"):
            self._life.move("last tick")
        if event.jobs:
            actions = self._submit(event)
        else:
            text = f"No jobs added for time {event.time_ms} ms"
            actions = [LogLine(logging.INFO, text), Complete(event.time_ms), *self._forget()]
        return [*actions, *self._tick(now_ms), *self._finish()]

    def _submit(self, event: Generated) -> _Actions:
        outputs = {
            job.output_id: OutputOperationInfo(event.time_ms, job.output_id, job.name, job.description)
            for job in event.jobs
        }
        batch = _Batch(event.time_ms, event.inputs, event.at_ms, outputs, len(outputs))
        self._running[event.time_ms] = batch
        return [
            LogLine(logging.INFO, f"Added jobs for time {event.time_ms} ms"),
            Announce(BatchSubmitted(batch.info())),
            Submit(event.jobs),
        ]

    # -------------------------------------------------------------------------------------------- outputs
    def _job_started(self, event: OutputJobStarted) -> _Actions:
        batch = self._running[event.time_ms]
        before = batch.outputs[event.output_id]
        output = OutputOperationInfo(event.time_ms, event.output_id, before.name(), before.description(), event.at_ms)
        batch.outputs[event.output_id] = output
        actions: _Actions = []
        if batch.started_ms < 0:
            batch.started_ms = event.at_ms
            actions.append(Announce(BatchStarted(batch.info())))
        actions.append(Announce(OutputOperationStarted(output)))
        actions.append(LogLine(logging.INFO, f"Starting job {job_name(event)} from job set of time {event.time_ms} ms"))
        return actions

    def _job_finished(self, event: OutputJobFinished, now_ms: int) -> _Actions:
        batch = self._running[event.time_ms]
        before = batch.outputs[event.output_id]
        failure = None if event.error is None else "".join(traceback.format_exception(event.error))
        output = OutputOperationInfo(
            event.time_ms,
            event.output_id,
            before.name(),
            before.description(),
            before.startTime(),
            event.at_ms,
            failure,
        )
        batch.outputs[event.output_id] = output
        batch.remaining -= 1
        batch.failed |= event.error is not None
        actions: _Actions = [
            LogLine(logging.INFO, f"Finished job {job_name(event)} from job set of time {event.time_ms} ms"),
            Announce(OutputOperationCompleted(output)),
        ]
        if event.error is not None:
            actions.append(LogLine(logging.ERROR, f"Error running job {job_name(event)}", event.error))
            actions.append(Abort(event.error) if self._stops_on_failure else Report(event.error))
        if not batch.remaining:
            batch.ended_ms = event.at_ms
            del self._running[event.time_ms]
            actions += [Announce(BatchCompleted(batch.info())), *self._completed(batch)]
            actions += self._pace.ended(batch, now_ms, waiting=len(self._running))
            if self._held:
                self._held = 2 * len(self._running) > self._waiting_max
                actions += self._tick(now_ms)
        if event.error is not None and self._stops_on_failure:
            return [*actions, *self._stop_now()]
        return [*actions, *self._finish()]

    def _completed(self, batch: _Batch) -> _Actions:
        if batch.failed:
            self._failed.add(batch.time_ms)
            if len(self._failed) > FAILED_HELD_MAX:
                given_up_ms = min(self._failed)
                self._failed.remove(given_up_ms)
                self._given_up_ms = max(self._given_up_ms, given_up_ms)
            return self._forget()
        total = (batch.ended_ms - batch.time_ms) / 1000
        execution = (batch.ended_ms - batch.started_ms) / 1000
        text = f"Total delay: {total:.3f} s for time {batch.time_ms} ms (execution: {execution:.3f} s)"
        return [LogLine(logging.INFO, text), Complete(batch.time_ms), *self._forget()]

    def _forget(self) -> _Actions:
        """Forget up to the last batch before which all have ended.

        A batch that is tried again still runs, so its data is held. Once it has failed for good its data goes with
        the batches after it: keeping it would stop the receivers of a stream whose every batch fails. What a restart
        needs to run it again stands in the ledger and the logs, for the latest `FAILED_HELD_MAX`.
        """
        oldest = next(iter(self._running), None)
        until_ms = self._done_ms if oldest is None else oldest - self._batch_ms
        if until_ms <= self._forgotten_ms:
            return []
        self._forgotten_ms = until_ms
        holds = (
            Hold(f"batch {until_ms + self._batch_ms} ms, which isn't done", until_ms),
            *(Hold(f"batch {time_ms} ms, which failed", time_ms - self._batch_ms) for time_ms in sorted(self._failed)),
        )
        return [Forget(until_ms, holds, min((self._given_up_ms, *(hold.until_ms for hold in holds))))]

    # -------------------------------------------------------------------------------------------- the end
    def _stop_gracefully(self, event: StopGracefully, now_ms: int) -> _Actions:
        if self.phase is Phase.CREATED:
            return self._stop_now()
        if not self._life.may("stop"):
            return []
        self._life.move("stop")
        self._deadline_ms = now_ms + event.timeout_ms
        return [StopReceivers(), Wake(self._deadline_ms)]

    def _drained(self, event: Drained, now_ms: int) -> _Actions:
        if self.phase is not Phase.DRAINING:
            return []
        self._life.move("some left" if event.ticks else "none left")
        self._ticks_left = event.ticks
        return [*self._tick(now_ms), *self._finish()]

    def _finish(self) -> _Actions:
        if self.phase is not Phase.FINISHING or self._running or self._generating_ms is not None:
            return []
        self._life.move("all done")
        return [Finished()]

    def _stop_now(self) -> _Actions:
        if not self._life.may("stop now"):
            return []
        self._life.move("stop now")
        self._generating_ms = None
        return [Finished()]


def job_name(event: OutputJob | OutputJobStarted | OutputJobFinished) -> str:
    """What the log calls a job."""
    return f"streaming job {event.time_ms} ms.{event.output_id}"
