"""Sockets and receivers of the program's own, on the real engine and the machine's clock."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import SparkException
from headwater.streaming import Receiver, StreamingContext, StreamingListener
from headwater.streaming.runtime.batches import Phase
from headwater.testing import StreamHarness
from tests.streaming.conftest import Harness
from tests.waiting import wait_for

BATCH_SECONDS = 0.1


@contextmanager
def server(*connections: list[bytes], keep_last: bool = True):
    """A server that sends each connection its pieces; yields its port."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with listening:
            for number, pieces in enumerate(connections):
                connection, _ = listening.accept()
                with connection:
                    for piece in pieces:
                        connection.sendall(piece)
                    if keep_last and number == len(connections) - 1:
                        over.wait()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listening.getsockname()[1]
    finally:
        over.set()


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

    def wait(self, until: Callable[[list[Any]], bool], seconds: float) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: until(self.records), seconds), self.records[-5:]


@pytest.fixture
def ssc(sc):
    made = StreamingContext(sc, BATCH_SECONDS)
    yield made
    made.stop(stopSparkContext=False)


def test_socket_lines_arrive_whole_and_in_order(ssc, patience) -> None:
    got = Gathered()
    with server([b"one\r\ntw", b"o\n", b"", b"caf\xc3", b"\xa9\nlast"], keep_last=False) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 4, patience)
    assert got.records == ["one", "two", "café", "last"]


def test_many_lines_are_all_there(ssc, patience) -> None:
    got = Gathered()
    data = b"".join(b"line %d\n" % i for i in range(100_000))
    with server([data]) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 100_000, patience)
    assert got.records == [f"line {i}" for i in range(100_000)]


def test_undecodable_bytes_are_replaced_counted_and_warned_of_once(ssc, patience, caplog) -> None:
    got, counts = Gathered(), []

    class Counting(StreamingListener):
        def onBatchCompleted(self, batchCompleted):
            for info in batchCompleted.batchInfo().streamIdToInputInfo().values():
                counts.append(info.metadata().get("undecodableLines", 0))

    ssc.addStreamingListener(Counting())
    with server([b"good\nbad \xff\n", b"worse \xfe\xfe\n"]) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 3, patience)
    assert got.records == ["good", "bad �", "worse ��"]
    ssc.stop(stopSparkContext=False)
    assert sum(counts) == 2
    assert caplog.text.count("is not valid UTF-8") == 1


def test_socket_lines_end_by_returns_too(ssc, patience) -> None:
    got = Gathered()
    with server([b"one\rtwo\r", b"\nthree\r\nfour\r"]) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 4, patience)
    assert got.records == ["one", "two", "three", "four"]


def test_socket_line_that_is_too_long_is_an_error_that_names_the_setting(no_context, patience) -> None:
    errors = queue.SimpleQueue()

    class Hearing(StreamingListener):
        def onReceiverError(self, receiverError):
            errors.put(receiverError.receiverInfo().lastError())

    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("tests")
    conf.set("headwater.streaming.receiver.maxLineSize", "1000b")
    with server([b"x" * 2000]) as port, SparkContext(conf=conf) as sc:
        ssc = StreamingContext(sc, BATCH_SECONDS)
        ssc.addStreamingListener(Hearing())
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(lambda rdd: None)
        ssc.start()
        error = errors.get(timeout=patience)
        ssc.stop(stopSparkContext=False)
    assert re.search("a line is longer than 1000 bytes.*headwater.streaming.receiver.maxLineSize", error)


def test_socket_stream_makes_records_with_the_converter(ssc, patience) -> None:
    got = Gathered()
    with server([b"\x01\x02\x03"]) as port:
        ssc.socketStream("127.0.0.1", port, lambda file: iter(lambda: list(file.read(1)), [])).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 3, patience)
    assert got.records == [[1], [2], [3]]


def test_receiver_takes_no_core_of_the_tasks_and_connects_again(no_context, patience) -> None:
    conf = SparkConf().setMaster("local[1]").setAppName("t").set("spark.streaming.receiverRestartDelay", "50")
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    got = Gathered()
    with server([b"first\n"], [b"second\n"]) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 2, patience)
        ssc.stop()
    assert got.records == ["first", "second"]


