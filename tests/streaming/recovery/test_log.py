"""The write-ahead log: what is acknowledged is read again, whatever happens to process, disk and bytes."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import tempfile
import threading
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.base.cipher import Cipher
from headwater.clock import ManualClock
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming.recovery.log import (
    CorruptLogException,
    LogPosition,
    LogSettings,
    LogWriter,
    clean,
    read_log,
    read_record,
)
from headwater.streaming.recovery.segment import SegmentName

PATIENCE_SECONDS = 30.0
HEADER_BYTES, HEAD_BYTES = 36, 16
PAYLOADS = [b"first", b"", b"the third record", b"last"]
KEY = bytes(range(100, 132))
DOCUMENT = Path(__file__).parents[3] / "docs" / "formats" / "log.md"


@pytest.fixture(params=[None, KEY], ids=["plain", "encrypted"])
def cipher(request: pytest.FixtureRequest) -> Cipher | None:
    return request.param and Cipher(request.param)


def write(directory: Any, payloads: list[bytes], settings: LogSettings | None = None, **at: int) -> list[LogPosition]:
    """Positions of records that a writer of their own has written in one go."""
    writer = LogWriter(str(directory), settings)
    positions = writer.append(payloads, **at)
    writer.close()
    return positions


def read(directory: Any, **how: Any) -> list[bytes]:
    return [payload for _, payload in read_log(str(directory), **how)]


def names(directory: Path) -> list[str]:
    """The segments without their random parts, in order of their numbers."""
    found = [path.name.rsplit("-", 1)[0] for path in directory.iterdir()]
    return sorted(found, key=lambda name: int(name.rsplit("-", 1)[1]))


def until_damage(directory: Path, cipher: Cipher | None) -> tuple[list[bytes], SparkException | None]:
    """What is read up to an error, and that."""
    payloads = []
    try:
        for _, payload in read_log(str(directory), cipher=cipher):
            payloads.append(payload)
    except SparkException as error:
        return payloads, error
    return payloads, None


# ------------------------------------------------------------------------------------------------ round trip
def test_log_gives_back_its_records_with_their_positions(tmp_path: Path, cipher: Cipher | None) -> None:
    writer = LogWriter(str(tmp_path / "a" / "log"), LogSettings(cipher=cipher))
    positions = writer.append(PAYLOADS[:3]) + writer.append(PAYLOADS[3:])
    writer.close()
    assert list(read_log(str(tmp_path / "a" / "log"), cipher=cipher)) == list(zip(positions, PAYLOADS))
    for position, payload in zip(positions, PAYLOADS):
        again = LogPosition(*json.loads(json.dumps(list(position))))
        assert read_record(again, cipher) == payload


def test_position_names_its_log_and_segment_and_follows_a_directory_that_moved() -> None:
    position = LogPosition("hdfs://a/app/receivedData/3/log-100-60100-7-0123abcd", 16, 100)
    assert position.log == "3"
    assert position.segment == SegmentName(7, "0123abcd", 100, 60_100)
    assert position.below("/new/receivedData") == LogPosition("/new/receivedData/3/log-100-60100-7-0123abcd", 16, 100)
    assert LogPosition("/app/receivedData/3/notes", 0, 1).segment is None


@given(
    groups=st.lists(st.lists(st.binary(max_size=200), max_size=5), max_size=8),
    key=st.none() | st.binary(min_size=32, max_size=32),
    once=st.booleans(),
)
def test_log_gives_back_any_records(groups: list[list[bytes]], key: bytes | None, once: bool) -> None:
    cipher = Cipher(key) if key else None
    with tempfile.TemporaryDirectory() as directory:
        writer = LogWriter(directory, LogSettings(close_after_write=once, sync=False, cipher=cipher))
        positions = [position for group in groups for position in writer.append(group)]
        writer.close()
        payloads = [payload for group in groups for payload in group]
        assert list(read_log(directory, cipher=cipher)) == list(zip(positions, payloads))


def test_log_has_nothing_when_its_directory_is_missing(tmp_path: Path) -> None:
    assert read(tmp_path / "none") == []
    assert clean(str(tmp_path / "none"), before_ms=10) == []


def test_segment_is_as_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = re.findall(r"^[0-9a-f]{8}: ((?:[0-9a-f]{2,4} )+)", DOCUMENT.read_text(), re.M)
    monkeypatch.setattr(os, "urandom", lambda size: bytes(range(size)))
    positions = write(tmp_path, [b"a", b""], time_ms=7)
    assert [position[1:] for position in positions] == [(36, 17), (53, 16)]
    assert (tmp_path / "log-7-60007-1-00010203").read_bytes() == bytes.fromhex("".join(lines))


def test_log_is_in_the_order_of_writers_when_the_clock_goes_back(tmp_path: Path) -> None:
    for number, time_ms in enumerate((5000, 1000, 9000, 10)):
        write(tmp_path, [b"%d" % number], time_ms=time_ms)
    assert read(tmp_path) == [b"0", b"1", b"2", b"3"]


def test_payload_is_not_in_an_encrypted_segment(tmp_path: Path) -> None:
    path = write(tmp_path, [b"a secret" * 10], LogSettings(cipher=Cipher(KEY)))[0].path
    assert b"secret" not in Path(path).read_bytes()


def test_log_refuses_what_is_not_bytes(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    with pytest.raises(TypeError, match="a record must be bytes, not str"):
        writer.append([b"good", "bad"])  # type: ignore[list-item]
    writer.close()
    assert read(tmp_path) == []


# ------------------------------------------------------------------------------------------------ segments
def test_segment_is_followed_by_another_when_its_time_is_over(tmp_path: Path) -> None:
    clock = ManualClock(1000)
    writer = LogWriter(str(tmp_path), LogSettings(rolling_ms=500), clock)
    for pause_ms in (0, 500, 1, 100):
        clock.advance(pause_ms)
        writer.append([b"%d" % clock.now_ms()])
    writer.close()
    assert names(tmp_path) == ["log-1000-1500-1", "log-1501-2001-2"]
    assert read(tmp_path) == [b"1000", b"1500", b"1501", b"1601"]


def test_segment_holds_one_write_when_it_is_closed_after_each(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), LogSettings(close_after_write=True))
    for number in range(3):
        writer.append([b"%d" % number, b"and more"], time_ms=number)
    writer.close()
    assert names(tmp_path) == ["log-0-60000-1", "log-1-60001-2", "log-2-60002-3"]
    assert read(tmp_path) == [b"0", b"and more", b"1", b"and more", b"2", b"and more"]


def test_clean_removes_segments_whose_records_are_all_older(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), LogSettings(rolling_ms=100, close_after_write=True))
    for time_ms in (1000, 2000, 3000):
        writer.append([b"%d" % time_ms], time_ms)
    writer.close()
    assert clean(str(tmp_path), before_ms=1100) == []
    assert [name.rsplit("-", 1)[0] for name in clean(str(tmp_path), before_ms=2101)] == [
        "log-1000-1100-1",
        "log-2000-2100-2",
    ]
    assert read(tmp_path) == [b"3000"]


def test_clean_leaves_the_segment_that_is_written(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), LogSettings(rolling_ms=100))
    writer.append([b"a"], 1000)
    assert clean(str(tmp_path), before_ms=10_000) == []
    writer.append([b"b"], 1001)
    writer.close()
    assert read(tmp_path) == [b"a", b"b"]
    assert len(clean(str(tmp_path), before_ms=10_000)) == 1
    assert list(tmp_path.iterdir()) == []


def test_record_that_was_cleaned_is_named(tmp_path: Path) -> None:
    position = write(tmp_path, [b"a"], time_ms=0)[0]
    clean(str(tmp_path), before_ms=10**6)
    with pytest.raises(SparkException, match=f"{position.path} is gone: it was cleaned"):
        read_record(position)


def test_log_refuses_a_directory_of_spark(tmp_path: Path) -> None:
    (tmp_path / "log-1000-61000").write_bytes(b"\0\0\0\1x")
    for use in (LogWriter, read, lambda directory: clean(directory, 0)):
        with pytest.raises(SparkException, match="log-1000-61000, which isn't named as a segment"):
            use(str(tmp_path))


def test_log_ignores_other_files(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, [b"a"])
    assert read(tmp_path) == [b"a"]


# ------------------------------------------------------------------------------------------------ many threads
def test_appends_of_many_threads_share_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, each = 16, 50
    syncs, sync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (syncs.append(descriptor), sync(descriptor)))
    writer = LogWriter(str(tmp_path))
    found: list[tuple[bytes, LogPosition]] = []

    def work(thread: int) -> None:
        for number in range(each):
            payload = b"%d %d" % (thread, number)
            found.append((payload, writer.append([payload])[0]))

    workers = [threading.Thread(target=work, args=(thread,), daemon=True) for thread in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE_SECONDS)
    writer.close()
    payloads = read(tmp_path)
    assert sorted(payloads) == sorted(payload for payload, _ in found) and len(found) == threads * each
    for thread in range(threads):  # each thread's records in its order
        own = [payload for payload in payloads if payload.startswith(b"%d " % thread)]
        assert own == [b"%d %d" % (thread, number) for number in range(each)]
    assert all(read_record(position) == payload for payload, position in found)
    assert 0 < len(syncs) < threads * each


class SlowSync:
    """An `os.fsync` whose first call waits until it is let go."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls = 0
        self.begun, self.go = threading.Event(), threading.Event()
        self._sync = os.fsync
        monkeypatch.setattr(os, "fsync", self)

    def __call__(self, descriptor: int) -> None:
        self.calls += 1
        self.begun.set()
        assert self.go.wait(PATIENCE_SECONDS)
        self._sync(descriptor)


