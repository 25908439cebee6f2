"""Times and durations of streaming: seconds outside, milliseconds inside."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Time:
    """An instant in milliseconds since the epoch, as listeners see it.

    >>> Time(1500).milliseconds(), str(Time(1500))
    (1500, '1500 ms')
    """

    ms: int

    def milliseconds(self) -> int:
        """Milliseconds since the epoch."""
        return self.ms

    def __str__(self) -> str:
        return f"{self.ms} ms"


def duration_ms(seconds: Any, what: str) -> int:
    """A user's duration in seconds as whole milliseconds (fractions of a millisecond are cut off, as in Spark).

    Args:
        seconds: an int or float, at least 0.001.
        what: what the duration is of, for the error.

    Raises:
        ValueError: not a number, not finite, or less than a millisecond.

    >>> duration_ms(0.25, "batch duration")
    250
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise ValueError(f"{what} must be a number of seconds, not {type(seconds).__name__} {seconds!r}")
    if not math.isfinite(seconds):
        raise ValueError(f"{what} must be finite, not {seconds!r} seconds")
    ms = int(round(seconds * 1000, 6))  # 0.29 * 1000 is 289.99999999999994
    if ms <= 0:
        raise ValueError(f"{what} must be at least 0.001 seconds (1 ms), not {seconds!r}")
    return ms


def next_multiple_ms(now_ms: int, period_ms: int, origin_ms: int = 0) -> int:
    """The first instant after `now_ms` that is a whole number of periods away from `origin_ms`.

    >>> next_multiple_ms(14_000, 7_000)
    21000
    """
    return origin_ms + ((now_ms - origin_ms) // period_ms + 1) * period_ms


def local_datetime(time_ms: int) -> datetime:
    """The naive local datetime that user functions get for a batch time; exact to the millisecond."""
    return datetime.fromtimestamp(time_ms // 1000).replace(microsecond=time_ms % 1000 * 1000)


def instant_ms(moment: datetime | float) -> int:
    """A datetime (naive means local) or a number of seconds since the epoch, as milliseconds."""
    seconds = moment.timestamp() if isinstance(moment, datetime) else moment
    return round(seconds * 1000)


def format_batch_time(time_ms: int, batch_ms: int) -> str:
    """Local time of day of a batch: HH:MM:SS, with milliseconds where batches are shorter than a second."""
    moment = local_datetime(time_ms)
    return moment.strftime("%H:%M:%S") + (f".{time_ms % 1000:03d}" if batch_ms < 1000 else "")
