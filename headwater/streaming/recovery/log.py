"""The write-ahead log: records of bytes in a directory of segments, on any file system.

- What was acknowledged is durable and stays readable; what was refused is cut off again, so that no try is read twice.
- Many threads append, one writes: all records that wait go out in one write and one sync.
- A segment belongs to one writer, and is never opened again to be written. The number in its name gives the order.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import BinaryIO, Literal, NamedTuple, cast

from headwater import filesystem
from headwater.base.cipher import Cipher
from headwater.base.threads import WatchedThread
from headwater.clock import Clock, SystemClock
from headwater.conf import SparkConf
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming.recovery.segment import (
    HEADER_BYTES,
    READ_BYTES,
    RECORD_BYTES_MAX,
    CorruptLogException,
    LogPosition,
    SegmentFormat,
    SegmentName,
    SegmentReader,
)

__all__ = ["CorruptLogException", "LogPosition", "LogSettings", "LogWriter", "clean", "read_log", "read_record"]

logger = logging.getLogger(__name__)

OnCorrupt = Literal["fail", "skip"]
Done = Callable[[list[LogPosition], BaseException | None], None]

# One write: enough to keep a disk busy, little enough to be copied and, if it fails, to be written again.
GROUP_BYTES_MAX = 8 << 20
# Records that wait and whose callers don't: more are refused, or a slow disk would fill the memory.
WAITING_BYTES_MAX = 64 << 20


class LogSettings(NamedTuple):
    """How a log is written and read."""

    rolling_ms: int = 60_000  # the span of time of a segment's records
    tries_max: int = 3  # of a write, the first included
    close_after_write: bool = False  # a segment for each write; always so where an open file can't be flushed
    sync: bool = True  # acknowledge what survives the machine, not only the process
    on_corrupt: OnCorrupt = "fail"  # whether damage ends the reading
    cipher: Cipher | None = None

    @classmethod
    def from_conf(
        cls, conf: SparkConf, *, rolling_ms: int, tries_max: int, close_after_write: bool, cipher: Cipher | None
    ) -> LogSettings:
        """The settings that all logs have in common, with those of one kind of log."""
        return cls(
            rolling_ms,
            tries_max,
            close_after_write,
            sync=conf.read("headwater.streaming.log.sync"),
            on_corrupt=conf.read("headwater.streaming.log.corruption"),
            cipher=cipher,
        )


# ------------------------------------------------------------------------------------------------ writing
class _OpenSegment:
    """A segment while it is written. What stands behind `length` was never acknowledged."""

    def __init__(self, system: filesystem.FileSystem, path: str, stop_ms: int, settings: LogSettings) -> None:
        self.stop_ms = stop_ms
        self._system = system
        self._path = path
        self._sync = settings.sync
        self._local = isinstance(system, filesystem.LocalFileSystem)
        self._once = settings.close_after_write or not self._local
        self._format = SegmentFormat.new(settings.cipher)
        self._file = system.open(path, "wb")
        self.length = 0
        self.clean = True  # whether nothing stands behind `length`
        self.full = False  # whether it takes no more records
        if self._local:
            _claim(self._file, path)

    def append(self, payloads: Iterable[bytes]) -> list[LogPosition]:
        """Write records, durably; returns where they are.

        Raises:
            OSError: they aren't stored; `cut` takes back what may be.
        """
        path = self._system.openable(self._path)
        offset = self.length or HEADER_BYTES
        records, positions = [] if self.length else [self._format.header], []
        for payload in payloads:
            record = self._format.encode(payload, offset)
            records.append(record)
            positions.append(LogPosition(path, offset, len(record)))
            offset += len(record)
        self.clean = False
        filesystem.write_all(self._file, b"".join(records))
        if self._sync and self._local:
            filesystem.sync(self._file)
            if not self.length:
                _sync_directory(os.path.dirname(self._path))
        if self._once:
            self.full = True
            self._file.close()  # an object appears only now
        self.length, self.clean = offset, True
        return positions

    def cut(self) -> None:
        """Close it, without what wasn't acknowledged: that is never read.

        Raises:
            OSError: that can't be taken back.
        """
        if self.length:
            self._file.truncate(self.length)
            if self._sync:
                filesystem.sync(self._file)
            self._file.close()
        else:
            with contextlib.suppress(Exception):  # it is removed anyway: all that counts is that no buffer is left
                self._file.close()
            self._system.remove(self._path)
        self.clean = True

    @property
    def is_there(self) -> bool:
        """Whether it can be found by its name; on other than local file systems that isn't looked at."""
        return not self._local or self._file.closed or filesystem.is_at(self._file.fileno(), self._path)

    def close(self) -> None:
        self._file.close()


