"""Pickle files: what `saveAsPickleFile` writes and `pickleFile` reads, interchangeable with PySpark's.

1. The file is a Hadoop SequenceFile, version 6, of `<NullWritable, BytesWritable>`.
2. Each value is a Java-serialised `byte[][]`, each of whose arrays is the pickle of a list of records.
3. We write uncompressed; record- and block-compressed files are read too.
The grammar and an example are in docs/formats/picklefile.md.
"""

from __future__ import annotations

import bz2
import gzip
import os
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BytesIO
from itertools import chain, islice
from typing import Any, BinaryIO

from headwater.errors import IllegalArgumentException, SparkException
from headwater.serializers import dump_records, load_records

BATCH_SIZE = 10  # records to a pickle, as PySpark's default
_PICKLES_PER_VALUE = 10  # as Spark writes them
_MAGIC = b"SEQ"
_VERSION = 6
_KEY_CLASS = "org.apache.hadoop.io.NullWritable"
_VALUE_CLASS = "org.apache.hadoop.io.BytesWritable"
_CODEC_PACKAGE = "org.apache.hadoop.io.compress."
_DECOMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    _CODEC_PACKAGE + "DefaultCodec": zlib.decompress,
    _CODEC_PACKAGE + "DeflateCodec": zlib.decompress,
    _CODEC_PACKAGE + "GzipCodec": gzip.decompress,
    _CODEC_PACKAGE + "BZip2Codec": bz2.decompress,
}
_SYNC_BYTES = 16
_SYNC_ESCAPE = -1  # in place of a record's length: the sync marker follows
_SYNC_INTERVAL = 100 * 1024  # bytes between sync markers, by which others split the file
_INT = struct.Struct(">i")

_STREAM_HEADER = b"\xac\xed\x00\x05"
_TC_NULL, _TC_REFERENCE, _TC_CLASSDESC, _TC_ARRAY, _TC_ENDBLOCKDATA = 0x70, 0x71, 0x72, 0x75, 0x78
_SC_SERIALIZABLE = 2
_FIRST_HANDLE = 0x7E0000  # classes and objects are numbered from here, in the order in which they begin
_OUTER_CLASS, _INNER_CLASS = "[[B", "[B"
_CLASS_UIDS = {_OUTER_CLASS: 0x4BFD19156767DB37, _INNER_CLASS: 0xACF317F8060854E0}


def write_pickle_file(records: Iterable[Any], file: BinaryIO, batch_size: int = BATCH_SIZE) -> None:
    """Write records, `batch_size` (from 1) to a pickle.

    The sync marker is random, so two files of the same records differ in it.
    """
    if batch_size < 1:
        raise IllegalArgumentException(f"batchSize is {batch_size}: it must be at least 1 record")
    sync = os.urandom(_SYNC_BYTES)
    file.write(_header(sync))
    since_sync = 0
    for value in _values(iter(records), batch_size):
        if since_sync >= _SYNC_INTERVAL:
            file.write(_INT.pack(_SYNC_ESCAPE) + sync)
            since_sync = 0
        record = _INT.pack(len(value) + _INT.size) + _INT.pack(0) + _INT.pack(len(value)) + value  # the key is empty
        file.write(record)
        since_sync += len(record)


def _header(sync: bytes) -> bytes:
    names = b"".join(bytes([len(name)]) + name.encode() for name in (_KEY_CLASS, _VALUE_CLASS))
    uncompressed, no_metadata = b"\0\0", _INT.pack(0)
    return _MAGIC + bytes([_VERSION]) + names + uncompressed + no_metadata + sync


def _values(records: Iterator[Any], batch_size: int) -> Iterator[bytes]:
    batches = iter(lambda: list(islice(records, batch_size)), [])
    pickles = map(dump_records, batches)
    while some := list(islice(pickles, _PICKLES_PER_VALUE)):
        yield dump_byte_arrays(some)


def dump_byte_arrays(arrays: list[bytes]) -> bytes:
    """Java's serialised form of a `byte[][]`."""
    parts = [_STREAM_HEADER, bytes([_TC_ARRAY]), _class_description(_OUTER_CLASS), _INT.pack(len(arrays))]
    inner = _class_description(_INNER_CLASS)
    for array in arrays:
        parts += (bytes([_TC_ARRAY]), inner, _INT.pack(len(array)), array)
        inner = bytes([_TC_REFERENCE]) + _INT.pack(_FIRST_HANDLE + 2)  # 0 is the outer class, 1 the outer array
    return b"".join(parts)


def _class_description(name: str) -> bytes:
    start = struct.pack(">BH", _TC_CLASSDESC, len(name)) + name.encode()
    no_fields, no_superclass = 0, _TC_NULL
    uid = _CLASS_UIDS[name]
    return start + struct.pack(">QBHBB", uid, _SC_SERIALIZABLE, no_fields, _TC_ENDBLOCKDATA, no_superclass)


def load_byte_arrays(value: bytes) -> list[bytes]:
    """The arrays of a Java-serialised `byte[][]`.

    Raises:
        SparkException: the value is another Java object.
    """
    return _JavaStream(value).arrays()