def test_port_nobody_listens_on_is_retried_and_said_once(no_context, patience, caplog) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    conf = SparkConf().setMaster("local[1]").setAppName("t").set("spark.streaming.receiverRestartDelay", "20")
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    errors, enough = [], threading.Event()

    class Watching(StreamingListener):
        def onReceiverError(self, receiverError):
            errors.append(receiverError.receiverInfo())
            if len(errors) == 4:
                enough.set()

    ssc.addStreamingListener(Watching())
    ssc.socketTextStream("127.0.0.1", port).foreachRDD(lambda rdd: None)
    ssc.start()
    assert enough.wait(patience)
    ssc.stop()
    assert errors[0].name() == "SocketReceiver-0"
    assert not errors[0].active()
    assert f"Error connecting to 127.0.0.1:{port}" in errors[0].lastErrorMessage()
    assert errors[0].lastError().startswith("ConnectionRefusedError")
    warnings = [r for r in caplog.records if r.levelname == "WARNING" and "Error connecting" in r.getMessage()]
    assert len(warnings) == 1


def test_a_receiver_of_the_program_stores_one_and_many(ssc, patience) -> None:
    class Counting(Receiver):
        def onStart(self):
            threading.Thread(target=self.run, daemon=True).start()

        def run(self):
            for n in range(10):
                self.store(n)
            self.store(list(range(10, 20)))
            self.store(iter(range(20, 30)))

    got = Gathered()
    ssc.receiverStream(Counting()).foreachRDD(got.add)
    ssc.start()
    got.wait(lambda records: len(records) == 30, patience)
    assert sorted(got.records) == list(range(30))


def test_graceful_stop_processes_all_that_was_stored(ssc, patience) -> None:
    ready = threading.Event()

    class Telling(StreamingListener):
        def onReceiverStarted(self, receiverStarted):
            ready.set()

    class Burst(Receiver):
        def onStart(self):
            for n in range(1000):
                self.store(n)

    got = Gathered()
    ssc.addStreamingListener(Telling())
    ssc.receiverStream(Burst()).foreachRDD(got.add)
    ssc.start()
    assert ready.wait(patience)
    ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert sorted(got.records) == list(range(1000))


def test_processed_blocks_are_removed(ssc, patience) -> None:
    got = Gathered()
    with server([b"line\n" * 1000]) as port:
        ssc.socketTextStream("127.0.0.1", port).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) == 1000, patience)
        ssc.stop(stopSparkContext=False)
    assert all(node.released(2**62) == [] for node in ssc.graph.inputs)


def test_an_idle_receiver_gives_empty_batches(ssc, patience) -> None:
    counts = Gathered()
    with server([]) as port:
        ssc.socketTextStream("127.0.0.1", port).count().foreachRDD(counts.add)
        ssc.start()
        counts.wait(lambda records: len(records) >= 3, patience)
    assert set(counts.records) == {0}


