"""The journal: the ledger, kept durable by a log of its entries and an image of it now and then.

- One thread owns the ledger. It takes what was posted since, makes it durable in one go, applies it, and tells those
  who posted: what has been told is on disk.
- Should the thread fail, all who wait for it are told, and the owner: nothing is durable from there on.
- A log that can't be written stops nothing: a block is refused, everything else takes effect in memory, and the next
  entries wait for an image that has it all. Nothing that was promised before depends on what failed.
- If what a restart needs of the directory was removed, all of it is written anew.
- Image n stands before the entries in log directory n, and in all later ones.
"""

from __future__ import annotations

import logging
import queue
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Protocol

from headwater import filesystem
from headwater.base.cipher import Cipher
from headwater.base.threads import WatchedThread
from headwater.clock import Clock
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.ledger import BlockAdded, Entry, Ledger, encode_entry, replay

logger = logging.getLogger(__name__)

LOGS = "receivedBlockMetadata"
# An image is written once the log is this long, or this old.
LOG_BYTES_MAX = 4 << 20
STOP_SECONDS_MAX = 60.0

_END: Any = object()

Then = Callable[[BaseException | None], None]


class EntryLog(Protocol):
    """What the journal asks of a log: see `log.LogWriter`."""

    def append(self, records: Iterable[bytes]) -> Any: ...

    def is_whole(self) -> bool: ...

    def close(self) -> None: ...


