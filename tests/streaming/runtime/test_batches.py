"""The batch generator: events in, whole action lists out. And the job queue: jobs in, jobs out in order."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headwater import SparkConf
from headwater.engine.events import Wake, Woken
from headwater.streaming import listener as events
from headwater.streaming.runtime.batches import (
    FAILED_HELD_MAX,
    Abort,
    Allocate,
    Allocated,
    Announce,
    BatchAction,
    BatchGenerator,
    BeginBatches,
    Complete,
    Drained,
    Finished,
    Forget,
    Generate,
    Generated,
    LogLine,
    OutputJob,
    OutputJobFinished,
    OutputJobStarted,
    Phase,
    Report,
    StopGracefully,
    StopNow,
    StopReceivers,
    Submit,
)
from headwater.streaming.runtime.holds import Hold
from headwater.streaming.runtime.jobqueue import FailurePolicy, JobQueue, failure_policy

BATCH_MS = 1000


def info(text: str) -> LogLine:
    return LogLine(logging.INFO, text)


def job(time_ms: int, output: int = 0) -> OutputJob:
    return OutputJob(time_ms, output, f"out{output}", f"out{output} at x", lambda oldest_pending_ms: None)


class Driven:
    """A generator whose invariants are checked after each event."""

    def __init__(self, **more: Any) -> None:
        self.core = BatchGenerator(BATCH_MS, **more)

    def __call__(self, event: Any, now_ms: int) -> list[Any]:
        actions = self.core.handle(event, now_ms)
        self.core.check()
        return actions

    def tick(self, time_ms: int, outputs: int = 1) -> list[Any]:
        """One tick in time, to its `Generated`; returns the last actions."""
        assert self(Woken(), time_ms) == [Allocate(time_ms)]
        assert self(Allocated(time_ms, {}), time_ms) == [Generate(time_ms, {})]
        return self(Generated(time_ms, tuple(job(time_ms, i) for i in range(outputs)), {}, time_ms), time_ms)

    def run_job(self, time_ms: int, output: int = 0, error: Exception | None = None, at_ms: int = 0) -> list[Any]:
        at_ms = at_ms or time_ms
        self(OutputJobStarted(time_ms, output, at_ms), at_ms)
        return self(OutputJobFinished(time_ms, output, at_ms, error), at_ms)


def held(until_ms: int, *failed_ms: int) -> tuple[Hold, ...]:
    """What a restart needs when all up to `until_ms` is done, but for these batches, which failed."""
    return (
        Hold(f"batch {until_ms + BATCH_MS} ms, which isn't done", until_ms),
        *(Hold(f"batch {time_ms} ms, which failed", time_ms - BATCH_MS) for time_ms in failed_ms),
    )


def begun(**more: Any) -> Driven:
    driven = Driven(**more)
    driven(BeginBatches(2000), 1300)
    return driven


def test_begin_announces_and_asks_to_be_woken_for_the_first_batch() -> None:
    assert Driven()(BeginBatches(2000), 1300) == [
        Announce(events.StreamingStarted(1300)),
        info("Started JobGenerator at 2000 ms"),
        Wake(2000),
    ]


def test_ticks_wait_while_too_many_batches_do_and_go_on_with_their_nominal_times() -> None:
    driven = begun(waiting_max=2)
    driven.tick(2000)
    driven.tick(3000)
    (warning,) = driven(Woken(), 4000)
    assert (warning.level, "2 batches wait, the oldest since 2000 ms" in warning.text) == (logging.WARNING, True)
    assert driven(Woken(), 5000) == []
    assert driven.run_job(2000, at_ms=5100)[-1] == Allocate(4000)
    driven(Allocated(4000, {}), 5100)
    assert Allocate(5000) not in driven(Generated(4000, (job(4000),), {}, 5100), 5100)
    assert driven.run_job(3000, at_ms=5200)[-1] == Allocate(5000)
    driven(Allocated(5000, {}), 5200)
    assert driven(Generated(5000, (), {}, 5200), 5200)[-1] == Wake(6000)  # it had no jobs: there is room again
    assert driven.core.running() == (4000,)


def test_batches_that_wait_are_warned_of_again_once_half_of_them_were_done() -> None:
    driven = begun(waiting_max=4)
    for time_ms in (2000, 3000, 4000, 5000):
        driven.tick(time_ms)
    assert len(driven(Woken(), 6000)) == 1
    assert driven.run_job(2000, at_ms=6000)[-1] == Allocate(6000)
    driven(Allocated(6000, {}), 6000)
    driven(Generated(6000, (), {}, 6000), 6000)  # it has no jobs
    driven.run_job(3000, at_ms=6000)
    for time_ms in (7000, 8000):
        driven.tick(time_ms)
    assert len(driven(Woken(), 9000)) == 1


def test_last_tick_is_let_in_however_many_batches_wait() -> None:
    driven = begun(waiting_max=1)
    driven.tick(2000)
    driven(StopGracefully(10_000), 2100)
    assert len(driven(Woken(), 3000)) == 1
    assert driven(Drained(True), 3100) == [Allocate(3000)]


def test_one_batch_from_tick_to_forgetting() -> None:
    driven = begun()
    assert driven(Woken(), 2000) == [Allocate(2000)]
    assert driven(Allocated(2000, {0: "blocks"}), 2001) == [Generate(2000, {0: "blocks"})]
    inputs = {0: events.StreamInputInfo(0, 7)}
    queued = events.OutputOperationInfo(2000, 0, "out0", "out0 at x")
    assert driven(Generated(2000, (job2000 := job(2000),), inputs, 2002), 2003) == [
        info("Added jobs for time 2000 ms"),
        Announce(events.BatchSubmitted(events.BatchInfo(2000, inputs, 2002, -1, -1, {0: queued}))),
        Submit((job2000,)),
        Wake(3000),
    ]
    running = events.OutputOperationInfo(2000, 0, "out0", "out0 at x", 2010)
    assert driven(OutputJobStarted(2000, 0, 2010), 2011) == [
        Announce(events.BatchStarted(events.BatchInfo(2000, inputs, 2002, 2010, -1, {0: running}))),
        Announce(events.OutputOperationStarted(running)),
        info("Starting job streaming job 2000 ms.0 from job set of time 2000 ms"),
    ]
    ended = events.OutputOperationInfo(2000, 0, "out0", "out0 at x", 2010, 2500)
    assert driven(OutputJobFinished(2000, 0, 2500, None), 2501) == [
        info("Finished job streaming job 2000 ms.0 from job set of time 2000 ms"),
        Announce(events.OutputOperationCompleted(ended)),
        Announce(events.BatchCompleted(events.BatchInfo(2000, inputs, 2002, 2010, 2500, {0: ended}))),
        info("Total delay: 0.500 s for time 2000 ms (execution: 0.490 s)"),
        Complete(2000),
        Forget(2000, held(2000)),
    ]


def test_late_generator_catches_up_tick_by_tick_with_nominal_times() -> None:
    driven = begun()
    assert driven(Woken(), 4500) == [Allocate(2000)]
    assert driven(Woken(), 4501) == []  # one at a time
    driven(Allocated(2000, {}), 4502)
    assert driven(Generated(2000, (job(2000),), {}, 4503), 4503)[-1] == Allocate(3000)
    driven(Allocated(3000, {}), 4504)
    assert driven(Generated(3000, (job(3000),), {}, 4505), 4505)[-1] == Allocate(4000)
    driven(Allocated(4000, {}), 4506)
    assert driven(Generated(4000, (job(4000),), {}, 4507), 4507)[-1] == Wake(5000)


def test_ticks_become_one_that_is_aligned_when_the_clock_leaps_over_too_many() -> None:
    driven = begun(late_max=3)
    driven.tick(2000)
    assert driven(Woken(), 6999) == [Allocate(3000)]  # three are late
    driven(Allocated(3000, {}), 6999)
    (*_, warning, allocate) = driven(Generated(3000, (), {}, 6999), 7_000_123)
    assert warning.level == logging.WARNING
    assert "the 6997 batches that are due are merged into one" in warning.text
    assert allocate == Allocate(7_000_000)
    driven(Allocated(7_000_000, {}), 7_000_124)
    assert driven(Generated(7_000_000, (), {}, 7_000_124), 7_000_124)[-1] == Wake(7_001_000)


def test_tick_without_jobs_has_no_events_and_is_forgotten_at_once() -> None:
    driven = begun()
    text = "No jobs added for time 2000 ms"
    assert driven.tick(2000, outputs=0) == [info(text), Complete(2000), Forget(2000, held(2000)), Wake(3000)]


def test_what_an_unfinished_batch_reads_is_not_forgotten_when_a_later_one_ends() -> None:
    driven = begun()
    for time_ms in (2000, 3000, 4000):
        driven.tick(time_ms)
    assert driven.run_job(3000)[-1] == Complete(3000)
    assert driven.run_job(2000)[-1] == Forget(3000, held(3000))
    assert driven.run_job(4000)[-1] == Forget(4000, held(4000))


def test_failed_output_is_reported_and_the_rest_of_the_batch_goes_on() -> None:
    driven = begun()
    driven.tick(2000, outputs=2)
    error = ValueError("no")
    failed = driven.run_job(2000, 0, error)
    assert failed[-2:] == [LogLine(logging.ERROR, "Error running job streaming job 2000 ms.0", error), Report(error)]
    assert driven.core.running() == (2000,)
    last = driven.run_job(2000, 1)
    completed = next(a.event for a in last if isinstance(a, Announce) and isinstance(a.event, events.BatchCompleted))
    reasons = {k: v.failureReason() for k, v in completed.batchInfo().outputOperationInfos().items()}
    assert reasons == {0: "ValueError: no\n", 1: None}
    assert not any(isinstance(a, LogLine) and a.text.startswith("Total delay") for a in last)
    # Spark forgets the failure when the last output succeeds.
    assert driven.core.failed() == (2000,)


def test_batch_is_pending_until_all_its_outputs_have_succeeded() -> None:
    driven = begun()
    for time_ms in (2000, 3000, 4000, 5000):
        driven.tick(time_ms)
    driven.run_job(3000)
    driven.run_job(4000, error=ValueError())
    assert driven.core.running() == (2000, 5000)
    assert driven.core.pending() == (2000, 4000, 5000)
    driven.run_job(2000)
    driven.run_job(5000)
    assert driven.core.running() == ()
    assert driven.core.pending() == (4000,)


def test_what_a_batch_reads_is_held_while_it_is_tried_again_and_goes_once_it_has_failed_for_good() -> None:
    driven = begun()
    driven.tick(2000)
    driven.tick(3000)
    driven(OutputJobStarted(2000, 0, 2001), 2001)  # and fails, and is tried again, of which the core hears nothing
    assert not any(isinstance(action, Forget) for action in driven.run_job(3000))
    assert driven(OutputJobFinished(2000, 0, 9000, ValueError()), 9000)[-1] == Forget(3000, held(3000, 2000))


def test_failure_stops_the_generator_at_once_when_that_is_the_policy() -> None:
    driven = begun(stops_on_failure=True)
    driven.tick(2000, outputs=2)
    driven.tick(3000)
    error = ValueError("no")
    assert driven.run_job(2000, 0, error)[-3:] == [
        LogLine(logging.ERROR, "Error running job streaming job 2000 ms.0", error),
        Abort(error),
        Finished(),
    ]
    assert driven.core.phase is Phase.STOPPED
    assert driven.core.pending() == (2000, 3000)
    assert driven(Woken(), 4000) == []


def fail(driven: Driven, time_ms: int) -> BatchAction:
    """Run a batch whose output fails; returns the last action."""
    driven.tick(time_ms)
    return driven.run_job(time_ms, error=ValueError())[-1]


def test_failed_batches_are_held_for_a_restart_up_to_a_limit_and_the_oldest_given_up() -> None:
    driven = begun()
    times = [2000 + n * BATCH_MS for n in range(FAILED_HELD_MAX + 2)]
    forgets = [fail(driven, time_ms) for time_ms in times]
    assert forgets[0] == Forget(2000, held(2000, 2000))
    assert forgets[1] == Forget(3000, held(3000, 2000, 3000))
    assert forgets[FAILED_HELD_MAX - 1] == Forget(times[-3], held(times[-3], *times[:-2]))
    assert forgets[FAILED_HELD_MAX] == Forget(times[-2], held(times[-2], *times[1:-1]), given_up_ms=2000)
    assert forgets[FAILED_HELD_MAX + 1] == Forget(times[-1], held(times[-1], *times[2:]), given_up_ms=3000)
    assert driven.core.failed() == tuple(times[2:])


def test_given_up_batches_stay_so_when_later_ones_succeed() -> None:
    driven = begun()
    times = [2000 + n * BATCH_MS for n in range(FAILED_HELD_MAX + 2)]
    for time_ms in times[:-1]:
        fail(driven, time_ms)
    driven.tick(times[-1])
    assert driven.run_job(times[-1])[-1] == Forget(times[-1], held(times[-1], *times[1:-1]), given_up_ms=2000)


def test_graceful_stop_ends_at_once_when_nothing_is_pending() -> None:
    driven = begun()
    assert driven(StopGracefully(10_000), 1500) == [StopReceivers(), Wake(11_500)]
    assert driven(Drained(False), 1501) == [Finished()]
    assert driven.core.phase is Phase.STOPPED
    assert driven(Woken(), 2000) == []


def test_graceful_stop_ticks_once_more_for_data_that_no_batch_has() -> None:
    driven = begun()
    driven(StopGracefully(10_000), 1500)
    assert driven(Drained(True), 1501) == [Wake(2000)]
    submitted = driven.tick(2000)
    assert isinstance(submitted[-1], Submit)  # no Wake: it was the last tick
    assert driven.run_job(2000)[-1] == Finished()


def test_graceful_stop_waits_for_pending_batches_and_not_for_failed_ones() -> None:
    driven = begun()
    driven.tick(2000)
    driven.tick(3000)
    driven.run_job(2000, error=ValueError())
    driven(StopGracefully(10_000), 3500)
    assert driven(Drained(False), 3501) == []
    assert driven.run_job(3000)[-1] == Finished()


def test_graceful_stop_gives_up_on_receivers_after_its_deadline() -> None:
    driven = begun()
    driven(StopGracefully(200), 1500)
    timed_out = LogLine(
        logging.WARNING, "Timed out while stopping gracefully: received data that no batch took is dropped"
    )
    assert driven(Woken(), 1700) == [timed_out, Finished()]


def test_graceful_stop_makes_as_many_ticks_as_sources_ask_for() -> None:
    driven = begun()
    driven(StopGracefully(10_000), 1500)
    assert driven(Drained(2), 1501) == [Wake(2000)]
    assert driven.tick(2000)[-1] == Wake(3000)
    driven.run_job(2000)
    assert isinstance(driven.tick(3000)[-1], Submit)
    assert driven.run_job(3000)[-1] == Finished()


def test_graceful_stop_counts_no_tick_that_had_begun_before() -> None:
    driven = begun()
    driven(Woken(), 2000)
    driven(StopGracefully(10_000), 2001)
    driven(Drained(1), 2002)
    driven(Allocated(2000, {}), 2003)
    assert driven(Generated(2000, (), {}, 2003), 2003)[-1] == Wake(3000)
    driven.tick(3000)
    assert driven.run_job(3000)[-1] == Finished()


def test_ticks_go_on_while_receivers_drain() -> None:
    driven = begun()
    driven(StopGracefully(10_000), 1500)
    assert driven.tick(2000)[-1] == Wake(3000)


def test_stop_now_ends_at_once_and_late_answers_do_nothing() -> None:
    driven = begun()
    driven(Woken(), 2000)
    assert driven(StopNow(), 2001) == [Finished()]
    assert driven(Allocated(2000, {}), 2002) == []
    assert driven(Generated(2000, (job(2000),), {}, 2003), 2003) == []
    assert driven(StopNow(), 2004) == []


def test_outputs_that_run_when_the_context_stops_are_still_announced() -> None:
    driven = begun()
    driven.tick(2000)
    driven(OutputJobStarted(2000, 0, 2001), 2001)
    driven(StopNow(), 2002)
    assert any(isinstance(a, Announce) for a in driven(OutputJobFinished(2000, 0, 2003, None), 2003))


# ------------------------------------------------------------------------------------------------ the job queue
RETRYING = FailurePolicy(retries_max=2, wait_ms=700)


def queue_of(policy: FailurePolicy, *jobs: OutputJob) -> JobQueue:
    queue = JobQueue(policy)
    queue.add(jobs)
    return queue


def taken(queue: JobQueue) -> list[tuple[int, int]]:
    """(batch time, output) of all jobs that may run now, in order."""
    jobs = iter(queue.take, None)
    return [(job.time_ms, job.output_id) for job in jobs]


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        ({}, FailurePolicy(0, 0, stops=False)),
        ({"policy": "continue", "maxRetries": "5"}, FailurePolicy(0, 0, stops=False)),
        ({"policy": "retry"}, FailurePolicy(3, 1000, stops=False)),
        ({"policy": "Retry", "maxRetries": "5", "retryWait": "2s"}, FailurePolicy(5, 2000, stops=False)),
        ({"policy": "stop", "maxRetries": "5"}, FailurePolicy(0, 0, stops=True)),
    ],
)
def test_failure_policy_is_what_the_settings_say(settings, policy) -> None:
    conf = SparkConf(loadDefaults=False)
    for name, value in settings.items():
        conf.set(f"headwater.streaming.failure.{name}", value)
    assert failure_policy(conf) == policy


def test_jobs_are_taken_in_the_order_in_which_they_came() -> None:
    queue = queue_of(FailurePolicy(), job(2000, 0), job(2000, 1))
    queue.add((job(3000, 0), job(3000, 1)))
    assert taken(queue) == [(2000, 0), (2000, 1), (3000, 0), (3000, 1)]
    assert queue.take() is None


def test_failed_job_is_at_its_end_when_nothing_else_is_asked_for() -> None:
    queue = queue_of(FailurePolicy(), first := job(2000), job(3000))
    assert queue.take() is first
    assert queue.ended(first, ValueError()) is None
    assert taken(queue) == [(3000, 0)]


def test_failed_job_is_tried_again_as_often_as_allowed() -> None:
    queue = queue_of(RETRYING, first := job(2000))
    queue.take()
    assert [queue.ended(first, ValueError()) for _ in range(3)] == [700, 700, None]


def test_each_job_has_retries_of_its_own() -> None:
    queue = queue_of(RETRYING, first := job(2000), second := job(3000))
    queue.take()
    assert [queue.ended(first, ValueError()), queue.ended(first, None)] == [700, None]
    queue.take()
    assert [queue.ended(second, ValueError()) for _ in range(3)] == [700, 700, None]


def test_batches_of_an_output_run_one_at_a_time_when_they_may_be_tried_again_and_other_outputs_go_on() -> None:
    first, second = job(2000, 0), job(2000, 1)
    queue = queue_of(RETRYING, first, second, job(3000, 0), job(3000, 1), job(4000, 0))
    assert taken(queue) == [(2000, 0), (2000, 1)]
    queue.ended(first, ValueError())
    queue.ended(second, None)
    assert taken(queue) == [(3000, 1)]
    queue.ended(first, None)
    assert taken(queue) == [(3000, 0)]


def test_batches_of_an_output_may_overlap_when_none_is_tried_again() -> None:
    queue = queue_of(FailurePolicy(), first := job(2000, 0), job(3000, 0), job(4000, 0))
    assert taken(queue) == [(2000, 0), (3000, 0), (4000, 0)]
    queue.ended(first, ValueError())
    assert taken(queue) == []


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_what_is_no_accident_is_not_tried_again(error) -> None:
    queue = queue_of(RETRYING, first := job(2000))
    queue.take()
    assert queue.ended(first, error) is None


def test_failure_closes_the_queue_when_the_policy_is_to_stop() -> None:
    queue = queue_of(FailurePolicy(stops=True), first := job(2000), second := job(3000))
    queue.take()
    assert queue.ended(first, ValueError()) is None
    queue.add((third := job(4000),))
    assert queue.closed
    assert queue.take() is None
    assert queue.dropped() == (second, third)


def test_closed_queue_tries_nothing_again_and_knows_what_it_dropped() -> None:
    queue = queue_of(RETRYING, first := job(2000), second := job(3000))
    queue.take()
    queue.close()
    assert queue.ended(first, ValueError()) is None
    assert taken(queue) == []
    assert queue.dropped() == (second,)
