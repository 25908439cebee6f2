"""Files of segments: made with their directory, and looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.engine.states import files
from headwater.errors import SparkException


def test_file_is_read_as_it_was_written_and_only_its_owner_can(tmp_path: Path) -> None:
    path = tmp_path / "epoch" / "p0"
    files.write(str(path), b"segment")  # the directory was removed
    assert files.read(str(path)) == b"segment"
    assert files.size(str(path)) == 7
    assert path.stat().st_mode & 0o077 == 0


def test_missing_file_is_an_error_with_a_remedy_when_it_is_read_and_has_no_size(tmp_path: Path) -> None:
    with pytest.raises(SparkException, match=f"its segment {tmp_path}/p0 is missing.*ssc.remember"):
        files.read(f"{tmp_path}/p0")
    assert files.size(f"{tmp_path}/p0") == 0


def test_file_that_can_not_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        files.write(f"{tmp_path}/file/p0", b"segment")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_are_there_if_each_of_them_is(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    assert files.are_there(str(tmp_path), ["a"])
    assert not files.are_there(str(tmp_path), ["a", "b"])
