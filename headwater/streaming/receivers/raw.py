"""Blocks from a TCP server that are encoded already: they are stored as they come, and decoded by tasks only.

A frame is a length (four bytes, big-endian) and that many bytes: perhaps the number of a block's records, by which
back-pressure goes, and the block, as `docs/formats/block.md` says. Blocks are not looked into here. Unpickling runs any
code that a pickle names: connect to servers that you trust with your machine.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from headwater.engine.blocks import encode_records
from headwater.errors import SparkException
from headwater.streaming.receivers.socket import READ_BYTES, SocketReceiver, _SocketRun

# A frame is held in memory as a whole, as is its block in the task that reads it.
FRAME_BYTES_MAX = 128 << 20

_LENGTH = struct.Struct(">i")
_COUNT = struct.Struct(">cI")  # `N` and the number of records
# How a block of each codec ends: a pickle with STOP, text with a newline, compressed data anyhow.
_ENDS = {b"P": b".", b"T": b"\n", b"Z": b""}


def rawFrame(records: Iterable[Any]) -> bytes:
    """A frame of records, to be sent to a `StreamingContext.rawSocketStream` by the server that it connects to.

    Args:
        records: whatever pickles; classes of the program's own script included.

    Raises:
        SerializationError: a record can't be pickled.
        ValueError: the frame is larger than a stream takes, 128 MiB: make more of it.

    >>> rawFrame(["a", "b"])[:10]
    b'\\x00\\x00\\x00\\x1bN\\x00\\x00\\x00\\x02P'
    """
    held = list(records)
    block = _COUNT.pack(b"N", len(held)) + encode_records(held)
    if len(block) > FRAME_BYTES_MAX:
        raise ValueError(f"a frame of {len(block)} bytes is too large, {FRAME_BYTES_MAX} is the most: make more of it")
    return _LENGTH.pack(len(block)) + block


class Frame(NamedTuple):
    """What a frame holds; the number of records is 0 if it isn't known."""

    block: bytes
    records: int


class BlockFrameReader:
    """Cuts a stream of bytes into its frames."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._rest = bytearray()  # the beginning of a frame

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that `data` completes, to be taken all.

        Raises:
            SparkException: after the frames before them, bytes are no frame. What follows can't be understood either.
        """
        self._rest += data
        while len(self._rest) >= _LENGTH.size:
            end = _LENGTH.size + self._length()
            if len(self._rest) < end:
                return
            frame = _frame(bytes(memoryview(self._rest)[_LENGTH.size : end]))
            _check_block(frame.block)
            del self._rest[:end]
            yield frame

    def close(self) -> None:
        """The stream has ended.

        Raises:
            SparkException: within a frame.
        """
        if self._rest:
            raise SparkException(f"the server ended the connection within a frame, after {len(self._rest)} bytes of it")

    def _length(self) -> int:
        length: int = _LENGTH.unpack_from(self._rest)[0]
        if not 0 < length <= self._frame_bytes_max:
            raise SparkException(
                f"a frame of {length} bytes: it must be between 1 and {self._frame_bytes_max}. Does the server send "
                "frames, each a big-endian int32 length and a block?"
            )
        return length


def _frame(body: bytes) -> Frame:
    if body[:1] == b"N" and len(body) > _COUNT.size:
        return Frame(body[_COUNT.size :], _COUNT.unpack_from(body)[1])
    return Frame(body, body.count(b"\n") if body[:1] == b"T" else 0)


def _check_block(block: bytes) -> None:
    end = _ENDS.get(block[:1])
    if end is None:
        raise SparkException(f"a block of unknown codec {block[:1]!r}: it must be b'P', b'T' or b'Z'")
    if not block.endswith(end):
        raise SparkException(f"a block of codec {block[:1]!r} must end with {end!r}, not {block[-1:]!r}")


class RawSocketReceiver(SocketReceiver):
    """Reads frames from a TCP server, each a block; connects again when the server goes away, or sends no frames."""

    def _read(self, run: _SocketRun, connection: socket.socket) -> None:
        reader, store = BlockFrameReader(), self._supervisor.store_encoded
        while data := connection.recv(READ_BYTES):
            for frame in reader.feed(data):
                store(*frame)
        if not run.stopped:
            reader.close()
