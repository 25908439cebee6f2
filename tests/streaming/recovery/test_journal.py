"""The journal: what it has told is durable, in order, whatever the log does."""

from __future__ import annotations

import logging
import queue
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.clock import Clock, ManualClock, SystemClock
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.checkpoint import Checkpoint
from headwater.streaming.recovery.journal import LOGS, Journal, log_directories, recovered
from headwater.streaming.recovery.ledger import BatchBegun, BatchDone, Block, BlockAdded, Entry, Ledger
from headwater.streaming.recovery.log import LogPosition, LogWriter, read_log

PATIENCE_SECONDS = 30.0


class Disk:
    """A directory for checkpoints that may be full; it notes what was appended in one go."""

    def __init__(self, directory: Path) -> None:
        self.directory = str(directory)
        self.is_full = False
        self.appended: list[int] = []
        self.failures: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
        checkpoint.write_program(self.directory, 1, b"program")

    def open_log(self, path: str) -> DiskLog:
        self.check()
        return DiskLog(self, LogWriter(path))

    def check(self) -> None:
        if self.is_full:
            raise OSError("no space left")

    def describe(self, ledger: Ledger, number: int) -> Checkpoint:
        self.check()
        return Checkpoint(number, "app", "local", {}, "program-1", ledger, {})

    def renew(self, _ledger: Ledger) -> Iterable[Entry]:
        if not Path(self.directory, "program-1").exists():
            checkpoint.write_program(self.directory, 1, b"program")
        return ()

    def journal(self, interval_ms: int = 3_600_000, clock: Clock | None = None) -> Journal:
        return Journal(
            self.directory,
            Ledger(1000, 0),
            0,
            describe=self.describe,
            renew=self.renew,
            open_log=self.open_log,
            interval_ms=interval_ms,
            clock=clock or SystemClock(),
            failed=self.failures.put,
        )

    def ledger(self) -> Ledger:
        """What a restart would find."""

        def read(path: str) -> Iterator[bytes]:
            return (record for _, record in read_log(path))

        found = checkpoint.newest(self.directory)
        assert found is not None
        return recovered(self.directory, found[0], read)


class DiskLog:
    """A log on such a disk."""

    def __init__(self, disk: Disk, log: LogWriter) -> None:
        self._disk = disk
        self._log = log

    def append(self, records: Iterable[bytes]) -> Any:
        self._disk.check()
        held = list(records)
        self._disk.appended.append(len(held))
        return self._log.append(held)

    def is_whole(self) -> bool:
        return self._log.is_whole()

    def close(self) -> None:
        self._log.close()


