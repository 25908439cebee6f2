"""A stream of the new files of directories: what is listed, and chosen by a rule, becomes one RDD a batch.

- Files are marked as taken once the batch's RDD is made. One that can't be opened, or that no task of the batch can
  read, is left out of the batch, and found again for a while; an exception of the program's filter fails the stream's
  batch, and all its files are found again.
- That a file is left out of a batch after all is durable before another batch takes it, and before its batch is done.
  So each file is one batch's, also after a crash.
- With back-pressure a batch takes the oldest files, as many as its rate allows by what a byte was worth so far, and one
  at least. The others wait; none is lost.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from headwater.errors import SparkException
from headwater.filesystem import FileStatus, InvalidInputException
from headwater.streaming.graph.inputs import InputNode
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.sources.filereaders import FileInputInfo, FileReader, Reports
from headwater.streaming.sources.listing import DirectoryLister
from headwater.streaming.sources.selection import Accept, ByIdentity, ByModificationTime, Ignored, Selection
from headwater.streaming.sources.unreadable import Outcome, Unreadable

if TYPE_CHECKING:
    from headwater.clock import Clock
    from headwater.context import SparkContext
    from headwater.rdd import RDD
    from headwater.streaming.recovery.matching import Source

T = TypeVar("T")

logger = logging.getLogger(__name__)

# Paths that one line of the log names.
NAMED_MAX = 5
_SELECTION = "headwater.streaming.fileStream.selection"
_RETRY = "headwater.streaming.fileStream.retryTimeout"


class _Unsettled(NamedTuple):
    """A batch's RDD, of some splits of which it isn't known yet whether they can be read."""

    rdd: RDD[Any]
    failed: set[str]  # paths of which it was heard


class _Failure(NamedTuple):
    """No task of a batch could read a file."""

    time_ms: int
    path: str
    cause: str


class FileInput(InputNode):
    """New files of directories, as one RDD a batch.

    A lock guards what is heard of tasks, on outputs' threads; all else is the generator's.

    Args:
        stream_id: of the input stream.
        batch_ms: the batch interval.
        sc: makes empty RDDs.
        lister: knows the directories.
        selection: says which files are a batch's.
        reader: makes their RDD.
        reports: what tasks tell.
        window_ms: how long batches are remembered at least.
        retry_ms: how long a file that can't be read is tried.
        report: is told of a file that could not be read for a reason that isn't the file system's.
    """

    calls_program = True  # filters and readers

    def __init__(
        self,
        stream_id: int,
        batch_ms: int,
        *,
        sc: SparkContext,
        lister: DirectoryLister,
        selection: Selection,
        reader: FileReader,
        reports: Reports,
        window_ms: int,
        retry_ms: int,
        report: Callable[[BaseException], None],
    ) -> None:
        self._retry_ms = retry_ms
        super().__init__(stream_id, batch_ms)
        self._sc = sc
        self._lister = lister
        self._selection = selection
        self._reader = reader
        self._reports = reports
        self._report = report
        self._window_ms = self.remember_ms = window_ms

    not_kept = InputNode.not_kept | {
        "_files",
        "_gone",
        "_trouble",
        "_begins_ms",
        "_budget",
        "_records_a_byte",
        "_unreadable",
        "_latest_ms",
        "_hearing",
        "_unsettled",
        "_failures",
    }

    def _reset(self) -> None:
        super()._reset()
        self._files: dict[int, tuple[FileStatus, ...]] = {}  # batch time -> files, as long as remembered
        self._gone: list[str] = []  # paths that had vanished when a graceful stop looked
        self._trouble = ""  # why the latest listing failed; it's logged once
        self._begins_ms = 0  # batches before this are restored, or have brought nothing
        self._budget = math.inf  # records that a batch may bring
        self._records_a_byte: float | None = None  # of the batches before; None: nothing is known
        self._unreadable = Unreadable(self.slide_ms, self._retry_ms)
        self._latest_ms = 0  # the latest batch that was listed
        self._hearing = threading.Lock()  # guards the two below
        self._unsettled: dict[int, _Unsettled] = {}  # by batch time, of the remembered ones
        self._failures: list[_Failure] = []  # that the generator's thread hasn't dealt with

    def source(self) -> Source:
        return ("file stream of", self._lister.pattern)

    def batch_data(self, time_ms: int) -> Any:
        return [list(astuple(file)) for file in self._files.get(time_ms, ())]

    def memory(self) -> Mapping[str, Any]:
        return self._selection.changes()

    def amended(self) -> Sequence[int]:
        self._hear()
        with self._hearing:
            failures, self._failures = self._failures, []
        for failure in failures:
            self._take_back(failure)
        return list(dict.fromkeys(failure.time_ms for failure in failures))

    def restore(self, first_ms: int, after_ms: int, memory: Mapping[str, Any], batches: Mapping[int, Any]) -> None:
        self._begins_ms = first_ms
        self._selection.go_on(after_ms + self.slide_ms, memory)
        for time_ms, data in batches.items():
            files = self._files[time_ms] = tuple(FileStatus(*fields) for fields in data)
            self._selection.mark(time_ms, files)

    def compute(self, time_ms: int) -> RDD[Any]:
        if time_ms in self._files:  # restored
            # What earlier drivers have done they have read; of the others some file may be unreadable.
            must = time_ms < self._begins_ms
            return self._united(time_ms, [self._reader.open(f, time_ms, must=must) for f in self._files[time_ms]])
        if time_ms < self._begins_ms:
            return self._sc.emptyRDD()
        try:
            listing = self._lister.list()
        except Exception as error:  # a file system raises what it likes; whatever it is, the next batch tries again
            self._listing_failed(time_ms, error)
            return self._sc.emptyRDD()
        self._trouble = ""
        self._latest_ms = time_ms
        listing = listing._replace(gone=[*self._gone, *listing.gone])
        self._gone = []
        self._unreadable.forget(listing.gone)
        opened, put_off = self._open(self._selection.find(listing, time_ms), time_ms)
        taken = [file for file, _ in opened]
        rdd = self._united(time_ms, [share for _, share in opened])
        self._selection.mark(time_ms, taken)
        self._selection.put_off(put_off)
        self._say_ignored(self._selection.ignored(), time_ms)
        self._lister.settle(self._selection.is_settled)
        self._files[time_ms] = tuple(taken)
        if taken:
            paths = "\n".join(file.path for file in taken)
            logger.info("%s: new files at time %d ms:\n%s", self.describe(), time_ms, paths)
        return rdd

    def drain(self) -> int:
        try:
            listing = self._lister.list()
        except Exception:  # the next tick would say so; it isn't waited for
            return 0
        self._gone += listing.gone
        return int(not all(map(self._selection.is_settled, listing.files)))

    def _united(self, time_ms: int, opened: Sequence[Any]) -> RDD[Any]:
        if not opened:
            return self._sc.emptyRDD()
        rdd = self._reader.unite(opened)
        with self._hearing:
            self._unsettled[time_ms] = _Unsettled(rdd, set())
        return rdd

    def _open(
        self, found: Sequence[FileStatus], time_ms: int
    ) -> tuple[list[tuple[FileStatus, Any]], Sequence[FileStatus]]:
        """Open the files that the batch takes, the oldest first; returns them by path, and those to put off."""
        opened: list[tuple[FileStatus, Any]] = []
        put_off = [file for file in found if self._unreadable.waits(file, time_ms)]
        due = [file for file in found if not self._unreadable.waits(file, time_ms)]
        by_age, room = sorted(due, key=lambda file: (file.mtime_ms, file.path)), self._budget
        for position, file in enumerate(by_age):
            if opened and self._expected(file) > room:  # so one that can't be read isn't in the way of the next
                put_off += by_age[position:]
                break
            try:
                opened.append((file, self._reader.open(file, time_ms, must=False)))
            except Exception as error:
                if self._file_failed(file, time_ms, str(error), error):
                    put_off.append(file)
                else:
                    self._selection.mark(time_ms, [file])
            else:
                room -= self._expected(file)
        return sorted(opened, key=lambda pair: pair[0].path), put_off

    def _expected(self, file: FileStatus) -> float:
        """How many records a file has, by all that is known; if that is nothing it may be any number."""
        if self._budget == math.inf:
            return 0
        return math.inf if self._records_a_byte is None else file.size * self._records_a_byte

    def limit(self, records_per_second: float) -> None:
        self._budget = records_per_second * self.slide_ms / 1000

    def completed(self, time_ms: int) -> None:
        size = sum(file.size for file in self._files.get(time_ms, ()))
        if size:
            records = sum(read.records for read in tuple(self._reports.counts.value.get(time_ms, {}).values()))
            before = records / size if self._records_a_byte is None else self._records_a_byte
            self._records_a_byte = (before + records / size) / 2  # files differ

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        files = self._files.get(time_ms)
        if files is None:
            return None
        paths = [file.path for file in files]
        metadata = {"files": paths, "Description": "\n".join(paths)}
        counts = self._reports.counts.value.setdefault(time_ms, {})
        failures = self._reports.failures.value.setdefault(time_ms, {})
        return FileInputInfo(self.stream_id, 0, metadata, counts, failures)

    def forget(self, done_ms: int, *, unpersist: bool) -> None:
        super().forget(done_ms, unpersist=unpersist)
        until_ms = self.unneeded_ms(done_ms)
        for files in _drop_until(self._files, until_ms):
            self._unreadable.forget(file.path for file in files)
        _drop_until(self._reports.counts.value, until_ms)
        _drop_until(self._reports.failures.value, until_ms)
        with self._hearing:
            _drop_until(self._unsettled, until_ms)

    # -------------------------------------------------------------------------------------------- what tasks tell
    def materialise(self, time_ms: int) -> None:
        self._hear()  # what the output has read, or could not, before another one reads it

    def _hear(self) -> None:
        """Have batches without the files that none of their tasks could read. Any thread of the driver may call it."""
        counts, failures = self._reports.counts.value, self._reports.failures.value
        with self._hearing:
            for read_ms, unsettled in list(self._unsettled.items()):
                read, failed = {*counts.get(read_ms, {})}, dict(failures.get(read_ms, {}))
                paths = {path for path, _ in read}
                left_out = {path: cause for (path, _), cause in failed.items() if path not in paths}
                insisted = read | {key for key in failed if key[0] in paths}
                if self._reader.settle(unsettled.rdd, insisted, left_out):
                    del self._unsettled[read_ms]
                for (path, _), cause in failed.items():
                    if path in unsettled.failed:
                        continue
                    unsettled.failed.add(path)
                    if path in left_out:
                        self._failures.append(_Failure(read_ms, path, cause))
                    else:
                        self._say_read_in_part(read_ms, path, cause)

    def _take_back(self, failure: _Failure) -> None:
        """Leave a file out of its batch: it is another one's, or given up."""
        files = self._files.get(failure.time_ms, ())
        self._files[failure.time_ms] = tuple(file for file in files if file.path != failure.path)
        for file in files:
            if file.path == failure.path and self._file_failed(file, failure.time_ms, failure.cause):
                self._selection.take_back(file)

    def describe(self) -> str:
        return f"file stream {self.stream_id} of {self._lister.pattern}"

    def _listing_failed(self, time_ms: int, error: Exception) -> None:
        trouble = f"{type(error).__name__}: {error}"
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning(
                "%s: error finding new files at time %d ms: %s. The next batches look again; what they find is then "
                "not lost.",
                self.describe(),
                time_ms,
                trouble,
            )

    def _file_failed(self, file: FileStatus, time_ms: int, cause: str, error: Exception | None = None) -> bool:
        """A batch could not read a file; returns whether later ones are to try.

        `error`: what opening it in the driver has raised.
        """
        outcome = self._unreadable.fail(file, max(self._latest_ms, time_ms))
        if outcome is Outcome.GIVEN_UP:
            logger.error(
                "%s: %s can't be read and is given up, its records are in no batch: %s. It was tried for %g s, as %s "
                "says. Once it is sound, put it into the directory under another name.",
                self.describe(),
                file.path,
                cause,
                self._retry_ms / 1000,
                _RETRY,
            )
            return False
        if outcome is Outcome.STILL_TRIED:
            return True
        text = f"{self.describe()}: {file.path} could not be read at time {time_ms} ms and is left out: {cause}"
        again = f"Later batches try it again, for {self._retry_ms / 1000:g} s ({_RETRY})"
        if error is None or isinstance(error, (OSError, InvalidInputException)):
            logger.warning("%s. %s.", text, again)
            return True
        wrapped = SparkException(f"{text}. {again}: correct it, or remove it.")
        wrapped.__cause__ = error
        logger.error("%s", wrapped, exc_info=error)
        self._report(wrapped)
        return True

    def _say_read_in_part(self, time_ms: int, path: str, cause: str) -> None:
        logger.error(
            "%s: a task of the batch of %d ms has read %s, and another one could not: %s. The batch has the file in "
            "part, or an output of it lacks it; it is not read again.",
            self.describe(),
            time_ms,
            path,
            cause,
        )

    def _say_ignored(self, ignored: Ignored, time_ms: int) -> None:
        """Name the files that the rule leaves out; each is ignored once."""
        name = self.describe()
        if ignored.before:
            logger.info(
                "%s: %d files that were there before the stream are not read. fileStream(directory, "
                "newFilesOnly=False) takes them; see also %s.",
                name,
                ignored.before,
                _SELECTION,
            )
        if ignored.old:
            logger.warning(
                "%s: not read at time %d ms, as they were modified before the stream began or more than %g s ago: %s. "
                "Copy files so that they get a new modification time (touch does it), or set %s=identity. "
                "spark.streaming.fileStream.minRememberDuration says how old files may be.",
                name,
                time_ms,
                self._window_ms / 1000,
                _named(ignored.old),
                _SELECTION,
            )
        if ignored.future:
            logger.warning(
                "%s: not read at time %d ms, but once batch times have reached their modification times, which lie in "
                "the future: %s. Set the clock of the machine that writes them, or %s=identity.",
                name,
                time_ms,
                _named(ignored.future),
                _SELECTION,
            )


