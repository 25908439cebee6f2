"""Files of a batch that can't be read: the batch has the others, and a later one has the file once it can be read."""

from __future__ import annotations

import bz2
import gzip
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater.filesystem import FileStatus
from headwater.formats import textfiles
from headwater.streaming.sources.unreadable import Outcome, Unreadable
from tests.conftest import SetConf
from tests.streaming.conftest import Harness

# The harness's clock begins half a second before the first batch.
FIRST_MS = 1_000_000_000
LINES = [f"line {number}" for number in range(20_000)]
TEXT = "".join(f"{line}\n" for line in LINES).encode()


def put(directory: Path, name: str, content: bytes, modified_ms: int = FIRST_MS - 100) -> Path:
    """A file with a modification time."""
    path = directory / name
    path.write_bytes(content)
    os.utime(path, ns=(modified_ms * 1_000_000,) * 2)
    return path


def said(caplog: pytest.LogCaptureFixture, level: str, text: str) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname == level and text in r.getMessage()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.gz", b"plain text\n"),
        ("a.gz", gzip.compress(TEXT)[:-20]),
        ("a.gz", gzip.compress(TEXT) + b"garbage"),
        ("a.bz2", bz2.compress(TEXT)[:-20]),
        ("a.deflate", zlib.compress(TEXT)[:-20]),
        ("a.zst", b"plain text\n"),
    ],
    ids=["plain text", "truncated", "garbage behind", "truncated bz2", "truncated deflate", "no zstd"],
)
def test_unreadable_file_leaves_its_batch_the_others_and_is_told_of_once(
    harness: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, content: bytes
) -> None:
    stream = harness.ssc.textFileStream(str(tmp_path))
    out, windows = harness.collected(stream), harness.collected(stream.window(3))
    harness.ssc.start()
    bad = put(tmp_path, name, content)
    put(tmp_path, "b.txt", b"good\n")
    infos = harness.run(3)
    assert (out, windows) == ([["good"], [], []], [["good"], ["good"], ["good"]])
    assert not harness.ssc.awaitTerminationOrTimeout(0)
    (warning,) = said(caplog, "WARNING", "left out")
    assert warning.startswith(
        f"file stream 0 of file:{tmp_path}: {bad} could not be read at time {FIRST_MS} ms and is left out: "
    )
    assert "headwater.streaming.fileStream.retryTimeout" in warning
    assert infos[0].streamIdToInputInfo()[0].metadata()["unreadableFiles"] == [str(bad)]


def test_file_that_is_completed_later_is_a_later_batchs_once(harness: Harness, tmp_path: Path) -> None:
    stream = harness.ssc.textFileStream(str(tmp_path))
    out, windows = harness.collected(stream), harness.collected(stream.window(3))
    harness.ssc.start()
    whole = gzip.compress(TEXT)
    put(tmp_path, "a.gz", whole[:500])
    harness.run(1)
    put(tmp_path, "a.gz", whole, FIRST_MS + 500)
    harness.run(3)
    assert out == [[], LINES, [], []]
    assert windows == [[], LINES, LINES, LINES]


@pytest.mark.parametrize(("ending", "compress"), [("gz", gzip.compress), ("deflate", zlib.compress)])
def test_large_compressed_file_is_read_whole_or_not_at_all(
    harness: Harness, tmp_path: Path, ending: str, compress: Callable[[bytes], bytes]
) -> None:
    lines = ["x" * 100_000] * 250  # more than is held in memory
    whole = compress("\n".join(lines).encode())
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)).map(len))
    harness.ssc.start()
    put(tmp_path, f"a.{ending}", whole)
    put(tmp_path, f"b.{ending}", whole[:-20])
    harness.run(1)
    assert out == [[100_000] * 250]


