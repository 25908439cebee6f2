"""Back-pressure: how fast a source may be read, found from how fast batches were processed.

The estimator is a PID controller on the processing rate, as Spark's: the proportional part answers what the last batch
showed, the integral part what waits, the derived part the trend. One for each stream; pure.
"""

from __future__ import annotations

from typing import NamedTuple


class PIDSettings(NamedTuple):
    """The settings `spark.streaming.backpressure.pid.*`; `min_rate` in records a second."""

    proportional: float
    integral: float
    derived: float
    min_rate: float


class PIDRateEstimator:
    """Estimates the rate at which a stream's records can be processed.

    Args:
        batch_ms: the batch interval.
        settings: its weights.

    >>> estimator = PIDRateEstimator(1000, PIDSettings(1.0, 0.2, 0.0, 100))
    >>> estimator.compute(1000, records=5000, processing_ms=500, scheduling_ms=0)  # the first batch is where it begins
    >>> estimator.compute(2000, records=8000, processing_ms=2000, scheduling_ms=0)
    4000.0
    """

    def __init__(self, batch_ms: int, settings: PIDSettings) -> None:
        self._batch_ms = batch_ms
        self._settings = settings
        self._latest_ms = -1
        self._latest_rate = -1.0
        self._latest_error = -1.0

    def compute(self, time_ms: int, *, records: int, processing_ms: int, scheduling_ms: int) -> float | None:
        """The new rate in records a second, or None if the batch says nothing about it.

        Args:
            time_ms: when the batch was done.
            records: of the stream in the batch.
            processing_ms: from its first output's start to its last one's end.
            scheduling_ms: how long it waited before.
        """
        if time_ms <= self._latest_ms or records <= 0 or processing_ms <= 0:
            return None
        settings = self._settings
        processing_rate = records / processing_ms * 1000
        if self._latest_ms < 0:
            self._latest_ms, self._latest_rate, self._latest_error = time_ms, processing_rate, 0.0
            return None
        seconds = (time_ms - self._latest_ms) / 1000
        error = self._latest_rate - processing_rate
        waiting = scheduling_ms * processing_rate / self._batch_ms
        trend = (error - self._latest_error) / seconds
        rate = self._latest_rate - settings.proportional * error - settings.integral * waiting
        rate = max(rate - settings.derived * trend, settings.min_rate)
        self._latest_ms, self._latest_rate, self._latest_error = time_ms, rate, error
        return rate