class Answers:
    """Collects what a journal tells, by what was posted."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._told: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def post(self, entry: Any) -> None:
        self._journal.post(entry, lambda error: self._told.put((entry, error)))

    def next(self) -> tuple[Any, BaseException | None]:
        return self._told.get(timeout=PATIENCE_SECONDS)

    def of(self, entry: Any) -> BaseException | None:
        """What is told of an entry that is posted now."""
        self.post(entry)
        told, error = self.next()
        assert told is entry
        return error


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path)


@pytest.fixture
def start() -> Iterator[Callable[[Journal], Answers]]:
    """Starts a journal, and ends it after the test."""
    started = []

    def start(journal: Journal) -> Answers:
        journal.start()
        started.append(journal)
        return Answers(journal)

    yield start
    for journal in started:
        journal.stop()


def begun(time_ms: int) -> BatchBegun:
    return BatchBegun(time_ms, {}, {}, {})


def block(number: int) -> BlockAdded:
    return BlockAdded("receiver", Block(f"input-0-{number}", 1, 0, LogPosition("log", 0, 1)))


def test_what_was_told_is_found_by_a_restart(disk: Disk, start: Callable[[Journal], Answers]) -> None:
    answers = start(disk.journal())
    assert answers.of(begun(1000)) is None
    assert [*disk.ledger().pending] == [1000]
    assert answers.of(BatchDone(1000)) is None
    assert [*disk.ledger().pending] == []


def test_entries_that_wait_are_written_in_one_go_and_told_in_order(
    disk: Disk, start: Callable[[Journal], Answers]
) -> None:
    journal = disk.journal()
    answers = Answers(journal)
    entries = [block(number) for number in range(50)]
    for entry in entries:
        answers.post(entry)  # it has not started: they wait
    start(journal)
    assert [answers.next() for _ in entries] == [(entry, None) for entry in entries]
    assert disk.appended == [50]
    assert disk.ledger().waiting["receiver"] == [entry.block for entry in entries]


def test_block_is_refused_and_all_else_goes_on_when_the_disk_is_full(
    disk: Disk, start: Callable[[Journal], Answers], caplog: pytest.LogCaptureFixture
) -> None:
    answers = start(disk.journal())
    assert answers.of(block(1)) is None
    assert answers.of(begun(1000)) is None
    disk.is_full = True
    with caplog.at_level(logging.WARNING):
        assert isinstance(answers.of(block(2)), OSError)
        assert isinstance(answers.of(begun(2000)), OSError)
        assert isinstance(answers.of(BatchDone(1000)), OSError)
    assert caplog.text.count("can't be written") == 1
    assert [*disk.ledger().pending] == [1000]  # as it was: nothing that was acknowledged is gone
    disk.is_full = False
    with caplog.at_level(logging.WARNING):
        assert answers.of(block(3)) is None
    assert "can be written again" in caplog.text
    ledger = disk.ledger()
    assert [*ledger.pending] == [2000]
    assert [each.id for each in ledger.waiting["receiver"]] == ["input-0-1", "input-0-3"]


def test_stop_writes_all_that_was_posted_and_a_last_image(disk: Disk) -> None:
    journal = disk.journal()
    journal.start()
    answers = Answers(journal)
    for time_ms in range(1000, 101_000, 1000):
        answers.post(begun(time_ms))
    journal.stop()
    found = checkpoint.newest(disk.directory)
    assert found is not None
    assert len(found[0].ledger.pending) == 100


def test_stop_of_a_journal_that_has_not_started_does_nothing(disk: Disk) -> None:
    disk.journal().stop()
    assert checkpoint.names(disk.directory) == []


def test_image_is_due_once_the_interval_is_over_and_something_was_logged_since(
    disk: Disk, start: Callable[[Journal], Answers]
) -> None:
    clock = ManualClock(1_000_000)
    answers = start(disk.journal(interval_ms=10_000, clock=clock))

    def images_after(entry: Entry) -> int:
        assert answers.of(entry) is None
        assert answers.of(None) is None  # what follows an entry is over
        return len(checkpoint.names(disk.directory))

    assert images_after(begun(1000)) == 1
    clock.advance(9_999)
    assert images_after(begun(2000)) == 1
    clock.advance(1)
    assert images_after(begun(3000)) == 2
    clock.advance(9_999)
    assert images_after(begun(4000)) == 2
    clock.advance(60_001)
    assert answers.of(None) is None
    assert images_after(BatchDone(4000)) == 3


def test_image_that_could_not_be_written_is_tried_again_after_the_interval(
    disk: Disk, start: Callable[[Journal], Answers], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(1_000_000)
    answers = start(disk.journal(interval_ms=10_000, clock=clock))
    tries: list[int] = []
    write = checkpoint.write

    def refused(*arguments: Any) -> str:
        tries.append(clock.now_ms())
        if len(tries) == 1:
            raise OSError("no space left")
        return write(*arguments)

    monkeypatch.setattr(checkpoint, "write", refused)
    for advance_ms in (10_000, 9_999, 1, 5_000):
        clock.advance(advance_ms)
        assert answers.of(begun(clock.now_ms())) is None
        assert answers.of(None) is None
    assert tries == [1_010_000, 1_020_000]


def test_entries_are_found_in_later_logs_when_the_newest_image_is_damaged(
    disk: Disk, start: Callable[[Journal], Answers]
) -> None:
    answers = start(disk.journal(interval_ms=0))  # an image after each entry
    for time_ms in (1000, 2000, 3000):
        assert answers.of(begun(time_ms)) is None
    assert answers.of(None) is None
    names = checkpoint.names(disk.directory)
    assert len(names) >= 3
    for _, name in names[-2:]:
        Path(disk.directory, name).write_bytes(b"")
    assert [*disk.ledger().pending] == [1000, 2000, 3000]


def test_logs_go_with_the_checkpoints_that_they_follow(disk: Disk, start: Callable[[Journal], Answers]) -> None:
    answers = start(disk.journal(interval_ms=0))
    for time_ms in range(1000, 41_000, 1000):
        assert answers.of(begun(time_ms)) is None
    assert answers.of(None) is None
    oldest = checkpoint.names(disk.directory)[0][0]
    assert len(log_directories(disk.directory)) <= checkpoint.KEPT
    assert min(number for number, _ in log_directories(disk.directory)) >= oldest > 1


@pytest.mark.parametrize("removed", ["program-1", LOGS])
def test_what_was_removed_between_an_entry_and_an_image_is_said_once(
    disk: Disk, start: Callable[[Journal], Answers], caplog: pytest.LogCaptureFixture, removed: str
) -> None:
    journal = disk.journal(interval_ms=0)
    answers = start(journal)
    with caplog.at_level(logging.ERROR):
        journal.post(begun(1000), lambda _: Path(disk.directory, removed).rename(Path(disk.directory, "removed")))
        assert answers.of(begun(2000)) is None
        assert answers.of(None) is None
    assert caplog.text.count("was removed while the application runs") == 1
    assert [*disk.ledger().pending] == [1000, 2000]


def test_what_is_removed_while_an_image_is_written_is_said_once_and_written_again(
    disk: Disk, start: Callable[[Journal], Answers], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock(1_000_000)
    answers = start(disk.journal(interval_ms=10_000, clock=clock))
    write = checkpoint.write

    def write_and_lose(*arguments: Any) -> str:
        monkeypatch.setattr(checkpoint, "write", write)
        name = write(*arguments)
        Path(disk.directory, LOGS).rename(Path(disk.directory, "removed"))
        return name

    monkeypatch.setattr(checkpoint, "write", write_and_lose)
    clock.advance(10_000)
    with caplog.at_level(logging.ERROR):
        for time_ms in (1000, 2000, 3000):
            assert answers.of(begun(time_ms)) is None
    assert caplog.text.count("was removed while the application runs") == 1
    assert len(checkpoint.names(disk.directory)) == 3  # the first, the one that lost its log, and the one after it
    assert [*disk.ledger().pending] == [1000, 2000, 3000]


def test_others_are_told_when_what_follows_an_entry_fails(
    disk: Disk, start: Callable[[Journal], Answers], caplog: pytest.LogCaptureFixture
) -> None:
    journal = disk.journal()
    answers = start(journal)

    def fail(_error: BaseException | None) -> None:
        raise ValueError("what follows is broken")

    with caplog.at_level(logging.ERROR):
        journal.post(begun(1000), fail)
        assert answers.of(begun(2000)) is None
    assert "what follows is broken" in caplog.text
