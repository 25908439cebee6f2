"""Flume streams: agents push events to us by an avro sink, or we pull them from Spark's sink inside the agent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.rdd.checks import check_function, check_port
from headwater.storagelevel import StorageLevel
from headwater.streaming.decoding import utf8_decoder

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream
    from headwater.streaming.receivers.receiver import Receiver

__all__ = ["FlumeUtils", "SparkFlumeEvent", "utf8_decoder"]


class SparkFlumeEvent(NamedTuple):
    """An event: a pair of its headers and its decoded body."""

    headers: dict[str, str]
    body: Any


class FlumeUtils:
    """Makes streams of Flume events. They need fastavro: `pip install 'headwater[flume]'`."""

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        hostname: str,
        port: int,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        enableDecompression: bool = False,
        bodyDecoder: Callable[[bytes], Any] = utf8_decoder,
    ) -> DStream[Any]:
        """What Flume agents push: the receiver is a server that their avro sinks connect to.

        A batch of events is acknowledged once it's stored, so an agent sends again what wasn't. With
        `headwater.streaming.flume.ssl.certificateFile` set, the server speaks TLS.

        Args:
            ssc: the context.
            hostname: of the machine whose executor is to run the server, and the address it listens at.
            port: it listens at, 1 to 65535.
            storageLevel: of the received blocks.
            enableDecompression: the sinks have `compression-type = deflate`.
            bodyDecoder: makes a record's body of bytes, in tasks.

        Returns:
            A stream of `SparkFlumeEvent`, pairs of (headers, decoded body).

        Raises:
            SparkException: fastavro is missing.
            TypeError, ValueError: the port is none.
        """
        from headwater.streaming.flume.push import FlumeReceiver

        check_port("port", port)
        receiver = FlumeReceiver(hostname, port, storageLevel, enableDecompression)
        return _events(ssc, receiver, bodyDecoder)

    @staticmethod
    def createPollingStream(
        ssc: StreamingContext,
        addresses: Sequence[tuple[str, int]],
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        maxBatchSize: int = 1000,
        parallelism: int = 5,
        bodyDecoder: Callable[[bytes], Any] = utf8_decoder,
    ) -> DStream[Any]:
        """What is pulled from Flume agents that run Spark's sink, `org.apache.spark.streaming.flume.sink.SparkSink`.

        Each batch of events is a transaction of the agent, committed once the batch is stored.

        Args:
            ssc: the context.
            addresses: (host, port) of each sink.
            storageLevel: of the received blocks.
            maxBatchSize: how many events a transaction has at most.
            parallelism: how many transactions are under way at most; at least one for each address.
            bodyDecoder: makes a record's body of bytes, in tasks.

        Returns:
            A stream of `SparkFlumeEvent`, pairs of (headers, decoded body).

        Raises:
            SparkException: fastavro is missing.
            IllegalArgumentException: there are no addresses, or a number isn't positive.
        """
        from headwater.streaming.flume.poll import FlumePollingReceiver

        receiver = FlumePollingReceiver(addresses, storageLevel, maxBatchSize, parallelism)
        return _events(ssc, receiver, bodyDecoder)


def _events(ssc: StreamingContext, receiver: Receiver, decode: Callable[[bytes], Any]) -> DStream[Any]:
    check_function("bodyDecoder", decode)
    return ssc.receiverStream(receiver).map(lambda event: SparkFlumeEvent(event[0], decode(event[1])))
