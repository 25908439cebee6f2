"""Streams of RDDs: `StreamingContext`, `DStream` and what goes with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.base.lazy import lazy_names

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import ConstantInputDStream, DStream
    from headwater.streaming.listener import StatsReportListener, StreamingListener
    from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch
    from headwater.streaming.pool import ConnectionPool
    from headwater.streaming.receivers.asynchronous import AsyncReceiver
    from headwater.streaming.receivers.raw import rawFrame
    from headwater.streaming.receivers.receiver import Receiver
    from headwater.streaming.state import State, StateSpec

__all__ = [
    "AsyncReceiver",
    "BatchOutput",
    "ConnectionPool",
    "ConstantInputDStream",
    "DStream",
    "OutputBatch",
    "Receiver",
    "State",
    "StateSpec",
    "StatsReportListener",
    "StreamingContext",
    "StreamingListener",
    "rawFrame",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "AsyncReceiver": "receivers.asynchronous",
        "BatchOutput": "outputs.batchoutput",
        "ConnectionPool": "pool",
        "ConstantInputDStream": "dstream",
        "DStream": "dstream",
        "OutputBatch": "outputs.batchoutput",
        "Receiver": "receivers.receiver",
        "State": "state",
        "StateSpec": "state",
        "StatsReportListener": "listener",
        "StreamingContext": "context",
        "StreamingListener": "listener",
        "rawFrame": "receivers.raw",
    },
)
