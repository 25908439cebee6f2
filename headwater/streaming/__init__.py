"""Streams of RDDs: `StreamingContext`, `DStream` and what goes with them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream
    from headwater.streaming.listener import StatsReportListener, StreamingListener
    from headwater.streaming.pool import ConnectionPool
    from headwater.streaming.sources.asynchronous import AsyncReceiver
    from headwater.streaming.sources.constant import ConstantInputDStream
    from headwater.streaming.sources.raw import rawFrame
    from headwater.streaming.sources.receiver import Receiver
    from headwater.streaming.state import State, StateSpec

__all__ = [
    "AsyncReceiver",
    "ConnectionPool",
    "ConstantInputDStream",
    "DStream",
    "Receiver",
    "State",
    "StateSpec",
    "StatsReportListener",
    "StreamingContext",
    "StreamingListener",
    "rawFrame",
]

_HOMES = {
    "AsyncReceiver": "headwater.streaming.sources.asynchronous",
    "ConnectionPool": "headwater.streaming.pool",
    "ConstantInputDStream": "headwater.streaming.sources.constant",
    "DStream": "headwater.streaming.dstream",
    "Receiver": "headwater.streaming.sources.receiver",
    "State": "headwater.streaming.state",
    "StateSpec": "headwater.streaming.state",
    "StatsReportListener": "headwater.streaming.listener",
    "StreamingContext": "headwater.streaming.context",
    "StreamingListener": "headwater.streaming.listener",
    "rawFrame": "headwater.streaming.sources.raw",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: what a program doesn't use costs it nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
