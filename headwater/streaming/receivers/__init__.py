"""Receivers for common sources, each on a library in an extra; give them to `StreamingContext.receiverStream`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headwater.base.lazy import lazy_names

if TYPE_CHECKING:
    from headwater.streaming.receivers.mqtt import MQTTReceiver
    from headwater.streaming.receivers.redis import RedisStreamReceiver
    from headwater.streaming.receivers.web import EventSourceReceiver, HTTPLinesReceiver, WebSocketReceiver

__all__ = ["EventSourceReceiver", "HTTPLinesReceiver", "MQTTReceiver", "RedisStreamReceiver", "WebSocketReceiver"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "EventSourceReceiver": "web",
        "HTTPLinesReceiver": "web",
        "MQTTReceiver": "mqtt",
        "RedisStreamReceiver": "redis",
        "WebSocketReceiver": "web",
    },
)