class _Append(NamedTuple):
    records: list[bytes]
    size: int  # bytes
    time_ms: int
    done: Done  # on the writer's thread; doesn't block or raise


class LogWriter:
    """Appends records to the log in a directory, from any thread.

    Args:
        directory: of the log, on any file system; it is made if it isn't there. Several writers may use it.
        settings: see `LogSettings`.
        clock: the time of records that are appended without one.

    Raises:
        OSError: the directory can't be made or listed.
        SparkException: it holds segments that Headwater didn't write.
    """

    def __init__(self, directory: str, settings: LogSettings | None = None, clock: Clock | None = None) -> None:
        self.directory = directory
        self._settings = settings or LogSettings()
        self._clock = clock or SystemClock()
        self._system, self._path = filesystem.resolve_private(directory)
        _make_directory(self._system, self._path, sync=self._settings.sync)
        self._number = max((name.number for name, _ in _segments(directory)), default=0)
        self._id = os.urandom(4).hex()
        self._segment: _OpenSegment | None = None  # the writer thread's, until that ends
        self._has_lost = False  # whether a segment was removed while it was being written; the thread's too
        self._changed = threading.Condition()  # guards the three below
        self._waiting: deque[_Append] = deque()
        self._waiting_bytes = 0  # their sizes' sum
        self._closed = False  # no more appends; those that wait are still written
        self._group: list[_Append] = []  # what is being written and not told; the writer thread's
        self._thread = self._started()

    def append(self, records: Iterable[bytes], time_ms: int | None = None) -> list[LogPosition]:
        """Write records; returns once all of them are durable.

        Args:
            records: their bytes, at most 1 GiB each.
            time_ms: the latest time that the records belong to, for `clean`; None: now.

        Returns:
            Where each of them is.

        Raises:
            SparkException: they could not be written, and none of them counts; the cause is the last try's error.
            IllegalStateException: the writer is closed.
        """
        outcome: Future[list[LogPosition]] = Future()

        def done(positions: list[LogPosition], error: BaseException | None) -> None:
            if error is None:
                outcome.set_result(positions)
            else:
                outcome.set_exception(error)

        entry = self._entry(records, time_ms, done)
        if not entry.records:
            return []
        self._post(entry)
        return outcome.result()

    def append_later(
        self, record: bytes, then: Callable[[BaseException | None], None], time_ms: int | None = None
    ) -> None:
        """Write a record without waiting for it.

        Args:
            record: at most 1 GiB.
            then: is called once, on the writer's thread and in the order of the appends, with None when the record is
                durable, else with the error that `append` would raise. It must not block, append or raise.
            time_ms: as for `append`.

        Raises:
            SparkException: more than 64 MiB wait already: records come faster than the file system takes them.
            IllegalStateException: the writer is closed.
        """
        self._post(self._entry([record], time_ms, lambda _, error: then(error)), waiting_bytes_max=WAITING_BYTES_MAX)

    def is_whole(self) -> bool:
        """Whether no segment is known to have been removed by others; asked while nothing is being appended."""
        return not self._has_lost and (self._segment is None or self._segment.is_there)

    def close(self) -> None:
        """Write what waits, then end the thread and close the file. May be called again; not from `then`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        while self._thread.is_alive():
            self._thread.join()
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()

    # -------------------------------------------------------------------------------------------- the queue
    def _entry(self, records: Iterable[bytes], time_ms: int | None, done: Done) -> _Append:
        held = list(records)
        for record in held:
            if not isinstance(record, bytes):
                raise TypeError(f"log {self.directory}: a record must be bytes, not {type(record).__name__}")
            if len(record) > RECORD_BYTES_MAX:
                raise ValueError(f"log {self.directory}: a record of {len(record)} bytes; at most {RECORD_BYTES_MAX}")
        return _Append(held, sum(map(len, held)), self._clock.now_ms() if time_ms is None else time_ms, done)

    def _post(self, entry: _Append, waiting_bytes_max: float = float("inf")) -> None:
        with self._changed:
            if self._closed:
                raise IllegalStateException(f"log {self.directory}: the writer is closed")
            if self._waiting_bytes > waiting_bytes_max:
                raise SparkException(
                    f"log {self.directory}: {self._waiting_bytes} bytes wait to be written, and at most "
                    f"{waiting_bytes_max} may. Records come faster than the file system takes them."
                )
            self._waiting.append(entry)
            self._waiting_bytes += entry.size
            self._changed.notify()

    def _take(self) -> list[_Append]:
        """What waits, up to the size of one write; nothing once the writer is closed and all is written."""
        group = self._group = []
        size = 0
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            while self._waiting and (not group or size + self._waiting[0].size <= GROUP_BYTES_MAX):
                group.append(self._waiting.popleft())
                size += group[-1].size
            self._waiting_bytes -= size
        return group

    # -------------------------------------------------------------------------------------------- its thread
    def _started(self) -> threading.Thread:
        thread = WatchedThread(self._run, name="streaming-log", on_failure=self._go_on)
        thread.start()
        return thread

    def _go_on(self, failure: BaseException) -> None:
        """What was being written doesn't count; another thread writes what comes."""
        self._refuse(self._group, failure)
        self._thread = self._started()

    def _run(self) -> None:
        while group := self._take():
            try:
                positions = iter(self._commit(group))
            except Exception as error:
                self._refuse(group, error)
            else:
                while group:
                    entry = group.pop(0)
                    self._tell(entry, [next(positions) for _ in entry.records], None)

    def _commit(self, group: Sequence[_Append]) -> list[LogPosition]:
        """Write a group in as many tries as are allowed, each after a failed one in a new segment."""
        for attempt in range(1, self._settings.tries_max + 1):
            try:
                self._cut()
                return self._write(group)
            except Exception as raised:
                error = raised
                logger.warning("log %s: try %d of a write failed: %r", self.directory, attempt, raised)
        try:
            self._cut()
        except Exception as raised:
            logger.warning("log %s: records that were refused may be read: %r", self.directory, raised)
            self._segment = None
        raise error

    def _cut(self) -> None:
        """Take back what a failed try has left: the next one must not store it again."""
        if self._segment is not None and not self._segment.clean:
            self._segment.cut()
            self._segment = None

    def _write(self, group: Sequence[_Append]) -> list[LogPosition]:
        start_ms, stop_ms = min(entry.time_ms for entry in group), max(entry.time_ms for entry in group)
        segment = self._segment
        if segment is not None and not segment.is_there:
            logger.error("log %s: the segment that was being written was removed; another one begins", self.directory)
            self._has_lost = True
        if segment is not None and (stop_ms > segment.stop_ms or not segment.is_there):
            self._segment = None
            segment.close()
        if self._segment is None:
            self._number += 1
            stop_ms += self._settings.rolling_ms
            name = SegmentName(self._number, self._id, start_ms, stop_ms)
            _make_directory(self._system, self._path, sync=self._settings.sync)  # it may have been removed
            self._segment = _OpenSegment(self._system, f"{self._path}/{name}", stop_ms, self._settings)
        segment = self._segment
        positions = segment.append(record for entry in group for record in entry.records)
        if segment.full:
            self._segment = None
        return positions

    def _refuse(self, group: list[_Append], cause: BaseException) -> None:
        while group:
            entry = group.pop(0)
            error = SparkException(
                f"log {self.directory}: {len(entry.records)} records of {entry.size} bytes could not be written in "
                f"{self._settings.tries_max} tries: {cause}"
            )
            error.__cause__ = cause
            self._tell(entry, [], error)

    def _tell(self, entry: _Append, positions: list[LogPosition], error: BaseException | None) -> None:
        try:
            entry.done(positions, error)
        except Exception:  # it broke its contract; others wait behind it
            logger.exception("log %s: the function that is called after a write raised", self.directory)


