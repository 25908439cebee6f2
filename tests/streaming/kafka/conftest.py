"""Streams of a real broker's topics, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from headwater import SparkConf
from headwater.streaming.kafka import KafkaDStream, KafkaUtils
from headwater.testing import StreamHarness
from tests.servers.kafka import KafkaBroker


class Topics:
    """Makes harnesses with direct streams of the broker."""

    def __init__(self, broker: KafkaBroker, stack: ExitStack) -> None:
        self.broker = broker
        self._stack = stack

    def params(self, **more: Any) -> dict[str, Any]:
        """kafkaParams that begin with the oldest records; underscores stand for dots."""
        named = {key.replace("_", "."): value for key, value in more.items()}
        return {"bootstrap.servers": self.broker.bootstrap, "auto.offset.reset": "earliest", **named}

    def harness(self, **settings: Any) -> StreamHarness:
        """A harness, closed at the end; underscores in the settings' names stand for dots."""
        conf = SparkConf(loadDefaults=False).setMaster(settings.pop("master", "local[2]"))
        conf.set("headwater.streaming.kafka.metadataInterval", "1ms")
        conf.setAll((key.replace("_", "."), str(value)) for key, value in settings.items())
        return self._stack.enter_context(StreamHarness(conf=conf))

    def direct(self, harness: StreamHarness, *topics: str, **params: Any) -> KafkaDStream:
        """A direct stream of (key, value) pairs."""
        return KafkaUtils.createDirectStream(harness.ssc, list(topics), self.params(**params))


@pytest.fixture
def topics(kafka: KafkaBroker, no_context: None) -> Iterator[Topics]:
    with ExitStack() as stack:
        yield Topics(kafka, stack)


def sorted_values(records: list[Any]) -> list[Any]:
    return sorted(value for _, value in records)


def run_until_all_came(harness: StreamHarness, got: list[Any], records: int) -> None:
    """Let batches pass until so many records have come, and one more: brokers tell of a change a moment later."""
    for _ in range(100):
        if sum(map(len, got)) >= records:
            break
        harness.run()
    harness.run()
