"""A program that reads a Kinesis stream on the server's endpoints, and what it has got so far."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kinesis import KinesisInitialPositions, KinesisInputDStream, SparkAWSCredentials, utf8_decoder
from tests.servers.kinesis import KinesisServer

BATCH_SECONDS = 0.1
PATIENCE_SECONDS = 40.0
SETTINGS = {
    "headwater.streaming.kinesis.leaseDuration": "900ms",
    "headwater.streaming.kinesis.readInterval": "20ms",
    "spark.streaming.kinesis.retry.waitTime": "10ms",
}


class Gathered:
    """Records of a stream, and a way to wait for them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.records: list[Any] = []

    def add(self, rdd: Any) -> None:
        records = rdd.collect()
        with self._changed:
            self.records += records
            self._changed.notify_all()

    def wait(self, until: Callable[[list[Any]], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: until(self.records), PATIENCE_SECONDS), self.records[-5:]

    def wait_for(self, records: set[str]) -> None:
        self.wait(lambda got: records <= set(got))


class Programs:
    """Makes streaming programs on the server; ends them."""

    def __init__(self, server: KinesisServer) -> None:
        self.server = server
        self.app = f"app-{uuid.uuid4().hex[:8]}"

    @contextmanager
    def context(self, master: str = "local[2]", **settings: str) -> Iterator[StreamingContext]:
        conf = SparkConf(loadDefaults=False).setMaster(master).setAppName("kinesis")
        conf.setAll({**SETTINGS, **settings}.items())
        ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
        try:
            yield ssc
        finally:
            ssc.stop()

    def builder(self, ssc: StreamingContext, stream: str) -> Any:
        """A builder that begins with the oldest records."""
        return (
            KinesisInputDStream.builder.streamingContext(ssc)
            .streamName(stream)
            .checkpointAppName(self.app)
            .endpointUrl(self.server.url)
            .dynamoDBEndpointUrl(self.server.dynamodb_url)
            .initialPosition(KinesisInitialPositions.TrimHorizon())
            .kinesisCredentials(SparkAWSCredentials.builder().basicCredentials("a", "b").build())
        )

    def gather(self, ssc: StreamingContext, *streams: str) -> Gathered:
        """The texts of the streams, once the context is started."""
        gathered = Gathered()
        made = [self.builder(ssc, stream).build().map(utf8_decoder) for stream in streams]
        ssc.union(*made).foreachRDD(gathered.add)
        return gathered

    def leases(self) -> dict[str, dict[str, Any]]:
        """The lease table: by shard, its fields; empty before there is one."""
        client = self.server.client("dynamodb")
        try:
            items = client.scan(TableName=self.app, ConsistentRead=True)["Items"]
        except client.exceptions.ResourceNotFoundException:
            return {}
        plain = [{name: next(iter(value.values())) for name, value in item.items()} for item in items]
        return {item["leaseKey"]: item for item in plain}


@pytest.fixture
def programs(kinesis_server: KinesisServer, no_context: None) -> Programs:
    return Programs(kinesis_server)
