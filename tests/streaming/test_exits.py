"""sys.exit in a function of the program: it ends no thread of ours unheard, but is that function's failure."""

from __future__ import annotations

import queue
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkContext
from headwater.errors import SparkException
from headwater.streaming import AsyncReceiver, Receiver, StreamingContext, StreamingListener
from tests.conftest import SetConf
from tests.streaming.conftest import PATIENCE_SECONDS, Harness


@pytest.fixture
def ssc(sc: SparkContext, set_conf: SetConf) -> Iterator[StreamingContext]:
    set_conf(sc, "spark.streaming.receiverRestartDelay", "10ms")
    ssc = StreamingContext(sc, 0.1)
    yield ssc
    ssc.stop(stopSparkContext=False)


class ExitsOnce(Receiver):
    """Exits as it starts, the first time; `where` says how."""

    tries = 0

    def onStart(self) -> None:
        type(self).tries += 1
        if type(self).tries == 1:
            sys.exit("not yet")
        self.store("came")


class AsyncExitsOnce(AsyncReceiver):
    tries = 0

    async def receive(self) -> None:
        type(self).tries += 1
        if type(self).tries == 1:
            sys.exit("not yet")
        await self.storeAsync(["came"])


@pytest.mark.parametrize("sc", ["local"], indirect=True)  # it has the receiver in this process
@pytest.mark.parametrize("kind", [ExitsOnce, AsyncExitsOnce])
def test_receiver_that_exits_is_restarted(ssc: StreamingContext, kind: Any) -> None:
    kind.tries = 0
    got: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ssc.receiverStream(kind()).foreachRDD(lambda rdd: [got.put(record) for record in rdd.collect()])
    ssc.start()
    assert got.get(timeout=PATIENCE_SECONDS) == "came"


def test_converter_that_exits_is_told_and_the_receiver_connects_again(ssc: StreamingContext) -> None:
    told: queue.SimpleQueue[str] = queue.SimpleQueue()

    class Telling(StreamingListener):
        def onReceiverError(self, receiverError: Any) -> None:
            told.put(receiverError.receiverInfo().lastError())

    def convert(file: Any) -> Any:
        sys.exit("what is this?")

    with socket.create_server(("127.0.0.1", 0)) as server:
        ssc.addStreamingListener(Telling())
        ssc.socketStream("127.0.0.1", server.getsockname()[1], convert).foreachRDD(lambda rdd: None)
        ssc.start()
        for _ in range(2):
            server.accept()[0].close()
        assert "SystemExit: what is this?" in told.get(timeout=PATIENCE_SECONDS)


def test_iterator_that_exits_is_an_error_of_its_stream(ssc: StreamingContext) -> None:
    def source() -> Iterator[int]:
        yield 1
        sys.exit("no more")

    ssc.iteratorStream(source).foreachRDD(lambda rdd: None)
    ssc.start()
    with pytest.raises(SparkException, match="the source raised SystemExit: no more"):
        ssc.awaitTermination(PATIENCE_SECONDS)


def test_transform_that_exits_fails_its_output_and_no_other(harness: Harness) -> None:
    stream = harness.ssc.queueStream([[1], [2]])
    calls: list[int] = []

    def leave(rdd: Any) -> Any:
        calls.append(1)
        return sys.exit("enough") if len(calls) == 1 else rdd

    failing, other = harness.collected(stream.transform(leave)), harness.collected(stream)
    harness.ssc.start()
    harness.run(2)
    assert (failing, other) == ([[2]], [[1], [2]])
    with pytest.raises(SystemExit, match="enough"):
        harness.ssc.awaitTermination(0)


def test_listener_that_exits_leaves_the_others_their_events(harness: Harness) -> None:
    class Leaving(StreamingListener):
        def onBatchSubmitted(self, batchSubmitted: Any) -> None:
            sys.exit("bye")

    heard = threading.Event()

    class Hearing(StreamingListener):
        def onBatchCompleted(self, batchCompleted: Any) -> None:
            heard.set()

    harness.ssc.addStreamingListener(Leaving())
    harness.ssc.addStreamingListener(Hearing())
    harness.collected(harness.ssc.queueStream([[1]]))
    harness.ssc.start()
    harness.run(1)
    assert heard.wait(PATIENCE_SECONDS)