class Pids(Receiver):
    """Stores the id of the process that it runs in, over and over."""

    def onStart(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        pause = threading.Event()
        while not self.isStopped():
            self.store(os.getpid())
            pause.wait(0.01)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_receiver_of_an_executor_that_dies_or_hangs_starts_on_another(no_context, patience, end) -> None:
    conf = SparkConf().setMaster("local-cluster[2,1,512]").setAppName("t")
    conf.set("spark.executor.heartbeatInterval", "100ms").set("spark.network.timeout", "2s")
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    got = Gathered()
    ssc.receiverStream(Pids()).foreachRDD(got.add)
    ssc.start()
    got.wait(bool, patience)
    first = got.records[0]
    assert first != os.getpid()
    os.kill(first, end)
    got.wait(lambda records: records[-1] != first, patience)
    ssc.stop()
    assert len(set(got.records)) == 2


class Lists(Receiver):
    """Stores lists of numbers, each once; notes in a file which of them are stored for certain, and by whom."""

    def __init__(self, directory: Path, first: int) -> None:
        super().__init__()
        self.directory = directory
        self.first = first

    def onStart(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        pause, notes = threading.Event(), self.directory / str(self.first)
        done = len(notes.read_text().splitlines()) if notes.exists() else 0
        with contextlib.suppress(SparkException), open(notes, "a", buffering=1) as file:  # it is stopped
            for n in count(self.first + 4 * done, 4):
                self.store([n])
                file.write(f"{n} {os.getpid()}\n")
                pause.wait(0.005)


def test_receivers_move_to_the_executor_that_takes_the_place_of_a_dead_one_and_lose_nothing(
    no_context, patience, tmp_path
) -> None:
    sc = SparkContext(conf=SparkConf().setMaster("local-cluster[2,1,512]").setAppName("t"))
    ssc = StreamingContext(sc, BATCH_SECONDS)
    got = Gathered()
    ssc.union(*(ssc.receiverStream(Lists(tmp_path, first)) for first in range(4))).foreachRDD(got.add)
    ssc.start()

    def notes():
        """(number, process) of all that is stored for certain, in the order of each receiver."""
        paths = [tmp_path / str(first) for first in range(4)]
        return [[tuple(map(int, line.split())) for line in path.read_text().splitlines()[:-1]] for path in paths]

    def places():
        return sorted(Counter(each[-1][1] for each in notes()).values()) if all(notes()) else []

    wait_for(lambda: all((tmp_path / str(first)).exists() for first in range(4)), "all receive")
    wait_for(lambda: places() == [2, 2], "they are spread")
    before = {each[-1][1] for each in notes()}
    os.kill(min(before), signal.SIGKILL)
    wait_for(lambda: places() == [2, 2] and {each[-1][1] for each in notes()} - before, "they are spread again")
    stored = {number for each in notes() for number, _ in each}
    got.wait(lambda records: stored <= set(records), patience)
    ssc.stop()


class Crowd(Receiver):
    """Threads that store one record or many, over and over; `stored` has those of which the store has returned."""

    stored: ClassVar[queue.SimpleQueue[int]] = queue.SimpleQueue()  # of the process: the executor is the driver's

    def onStart(self) -> None:
        for number in range(4):
            threading.Thread(target=self.run, args=(number,), daemon=True).start()

    def run(self, number: int) -> None:
        with contextlib.suppress(SparkException):  # it is stopped
            for n in count(number, 4):
                self.store([n] if number % 2 else n)
                type(self).stored.put(n)


def test_every_record_whose_store_returned_is_processed_when_a_graceful_stop_comes_in_between(
    no_context, patience
) -> None:
    """In the driver's own process, so that both sides can be compared."""
    ssc = StreamingContext(SparkContext("local[2]", "t"), BATCH_SECONDS)
    got = Gathered()
    ssc.receiverStream(Crowd()).foreachRDD(got.add)
    ssc.start()
    got.wait(lambda records: len(records) > 1000, patience)
    ssc.stop(stopGraceFully=True)
    stored = {Crowd.stored.get() for _ in range(Crowd.stored.qsize())}
    assert len(stored) > 1000
    assert stored <= set(got.records)
    assert len(got.records) == len(set(got.records))


def test_graceful_stop_takes_no_batch_when_receivers_have_nothing(no_context, patience) -> None:
    """The clock stands still, so a stop that waited for a batch time would never end."""
    with Harness(SparkContext("local[2]", "t")) as harness, server([]) as port:
        harness.collect(harness.ssc.socketTextStream("127.0.0.1", port))
        harness.run(2)
        stopping = threading.Thread(target=harness.ssc.stop, args=(True, True), daemon=True)
        stopping.start()
        stopping.join(patience)
        assert not stopping.is_alive()


def test_graceful_stop_takes_one_batch_when_receivers_have_something(no_context, patience) -> None:
    with Harness(SparkContext("local[2]", "t")) as harness:
        out = harness.collect(harness.ssc.receiverStream(Crowd()))
        harness.start()
        for _ in range(100):
            Crowd.stored.get(timeout=patience)
        stopping = threading.Thread(target=harness.ssc.stop, args=(True, True), daemon=True)
        stopping.start()
        while harness.ssc._running.generator.phase is not Phase.LAST_TICKS:
            stopping.join(0.001)
            assert stopping.is_alive()
        harness.clock.advance(1000)
        stopping.join(patience)
        assert not stopping.is_alive()
    assert [len(records) >= 100 for records in out] == [True]


def test_receiver_that_never_works_is_reported_after_its_restarts_and_others_go_on(no_context, patience) -> None:
    class Broken(Receiver):
        def onStart(self):
            raise OSError("no such host")

    conf = SparkConf().setMaster("local[2]").setAppName("t").set("spark.streaming.receiverRestartDelay", "5")
    conf.set("headwater.streaming.receiver.maxRestarts", "2")
    ssc = StreamingContext(SparkContext(conf=conf), BATCH_SECONDS)
    broken, got = Gathered(), Gathered()
    ssc.receiverStream(Broken()).foreachRDD(broken.add)
    ssc.receiverStream(Pids()).foreachRDD(got.add)
    ssc.start()
    with pytest.raises(SparkException, match=r"Broken-0: the receiver of stream 0 is not started again.*3 times"):
        ssc.awaitTermination(patience)
    before = len(got.records)
    got.wait(lambda records: len(records) > before, patience)
    ssc.stop(stopGraceFully=True)
    assert broken.records == []


@pytest.mark.parametrize(
    ("master", "level", "said"),
    [
        ("local[1]", "INFO", "1 INFO"),
        ("local-cluster[2,1,512]", "INFO", ""),
    ],
)
def test_copies_that_there_are_no_executors_for_are_said_once(
    no_context, patience, caplog, master, level, said
) -> None:
    caplog.set_level(level, "headwater")
    ssc = StreamingContext(SparkContext(master, "t"), BATCH_SECONDS)
    got = Gathered()
    ssc.receiverStream(Pids()).foreachRDD(got.add)
    ssc.start()
    got.wait(lambda records: len(records) > 5, patience)
    ssc.stop()
    lines = [record for record in caplog.records if "received blocks are to have 2 copies" in record.getMessage()]
    assert (f"{len(lines)} {lines[0].levelname}" if lines else "") == said


def test_receivers_are_spread_evenly_and_go_where_they_prefer(no_context, patience) -> None:
    class Preferring(Pids):
        def preferredLocation(self):
            return "localhost"

    class Elsewhere(Pids):
        def preferredLocation(self):
            return "far.example"

    ssc = StreamingContext(SparkContext("local-cluster[2,1,512]", "t"), BATCH_SECONDS)
    got = Gathered()
    places: dict[int, str] = {}

    class Watching(StreamingListener):
        def onReceiverStarted(self, receiverStarted):
            info = receiverStarted.receiverInfo()
            places[info.streamId()] = info.executorId()

    ssc.addStreamingListener(Watching())
    ssc.union(*[ssc.receiverStream(kind()) for kind in (Preferring, Elsewhere, Pids, Pids)]).foreachRDD(got.add)
    ssc.start()
    got.wait(lambda records: len(set(records)) == 2, patience)
    ssc.stop()
    assert sorted(places) == [0, 1, 2, 3]
    assert Counter(places.values()).most_common()[0][1] == 2


def test_slow_output_makes_batches_wait_only_up_to_the_limit_and_nothing_is_lost(no_context, patience, caplog) -> None:
    """With nothing enabled: batches wait, then are late, what came meanwhile comes with a later one."""
    conf = SparkConf().setMaster("local[2]").setAppName("t").set("headwater.streaming.waitingBatchesMax", "3")
    with StreamHarness(1, conf=conf) as harness:
        gate, out = threading.Event(), []
        stream = harness.ssc.queueStream([[n] for n in range(10)])

        def slow(rdd):
            assert gate.wait(patience)
            out.extend(rdd.collect())

        stream.foreachRDD(slow)
        harness.start()
        harness.clock.advance(10_000)
        while "batches wait, the oldest since" not in caplog.text:
            gate.wait(0.001)
        assert len(harness.ssc._running.generator.running()) == 3
        gate.set()
        wait_for(lambda: len(out) >= 10, "all batches are done")
    assert out == list(range(10))


MAY_BE_MADE = threading.Event()


def made_when_it_may() -> Receiver:
    assert MAY_BE_MADE.wait(30)
    return Pids()


class SlowlyMade(Receiver):
    def __reduce__(self):
        return made_when_it_may, ()


def test_stop_waits_for_a_receiver_that_is_still_being_made(no_context, patience) -> None:
    ssc = StreamingContext(SparkContext("local[2]", "t"), BATCH_SECONDS)
    ssc.receiverStream(SlowlyMade()).foreachRDD(lambda rdd: None)
    ssc.start()
    stopping = threading.Thread(target=ssc.stop, args=(True, True), daemon=True)
    stopping.start()
    assert not ssc._running.receiving.wait_for_end(0.1)
    MAY_BE_MADE.set()
    assert ssc._running.receiving.wait_for_end(patience)
    stopping.join(patience)
    assert not stopping.is_alive()
