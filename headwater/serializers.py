"""PySpark's serializers: how records are written to a stream and read again, for programs that do so themselves.

The engine has its own ways (`base/pickling.py`); `SparkContext(serializer=...)` takes one of these and doesn't use it.
The bytes are PySpark's: a frame is a length of four bytes, big-endian, and as many bytes; a negative length is a mark.
"""

from __future__ import annotations

import itertools
import marshal
import pickle
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from headwater.base.pickling import PROTOCOL, dumps

__all__ = [
    "AutoBatchedSerializer",
    "AutoSerializer",
    "BatchedSerializer",
    "CPickleSerializer",
    "CartesianDeserializer",
    "CloudPickleSerializer",
    "CompressedSerializer",
    "FlattenedValuesSerializer",
    "FramedSerializer",
    "MarshalSerializer",
    "NoOpSerializer",
    "PairDeserializer",
    "PickleSerializer",
    "Serializer",
    "SpecialLengths",
    "UTF8Deserializer",
    "read_bool",
    "read_int",
    "read_long",
    "write_int",
    "write_long",
    "write_with_length",
]

_INT, _LONG = struct.Struct("!i"), struct.Struct("!q")


class SpecialLengths:
    """Lengths that are marks."""

    END_OF_DATA_SECTION = -1
    PYTHON_EXCEPTION_THROWN = -2
    TIMING_DATA = -3
    END_OF_STREAM = -4
    NULL = -5
    START_ARROW_STREAM = -6


class Serializer:
    """Writes records to a stream and reads them. Equal to another of its kind with the same parts."""

    def dump_stream(self, iterator: Iterable[Any], stream: BinaryIO) -> None:
        """Write all records."""
        raise NotImplementedError(f"{type(self).__name__} only reads")

    def load_stream(self, stream: BinaryIO) -> Iterator[Any]:
        """The records up to the end of the stream or of its section."""
        raise NotImplementedError(f"{type(self).__name__} only writes")

    def _load_stream_without_unbatching(self, stream: BinaryIO) -> Iterable[list[Any]]:
        """The records in the batches in which they were written; one each, if they weren't."""
        return ([record] for record in self.load_stream(stream))

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.__dict__ == self.__dict__

    def __hash__(self) -> int:
        return hash(repr(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.__dict__.values()))})"


class FramedSerializer(Serializer):
    """Writes a frame a record. A subclass says what is in it, by `dumps` and `loads`."""

    def dumps(self, obj: Any) -> bytes:
        """A record as bytes."""
        raise NotImplementedError

    def loads(self, obj: bytes) -> Any:
        """The record that bytes stand for."""
        raise NotImplementedError

    def dump_stream(self, iterator: Iterable[Any], stream: BinaryIO) -> None:
        for record in iterator:
            self._write_with_length(record, stream)

    def load_stream(self, stream: BinaryIO) -> Iterator[Any]:
        while True:
            try:
                yield self._read_with_length(stream)
            except EOFError:
                return

    def _write_with_length(self, obj: Any, stream: BinaryIO) -> None:
        write_with_length(self.dumps(obj), stream)

    def _read_with_length(self, stream: BinaryIO) -> Any:
        frame = _read_frame(stream)
        return None if frame is None else self.loads(frame)


def _read_frame(stream: BinaryIO) -> bytes | None:
    """The bytes of a frame, None for a missing value.

    Raises:
        EOFError: at the end of the stream, or of its section.
        ValueError: the stream ends within the frame, or isn't one of frames.
    """
    length = read_int(stream)
    if length == SpecialLengths.END_OF_DATA_SECTION:
        raise EOFError
    if length == SpecialLengths.NULL:
        return None
    if length < 0:
        raise ValueError(f"a frame's length is {length}: this is no stream of frames")
    data = stream.read(length)
    if len(data) < length:
        raise ValueError(f"a frame of {length} bytes ends after {len(data)}: the stream is cut off")
    return data


