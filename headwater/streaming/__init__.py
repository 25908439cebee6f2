"""Streams of RDDs: `StreamingContext`, `DStream` and what goes with them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream
    from headwater.streaming.listener import StreamingListener
    from headwater.streaming.sources.receiver import Receiver

__all__ = ["DStream", "Receiver", "StreamingContext", "StreamingListener"]

_HOMES = {
    "DStream": "headwater.streaming.dstream",
    "Receiver": "headwater.streaming.sources.receiver",
    "StreamingContext": "headwater.streaming.context",
    "StreamingListener": "headwater.streaming.listener",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: what a program doesn't use costs it nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
