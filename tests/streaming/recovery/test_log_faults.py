"""The write-ahead log under faults: killed processes, full and failing disks, forbidden directories, object stores."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from headwater.base.cipher import Cipher
from headwater.errors import SparkException
from headwater.streaming.recovery.log import LogSettings, LogWriter, clean, read_log, read_record
from tests.streaming.recovery.disks import MOUNT, bound_by_permissions, child, mounting

PATIENCE_SECONDS = 30.0
IMPORTS = "import os, sys\nfrom headwater.streaming.recovery.log import *\nfrom headwater.errors import *\n"


def read(directory: Any, cipher: Cipher | None = None) -> list[bytes]:
    return [payload for _, payload in read_log(str(directory), cipher=cipher)]


# ------------------------------------------------------------------------------------------------ processes
APPENDS_FOR_EVER = """
writer = LogWriter(sys.argv[1], LogSettings(sync=sys.argv[2] == "sync", rolling_ms=5))
number = 0
while True:
    writer.append([b"%d" % number * 50])
    print(number, flush=True)
    number += 1
"""


@pytest.mark.parametrize("sync", ["sync", "no sync"])
@pytest.mark.parametrize("acknowledged", [1, 100])
def test_acknowledged_records_survive_kill_9(tmp_path: Path, sync: str, acknowledged: int) -> None:
    command = [sys.executable, "-c", IMPORTS + APPENDS_FOR_EVER, str(tmp_path), sync]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline()) for _ in range(acknowledged)]
        process.kill()
        numbers += [int(line) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    payloads = read(tmp_path)
    assert payloads == [b"%d" % number * 50 for number in range(len(payloads))]
    assert numbers == list(range(len(numbers))) and len(numbers) <= len(payloads) <= len(numbers) + 1


def test_next_writer_goes_on_after_a_killed_one(tmp_path: Path) -> None:
    code = "LogWriter(sys.argv[1]).append([b'a'])\nos.kill(os.getpid(), 9)"
    killed = subprocess.run([sys.executable, "-c", IMPORTS + code, str(tmp_path)], timeout=PATIENCE_SECONDS)
    assert killed.returncode == -signal.SIGKILL
    writer = LogWriter(str(tmp_path))
    writer.append([b"b"])
    writer.close()
    assert read(tmp_path) == [b"a", b"b"]


def test_clean_leaves_the_segment_that_another_process_writes(tmp_path: Path) -> None:
    code = (
        "writer = LogWriter(sys.argv[1], LogSettings(rolling_ms=1))\nwriter.append([b'a'], 10)\n"
        "print('open', flush=True)\nsys.stdin.read()\nwriter.append([b'b'], 11)\nwriter.close()"
    )
    command = [sys.executable, "-c", IMPORTS + code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdin is not None
        assert process.stdout.readline() == "open\n"
        assert clean(str(tmp_path), before_ms=1000) == []
        process.stdin.close()
    assert read(tmp_path) == [b"a", b"b"]
    assert len(clean(str(tmp_path), before_ms=1000)) == 1


# ------------------------------------------------------------------------------------------------ disks
FILE_LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
writer = LogWriter(sys.argv[1])
for number in range(20):
    writer.append([b"%04d" % number * 256])
try:
    writer.append([b"before", bytes(5000)])
except SparkException as error:
    print(error.__cause__.errno, error)
writer.append([b"after"])
writer.close()
"""


def test_acknowledged_records_stay_readable_when_a_file_may_not_grow(tmp_path: Path) -> None:
    (line,) = child(IMPORTS + FILE_LIMIT, tmp_path)
    assert line.startswith(f"{errno.EFBIG} log {tmp_path}: 2 records of 5006 bytes could not be written in 3 tries: ")
    assert read(tmp_path) == [*(b"%04d" % number * 256 for number in range(20)), b"after"]
    assert len(list(tmp_path.iterdir())) == 8  # 3 records in each; the refused ones left nothing


FULL_DISK = """
mount(sys.argv[1])
os.chdir(sys.argv[1])
with open("other", "wb") as file:
    file.write(bytes(300_000))
writer, written = LogWriter("log"), []
def fill():
    for number in range(len(written), len(written) + 1000):
        writer.append([b"%04d" % number * 5000])
        written.append(number)
for _ in range(2):
    try:
        fill()
    except SparkException as error:
        print(error.__cause__.errno)
    os.path.exists("other") and os.remove("other")
    print([int(payload[:4]) for _, payload in read_log("log")] == written and len(written))
"""


def test_log_on_a_full_disk_keeps_what_it_has_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    lines = child(IMPORTS + MOUNT + FULL_DISK, tmp_path, before=mounting())
    failed, kept, failed_again, kept_then = map(int, lines)
    assert failed == failed_again == errno.ENOSPC
    assert 0 < kept < kept_then


