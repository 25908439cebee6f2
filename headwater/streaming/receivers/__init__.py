"""Receivers for common sources, each on a library in an extra; give them to `StreamingContext.receiverStream`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.streaming.receivers.mqtt import MQTTReceiver
    from headwater.streaming.receivers.redis import RedisStreamReceiver
    from headwater.streaming.receivers.web import EventSourceReceiver, HTTPLinesReceiver, WebSocketReceiver

__all__ = ["EventSourceReceiver", "HTTPLinesReceiver", "MQTTReceiver", "RedisStreamReceiver", "WebSocketReceiver"]

_HOMES = {
    "EventSourceReceiver": "headwater.streaming.receivers.web",
    "HTTPLinesReceiver": "headwater.streaming.receivers.web",
    "MQTTReceiver": "headwater.streaming.receivers.mqtt",
    "RedisStreamReceiver": "headwater.streaming.receivers.redis",
    "WebSocketReceiver": "headwater.streaming.receivers.web",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for: a program needs the library of what it uses only."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