# ------------------------------------------------------------------------------------------------ single records
class NoOpSerializer(FramedSerializer):
    """For records that are bytes."""

    def dumps(self, obj: bytes) -> bytes:
        return obj

    def loads(self, obj: bytes) -> bytes:
        return obj


class PickleSerializer(FramedSerializer):
    """Pickles records by Python's own pickle."""

    def dumps(self, obj: Any) -> bytes:
        return pickle.dumps(obj, PROTOCOL)

    def loads(self, obj: bytes, encoding: str = "bytes") -> Any:
        return pickle.loads(obj, encoding=encoding)


CPickleSerializer = PickleSerializer


class CloudPickleSerializer(PickleSerializer):
    """Pickles also functions, and classes of the script, by value."""

    def dumps(self, obj: Any) -> bytes:
        return dumps(obj)


class MarshalSerializer(FramedSerializer):
    """For plain built-in data only, by `marshal`; other types come back as something else, or not at all."""

    def dumps(self, obj: Any) -> bytes:
        return marshal.dumps(obj)

    def loads(self, obj: bytes) -> Any:
        return marshal.loads(obj)


class AutoSerializer(FramedSerializer):
    """Marshals as long as that goes, and pickles from the first record on with which it doesn't."""

    def __init__(self) -> None:
        self._pickles = False

    def dumps(self, obj: Any) -> bytes:
        if not self._pickles:
            try:
                return b"M" + marshal.dumps(obj)
            except ValueError:
                self._pickles = True
        return b"P" + pickle.dumps(obj, PROTOCOL)

    def loads(self, obj: bytes) -> Any:
        kind = obj[:1]
        if kind == b"M":
            return marshal.loads(obj[1:])
        if kind == b"P":
            return pickle.loads(obj[1:])
        raise ValueError(f"invalid serialization type: {kind!r}")


class CompressedSerializer(FramedSerializer):
    """Compresses what another framed serializer gives."""

    def __init__(self, serializer: FramedSerializer) -> None:
        if not isinstance(serializer, FramedSerializer):
            raise TypeError(f"serializer must be a FramedSerializer, got {serializer!r}")
        self.serializer = serializer

    def dumps(self, obj: Any) -> bytes:
        return zlib.compress(self.serializer.dumps(obj), 1)

    def loads(self, obj: bytes) -> Any:
        return self.serializer.loads(zlib.decompress(obj))


class UTF8Deserializer(Serializer):
    """Reads text.

    Args:
        use_unicode: give str; otherwise bytes.
    """

    def __init__(self, use_unicode: bool = True) -> None:
        self.use_unicode = use_unicode

    def loads(self, stream: BinaryIO) -> str | bytes | None:
        """The next text of a stream."""
        frame = _read_frame(stream)
        return frame.decode() if self.use_unicode and frame is not None else frame

    def load_stream(self, stream: BinaryIO) -> Iterator[str | bytes | None]:
        while True:
            try:
                yield self.loads(stream)
            except EOFError:
                return


# ------------------------------------------------------------------------------------------------ batches
class BatchedSerializer(Serializer):
    """Writes lists of records by another serializer.

    Args:
        batchSize: records in a list; -1: all in one; 0: lists are made by the program.
    """

    UNLIMITED_BATCH_SIZE = -1
    UNKNOWN_BATCH_SIZE = 0

    def __init__(self, serializer: FramedSerializer, batchSize: int = UNLIMITED_BATCH_SIZE) -> None:
        self.serializer = serializer
        self.batchSize = batchSize

    def dump_stream(self, iterator: Iterable[Any], stream: BinaryIO) -> None:
        self.serializer.dump_stream(self._batched(iterator), stream)

    def load_stream(self, stream: BinaryIO) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._load_stream_without_unbatching(stream))

    def _load_stream_without_unbatching(self, stream: BinaryIO) -> Iterable[list[Any]]:
        return self.serializer.load_stream(stream)

    def _batched(self, iterator: Iterable[Any]) -> Iterator[list[Any]]:
        records = iter(iterator)
        if self.batchSize == self.UNLIMITED_BATCH_SIZE:
            yield list(records)
            return
        while batch := list(itertools.islice(records, max(self.batchSize, 1))):
            yield batch


