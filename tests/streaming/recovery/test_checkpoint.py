"""Checkpoint files: damaged ones are passed over and said, foreign ones refused, the last ten kept."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from headwater.errors import SparkException
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.checkpoint import KEPT, Checkpoint
from headwater.streaming.recovery.ledger import BatchBegun, Ledger

PROGRAM = b"a program"
CODE = {"script": ["app.py", "0a1b", "3.11"]}


def write(directory: Path, number: int, *, program: str = "program-1", batches: int = 0) -> Path:
    """A checkpoint after so many batches."""
    ledger = Ledger(1000, 0)
    for time_ms in range(1000, 1000 * batches + 1, 1000):
        ledger.apply(BatchBegun(time_ms, {}, {}, {}))
    made = Checkpoint(number, "app", "local[2]", {"spark.a": "b"}, program, ledger, CODE)
    return directory / checkpoint.write(str(directory), made)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """It has two checkpoints, and their program."""
    checkpoint.write_program(str(tmp_path), 1, PROGRAM)
    write(tmp_path, 1)
    write(tmp_path, 2, batches=1)
    return tmp_path


def newest_number(directory: Path) -> int:
    found = checkpoint.newest(str(directory))
    assert found is not None and found[1] == PROGRAM
    return found[0].number


def test_newest_is_read_as_it_was_written(directory: Path) -> None:
    found = checkpoint.newest(str(directory))
    assert found is not None
    newest, program = found
    assert newest._replace(ledger=None) == (2, "app", "local[2]", {"spark.a": "b"}, "program-1", None, CODE)
    assert [*newest.ledger.pending] == [1000]
    assert program == PROGRAM


def test_checkpoint_is_passed_over_and_that_is_said_when_a_byte_is_flipped(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = directory / "checkpoint-1000-2"
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert newest_number(directory) == 1, at
        assert f"{path} can't be read, an older one is tried" in caplog.text


def test_checkpoint_is_passed_over_when_it_ends_early(directory: Path) -> None:
    path = directory / "checkpoint-1000-2"
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert newest_number(directory) == 1, length


def test_checkpoint_is_passed_over_when_its_program_is_damaged(directory: Path) -> None:
    checkpoint.write_program(str(directory), 3, b"another program")
    write(directory, 3, program="program-3", batches=2)
    (directory / "program-3").write_bytes(b"HWK\x01")
    assert newest_number(directory) == 2


def test_error_names_all_files_and_nothing_changes_when_none_can_be_read(directory: Path) -> None:
    for path in directory.glob("checkpoint-*"):
        path.write_bytes(b"HWK\x01 damaged")
    before = sorted(directory.iterdir())
    with pytest.raises(SparkException, match="Failed to read checkpoint from directory") as caught:
        checkpoint.newest(str(directory))
    assert "checkpoint-0-1" in str(caught.value) and "checkpoint-1000-2" in str(caught.value)
    assert sorted(directory.iterdir()) == before


def test_error_says_whose_it_may_be_when_a_checkpoint_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-1500000000000").write_bytes(b"\xac\xed")
    with pytest.raises(SparkException, match=r"checkpoint-1500000000000: not named as .* perhaps it is Spark's"):
        checkpoint.newest(str(tmp_path))


def test_other_files_are_no_checkpoints(directory: Path) -> None:
    for name in ("checkpoint-2000-3.tmp", "receivedData", "temp", "driver.lock"):
        (directory / name).write_bytes(b"anything")
    assert newest_number(directory) == 2


def test_there_is_none_when_the_directory_is_empty_or_not_there(tmp_path: Path) -> None:
    assert checkpoint.newest(str(tmp_path)) is None
    assert checkpoint.newest(str(tmp_path / "absent")) is None


def test_last_ten_are_kept_with_the_programs_that_they_need(directory: Path) -> None:
    for number in range(3, 30):
        if number % 8 == 0:
            checkpoint.write_program(str(directory), number, PROGRAM)
        write(directory, number, program=f"program-{max(1, number // 8 * 8)}", batches=number)
    assert [number for number, _ in checkpoint.names(str(directory))] == [*range(30 - KEPT, 30)]
    assert {path.name for path in directory.glob("program-*")} == {"program-16", "program-24"}


def test_newest_is_the_one_with_the_greatest_number_whatever_its_batch(directory: Path) -> None:
    write(directory, 3)
    assert newest_number(directory) == 3


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [(b"HWK\x01", b"HWK\x02", "has format 2, this version reads 1"), (b"HWK\x01", b"PK\x03\x04", "is no checkpoint")],
)
def test_file_of_another_version_is_refused(directory: Path, old: bytes, new: bytes, text: str) -> None:
    path = directory / "checkpoint-1000-2"
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(SparkException, match=text):
        checkpoint.read_file(str(path))


def test_ledger_of_another_format_is_refused() -> None:
    made = Checkpoint(1, "app", "local", {}, "program-1", Ledger(1000, 0), CODE)
    body = checkpoint.encode(made).replace(b'"format":2', b'"format":9')
    with pytest.raises(SparkException, match="a ledger of format 9; this version reads 1 and 2"):
        checkpoint.decode(body)


def test_checkpoint_of_the_format_before_is_read() -> None:
    made = Checkpoint(1, "app", "local", {}, "program-1", Ledger(1000, 0), {})
    body = checkpoint.encode(made).replace(b'"format":2', b'"format":1')
    older = body.replace(b',"sources":{}', b"").replace(b',"code":{}', b"")
    assert len(older) < len(body)
    assert checkpoint.decode(older)._replace(ledger=None) == made._replace(ledger=None)  # type: ignore[arg-type]
    assert checkpoint.decode(older).ledger.image() == made.ledger.image()
