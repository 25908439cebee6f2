"""Back-pressure: how fast sources may be read, found from how fast batches were processed.

- The estimator is a PID controller on the processing rate, as Spark's: the proportional part answers what the last
  batch showed, the integral part what waits, the derived part the trend.
- Each stream has its own, which knows that stream's records and the delays of whole batches.
- Pure: what comes of a rate is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from headwater.errors import IllegalArgumentException
from headwater.streaming.listener import BatchInfo

if TYPE_CHECKING:
    from headwater.conf import SparkConf


class PIDSettings(NamedTuple):
    """The settings `spark.streaming.backpressure.pid.*`; `min_rate` in records per second."""

    proportional: float
    integral: float
    derived: float
    min_rate: float


class PIDRateEstimator:
    """Estimates the rate at which a stream's records can be processed.

    Args:
        batch_ms: the batch interval.
        settings: its weights.

    Raises:
        IllegalArgumentException: a weight is negative, or the interval or the lowest rate not positive.

    >>> estimator = PIDRateEstimator(1000, PIDSettings(1.0, 0.2, 0.0, 100))
    >>> estimator.compute(1000, records=5000, processing_ms=500, scheduling_ms=0)  # the first batch is where it begins
    >>> estimator.compute(2000, records=8000, processing_ms=2000, scheduling_ms=0)
    4000.0
    """

    def __init__(self, batch_ms: int, settings: PIDSettings) -> None:
        if batch_ms <= 0:
            raise IllegalArgumentException(f"Specified batch interval {batch_ms} ms in PIDRateEstimator is invalid.")
        for name, weight in zip(settings._fields[:3], settings[:3], strict=True):
            if weight < 0:
                raise IllegalArgumentException(
                    f"Proportional, integral and derived term in PIDRateEstimator should be >= 0: "
                    f"spark.streaming.backpressure.pid.{name} is {weight:g}."
                )
        if settings.min_rate <= 0:
            raise IllegalArgumentException(
                "Minimum rate in PIDRateEstimator should be > 0: spark.streaming.backpressure.pid.minRate is "
                f"{settings.min_rate:g}."
            )
        self._batch_ms = batch_ms
        self._settings = settings
        self._latest_ms = -1
        self._latest_rate = -1.0
        self._latest_error = -1.0

    def compute(self, time_ms: int, *, records: int, processing_ms: int, scheduling_ms: int) -> float | None:
        """The new rate in records per second, or None if the batch says nothing about it.

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


ESTIMATORS = {"pid": PIDRateEstimator}


class RateController:
    """The estimators of all streams.

    Args:
        estimators: by stream id.
    """

    def __init__(self, estimators: Mapping[int, PIDRateEstimator]) -> None:
        self._estimators = estimators

    @classmethod
    def from_conf(cls, conf: SparkConf, batch_ms: int, stream_ids: Iterable[int]) -> RateController:
        """As the settings say; with back-pressure off it never has a rate."""
        if not conf.read("spark.streaming.backpressure.enabled"):
            return cls({})
        settings = PIDSettings(
            conf.read("spark.streaming.backpressure.pid.proportional"),
            conf.read("spark.streaming.backpressure.pid.integral"),
            conf.read("spark.streaming.backpressure.pid.derived"),
            conf.read("spark.streaming.backpressure.pid.minRate"),
        )
        make = ESTIMATORS[conf.read("spark.streaming.backpressure.rateEstimator")]
        return cls({stream_id: make(batch_ms, settings) for stream_id in stream_ids})

    def completed(self, info: BatchInfo) -> dict[int, float]:
        """A batch is done: the new rates of streams about which it says something, records per second by stream id.

        A batch with a failed output says nothing: its time is no measure.
        """
        if any(output.failureReason() is not None for output in info.outputOperationInfos().values()):
            return {}
        rates = {}
        for stream_id, brought in info.streamIdToInputInfo().items():
            estimator = self._estimators.get(stream_id)
            if estimator is not None:
                rate = estimator.compute(
                    info.processingEndTime(),
                    records=brought.numRecords(),
                    processing_ms=info.processingDelay(),
                    scheduling_ms=info.schedulingDelay(),
                )
                if rate is not None:
                    rates[stream_id] = rate
        return rates


def initial_rate(conf: SparkConf) -> float | None:
    """What a stream may bring before the first rate is found, records per second; None: no limit."""
    rate: float | None = conf.read("spark.streaming.backpressure.initialRate")
    is_limit = conf.read("spark.streaming.backpressure.enabled") and rate is not None and rate > 0
    return rate if is_limit else None