def _claim(file: BinaryIO, path: str) -> None:
    """Have `clean`, in whichever process, leave a new local segment alone until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(file.fileno()).st_nlink == 0:
            raise FileNotFoundError(f"{path} was removed as soon as it was made")
    except BaseException:
        file.close()
        raise


def _make_directory(system: filesystem.FileSystem, path: str, *, sync: bool) -> None:
    missing: list[str] = []
    if isinstance(system, filesystem.LocalFileSystem):
        parent = path
        while not os.path.exists(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
    with contextlib.suppress(FileExistsError):
        system.make_directory(path)
    if sync:
        for made in missing:
            _sync_directory(os.path.dirname(made))


def _sync_directory(path: str) -> None:
    """Have the names in a local directory survive the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------ reading
def read_log(
    directory: str, *, on_corrupt: OnCorrupt = "fail", cipher: Cipher | None = None
) -> Iterator[tuple[LogPosition, bytes]]:
    """All records of a log, in order; none if the directory isn't there. Several writers' segments may alternate.

    Args:
        directory: of the log. It may be written meanwhile.
        on_corrupt: whether damage raises, or is skipped with a warning.
        cipher: for segments that are encrypted.

    Raises:
        CorruptLogException: a part can't be read; the records before it have been yielded.
        SparkException: a segment is of another version, or needs another key.
        OSError: a file can't be read.
    """
    for name, path in _segments(directory):
        try:
            file = _open(path)
        except FileNotFoundError:
            logger.debug("log segment %s was removed meanwhile", name)
            continue
        with file:
            yield from _read_segment(path, file, on_corrupt, cipher)