class Journal:
    """The durable ledger of a running application.

    Args:
        directory: for checkpoints.
        ledger: as it is now; the journal's from here on.
        number: of the last checkpoint in the directory.
        describe: makes the checkpoint of the ledger, under a number.
        renew: is called before each image. It sees to it that all an image needs is in the directory, and returns
            entries for what is lost for good.
        open_log: opens a log in a directory.
        interval_ms: between two images at least, as long as the log is short.
        clock: says when an image is due.
        failed: is told, on the journal's thread, that this has failed.
        cipher: encrypts the images; None: they aren't encrypted.
    """

    def __init__(
        self,
        directory: str,
        ledger: Ledger,
        number: int,
        *,
        describe: Callable[[Ledger, int], checkpoint.Checkpoint],
        renew: Callable[[Ledger], Iterable[Entry]],
        open_log: Callable[[str], EntryLog],
        interval_ms: int,
        clock: Clock,
        failed: Callable[[BaseException], None],
        cipher: Cipher | None = None,
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._number = number
        self._describe = describe
        self._renew = renew
        self._open_log = open_log
        self._interval_ms = interval_ms
        self._clock = clock
        self._cipher = cipher
        self._posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._log: EntryLog | None = None
        self._files: list[str] = []  # paths of the last image and its program
        self._log_bytes = 0  # since the last image
        self._imaged_ms = 0  # when the last image was written, or could not be
        self._behind = False  # whether the log lacks something that the ledger has, or may
        self._removed = False  # whether something that a restart needs was found to be gone since the last image
        self._untold: deque[tuple[Entry | None, Then]] = deque()  # being made durable; the thread's
        self._told_failure = failed
        self._failure: BaseException | None = None  # of the thread
        self._thread = WatchedThread(self._run, name="streaming-journal", on_failure=self._failed)

    # -------------------------------------------------------------------------------------------- life
    def start(self, before_entries: Callable[[], None] = lambda: None) -> None:
        """Write the first image, then take entries.

        Args:
            before_entries: is called in between, while nothing of the directory is removed.

        Raises:
            OSError: the directory can't be written.
        """
        self._image()
        before_entries()
        self._thread.start()

    def post(self, entry: Entry | None, then: Then) -> None:
        """Have an entry made durable, then `then(None)` called, or `then(error)`; on the journal's thread, in order.

        An entry None stands for nothing but its place among the others. Any thread may call it. `then` must not block.
        """
        self._posted.put((entry, then))
        if self._failure is not None:
            self._refuse_posted(self._failure)

    def stop(self) -> None:
        """Make all durable that was posted, and write a last image; nothing, if it has not started."""
        if not self._thread.ident or self._failure is not None:
            return
        self._posted.put(_END)
        self._thread.join(STOP_SECONDS_MAX)
        if self._thread.is_alive():
            logger.warning("The journal in %s could not be finished within %g s", self._directory, STOP_SECONDS_MAX)

    # -------------------------------------------------------------------------------------------- its thread
    def _run(self) -> None:
        ended = False
        while not ended:
            posted = [self._posted.get()]
            while not self._posted.empty():
                posted.append(self._posted.get())
            ended = any(item is _END for item in posted)  # what it leads to may be posted behind it
            self._commit([item for item in posted if item is not _END])
            if ended or self._image_is_due():
                self._try_image()
        if self._log is not None:
            self._log.close()

    def _failed(self, failure: BaseException) -> None:
        self._failure = failure
        while self._untold:
            self._untold.popleft()[1](failure)
        self._refuse_posted(failure)
        if self._log is not None:
            self._log.close()
        self._told_failure(failure)

    def _refuse_posted(self, failure: BaseException) -> None:
        """Refuse what is posted and won't be taken; on the thread that has failed, or on one that posts after that."""
        with suppress(queue.Empty):
            while True:
                item = self._posted.get_nowait()
                if item is not _END:
                    item[1](failure)

    def _commit(self, posted: list[tuple[Entry | None, Then]]) -> None:
        error: BaseException | None = None
        self._untold.extend(posted)
        if posted:
            try:
                self._look_for_removed()
                if self._behind or self._removed:
                    self._image()
                assert self._log is not None
                records = [encode_entry(entry) for entry, _ in posted if entry is not None]
                if records:
                    self._log.append(records)
                self._log_bytes += sum(map(len, records))
            except Exception as raised:
                error = raised
                if not self._behind:  # said once; each commit tries again
                    text = "The journal in %s can't be written: the stream goes on without, and takes no new blocks"
                    logger.error(text, self._directory, exc_info=raised)
                self._behind = True
        while self._untold:
            entry, then = self._untold.popleft()
            if entry is not None and (error is None or not isinstance(entry, BlockAdded)):
                self._ledger.apply(entry)
            try:
                then(error)
            except Exception:  # it broke its contract; others wait behind it
                logger.exception("The journal in %s: what was to follow %r failed", self._directory, entry)

    def _look_for_removed(self) -> None:
        """See whether a restart would find all that it needs; where a look takes a network, that's left to images."""
        if self._removed or self._log is None or not filesystem.is_local(self._directory):
            return
        self._removed = not (self._log.is_whole() and all(map(filesystem.exists, self._files)))
        if self._removed:
            logger.error(
                "The directory for checkpoints %s, or a part of it, was removed while the application runs. Program, "
                "states and all that is known are written anew; a driver that dies before that is done can't be gone "
                "on from. Keep the directory where nothing cleans up.",
                self._directory,
            )

    def _image_is_due(self) -> bool:
        if not self._log_bytes:
            return False
        return self._log_bytes > LOG_BYTES_MAX or self._clock.now_ms() - self._imaged_ms >= self._interval_ms

    def _try_image(self) -> None:
        try:
            self._image()
        except Exception as error:
            self._imaged_ms = self._clock.now_ms()  # not again at once
            logger.error("A checkpoint can't be written to %s", self._directory, exc_info=error)

    def _image(self) -> None:
        """A new log, then the image that stands before its entries, then the old log may go."""
        number = self._number + 1
        log = self._open_log(f"{self._directory}/{LOGS}/{number}")
        try:
            self._look_for_removed()  # the program may be gone, which will be there again
            known = self._removed
            for entry in self._renew(self._ledger):
                self._ledger.apply(entry)
            described = self._describe(self._ledger, number)
            name = checkpoint.write(self._directory, described, self._cipher)
            self._look_for_removed()  # the old log may be gone, which nobody will look for again
        except BaseException:
            log.close()
            raise
        if self._log is not None:
            self._log.close()
        self._log, self._number = log, number
        self._files = [f"{self._directory}/{name}", f"{self._directory}/{described.program}"]
        if self._behind:
            logger.warning("The journal in %s can be written again: nothing is missing in it", self._directory)
        self._log_bytes, self._imaged_ms, self._behind = 0, self._clock.now_ms(), False
        self._removed = self._removed and not known  # what went meanwhile may have taken parts of this image along
        self._clean()

    def _clean(self) -> None:
        """Remove the logs that stand before the oldest checkpoint that is kept."""
        oldest, _ = checkpoint.names(self._directory)[0]
        for number, path in log_directories(self._directory):
            if number < oldest:
                filesystem.remove(path)


def last_number(directory: str) -> int:
    """The greatest number that a checkpoint or a log of a directory has; 0 if there is none."""
    return max((number for number, _ in (*checkpoint.names(directory), *log_directories(directory))), default=0)


def log_directories(directory: str) -> list[tuple[int, str]]:
    """(number, path) of the logs of a directory for checkpoints, oldest first."""
    system, path = filesystem.resolve(f"{directory}/{LOGS}")
    if not system.is_directory(path):
        return []
    names = (child.rstrip("/").rpartition("/")[2] for child in system.children(path))
    return sorted((int(name), f"{directory}/{LOGS}/{name}") for name in names if name.isdigit())


def recovered(directory: str, found: checkpoint.Checkpoint, read_log: Callable[[str], Iterator[bytes]]) -> Ledger:
    """The ledger of a checkpoint and of all that was logged after it."""
    for number, path in log_directories(directory):
        if number >= found.number:
            replay(found.ledger, read_log(path))
    return found.ledger