class _JavaStream:
    """A Java object stream that holds a `byte[][]`, read once from its start."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._handles: list[Any] = []  # every class (its name) and array begun so far, by its handle

    def arrays(self) -> list[bytes]:
        if self._take(len(_STREAM_HEADER)) != _STREAM_HEADER:
            raise _foreign("not a Java object stream")
        if self._byte() != _TC_ARRAY or self._class() != _OUTER_CLASS:
            raise _foreign("not an array of byte arrays")
        self._handles.append(None)  # the outer array
        return [self._element() for _ in range(self._int())]

    def _element(self) -> bytes:
        kind = self._byte()
        if kind == _TC_REFERENCE:
            array = self._handle()
        elif kind == _TC_ARRAY and self._class() == _INNER_CLASS:
            array = self._take(self._int())
            self._handles.append(array)
        else:
            raise _foreign(f"its element has the type code {kind:#x}")
        if not isinstance(array, bytes):
            raise _foreign("its element isn't a byte array")
        return array

    def _class(self) -> str:
        kind = self._byte()
        if kind == _TC_REFERENCE:
            return str(self._handle())
        if kind != _TC_CLASSDESC:
            raise _foreign(f"a class has the type code {kind:#x}")
        name = self._take(int.from_bytes(self._take(2), "big")).decode()
        if name not in _CLASS_UIDS:
            raise _foreign(f"it holds the class {name}")
        self._take(8 + 1 + 2 + 1 + 1)  # UID, flags, no fields, end of annotations, no superclass
        self._handles.append(name)
        return name

    def _handle(self) -> Any:
        number = self._int() - _FIRST_HANDLE
        if not 0 <= number < len(self._handles):
            raise _foreign(f"a reference to the unknown handle {number}")
        return self._handles[number]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _int(self) -> int:
        return int(_INT.unpack(self._take(_INT.size))[0])

    def _take(self, count: int) -> bytes:
        taken = self._data[self._at : self._at + count]
        if count < 0 or len(taken) < count:
            raise _foreign(f"it ends at byte {len(self._data)}, within an array or a class")
        self._at += count
        return taken


def _foreign(what: str) -> SparkException:
    return SparkException(f"a value of the pickle file isn't a Java-serialised byte[][]: {what}")


def read_pickle_file(file: BinaryIO) -> Iterator[Any]:
    """The records of a pickle file.

    Raises:
        SparkException: the file isn't one, uses a codec that we don't have, is damaged or was cut short.
    """
    return chain.from_iterable(map(load_records, chain.from_iterable(map(load_byte_arrays, read_values(file)))))


def read_values(file: BinaryIO) -> Iterator[bytes]:
    """The contents of the BytesWritable values of a SequenceFile."""
    if file.read(3) != _MAGIC or file.read(1) != bytes([_VERSION]):
        raise SparkException(
            "not a pickle file: it doesn't begin with SEQ and version 6, as a Hadoop SequenceFile does"
        )
    classes = [_text(file), _text(file)]
    if classes != [_KEY_CLASS, _VALUE_CLASS]:
        raise SparkException(f"not a pickle file: it holds {' and '.join(classes)} instead of {_VALUE_CLASS}")
    compressed, by_block = _exactly(file, 2)
    decompress = _decompressor(_text(file)) if compressed else None
    for _ in range(_read_int(file)):  # metadata: nobody's business here
        _text(file), _text(file)
    sync = _exactly(file, _SYNC_BYTES)
    if by_block and decompress:
        return _block_values(file, sync, decompress)
    return _record_values(file, sync, decompress)


def _decompressor(codec: str) -> Callable[[bytes], bytes]:
    try:
        return _DECOMPRESSORS[codec]
    except KeyError:
        known = ", ".join(_DECOMPRESSORS)
        raise SparkException(f"the pickle file is compressed by {codec}. Those that can be read: {known}") from None


def _record_values(file: BinaryIO, sync: bytes, decompress: Callable[[bytes], bytes] | None) -> Iterator[bytes]:
    while header := file.read(_INT.size):
        length = _INT.unpack(_whole(header, _INT.size))[0]
        if length == _SYNC_ESCAPE:
            _check_sync(file, sync)
            continue
        key_length = _read_int(file)
        value = _exactly(file, length)[key_length:]
        yield _bytes_writable(BytesIO(decompress(value) if decompress else value))


def _block_values(file: BinaryIO, sync: bytes, decompress: Callable[[bytes], bytes]) -> Iterator[bytes]:
    while header := file.read(_INT.size):
        if _INT.unpack(_whole(header, _INT.size))[0] != _SYNC_ESCAPE:
            raise SparkException("the pickle file is damaged: a block doesn't begin with a sync marker")
        _check_sync(file, sync)
        count = _vint(file)
        _key_lengths, _keys, _value_lengths, values = [_exactly(file, _vint(file)) for _ in range(4)]
        contents = BytesIO(decompress(values))
        for _ in range(count):
            yield _bytes_writable(contents)


def _bytes_writable(file: BinaryIO) -> bytes:
    return _exactly(file, _read_int(file))


def _check_sync(file: BinaryIO, sync: bytes) -> None:
    if _exactly(file, _SYNC_BYTES) != sync:
        raise SparkException("the pickle file is damaged: a sync marker differs from that of the file's header")


def _text(file: BinaryIO) -> str:
    return _exactly(file, _vint(file)).decode()


def _vint(file: BinaryIO) -> int:
    """Hadoop's variable-length integer: small ones in one byte, else the first byte tells sign and length."""
    first = int.from_bytes(_exactly(file, 1), "big", signed=True)
    if first >= -112:
        return first
    negative = first < -120
    magnitude = int.from_bytes(_exactly(file, -120 - first if negative else -112 - first), "big")
    return ~magnitude if negative else magnitude


def _read_int(file: BinaryIO) -> int:
    return int(_INT.unpack(_exactly(file, _INT.size))[0])


def _exactly(file: BinaryIO, count: int) -> bytes:
    if count < 0:
        raise SparkException(f"the pickle file is damaged: it tells a length of {count} bytes")
    return _whole(file.read(count), count)


def _whole(data: bytes, count: int) -> bytes:
    if len(data) < count:
        raise SparkException(f"the pickle file was cut short: {count - len(data)} bytes are missing at its end")
    return data
