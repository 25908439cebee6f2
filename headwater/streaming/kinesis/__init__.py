"""Amazon Kinesis as a source: leases, readers and the receiver that runs them. Needs `headwater[kinesis]`."""

from __future__ import annotations

from headwater.streaming.decoding import utf8_decoder
from headwater.streaming.kinesis.credentials import SparkAWSCredentials
from headwater.streaming.kinesis.records import Record
from headwater.streaming.kinesis.stream import (
    InitialPositionInStream,
    KinesisInitialPositions,
    KinesisInputDStream,
    KinesisUtils,
    MetricsLevel,
)

__all__ = [
    "InitialPositionInStream",
    "KinesisInitialPositions",
    "KinesisInputDStream",
    "KinesisUtils",
    "MetricsLevel",
    "Record",
    "SparkAWSCredentials",
    "utf8_decoder",
]
