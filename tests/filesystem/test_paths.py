from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest

from headwater.errors import SparkException
from headwater.filesystem import (
    FileAlreadyExistsException,
    InvalidInputException,
    OutputDirectory,
    exists,
    list_files,
    open_raw,
    open_read,
    open_write,
    options,
    qualify,
    resolve,
)
from headwater.filesystem.retries import may_pass


@pytest.fixture(params=["local", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty directory, on the disk or in fsspec's memory."""
    if request.param == "local":
        return str(tmp_path)
    pytest.importorskip("fsspec")
    return f"memory://{uuid.uuid4().hex}"


def _write(path: str, content: bytes = b"x") -> None:
    filesystem, resolved = resolve(os.path.dirname(path))
    if not filesystem.exists(resolved):
        filesystem.make_directory(resolved)
    with open_write(path) as file:
        file.write(content)


def _names(path: str, root: str) -> list[str]:
    base = resolve(root)[0].openable(resolve(root)[1])
    return [file.path.removeprefix(base) for file in list_files(path)]


@pytest.mark.parametrize("path", ["/a/b", "file:/a/b", "file:///a/b", "file://localhost/a/b", "/a/c/../b/"])
def test_path_of_a_local_file_is_qualified_as_hadoop_does(path: str) -> None:
    assert resolve(path)[1] == "/a/b"
    assert qualify(path) == "file:/a/b"


def test_path_that_is_relative_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert qualify("in/a") == f"file:{tmp_path}/in/a"
    assert OutputDirectory("out").path == f"{tmp_path}/out"


def test_local_paths_need_no_fsspec(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    program = f"""
import sys
from headwater.filesystem import list_files, open_read
open_read(list_files("file:{tmp_path}")[0].path).read()
print([name for name in sys.modules if name.startswith("fsspec")])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed == "[]\n"


def test_list_files_of_a_directory_skips_what_is_not_data(root: str) -> None:
    for name in ("b", "a", "_SUCCESS", ".b.crc", "_temporary/0", ".hidden/x"):
        _write(f"{root}/in/{name}")
    assert _names(f"{root}/in", root) == ["/in/a", "/in/b"]


def test_list_files_takes_commas_globs_and_braces(root: str) -> None:
    for name in ("1/a.txt", "1/b.txt", "2/a.txt", "2/c.csv", "3/d.txt", "_4/a.txt"):
        _write(f"{root}/{name}")
    assert _names(f"{root}/3/d.txt,{root}/1/*.txt", root) == ["/3/d.txt", "/1/a.txt", "/1/b.txt"]
    assert _names(f"{root}/[^13]/*", root) == ["/2/a.txt", "/2/c.csv"]
    assert _names(f"{root}/{{1,2}}/a.*", root) == ["/1/a.txt", "/2/a.txt"]
    assert _names(f"{root}/?", root) == ["/1/a.txt", "/1/b.txt", "/2/a.txt", "/2/c.csv", "/3/d.txt"]


def test_list_files_tells_size_and_time(root: str) -> None:
    _write(f"{root}/in/a", b"12345")
    (file,) = list_files(f"{root}/in/a")
    assert file.size == 5
    assert file.mtime_ms > 1_600_000_000_000


def test_list_files_takes_a_name_that_looks_like_a_glob(tmp_path: Path) -> None:
    (tmp_path / "a[1].txt").write_text("x")
    assert _names(f"{tmp_path}/a[1].txt", str(tmp_path)) == ["/a[1].txt"]


def test_list_files_of_a_missing_path_says_so_as_spark_does(tmp_path: Path) -> None:
    with pytest.raises(SparkException, match=f"^Input path does not exist: file:{tmp_path}/no$"):
        list_files(f"{tmp_path}/no")
    with pytest.raises(InvalidInputException, match=f"Input Pattern file:{tmp_path}/\\*\\.no matches 0 files"):
        list_files(f"{tmp_path}/*.no")
    with pytest.raises(InvalidInputException, match="Input path does not exist: memory://"):
        list_files("memory://nothing/here")


def test_list_files_refuses_a_directory_in_a_directory(root: str) -> None:
    _write(f"{root}/in/deep/a")
    with pytest.raises(InvalidInputException, match=r"^Not a file: .*/in/deep\. .*/in/\*$"):
        list_files(f"{root}/in")
    assert _names(f"{root}/in/*", root) == ["/in/deep/a"]


def test_list_files_takes_what_is_in_directories_when_asked_for(root: str) -> None:
    for name in ("deep/deeper/a", "deep/b", "c", "_temporary/no"):
        _write(f"{root}/in/{name}")
    found = [file.path for file in list_files(f"{root}/in", recursive=True)]
    assert [path[path.index("/in/") :] for path in found] == ["/in/c", "/in/deep/b", "/in/deep/deeper/a"]


def test_open_of_a_missing_file_says_so(root: str) -> None:
    with pytest.raises(InvalidInputException, match="Input path does not exist: "):
        open_read(f"{root}/no")


def test_output_appears_part_by_part_and_succeeds_at_last(root: str) -> None:
    output = OutputDirectory(f"{root}/out")
    output.prepare()
    in_task: OutputDirectory = pickle.loads(pickle.dumps(output))
    for partition in (0, 1):
        with open_write(in_task.task_path(partition, 0, ".txt")) as file:
            file.write(b"%d" % partition)
    assert in_task.commit_task(1, 0, ".txt").endswith("/out/part-00001.txt")
    assert _names(f"{root}/out", root) == ["/out/part-00001.txt"]
    in_task.commit_task(0, 0, ".txt")
    assert not exists(f"{root}/out/_SUCCESS")
    output.commit()
    assert _names(f"{root}/out", root) == ["/out/part-00000.txt", "/out/part-00001.txt"]
    assert exists(f"{root}/out/_SUCCESS")
    assert not exists(f"{root}/out/_temporary")


def test_output_of_a_second_attempt_replaces_the_first(root: str) -> None:
    output = OutputDirectory(f"{root}/out")
    output.prepare()
    for attempt in (0, 1):
        with open_write(output.task_path(7, attempt)) as file:
            file.write(b"attempt %d" % attempt)
        output.commit_task(7, attempt)
    with open_read(f"{root}/out/part-00007") as part:
        assert part.read() == b"attempt 1"


def test_output_of_an_attempt_is_removed_when_the_attempt_is_given_up(root: str) -> None:
    output = OutputDirectory(f"{root}/out")
    output.prepare()
    _write(output.task_path(0, 0))
    output.abort_task(0, 0)
    output.abort_task(0, 1)
    assert not exists(output.task_path(0, 0))


def test_output_directory_that_exists_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    output = OutputDirectory(f"{tmp_path}/out")
    with pytest.raises(FileAlreadyExistsException, match=f"Output directory file:{tmp_path}/out already exists"):
        output.prepare()
    output.abort()
    assert (tmp_path / "out").exists()


def test_output_directory_in_memory_that_exists_is_refused(root: str) -> None:
    _write(f"{root}/out/part-00000")
    with pytest.raises(FileAlreadyExistsException, match=r"Output directory .*/out already exists"):
        OutputDirectory(f"{root}/out").prepare()


def test_output_that_is_aborted_leaves_nothing(root: str) -> None:
    output = OutputDirectory(f"{root}/out")
    output.prepare()
    _write(output.task_path(0, 0))
    output.commit_task(0, 0)
    _write(output.task_path(1, 0))
    output.abort()
    assert not exists(f"{root}/out")
    output.abort()


def test_output_that_is_aborted_leaves_what_others_wrote(tmp_path: Path) -> None:
    output = OutputDirectory(f"{tmp_path}/out")
    output.prepare()
    (tmp_path / "out" / "notes").write_text("keep")
    output.abort()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes"]


def test_output_of_a_late_attempt_is_refused_after_an_abort(tmp_path: Path) -> None:
    output = OutputDirectory(f"{tmp_path}/out")
    output.prepare()
    _write(output.task_path(0, 0))
    output.abort()
    with pytest.raises(FileNotFoundError):
        output.commit_task(0, 0)
    with pytest.raises(FileNotFoundError):
        open_write(output.task_path(0, 1))


@pytest.mark.parametrize(
    "told, passes", [("Connection refused (os error 111)", True), ("Is a file (os error 21)", False)]
)
def test_error_that_is_told_by_its_text_is_tried_again_if_its_number_may_pass(told: str, passes: bool) -> None:
    assert may_pass(OSError(told)) is passes


def test_name_node_in_safe_mode_is_asked_again() -> None:
    assert may_pass(RuntimeError("Cannot create file/a. Name node is in safe mode."))
    assert not may_pass(RuntimeError("Cannot create file/a. Quota is exceeded."))


@pytest.mark.parametrize("encrypted", [False, True])
def test_large_file_waits_on_disk_for_its_upload_unless_what_is_there_must_be_encrypted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(options, "_settings", {"spark.io.encryption.enabled": str(encrypted)})
    path, content = f"memory://{uuid.uuid4().hex}/file", b"line\n" * 2_000_000
    with open_write(path) as file:
        for start in range(0, len(content), 1 << 20):
            file.write(content[start : start + (1 << 20)])
        assert bool(list(tmp_path.iterdir())) is not encrypted
    with open_raw(path) as written:
        assert written.read() == content
