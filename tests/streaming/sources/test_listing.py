"""Listing directories incrementally, on the real file system and in fsspec's memory."""

from __future__ import annotations

import os
import shutil
import uuid

import fsspec
import pytest

from headwater import filesystem
from headwater.streaming.sources import listing as listing_module
from headwater.streaming.sources.listing import DirectoryLister


def names(paths):
    return sorted(path.rpartition("/")[2] for path in paths)


def look(lister, settled=lambda file: True):
    """The names of the files that were looked at, and of those that are gone; all are settled then."""
    found = lister.list()
    lister.settle(settled)
    return names(file.path for file in found.files), names(found.gone)


@pytest.fixture
def in_turns(monkeypatch):
    """Directories are large from the first file on."""
    monkeypatch.setattr(listing_module, "SETTLED_IN_FULL_MAX", 0)


def test_settled_file_is_looked_at_once_a_turn_and_a_new_one_at_once(tmp_path, in_turns) -> None:
    for number in range(50):
        (tmp_path / f"old-{number}").touch()
    lister = DirectoryLister(str(tmp_path), turns=5)
    assert len(look(lister)[0]) == 50
    (tmp_path / "new").touch()
    looks = [look(lister) for _ in range(5)]
    assert sorted(name for found, _ in looks for name in found if name != "new") == names(
        f"old-{number}" for number in range(50)
    )
    assert "new" in looks[0][0]
    assert {len(gone) for _, gone in looks} == {0}


def test_replaced_file_is_looked_at_at_once(tmp_path, in_turns) -> None:
    (tmp_path / "a").write_text("1")
    lister = DirectoryLister(str(tmp_path), turns=10**9)
    look(lister)
    (tmp_path / "b").write_text("2")
    os.replace(tmp_path / "b", tmp_path / "a")
    assert look(lister) == (["a"], [])


def test_small_directory_is_looked_at_in_full(tmp_path) -> None:
    (tmp_path / "a").touch()
    lister = DirectoryLister(str(tmp_path), turns=10**9)
    assert [look(lister)[0] for _ in range(3)] == [["a"]] * 3


@pytest.mark.parametrize("settled", [True, False])
def test_gone_are_files_that_were_listed_before(tmp_path, settled) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    lister = DirectoryLister(str(tmp_path), turns=1)
    look(lister, lambda file: settled)
    (tmp_path / "a").unlink()
    (tmp_path / "b").rename(tmp_path / "d")
    assert [look(lister, lambda file: settled) for _ in range(2)] == [(["c", "d"], ["a", "b"]), (["c", "d"], [])]


def test_directory_that_vanishes_takes_its_files_along(tmp_path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").touch()
    lister = DirectoryLister(str(tmp_path / "d"), turns=1)
    look(lister)
    shutil.rmtree(tmp_path / "d")
    assert [look(lister), look(lister)] == [([], ["a"]), ([], [])]


def test_missing_directory_is_warned_of_once_each_time_that_it_is_missing(tmp_path, caplog) -> None:
    lister = DirectoryLister(str(tmp_path / "d*"), turns=1)
    look(lister)
    look(lister)
    (tmp_path / "d1").mkdir()
    look(lister)
    (tmp_path / "d1").rmdir()
    look(lister)
    assert caplog.messages == [f"No directory file:{tmp_path}/d*: there are no files until there is one"] * 2


def test_listing_that_fails_changes_nothing(tmp_path, monkeypatch) -> None:
    for directory in ("d1", "d2"):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "a").touch()
    lister = DirectoryLister(str(tmp_path / "d*"), turns=1)
    look(lister)
    (tmp_path / "d1" / "a").unlink()
    scan = filesystem.LocalFileSystem.scan

    def fail(self, path, settled, **turns):
        if path.endswith("d2"):
            raise PermissionError(path)
        return scan(self, path, settled, **turns)

    with monkeypatch.context() as broken:
        broken.setattr(filesystem.LocalFileSystem, "scan", fail)
        with pytest.raises(PermissionError):
            lister.list()
    assert look(lister) == (["a"], ["a"])


def test_hidden_names_directories_and_dangling_links_are_no_files(tmp_path) -> None:
    for name in (".a", "_b", "c"):
        (tmp_path / name).touch()
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "c")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    assert look(DirectoryLister(str(tmp_path), turns=1)) == (["c", "link"], [])


def test_path_is_understood_where_the_stream_was_made(tmp_path, monkeypatch) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a").touch()
    monkeypatch.chdir(tmp_path)
    lister = DirectoryLister("d", turns=1)
    monkeypatch.chdir("/")
    assert [file.path for file in lister.list().files] == [str(tmp_path / "d" / "a")]


@pytest.mark.parametrize("pattern", ["{root}/d1", "{root}/d*", "{root}/{{d1,d2}}"])
def test_urls_and_globs_of_urls_are_listed(pattern) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    for path in ("d1/a", "d1/_hidden", "d1/below/b", "d2.txt"):
        memory.pipe(f"{root}/{path}", b"content")
    lister = DirectoryLister(pattern.format(root=root), turns=1)
    found = lister.list().files
    assert [(file.path, file.size, file.mtime_ms > 0) for file in found] == [(f"{root}/d1/a", 7, True)]
    lister.settle(lambda file: True)
    memory.rm(f"{root}/d1/a")
    assert look(lister) == ([], ["a"])


def test_url_of_no_known_kind_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="nosuch"):
        DirectoryLister("nosuch://bucket/directory", turns=1)