@pytest.mark.parametrize("records", [False, True])
def test_file_that_vanishes_before_its_batch_reads_it_leaves_the_others(
    harness: Harness, tmp_path: Path, records: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ssc, directory = harness.ssc, str(tmp_path)
    stream: Any = ssc.binaryRecordsStream(directory, 4) if records else ssc.textFileStream(directory)
    stream.foreachRDD(lambda rdd: (tmp_path / "a").unlink(missing_ok=True))  # before any output has read it
    out, again = harness.collected(stream), harness.collected(stream)
    ssc.start()
    put(tmp_path, "a", b"old\n")
    put(tmp_path, "b", b"new\n")
    harness.run(2)
    assert out == again == [[b"new\n"] if records else ["new"], []]
    assert len(said(caplog, "WARNING", "/a could not be read at time")) == 1


def test_output_that_reads_a_file_after_it_has_vanished_fails(harness: Harness, tmp_path: Path) -> None:
    stream = harness.ssc.textFileStream(str(tmp_path))
    out = harness.collected(stream)
    stream.foreachRDD(lambda rdd: (tmp_path / "a").unlink(missing_ok=True))
    again = harness.collected(stream)
    harness.ssc.start()
    put(tmp_path, "a", b"one\n")
    (info,) = harness.run(1)
    assert (out, again) == ([["one"]], [])
    failures = [each.failureReason() for each in info.outputOperationInfos().values()]
    assert failures[:2] == [None, None]
    assert "Input path does not exist" in failures[2]


def test_file_of_several_splits_that_vanishes_while_it_is_read_is_said_to_be_there_in_part(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(textfiles.text_splits_of, "__defaults__", (9,))
    bad = tmp_path / "a"

    def remove(line: str) -> str:
        bad.unlink(missing_ok=True)
        return line

    stream = harness.ssc.textFileStream(str(tmp_path))
    out = harness.collected(stream.transform(lambda rdd: rdd.coalesce(1)).map(remove))
    harness.ssc.start()
    put(tmp_path, "a", b"line 1\nline 2\nline 3\n")
    harness.run(2)
    assert out == [["line 1", "line 2"], []]  # the first split's
    (error,) = said(caplog, "ERROR", "in part")
    assert f"a task of the batch of {FIRST_MS} ms has read {bad}, and another one could not" in error


@pytest.mark.parametrize("selection", ["modificationTime", "identity"])
def test_file_is_tried_with_growing_pauses_until_it_is_given_up(
    harness: Harness, tmp_path: Path, set_conf: SetConf, caplog: pytest.LogCaptureFixture, selection: str
) -> None:
    set_conf(harness.sc, "headwater.streaming.fileStream.selection", selection)
    set_conf(harness.sc, "headwater.streaming.fileStream.retryTimeout", "8s")
    harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    bad = put(tmp_path, "a.gz", b"no gzip", FIRST_MS - 100 if selection == "modificationTime" else 1000)
    infos = harness.run(20)
    tried = [number for number, info in enumerate(infos) if info.streamIdToInputInfo()[0].metadata()["files"]]
    assert tried == [0, 1, 2, 4, 8]
    (error,) = said(caplog, "ERROR", "given up")
    assert f"file stream 0 of file:{tmp_path}: {bad} can't be read and is given up" in error
    assert len(said(caplog, "WARNING", "left out")) == 1


def test_link_to_itself_and_a_name_that_cannot_be_looked_at_block_no_directory(
    harness: Harness, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "itself").symlink_to("itself")
    (tmp_path / "nowhere").symlink_to("missing")
    (tmp_path / "unseen").symlink_to("x" * 300)  # longer than a name may be, also for root
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    matched = harness.collected(harness.ssc.textFileStream(f"{tmp_path.parent}/{tmp_path.name}*"))
    harness.ssc.start()
    put(tmp_path, "a", b"one\n")
    harness.run(2)
    assert out == matched == [["one"], []]
    assert len(said(caplog, "WARNING", f"{tmp_path}/unseen can't be looked at")) == 2  # by each of the streams


def test_link_to_itself_matches_no_glob_of_directories(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "in-1").mkdir()
    (tmp_path / "in-2").symlink_to("in-2")
    out = harness.collected(harness.ssc.textFileStream(f"{tmp_path}/in-*"))
    harness.ssc.start()
    put(tmp_path / "in-1", "a", b"one\n")
    harness.run(1)
    assert out == [["one"]]


# ------------------------------------------------------------------------------------------------ the rule
def test_changed_file_is_tried_at_once_and_has_all_its_time_again() -> None:
    rule = Unreadable(10, 40)
    before, after = FileStatus("/a", 1, 1), FileStatus("/a", 2, 2)
    assert [rule.fail(before, time_ms) for time_ms in (100, 110)] == [Outcome.TRIED_AGAIN, Outcome.STILL_TRIED]
    assert [rule.waits(file, 115) for file in (before, after)] == [True, False]
    assert rule.fail(after, 120) is Outcome.STILL_TRIED
    assert [rule.fail(after, time_ms) for time_ms in (130, 159, 160)] == [
        Outcome.STILL_TRIED,
        Outcome.STILL_TRIED,
        Outcome.GIVEN_UP,
    ]


def test_file_that_was_read_meanwhile_is_told_of_again() -> None:
    rule = Unreadable(10, 40)
    file = FileStatus("/a", 1, 1)
    rule.fail(file, 100)
    rule.forget(["/a", "/b"])
    assert not rule.waits(file, 105)
    assert rule.fail(file, 300) is Outcome.TRIED_AGAIN


def test_file_is_tried_once_where_no_time_is_given() -> None:
    assert Unreadable(10, 0).fail(FileStatus("/a", 1, 1), 100) is Outcome.GIVEN_UP
