"""How a context makes input streams: one method for each kind of source."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import Any, BinaryIO, TypeVar, overload

from headwater.base import pickling
from headwater.clock import Clock
from headwater.conf import SparkConf as SparkConf
from headwater.context import SparkContext as SparkContext
from headwater.rdd import RDD as RDD
from headwater.rdd.checks import check_function, check_function_or_none, check_port
from headwater.storagelevel import StorageLevel
from headwater.streaming.dstream import DStream
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.listener import StreamingListenerBus
from headwater.streaming.receivers.raw import RawSocketReceiver
from headwater.streaming.receivers.received import ReceiverInput
from headwater.streaming.receivers.receiver import Receiver
from headwater.streaming.receivers.socket import SocketReceiver
from headwater.streaming.sources.filereaders import FileReader, ProgramReader, Reports, records_reader, text_reader
from headwater.streaming.sources.files import file_input
from headwater.streaming.sources.iterator import IteratorInput
from headwater.streaming.sources.queue import QueueInput
from headwater.streaming.waiter import Waiter

T = TypeVar("T")


class InputStreams:
    """The methods of `StreamingContext` that make input streams."""

    _sc: SparkContext
    batch_ms: int
    _clock: Clock
    _waiter: Waiter
    _bus: StreamingListenerBus

    def _input(self, make: Callable[[int], InputNode]) -> DStream[Any]:
        """A stream of the node that `make(stream id)` returns."""
        raise NotImplementedError

    def socketTextStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream[str]:
        """Lines of UTF-8 text from a TCP server, as str without their ends.

        Connects again whenever the server can't be reached or goes away. Bytes that are not UTF-8 become U+FFFD; such
        lines are counted in the batches' input metadata.

        Args:
            hostname: of the server.
            port: 1 to 65535.
            storageLevel: how received data is kept until it is processed.

        Raises:
            ValueError: the port is out of bounds.

        >>> lines = ssc.socketTextStream("localhost", 9999)
        >>> lines.flatMap(str.split).countByValue().pprint()
        """
        return self.receiverStream(SocketReceiver(hostname, _port(port), storageLevel))

    def socketStream(
        self,
        hostname: str,
        port: int,
        converter: Callable[[BinaryIO], Iterable[T]],
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
    ) -> DStream[T]:
        """Records from a TCP server, in a format of your own.

        Args:
            hostname: of the server.
            port: 1 to 65535.
            converter: binary file object of a connection -> an iterable of its records; called in the executor, once a
                connection. Its end, or what it raises, ends the connection, and there is another one.
            storageLevel: as for `socketTextStream`.

        Raises:
            ValueError: the port is out of bounds.

        >>> import struct
        >>> def integers(connection):
        ...     while len(four := connection.read(4)) == 4:
        ...         yield struct.unpack(">i", four)[0]
        >>> ssc.socketStream("localhost", 9999, integers).reduce(max).pprint()
        """
        check_function("converter", converter)
        return self.receiverStream(SocketReceiver(hostname, _port(port), storageLevel, converter))

    def rawSocketStream(
        self, hostname: str, port: int, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    ) -> DStream[Any]:
        """Records from a TCP server that sends blocks, encoded already; made by `headwater.streaming.rawFrame`.

        Blocks are stored as they come: the fastest way in, for a server that you trust (unpickling runs its code). A
        block is a partition. `rawFrame` says how many records it has; where a server of another kind doesn't, they are
        counted in text only, and no rate limits the others. Connects again whenever the server can't be reached, goes
        away, or sends no valid frame.

        Args:
            hostname: of the server.
            port: 1 to 65535.
            storageLevel: as for `socketTextStream`.

        Raises:
            ValueError: the port is out of bounds.

        >>> ssc.rawSocketStream("localhost", 9999).count().pprint()
        """
        return self.receiverStream(RawSocketReceiver(hostname, _port(port), storageLevel))

    def receiverStream(self, receiver: Receiver) -> DStream[Any]:
        """What a receiver of the program's own stores.

        Args:
            receiver: is pickled, sent to an executor and started there.

        Raises:
            TypeError: not a `Receiver`.
            SerializationError: it can't be pickled, so it can't travel to an executor.

        >>> from headwater.streaming import Receiver
        >>> class Countdown(Receiver):
        ...     def onStart(self):
        ...         self.store([3, 2, 1])
        >>> received = harness.collect(ssc.receiverStream(Countdown()))
        >>> while sum(received, []) != [3, 2, 1]:
        ...     _ = harness.run()
        """
        if not isinstance(receiver, Receiver):
            raise TypeError(f"expected a headwater.streaming.Receiver, got {type(receiver).__name__}")
        pickling.dumps(receiver)  # better now than when it is launched
        sc, batch_ms = self._sc, self.batch_ms
        return self._input(lambda stream_id: ReceiverInput(stream_id, batch_ms, sc=sc, receiver=receiver))

    def queueStream(
        self,
        rdds: Sequence[RDD[T] | Iterable[T]],
        oneAtATime: bool = True,
        default: RDD[T] | Iterable[T] | None = None,
    ) -> DStream[T]:
        """RDDs, or lists of records, from a queue in the driver.

        Args:
            rdds: a list, which is only read, or a deque, which is emptied. Both may be appended to at any time.
            oneAtATime: whether a batch takes one entry or all there are.
            default: what a batch has when the queue is empty; None: nothing, in one partition.

        Raises:
            TypeError: `rdds` is neither a list nor a deque nor a tuple, or `default` neither an RDD nor records.

        >>> stream = ssc.queueStream([[1, 2], sc.parallelize([3])], default=[0])
        >>> harness.results(stream, batches=3)
        [[1, 2], [3], [0]]
        """
        if not isinstance(rdds, (list, deque, tuple)):
            raise TypeError(
                f"rdds must be a list or a deque, not {type(rdds).__name__}. For an iterator of records there is "
                "iteratorStream."
            )
        queue = list(rdds) if isinstance(rdds, tuple) else rdds
        sc, batch_ms = self._sc, self.batch_ms
        return self._input(
            lambda stream_id: QueueInput(
                stream_id, batch_ms, sc=sc, queue=queue, one_at_a_time=oneAtATime, default=default
            )
        )

    def iteratorStream(
        self,
        source: Iterable[T] | AsyncIterable[T] | Callable[[], Iterable[T] | AsyncIterable[T]],
        maxRecordsPerBatch: int = 100_000,
    ) -> DStream[T]:
        """What a Python iterable gives, in the order and at the pace in which it does.

        The source is pulled on a thread of the driver; an asynchronous one has an event loop of its own there. What
        came since the last batch is the next one. When a batch's worth waits, or two are unprocessed in all, the
        source isn't asked for more. Its end is the end of the stream: later batches are empty. What it raises is
        raised by `awaitTermination`, as cause of a SparkException that names the stream, and listeners are told by
        `onReceiverError`; what came before is processed. `stop` closes a generator, so that its `finally` blocks run:
        an asynchronous one at once, any other when it gives its next record. A graceful stop processes what was pulled.

        Args:
            source: an iterable or an asynchronous one; or a function without arguments that returns one, such as a
                generator function, called when the context starts.
            maxRecordsPerBatch: records of a batch at most, at least 1.

        Raises:
            TypeError: it is none of these, or a text.
            ValueError: `maxRecordsPerBatch` is less than 1.

        >>> def countdown():
        ...     yield from (3, 2, 1)
        >>> records = harness.collect(ssc.iteratorStream(countdown))
        >>> while sum(records, []) != [3, 2, 1]:
        ...     _ = harness.run()
        """
        if isinstance(source, (str, bytes)) or not (isinstance(source, (Iterable, AsyncIterable)) or callable(source)):
            raise TypeError(f"source must be an iterable, or a function that returns one, not {source!r}")
        if type(maxRecordsPerBatch) is not int or maxRecordsPerBatch < 1:
            raise ValueError(f"maxRecordsPerBatch must be an int of at least 1, not {maxRecordsPerBatch!r}")
        return self._input(
            lambda stream_id: IteratorInput(
                stream_id,
                self.batch_ms,
                sc=self._sc,
                source=source,
                records_max=maxRecordsPerBatch,
                clock=self._clock,
                report=self._waiter.report,
                announce=self._bus.post,
            )
        )

    def textFileStream(self, directory: str) -> DStream[str]:
        """Lines of the text files that appear in a directory from now on; move them in, or write them elsewhere first.

        Which files belong to a batch is said by `headwater.streaming.fileStream.selection`. Names that begin with `.`
        or `_` are hidden, directories below are not entered. Large files are split among tasks; compressed ones
        (.gz, .bz2, .zst, .deflate) are not. A file that can't be read is left out of its batch, and tried again for
        `headwater.streaming.fileStream.retryTimeout`. Files that are there already aren't read: for those there is
        `fileStream(directory, newFilesOnly=False)`.

        Args:
            directory: a path or a glob of directories, local or a URL that fsspec knows. It need not exist yet.

        Raises:
            SparkException: a URL that needs a package which isn't there.

        >>> lines = ssc.textFileStream(directory)
        >>> harness.write(f"{directory}/1.txt", "to be\\nor not\\n")
        >>> harness.results(lines)
        [['to be', 'or not']]
        """
        return self.fileStream(directory)

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        reader: None = None,
    ) -> DStream[str]: ...

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        *,
        reader: Callable[[SparkContext, str], RDD[T]],
    ) -> DStream[T]: ...

    @overload
    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None,
        newFilesOnly: bool,
        reader: Callable[[SparkContext, str], RDD[T]],
    ) -> DStream[T]: ...

    def fileStream(
        self,
        directory: str,
        filter: Callable[[str], bool] | None = None,
        newFilesOnly: bool = True,
        reader: Callable[[SparkContext, str], RDD[Any]] | None = None,
    ) -> DStream[Any]:
        """Records of the files that appear in a directory, see `textFileStream`.

        Args:
            directory: as for `textFileStream`.
            filter: path -> whether to take a file now; it is asked again with each batch. Called in the driver, with an
                absolute path or a URL.
            newFilesOnly: False takes files too that were there before; by modification time (the default selection)
                only those of the last `spark.streaming.fileStream.minRememberDuration`.
            reader: (sparkContext, path) -> the RDD of a file; called in the driver, once a file. None: the records are
                lines of text. A file for which it raises is left out and tried again with the next batches;
                `awaitTermination` raises an error that names it, unless it is an OSError.

        Raises:
            TypeError: `directory` is no text, or `filter` or `reader` no function.
            SparkException: as for `textFileStream`.

        >>> def words(sc, path):
        ...     return sc.textFile(path).flatMap(str.split)
        >>> stream = ssc.fileStream(directory, lambda path: path.endswith(".txt"), reader=words)
        >>> harness.write(f"{directory}/1.txt", "to be")
        >>> harness.write(f"{directory}/2.bin", "something else")
        >>> harness.results(stream)
        [['to', 'be']]
        """
        check_function_or_none("filter", filter)
        check_function_or_none("reader", reader)
        if reader is None:
            return self._file_stream(directory, filter, newFilesOnly, text_reader)
        make = reader
        return self._file_stream(directory, filter, newFilesOnly, lambda sc, reports: ProgramReader(sc, make, reports))

    def binaryRecordsStream(self, directory: str, recordLength: int) -> DStream[bytes]:
        """Records of a fixed length, as bytes, of the files that appear in a directory, see `textFileStream`.

        A file that ends within a record is left out, `awaitTermination` raises an error that names it, and it is
        tried again with the next batches.

        Args:
            directory: as for `textFileStream`.
            recordLength: bytes of a record, at least 1.

        Raises:
            ValueError: the length is out of bounds.

        >>> records = ssc.binaryRecordsStream(directory, recordLength=2)
        >>> harness.write(f"{directory}/1.bin", b"aabb")
        >>> harness.results(records)
        [[b'aa', b'bb']]
        """
        if type(recordLength) is not int or recordLength < 1:
            raise ValueError(f"recordLength must be an int of at least 1 byte, not {recordLength!r}")
        return self._file_stream(directory, None, True, lambda sc, reports: records_reader(sc, reports, recordLength))

    def _file_stream(
        self,
        directory: str,
        accept: Callable[[str], bool] | None,
        new_files_only: bool,
        make_reader: Callable[[SparkContext, Reports], FileReader],
    ) -> DStream[Any]:
        if not isinstance(directory, str):
            raise TypeError(f"directory must be a str, not {directory!r}")
        return self._input(
            lambda stream_id: file_input(
                stream_id,
                self.batch_ms,
                sc=self._sc,
                clock=self._clock,
                directory=directory,
                accept=accept,
                new_files_only=new_files_only,
                make_reader=make_reader,
                report=self._waiter.report,
            )
        )


def _port(port: Any) -> int:
    check_port("port", port)
    return int(port)