def test_records_that_wait_are_written_with_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, slow = LogWriter(str(tmp_path)), SlowSync(monkeypatch)
    told: list[tuple[int, BaseException | None]] = []
    for number in range(20):
        writer.append_later(b"%d" % number, lambda error, number=number: told.append((number, error)))  # type: ignore[misc]
        assert slow.begun.wait(PATIENCE_SECONDS)
    assert told == []
    slow.go.set()
    writer.close()
    assert told == [(number, None) for number in range(20)]
    assert read(tmp_path) == [b"%d" % number for number in range(20)]
    assert slow.calls == 3  # the first record, its segment's name, the others


def test_append_later_refuses_more_than_it_may_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer, slow = LogWriter(str(tmp_path)), SlowSync(monkeypatch)
    errors: list[BaseException | None] = []
    record, taken = bytes(1 << 20), 0
    with pytest.raises(SparkException, match=r"\d+ bytes wait to be written, and at most 67108864 may"):
        for _ in range(100):
            writer.append_later(record, errors.append)
            taken += 1
    slow.go.set()
    writer.close()
    assert 64 <= taken < 100 and errors == [None] * taken
    assert len(read(tmp_path)) == taken


def test_writer_goes_on_when_a_function_that_it_calls_raises(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = LogWriter(str(tmp_path))
    writer.append_later(b"a", lambda _: 1 / 0)  # type: ignore[arg-type, return-value]
    writer.append([b"b"])
    writer.close()
    assert read(tmp_path) == [b"a", b"b"]
    assert "ZeroDivisionError" in caplog.text


def test_closed_writer_refuses_records(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path))
    writer.close()
    writer.close()
    with pytest.raises(IllegalStateException, match="the writer is closed"):
        writer.append([b"a"])
    with pytest.raises(IllegalStateException, match="the writer is closed"):
        writer.append_later(b"a", print)


