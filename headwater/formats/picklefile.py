"""Pickle files: what `saveAsPickleFile` writes and `pickleFile` reads, interchangeable with PySpark's.

- The file is a Hadoop SequenceFile of `<NullWritable, BytesWritable>`.
- Each value is a Java-serialised `byte[][]`, each of whose arrays is the pickle of a list of records.
- We write uncompressed; record- and block-compressed files are read too.

The grammar and an example are in docs/formats/picklefile.md.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, BinaryIO

from headwater.base.pickling import dump_records, load_records
from headwater.errors import IllegalArgumentException, SparkException
from headwater.formats.sequencefile import SequenceFileReader, write_pairs
from headwater.formats.writables import BYTES, NULL, writable

BATCH_SIZE = 10  # records to a pickle, as PySpark's default
_PICKLES_PER_VALUE = 10  # as Spark writes them
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
    encode = writable(BYTES).encode
    write_pairs(((b"", encode(value)) for value in _values(iter(records), batch_size)), file, NULL, BYTES)


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
        SparkException: the file isn't one, uses a codec that isn't supported, is damaged or was cut short.
    """
    return chain.from_iterable(map(load_records, chain.from_iterable(map(load_byte_arrays, read_values(file)))))


def read_values(file: BinaryIO) -> Iterator[bytes]:
    """The contents of the BytesWritable values of a SequenceFile."""
    reader = SequenceFileReader(file, "the pickle file")
    classes = [reader.header.key_class, reader.header.value_class]
    if classes != [NULL, BYTES]:
        raise SparkException(f"not a pickle file: it holds {' and '.join(classes)} instead of {BYTES}")
    load = writable(BYTES).load
    return (bytes(load(value)) for _, value in reader.pairs())
