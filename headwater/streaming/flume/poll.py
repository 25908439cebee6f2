"""The receiver that pulls from Flume agents: a client of SparkFlumeProtocol, the protocol of Spark's sink.

A thread for each connection asks for a batch, which is a transaction of the agent's channel, stores it, and then
acknowledges it. What isn't acknowledged, the agent gives again. A connection that fails is made anew after a pause
that grows while nothing is received.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from functools import partial
from typing import Any

from headwater.errors import IllegalArgumentException, SparkException
from headwater.rdd.checks import check_port, check_positive
from headwater.storagelevel import StorageLevel
from headwater.streaming.flume.connections import READ_BYTES, Connections
from headwater.streaming.flume.rpc import Protocol, RemoteError, Requestor
from headwater.streaming.receivers.receiver import Receiver

CONNECT_SECONDS_MAX = 30.0
FIRST_PAUSE_SECONDS = 0.1
PAUSE_SECONDS_MAX = 10.0

# org.apache.spark.streaming.flume.sink, as in Spark's sparkflume.avdl.
SPARK_FLUME_PROTOCOL = """
{"protocol": "SparkFlumeProtocol", "namespace": "org.apache.spark.streaming.flume.sink",
 "types": [
  {"type": "record", "name": "SparkSinkEvent", "fields": [
    {"name": "headers", "type": {"type": "map", "values": "string"}}, {"name": "body", "type": "bytes"}]},
  {"type": "record", "name": "EventBatch", "fields": [
    {"name": "errorMsg", "type": "string", "default": ""}, {"name": "sequenceNumber", "type": "string"},
    {"name": "events", "type": {"type": "array", "items": "SparkSinkEvent"}}]}],
 "messages": {
  "getEventBatch": {"request": [{"name": "n", "type": "int"}], "response": "EventBatch"},
  "ack": {"request": [{"name": "sequenceNumber", "type": "string"}], "response": "null"},
  "nack": {"request": [{"name": "sequenceNumber", "type": "string"}], "response": "null"}}}
"""


class FlumePollingReceiver(Receiver):
    """Stores (headers, body) of the events that agents hold.

    Args:
        addresses: (host, port) of the sinks.
        storageLevel: of the blocks.
        maxBatchSize: how many events a transaction has at most.
        parallelism: how many connections there are, spread over the addresses; at least one to each.

    Raises:
        SparkException: fastavro is missing.
        IllegalArgumentException: there are no addresses, or a number isn't positive.
    """

    def __init__(
        self, addresses: Sequence[tuple[str, int]], storageLevel: StorageLevel, maxBatchSize: int, parallelism: int
    ) -> None:
        super().__init__(storageLevel)
        check_positive("maxBatchSize", maxBatchSize)
        check_positive("parallelism", parallelism)
        if not addresses:
            raise IllegalArgumentException("addresses: there are none. Give (host, port) of at least one Spark sink.")
        for _host, port in addresses:
            check_port("port", port)
        Protocol(SPARK_FLUME_PROTOCOL)  # a missing package is told where the stream is made
        self._addresses = [(host, port) for host, port in addresses]
        self._batch_records_max = maxBatchSize
        self._connections_wanted = max(parallelism, len(addresses))
        self._connections: Connections | None = None

    def onStart(self) -> None:
        self._connections = Connections()
        for number in range(self._connections_wanted):
            host, port = self._addresses[number % len(self._addresses)]
            self._connections.serve(
                partial(self._pull, self._connections, host, port),
                name=f"flume-{host}:{port}-{number}",
                failed=partial(self.restart, f"Error receiving from the Flume agent at {host}:{port}"),
            )

    def onStop(self) -> None:
        if self._connections is not None:
            self._connections.stop()
            self._connections = None

    def _pull(self, connections: Connections, host: str, port: int) -> None:
        """Batch after batch, over connection after connection, until the receiver stops."""
        stopping, pause = connections.stopping, FIRST_PAUSE_SECONDS
        while not stopping.is_set():
            try:
                connection = socket.create_connection((host, port), timeout=CONNECT_SECONDS_MAX)
                connection.settimeout(None)  # an agent without events doesn't answer
                with connections.opened(connection):
                    agent = _Agent(connection)
                    while not stopping.is_set():
                        self._take_batch(agent)
                        pause = FIRST_PAUSE_SECONDS
            except (OSError, SparkException) as error:
                if stopping.is_set():
                    return
                self.reportError(f"Error receiving from the Flume agent at {host}:{port}; it is tried again", error)
                stopping.wait(pause)
                pause = min(2 * pause, PAUSE_SECONDS_MAX)

    def _take_batch(self, agent: _Agent) -> None:
        """One transaction of the agent."""
        batch = agent.call("getEventBatch", {"n": self._batch_records_max})
        if batch["errorMsg"]:
            raise RemoteError(f"the agent has no batch for us: {batch['errorMsg']}")
        transaction = {"sequenceNumber": batch["sequenceNumber"]}
        try:
            if batch["events"]:
                self.store([(event["headers"], event["body"]) for event in batch["events"]])
        except SparkException:
            agent.call("nack", transaction)
            raise
        agent.call("ack", transaction)


class _Agent:
    """A connection to a Spark sink."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._requestor = Requestor(Protocol(SPARK_FLUME_PROTOCOL))

    def call(self, message: str, parameters: dict[str, Any]) -> Any:
        """Send a request and wait for its answer.

        Raises:
            RemoteError: the agent says that it has failed.
            ProtocolError: the agent isn't understood, or ended the connection.
            OSError: the connection broke.
        """
        self._connection.sendall(self._requestor.request(message, parameters))
        while data := self._connection.recv(READ_BYTES):
            for item in list(self._requestor.feed(data)):
                if not isinstance(item, bytes):
                    return item.value
                self._connection.sendall(item)
        self._requestor.close()
        raise AssertionError("a request was under way, and yet nothing waits for an answer")
