"""Frames of blocks: the format, and a stream of them over the loopback."""

from __future__ import annotations

import queue
import re
import socket
import struct
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.blocks import decode, encode_records
from headwater.errors import SparkException
from headwater.streaming import StreamingContext, StreamingListener, rawFrame
from headwater.streaming.receivers import raw
from headwater.streaming.receivers.raw import BlockFrameReader


def frame(block):
    return struct.pack(">i", len(block)) + block


# ------------------------------------------------------------------------------------------------ the format
@given(st.lists(st.lists(st.one_of(st.text(), st.integers(), st.tuples(st.binary(), st.none())))), st.data())
def test_frames_are_read_as_they_were_written_however_they_are_cut(batches, data) -> None:
    stream = b"".join(map(rawFrame, batches))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader = BlockFrameReader()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    frames = [made for piece in pieces for made in reader.feed(piece)]
    assert [list(decode(made.block)) for made in frames] == batches
    assert [made.records for made in frames] == [len(batch) for batch in batches]
    reader.close()


def test_block_of_text_is_lines() -> None:
    (made,) = BlockFrameReader().feed(frame(b"Tone\ntwo\r\n"))
    assert (list(decode(made.block)), made.records) == (["one", "two"], 2)


def test_records_of_a_pickle_are_not_counted_when_the_server_has_not() -> None:
    (made,) = BlockFrameReader().feed(frame(encode_records([1, 2, 3])))
    assert (list(decode(made.block)), made.records) == ([1, 2, 3], 0)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (struct.pack(">i", 0), "a frame of 0 bytes: it must be between 1 and 100"),
        (struct.pack(">i", -5), "a frame of -5 bytes: it must be between 1 and 100"),
        (struct.pack(">i", 101), "a frame of 101 bytes: it must be between 1 and 100"),
        (b"GET / HTTP/1.1\r\n", "a frame of 1195725856 bytes"),
        (frame(b"Xabc"), "a block of unknown codec b'X': it must be b'P', b'T' or b'Z'"),
        (frame(b"Tno end"), r"a block of codec b'T' must end with b'\n', not b'd'"),
        (frame(b"N\0\0\0\1"), "a block of unknown codec b'N'"),
        (frame(b"N\0\0\0\1X"), "a block of unknown codec b'X'"),
        (frame(b"P\x80\x05"), r"a block of codec b'P' must end with b'.', not b'\x05'"),
    ],
)
def test_bytes_that_are_no_frame_are_refused(data, text) -> None:
    with pytest.raises(SparkException, match=re.escape(text)):
        list(BlockFrameReader(frame_bytes_max=100).feed(data))


def test_blocks_before_an_invalid_frame_are_read() -> None:
    frames = BlockFrameReader().feed(frame(b"Ta\n") + frame(b"X"))
    assert next(frames) == (b"Ta\n", 1)
    with pytest.raises(SparkException, match="unknown codec"):
        next(frames)


@pytest.mark.parametrize("data", [b"\0", frame(b"Ta\n")[:-1]])
def test_end_within_a_frame_is_an_error(data) -> None:
    reader = BlockFrameReader()
    assert list(reader.feed(data)) == []
    with pytest.raises(SparkException, match=f"within a frame, after {len(data)} bytes of it"):
        reader.close()


def test_frame_that_no_stream_takes_is_not_made(monkeypatch) -> None:
    monkeypatch.setattr(raw, "FRAME_BYTES_MAX", 50)
    with pytest.raises(ValueError, match="is too large, 50 is the most"):
        rawFrame(["x" * 50])


# ------------------------------------------------------------------------------------------------ the stream
class Errors(StreamingListener):
    def __init__(self):
        self.stopped = queue.SimpleQueue()
        self.records = 0

    def onBatchCompleted(self, batchCompleted):
        self.records += batchCompleted.batchInfo().numRecords()

    def onReceiverStopped(self, receiverStopped):
        self.stopped.put(receiverStopped.receiverInfo())


def test_frame_is_a_partition_and_an_invalid_one_restarts_the_receiver(sc, monkeypatch, patience) -> None:
    monkeypatch.setitem(sc.conf._pairs, "spark.streaming.receiverRestartDelay", "0")
    records, partitions, errors = queue.SimpleQueue(), [], Errors()

    def serve():
        for pieces in ([rawFrame([1, ("two", 2.0)]), frame(b"Tthree\n"), frame(b"X")], [rawFrame(["again"])]):
            connection, _ = server.accept()
            with connection:
                for piece in pieces:
                    connection.sendall(piece)
                connection.recv(1)  # until the receiver goes

    def output(rdd):
        partitions.append(rdd.getNumPartitions())
        for record in rdd.collect():
            records.put(record)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        ssc = StreamingContext(sc, 0.1)
        ssc.addStreamingListener(errors)
        ssc.rawSocketStream("127.0.0.1", server.getsockname()[1]).foreachRDD(output)
        ssc.start()
        assert [records.get(timeout=patience) for _ in range(4)] == [1, ("two", 2.0), "three", "again"]
        assert "a block of unknown codec b'X'" in errors.stopped.get(timeout=patience).lastError()
        ssc.stop(stopSparkContext=False)
    assert (sum(partitions), errors.records) == (3, 4)


@pytest.mark.parametrize(("port", "error"), [(0, ValueError), (65536, ValueError), ("9999", TypeError)])
def test_port_is_checked_at_once(harness, port, error) -> None:
    with pytest.raises(error, match="port must be"):
        harness.ssc.rawSocketStream("localhost", port)