# ------------------------------------------------------------------------------------------------ damage
def test_every_flipped_bit_is_detected(tmp_path: Path, cipher: Cipher | None) -> None:
    positions = write(tmp_path, PAYLOADS, LogSettings(cipher=cipher))
    path = Path(positions[0].path)
    whole = path.read_bytes()
    for index in range(len(whole)):
        path.write_bytes(whole[:index] + bytes([whole[index] ^ 1 << index % 8]) + whole[index + 1 :])
        hit = next((n for n, at in enumerate(positions) if at.offset <= index < at.offset + at.length), None)
        payloads, error = until_damage(tmp_path, cipher)
        assert payloads == PAYLOADS[: hit or 0] and error is not None, f"byte {index}"
        if hit is not None:
            assert isinstance(error, CorruptLogException)
            assert (error.path, error.offset, error.lost_bytes) == tuple(positions[hit])
            assert str(error).startswith(f"log segment {path}, offset {positions[hit].offset}: ")
            assert read(tmp_path, on_corrupt="skip", cipher=cipher) == PAYLOADS[:hit] + PAYLOADS[hit + 1 :]
            with pytest.raises(CorruptLogException):
                read_record(positions[hit], cipher)


def test_torn_tail_ends_a_segment_at_every_length(
    tmp_path: Path, cipher: Cipher | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "headwater.streaming.recovery.log")
    positions = write(tmp_path, PAYLOADS, LogSettings(cipher=cipher))
    path = Path(positions[0].path)
    whole = path.read_bytes()
    ends = [HEADER_BYTES, *(at.offset + at.length for at in positions)]
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        caplog.clear()
        kept = sum(end <= length for end in ends[1:])
        assert read(tmp_path, cipher=cipher) == PAYLOADS[:kept], f"{length} bytes"
        torn = length - max((end for end in ends if end <= length), default=0)
        assert (f"{torn} bytes of a torn tail" in caplog.text) == (torn > 0 or length == 0)
        assert not [record for record in caplog.records if record.levelno > logging.DEBUG]
        with pytest.raises(CorruptLogException, match="the segment ends before the record does"):
            read_record(positions[kept], cipher)