def _named(files: Sequence[FileStatus]) -> str:
    """Paths with their modification times, as one text."""
    named = ", ".join(f"{file.path} (modified at {file.mtime_ms} ms)" for file in files[:NAMED_MAX])
    return f"{named} and {len(files) - NAMED_MAX} more" if len(files) > NAMED_MAX else named


def file_input(
    stream_id: int,
    batch_ms: int,
    *,
    sc: SparkContext,
    clock: Clock,
    directory: str,
    accept: Accept | None,
    new_files_only: bool,
    make_reader: Callable[[SparkContext, Reports], FileReader],
    report: Callable[[BaseException], None],
) -> FileInput:
    """A stream of a directory's files, as the settings say; `new_files_only` leaves out those that are there now."""
    conf = sc.conf
    least_ms: int = conf.read("spark.streaming.fileStream.minRememberDuration")
    window_ms = -(-least_ms // batch_ms) * batch_ms
    # Twice a window, so that a touched file is seen while it may be taken.
    lister = DirectoryLister(directory, turns=max(1, window_ms // 2 // batch_ms))
    selection: Selection
    if conf.read("headwater.streaming.fileStream.selection") == "identity":
        old = lister.list().files if new_files_only else ()
        stable_ms: int = conf.read("headwater.streaming.fileStream.stabilityDuration")
        selection = ByIdentity(ignore=old, window_ms=window_ms, stable_ms=stable_ms, accept=accept)
        lister.settle(selection.is_settled)
    else:
        ignore_until_ms = clock.now_ms() if new_files_only else 0
        selection = ByModificationTime(ignore_until_ms=ignore_until_ms, window_ms=window_ms, accept=accept)
    reports = Reports.new(sc)
    return FileInput(
        stream_id,
        batch_ms,
        sc=sc,
        lister=lister,
        selection=selection,
        reader=make_reader(sc, reports),
        reports=reports,
        window_ms=window_ms,
        retry_ms=conf.read("headwater.streaming.fileStream.retryTimeout"),
        report=report,
    )


def _drop_until(by_time: dict[int, T], until_ms: int) -> list[T]:
    """Drop the entries up to a time; returns them."""
    return [by_time.pop(time_ms) for time_ms in tuple(by_time) if time_ms <= until_ms]
