"""Batches that fall behind: when that is said, and with which figures."""

from __future__ import annotations

import logging

from headwater.engine.events import Woken
from headwater.streaming.runtime.batches import (
    Allocated,
    BatchGenerator,
    BeginBatches,
    Generated,
    LogLine,
    OutputJob,
    OutputJobFinished,
    OutputJobStarted,
)

BATCH_MS = 1000


class Course:
    """A generator whose batches have one output each, one at a time, and come each second from 1000 ms on."""

    def __init__(self) -> None:
        self._core = BatchGenerator(BATCH_MS)
        self._core.handle(BeginBatches(BATCH_MS), 0)
        self._generated_ms = 0

    def batch(self, time_ms: int, *, began_ms: int, took_ms: int) -> list[str]:
        """A batch is run, after all ticks up to its end; returns the warnings at its end."""
        ended_ms = began_ms + took_ms
        while self._generated_ms + BATCH_MS <= ended_ms:
            self._generated_ms += BATCH_MS
            at_ms = self._generated_ms
            self._core.handle(Woken(), at_ms)
            self._core.handle(Allocated(at_ms, {}), at_ms)
            job = OutputJob(at_ms, 0, "out", "", lambda oldest_pending_ms: None)
            self._core.handle(Generated(at_ms, (job,), {}, at_ms), at_ms)
        self._core.handle(OutputJobStarted(time_ms, 0, began_ms), began_ms)
        actions = self._core.handle(OutputJobFinished(time_ms, 0, ended_ms, None), ended_ms)
        return [a.text for a in actions if isinstance(a, LogLine) and a.level == logging.WARNING]


def overloaded(course: Course, *, batches: int, took_ms: int) -> list[tuple[int, str]]:
    """Batches that take too long, one after the other; returns what was said, each with the time."""
    said = []
    began_ms = BATCH_MS
    for number in range(1, batches + 1):
        warnings = course.batch(number * BATCH_MS, began_ms=began_ms, took_ms=took_ms)
        began_ms += took_ms
        said += [(began_ms, text) for text in warnings]
    return said


def test_batches_that_take_too_long_are_warned_of_with_the_figures() -> None:
    ((at_ms, text), *_) = overloaded(Course(), batches=6, took_ms=1500)
    # The third batch began 1 s late, the fourth 1.5 s, the fifth 2 s; at its end, at 8.5 s, those of 6, 7 and 8 s wait.
    assert at_ms == 8500
    assert text == (
        "Batches fall behind: one is due every 1 s and the last 3 took 1.5 s on average; that of 5000 ms began 2 s "
        "late, and 3 wait. Give processing more cores or partitions, lengthen the batch interval, or slow the "
        "sources down by spark.streaming.backpressure.enabled=true."
    )


def test_batches_that_fall_behind_are_warned_of_once_a_minute() -> None:
    times = [at_ms for at_ms, _ in overloaded(Course(), batches=100, took_ms=1500)]
    assert times == [8500, 68_500, 128_500]


def test_batches_that_are_done_in_time_are_not_warned_of() -> None:
    course = Course()
    assert [course.batch(n * BATCH_MS, began_ms=n * BATCH_MS, took_ms=900) for n in range(1, 20)] == [[]] * 19


def test_one_slow_batch_that_the_next_ones_catch_up_with_is_not_warned_of() -> None:
    course = Course()
    assert course.batch(1000, began_ms=1000, took_ms=5000) == []
    began_ms = 6000
    for number in range(2, 12):
        assert course.batch(number * BATCH_MS, began_ms=max(began_ms, number * BATCH_MS), took_ms=100) == []
        began_ms = max(began_ms, number * BATCH_MS) + 100
