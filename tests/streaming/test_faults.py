"""Faults under a running stream: workers and executors that are killed, input that comes faster than it's processed."""

from __future__ import annotations

import glob
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.receivers.blocks import TEXT_BYTES_MAX
from headwater.streaming.receivers.socket import READ_BYTES
from tests.engine.processes import descendants, scratch_directories

BATCH_SECONDS = 0.1
LINE = b"%09d\n"
LONG_LINE = b"%0199d\n"


class Sender:
    """Sends numbered lines to one client and then keeps the connection; `sent` grows as the client reads."""

    def __init__(self, lines: int, form: bytes) -> None:
        self._lines = lines
        self._form = form
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.sent = 0
        self.all_sent = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._listener, self._listener.accept()[0] as connection:
            for start in range(0, self._lines, 1000):
                count = min(1000, self._lines - start)
                connection.sendall(b"".join(self._form % n for n in range(start, start + count)))
                self.sent += count
            self.all_sent.set()
            self._over.wait()

    def close(self) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def sender(lines: int, form: bytes = LINE) -> Iterator[Sender]:
    serving = Sender(lines, form)
    try:
        yield serving
    finally:
        serving.close()


def received_bytes() -> int:
    """The bytes of all received blocks of this application; others may run on the machine."""
    directories = scratch_directories({os.getpid(), *descendants()})
    files = [path for directory in directories for path in glob.glob(f"{directory}/**/input-*", recursive=True)]
    return sum(os.path.getsize(path) for path in files if os.path.exists(path))


@pytest.fixture
def context(no_context: None, request: pytest.FixtureRequest) -> Iterator[StreamingContext]:
    """A context with the test's settings: `@pytest.mark.parametrize("context", [{...}], indirect=True)`."""
    conf = SparkConf().setMaster("local[2]").setAppName("faults").setAll(getattr(request, "param", {}).items())
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    yield ssc
    ssc.stop()


def counting(ssc: StreamingContext, stream: Any, wanted: int) -> tuple[list[int], threading.Event]:
    """The numbers that came through, and an event for when so many are there."""
    numbers: list[int] = []
    complete = threading.Event()

    def output(rdd: Any) -> None:
        numbers.extend(rdd.collect())
        if len(numbers) >= wanted:
            complete.set()

    stream.foreachRDD(output)
    return numbers, complete


LIMITS = {
    "headwater.streaming.receiver.memoryLimit": "64k",
    "headwater.streaming.receiver.spillLimit": "128k",
}


@pytest.mark.parametrize("context", [LIMITS], indirect=True)
def test_input_that_outruns_processing_stays_within_the_limits_and_is_complete(
    context: StreamingContext, patience: float
) -> None:
    lines = 500_000  # 100 MB: more than the sockets, the receiver's buffer and the limits hold together
    gate = threading.Event()
    held_up = threading.Event()
    total = 0
    done = threading.Event()

    def output(rdd: Any) -> None:
        nonlocal total
        held_up.set()
        assert gate.wait(patience)
        total += rdd.count()
        if total >= lines:
            done.set()

    with sender(lines, LONG_LINE) as source:
        context.socketTextStream("127.0.0.1", source.port).foreachRDD(output)
        context.start()
        try:
            assert held_up.wait(patience)
            # The sender stands still once everything between it and the stopped output is full.
            before = -1
            while before != source.sent:
                before = source.sent
                assert not source.all_sent.wait(0.5)
            # One block in memory and one on disk may be larger than the limit, as it must get in somehow.
            assert 0 < received_bytes() <= 2 * (TEXT_BYTES_MAX + READ_BYTES)
        finally:
            gate.set()
        assert done.wait(4 * patience), (total, source.sent)
    assert total == lines


def test_worker_killed_in_mid_task_costs_no_received_record(
    context: StreamingContext, patience: float, tmp_path: Any
) -> None:
    marker = str(tmp_path / "killed")

    def numbers_of(lines: Iterator[str]) -> Iterator[int]:
        for line in lines:
            if line == "000000700" and not os.path.exists(marker):
                open(marker, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            yield int(line)

    with sender(1000) as source:
        stream = context.socketTextStream("127.0.0.1", source.port).mapPartitions(numbers_of)
        numbers, complete = counting(context, stream, 1000)
        context.start()
        assert complete.wait(patience)
    assert sorted(numbers) == list(range(1000))
    assert os.path.exists(marker)


def test_a_batch_whose_worker_dies_each_time_fails_and_later_batches_go_on(
    context: StreamingContext, patience: float
) -> None:
    sc = context.sparkContext
    outcomes: list[Any] = []
    seen = threading.Event()

    def deadly(record: int) -> int:
        if record == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return record

    def output(rdd: Any) -> None:
        try:
            outcomes.append(rdd.map(deadly).collect())
        except Exception as error:
            outcomes.append(error)
            raise
        finally:
            if len(outcomes) == 2:
                seen.set()

    context.queueStream([sc.parallelize([0], 1), sc.parallelize([1], 1)]).foreachRDD(output)
    context.start()
    with pytest.raises(Exception, match=r"SIGKILL \(signal 9\)"):
        context.awaitTermination(patience)
    assert seen.wait(patience)
    assert "task 0" in str(outcomes[0])
    assert outcomes[1] == [1]