FORBIDDEN = """
try:
    LogWriter(sys.argv[1] + "/below")
except OSError as error:
    print(error.errno)
writer = LogWriter(sys.argv[1])
try:
    writer.append([b"a"])
except SparkException as error:
    print(error.__cause__.errno, error)
writer.close()
"""


def test_log_in_a_read_only_directory_says_so(tmp_path: Path) -> None:
    before = bound_by_permissions()
    tmp_path.chmod(0o555)
    made, appended = child(IMPORTS + FORBIDDEN, tmp_path, before=before)
    assert int(made) == errno.EACCES
    assert appended.startswith(f"{errno.EACCES} log {tmp_path}: 1 records of 1 bytes could not be written in 3 tries: ")
    assert str(tmp_path) in appended and list(tmp_path.iterdir()) == []


class FailingSync:
    """An `os.fsync` that fails `failures` times from the call `first` on, counted from 1."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, first: int, failures: int) -> None:
        self._calls = 0
        self._failing = range(first, first + failures)
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self._calls += 1
        if self._calls in self._failing:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._sync(descriptor)


@pytest.mark.parametrize("first", [1, 2, 3, 4], ids=["a segment's", "its directory's", "the next", "while cutting"])
def test_record_is_read_once_when_a_sync_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    writer = LogWriter(str(tmp_path))
    FailingSync(monkeypatch, first if first < 4 else 3, failures=2 if first == 4 else 1)
    for payload in (b"a", b"b", b"c"):
        position = writer.append([payload])[0]
        assert read_record(position) == payload
    writer.close()
    assert read(tmp_path) == [b"a", b"b", b"c"]


@pytest.mark.parametrize("tries", [1, 3])
def test_record_that_was_refused_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    writer = LogWriter(str(tmp_path), LogSettings(tries_max=tries))
    writer.append([b"a"])
    # The first try fails in the segment of `a`, which is then cut with one sync; the others in segments of their own.
    with monkeypatch.context() as patch:
        FailingSync(patch, first=1, failures=1)
        FailingSync(patch, first=3, failures=tries - 1)
        with pytest.raises(
            SparkException, match=f"could not be written in {tries} tries: .*Input/output error"
        ) as raised:
            writer.append([b"b"])
    assert isinstance(raised.value.__cause__, OSError)
    assert read(tmp_path) == [b"a"]
    writer.append([b"c"])
    writer.close()
    assert read(tmp_path) == [b"a", b"c"]


# ------------------------------------------------------------------------------------------------ object stores
@pytest.fixture
def memory() -> Iterator[str]:
    directory = f"memory://{uuid.uuid4().hex}/log"
    yield directory
    fsspec.filesystem("memory").rm(directory.rpartition("/")[0], recursive=True)


@pytest.mark.parametrize("cipher", [None, Cipher(bytes(32))], ids=["plain", "encrypted"])
def test_log_on_an_object_store_is_an_object_for_each_write(memory: str, cipher: Cipher | None) -> None:
    writer = LogWriter(memory, LogSettings(rolling_ms=100, cipher=cipher))
    positions = [writer.append([b"%d" % time_ms, b"more"], time_ms)[0] for time_ms in (1000, 2000, 3000)]
    assert read(memory, cipher) == [b"1000", b"more", b"2000", b"more", b"3000", b"more"]
    assert read_record(positions[1], cipher) == b"2000"
    assert len({position.path for position in positions}) == 3
    assert len(clean(memory, before_ms=2101)) == 2
    assert read(memory, cipher) == [b"3000", b"more"]
    writer.append([b"on"], 4000)
    writer.close()
    assert read(memory, cipher) == [b"3000", b"more", b"on"]


class FlakyFileSystem(MemoryFileSystem):
    """Objects in memory; the next `failures` uploads fail when they are finished, after they have become visible."""

    protocol = "flaky"
    failures = 0

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **options: Any) -> None:
        super().pipe_file(path, value, mode, **options)
        if FlakyFileSystem.failures > 0:
            FlakyFileSystem.failures -= 1
            raise OSError("the store did not take it")


@pytest.mark.parametrize(("failures", "outcome"), [(1, [b"a", b"b", b"c"]), (3, [b"a", b"c"])])
def test_upload_that_fails_is_removed_and_tried_again(failures: int, outcome: list[bytes]) -> None:
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    directory = f"flaky://{uuid.uuid4().hex}"
    writer = LogWriter(directory)
    writer.append([b"a"])
    FlakyFileSystem.failures = failures
    try:
        writer.append([b"b"])
    except SparkException as error:
        assert str(error).endswith("could not be written in 3 tries: the store did not take it")
    assert FlakyFileSystem.failures == 0
    assert read(directory) == [b"a", b"b"][: len(outcome) - 1]
    writer.append([b"c"])
    writer.close()
    assert read(directory) == outcome