def _read_segment(
    path: str, file: BinaryIO, on_corrupt: OnCorrupt, cipher: Cipher | None
) -> Iterator[tuple[LogPosition, bytes]]:
    offset, segment = 0, None
    while True:
        try:
            if segment is None:
                segment, offset = SegmentReader(path, file, cipher), HEADER_BYTES
            if offset >= segment.size:
                return
            payload, end = segment.read(offset)
        except EOFError:
            size = file.seek(0, io.SEEK_END)
            logger.debug("log segment %s: %d bytes of a torn tail dropped at offset %d", path, size - offset, offset)
            return
        except CorruptLogException as error:
            if on_corrupt == "fail":
                raise
            logger.warning(
                "log segment %s, offset %d: %s; %d bytes skipped", path, error.offset, error.reason, error.lost_bytes
            )
            if segment is None:
                return
            offset += error.lost_bytes
        else:
            yield LogPosition(path, offset, end - offset), payload
            offset = end


def read_record(position: LogPosition, cipher: Cipher | None = None) -> bytes:
    """The payload of the record at a position that a writer or `read_log` gave.

    Raises:
        CorruptLogException: it is damaged, or isn't there.
        SparkException: the segment is gone, of another version, or needs another key.
        OSError: the file can't be read.
    """
    try:
        file = _open(position.path)
    except FileNotFoundError as error:
        raise SparkException(f"log segment {position.path} is gone: it was cleaned, or removed by hand") from error
    with file:
        try:
            payload, end = SegmentReader(position.path, file, cipher).read(position.offset)
        except EOFError as error:
            raise CorruptLogException(*position, "the segment ends before the record does") from error
    if end != position.offset + position.length:
        raise CorruptLogException(*position, f"the record has {end - position.offset} bytes, not {position.length}")
    return payload


def clean(directory: str, before_ms: int) -> list[str]:
    """Remove the segments whose records all belong to times before an instant, but for those that are being written.

    Returns:
        Their names, oldest first.
    """
    system, _ = filesystem.resolve(directory)
    removed = []
    for name, path in _segments(directory):
        if name.stop_ms < before_ms and _remove_closed(system, path):
            removed.append(str(name))
    return removed


def _remove_closed(system: filesystem.FileSystem, path: str) -> bool:
    """Remove a segment unless a writer has it open: then it's locked; where there are no locks, none stays open."""
    with contextlib.ExitStack() as stack:
        if isinstance(system, filesystem.LocalFileSystem):
            try:
                file = stack.enter_context(system.open(filesystem.resolve(path)[1], "rb+"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, FileNotFoundError):
                return False
        filesystem.remove(path)
    return True


def _segments(directory: str) -> list[tuple[SegmentName, str]]:
    """The segments of a log with their paths, in the order in which they are read."""
    system, path = filesystem.resolve(directory)
    try:
        children = system.children(path)
    except FileNotFoundError:
        return []
    found = []
    for child in children:
        text = child.rstrip("/").rpartition("/")[2]
        name = SegmentName.parse(text)
        if name is not None:
            found.append((name, system.openable(child)))
        elif text.startswith("log-"):
            raise SparkException(
                f"{directory} holds {text}, which isn't named as a segment of Headwater's log. Spark's logs can't be "
                "read; use another checkpoint directory."
            )
    return sorted(found)


def _open(path: str) -> BinaryIO:
    system, resolved = filesystem.resolve(path)
    file = system.open(resolved, "rb")
    return cast(BinaryIO, io.BufferedReader(file, READ_BYTES)) if isinstance(file, io.RawIOBase) else file