@pytest.mark.parametrize("kept", [0, HEADER_BYTES, HEADER_BYTES + HEAD_BYTES + 5])
def test_zeros_to_the_end_are_a_torn_tail(tmp_path: Path, kept: int) -> None:
    path = Path(write(tmp_path, [b"first", b"second"])[0].path)
    path.write_bytes(path.read_bytes()[:kept] + bytes(3 << 20))
    assert read(tmp_path) == [b"first"][: kept > HEADER_BYTES]


def test_torn_tail_of_a_segment_does_not_hide_the_next(tmp_path: Path) -> None:
    path = Path(write(tmp_path, [b"a", b"b"])[0].path)
    path.write_bytes(path.read_bytes()[:-1])
    write(tmp_path, [b"c"])
    assert read(tmp_path) == [b"a", b"c"]


@pytest.mark.parametrize("size", [1_200_000, *range((1 << 20) - 20, (1 << 20) - 14)])  # a mark across its buffers
def test_skip_finds_the_next_record_behind_a_large_hole(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, size: int
) -> None:
    record = (b"\xf7REC" * 300_000)[:size]  # looks like many records
    positions = write(tmp_path, [b"a", record, b"b"])
    path = Path(positions[0].path)
    whole = bytearray(path.read_bytes())
    hole = positions[1]
    whole[hole.offset : hole.offset + 4] = b"gone"
    path.write_bytes(whole)
    assert read(tmp_path, on_corrupt="skip") == [b"a", b"b"]
    assert f"{path}, offset {hole.offset}: no record begins here; {hole.length} bytes skipped" in caplog.text


def test_skip_leaves_out_a_segment_whose_header_is_damaged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = Path(write(tmp_path, [b"a"])[0].path)
    write(tmp_path, [b"b"])
    whole = path.read_bytes()
    path.write_bytes(b"oops" + whole[4:])
    assert read(tmp_path, on_corrupt="skip") == [b"b"]
    assert f"{path}, offset 0: the header is damaged; {len(whole)} bytes skipped" in caplog.text


def test_swapped_records_are_detected(tmp_path: Path, cipher: Cipher | None) -> None:
    one, two = write(tmp_path, [b"one", b"two"], LogSettings(cipher=cipher))
    path = Path(one.path)
    whole = path.read_bytes()
    path.write_bytes(whole[:HEADER_BYTES] + whole[two.offset :] + whole[one.offset : two.offset])
    assert isinstance(until_damage(tmp_path, cipher)[1], CorruptLogException)