class AutoBatchedSerializer(BatchedSerializer):
    """Chooses the batches' size such that they have about `bestSize` bytes."""

    def __init__(self, serializer: FramedSerializer, bestSize: int = 1 << 16) -> None:
        super().__init__(serializer, self.UNKNOWN_BATCH_SIZE)
        self.bestSize = bestSize

    def dump_stream(self, iterator: Iterable[Any], stream: BinaryIO) -> None:
        records, size = iter(iterator), 1
        while batch := list(itertools.islice(records, size)):
            data = self.serializer.dumps(batch)
            write_with_length(data, stream)
            if len(data) < self.bestSize:
                size *= 2
            elif len(data) > self.bestSize * 10 and size > 1:
                size //= 2

    def __repr__(self) -> str:
        return f"AutoBatchedSerializer({self.serializer!r})"


class FlattenedValuesSerializer(BatchedSerializer):
    """Writes pairs of a key and a list of values, cutting long lists into pairs of the same key."""

    def __init__(self, serializer: FramedSerializer, batchSize: int = 10) -> None:
        super().__init__(serializer, batchSize)

    def _batched(self, iterator: Iterable[Any]) -> Iterator[Any]:
        for key, values in iterator:
            for start in range(0, len(values), self.batchSize):
                yield key, values[start : start + self.batchSize]

    def load_stream(self, stream: BinaryIO) -> Iterator[Any]:
        return self.serializer.load_stream(stream)


class _Pairing(Serializer):
    """Reads what two serializers wrote in turn, a batch each."""

    def __init__(self, key_ser: Serializer, val_ser: Serializer) -> None:
        self.key_ser = key_ser
        self.val_ser = val_ser

    def _batches(self, stream: BinaryIO) -> Iterator[tuple[list[Any], list[Any]]]:
        keys = self.key_ser._load_stream_without_unbatching(stream)
        values = self.val_ser._load_stream_without_unbatching(stream)
        for one, other in zip(keys, values):
            yield list(one), list(other)

    def load_stream(self, stream: BinaryIO) -> Iterator[Any]:
        return itertools.chain.from_iterable(self._load_stream_without_unbatching(stream))


class CartesianDeserializer(_Pairing):
    """Reads pairs of each record of a batch with each of the batch beside it."""

    def _load_stream_without_unbatching(self, stream: BinaryIO) -> Iterator[list[Any]]:
        for keys, values in self._batches(stream):
            yield list(itertools.product(keys, values))


class PairDeserializer(_Pairing):
    """Reads pairs of the records of a batch with those of the batch beside it, in their order.

    Raises:
        ValueError: by reading, if two batches aren't equally long.
    """

    def _load_stream_without_unbatching(self, stream: BinaryIO) -> Iterator[list[Any]]:
        for keys, values in self._batches(stream):
            if len(keys) != len(values):
                sizes = len(keys), len(values)
                raise ValueError(f"Can not deserialize PairRDD with different number of items in batches: {sizes}")
            yield list(zip(keys, values))


# ------------------------------------------------------------------------------------------------ numbers and frames
def _exactly(stream: BinaryIO, size: int) -> bytes:
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def read_int(stream: BinaryIO) -> int:
    """A number of four bytes."""
    return int(_INT.unpack(_exactly(stream, 4))[0])


def write_int(value: int, stream: BinaryIO) -> None:
    """Write a number as four bytes."""
    stream.write(_INT.pack(value))


def read_long(stream: BinaryIO) -> int:
    """A number of eight bytes."""
    return int(_LONG.unpack(_exactly(stream, 8))[0])


def write_long(value: int, stream: BinaryIO) -> None:
    """Write a number as eight bytes."""
    stream.write(_LONG.pack(value))


def read_bool(stream: BinaryIO) -> bool:
    """A Boolean of one byte."""
    return _exactly(stream, 1) != b"\0"


def write_with_length(obj: bytes, stream: BinaryIO) -> None:
    """Write a frame."""
    write_int(len(obj), stream)
    stream.write(obj)