def test_record_of_another_segment_is_detected(tmp_path: Path, cipher: Cipher | None) -> None:
    settings = LogSettings(cipher=cipher)
    ours, theirs = (Path(write(tmp_path / name, [b"same"], settings)[0].path) for name in "ab")
    ours.write_bytes(ours.read_bytes()[:HEADER_BYTES] + theirs.read_bytes()[HEADER_BYTES:])
    assert isinstance(until_damage(tmp_path / "a", cipher)[1], CorruptLogException)


def test_encrypted_record_is_detected_when_it_was_moved_with_right_checksums(tmp_path: Path) -> None:
    cipher = Cipher(KEY)
    one, two = write(tmp_path, [b"one", b"two"], LogSettings(cipher=cipher))
    path = Path(one.path)
    whole = bytearray(path.read_bytes())
    body = whole[two.offset + HEAD_BYTES :]
    head_sum = int.from_bytes(whole[one.offset + 8 : one.offset + 12], "little")
    whole[one.offset + 12 : two.offset] = crc32(body, head_sum).to_bytes(4, "little") + body
    path.write_bytes(whole)
    payloads, error = until_damage(tmp_path, cipher)
    assert payloads == [] and isinstance(error, CorruptLogException) and error.reason == "not authentic"


def test_position_is_refused_when_it_is_not_a_records(tmp_path: Path) -> None:
    position = write(tmp_path, [b"a", b"b"])[0]
    with pytest.raises(CorruptLogException, match="no record begins here"):
        read_record(position._replace(offset=position.offset + 1))
    with pytest.raises(CorruptLogException, match="the record has 17 bytes, not 16"):
        read_record(position._replace(length=16))


def test_corruption_keeps_its_values_when_it_is_pickled() -> None:
    error = pickle.loads(pickle.dumps(CorruptLogException("/log", 36, 17, "the checksum is wrong")))
    assert (error.path, error.offset, error.lost_bytes, error.reason) == ("/log", 36, 17, "the checksum is wrong")


@pytest.mark.parametrize("on_corrupt", ["fail", "skip"])
def test_segment_of_another_version_or_cipher_is_an_error(tmp_path: Path, on_corrupt: str) -> None:
    path = Path(write(tmp_path, [b"a"])[0].path)
    whole = path.read_bytes()
    path.write_bytes(b"HWL\x02" + whole[4:])
    with pytest.raises(SparkException, match=f"{path} has format 2, this version reads 1"):
        read(tmp_path, on_corrupt=on_corrupt)
    fields = whole[:4] + b"\x09\0\0\0" + whole[8:32]
    path.write_bytes(fields + crc32(fields).to_bytes(4, "little") + whole[36:])
    with pytest.raises(SparkException, match=f"{path} has cipher 9"):
        read(tmp_path, on_corrupt=on_corrupt)


@pytest.mark.parametrize("on_corrupt", ["fail", "skip"])
def test_segment_of_another_key_is_an_error(tmp_path: Path, on_corrupt: str) -> None:
    ours, other = Cipher(KEY), Cipher(bytes(32))
    position = write(tmp_path, [b"a"], LogSettings(cipher=ours))[0]
    wrong = f"encrypted with the key of id {ours.key_id.hex()}, and the key that is set has id {other.key_id.hex()}"
    with pytest.raises(SparkException, match=wrong):
        read(tmp_path, on_corrupt=on_corrupt, cipher=other)
    with pytest.raises(SparkException, match="no key is set. Name that key by headwater.encryption.keyFile"):
        read(tmp_path, on_corrupt=on_corrupt)
    with pytest.raises(SparkException, match=wrong):
        read_record(position, other)


def test_segments_of_before_a_key_was_set_are_read(tmp_path: Path) -> None:
    cipher = Cipher(KEY)
    write(tmp_path, [b"plain"])
    write(tmp_path, [b"sealed"], LogSettings(cipher=cipher))
    assert read(tmp_path, cipher=cipher) == [b"plain", b"sealed"]
