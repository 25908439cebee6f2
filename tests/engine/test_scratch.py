from __future__ import annotations

import fcntl
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import headwater
from headwater.engine.scratch import ScratchDirectory, local_root, memory_root, sweep

ROOT = Path(headwater.__file__).parents[1]


def home(root: Path) -> Path:
    (directory,) = root.iterdir()
    return directory


@contextmanager
def owner(root: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that owns a scratch directory with a block in it, until it's killed."""
    script = """
        import os, sys
        from headwater.engine.scratch import ScratchDirectory
        scratch = ScratchDirectory(sys.argv[1])
        os.makedirs(os.path.join(scratch.path, "memory"))
        with open(os.path.join(scratch.path, "memory", "rdd_0_0"), "w") as block:
            block.write("records")
        print(scratch.path, flush=True)
        sys.stdin.read()
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), str(root)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.communicate()


def test_directory_is_made_for_its_user_alone(tmp_path: Path) -> None:
    scratch = ScratchDirectory(str(tmp_path))
    for directory in (scratch.path, os.path.dirname(scratch.path)):
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    scratch.close()


def test_directory_is_locked_by_its_owner(tmp_path: Path) -> None:
    scratch = ScratchDirectory(str(tmp_path))
    with open(os.path.join(scratch.path, ".lock")) as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    scratch.close()


def test_directory_is_removed_with_all_that_is_in_it_when_it_is_closed(tmp_path: Path) -> None:
    scratch = ScratchDirectory(str(tmp_path))
    os.makedirs(os.path.join(scratch.path, "spill", "task"))
    Path(scratch.path, "spill", "task", "1.spill").write_text("records")
    scratch.close()
    assert list(home(tmp_path).iterdir()) == []


def test_directories_of_one_process_differ(tmp_path: Path) -> None:
    first, second = ScratchDirectory(str(tmp_path)), ScratchDirectory(str(tmp_path))
    assert first.path != second.path
    first.close()
    assert os.path.isdir(second.path)
    second.close()


def test_directory_of_a_killed_owner_is_swept_by_the_next_start(tmp_path: Path) -> None:
    with owner(tmp_path) as (process, path):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert (path / "memory" / "rdd_0_0").exists()
        scratch = ScratchDirectory(str(tmp_path))
    assert list(home(tmp_path).iterdir()) == [Path(scratch.path)]
    scratch.close()


def test_directory_of_a_live_owner_is_not_touched(tmp_path: Path) -> None:
    with owner(tmp_path) as (_process, path):
        ScratchDirectory(str(tmp_path)).close()
        assert (path / "memory" / "rdd_0_0").read_text() == "records"


def test_directory_whose_lock_is_held_by_who_inherited_it_is_not_touched(tmp_path: Path) -> None:
    """The warden outlives its owner for as long as it cleans up."""
    scratch = ScratchDirectory(str(tmp_path))
    heir = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, pass_fds=[scratch.lock_fd]
    )
    os.close(scratch.lock_fd)
    sweep(str(home(tmp_path)))
    assert os.path.isdir(scratch.path)
    heir.communicate()
    sweep(str(home(tmp_path)))
    assert not os.path.exists(scratch.path)


def test_sweep_passes_over_what_is_not_a_scratch_directory(tmp_path: Path) -> None:
    (tmp_path / "app-without-a-lock").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "app-file").write_text("")
    sweep(str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("configured", "root"), [("/a/b", "/a/b"), (" /a , /b", "/a"), ("/a/../b", "/b"), ("/a/", "/a")]
)
def test_local_root_is_the_first_directory_configured(configured: str, root: str) -> None:
    assert local_root(configured) == root


def test_local_root_is_the_systems_temporary_directory_when_none_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert local_root(None) == str(tmp_path)


def test_memory_root_is_none_when_there_is_no_memory_file_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headwater.engine.scratch.MEMORY_FILE_SYSTEM", "/there/is/none")
    assert memory_root() is None


def test_memory_root_is_none_when_it_is_too_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("headwater.engine.scratch.MEMORY_FILE_SYSTEM", str(tmp_path))
    assert memory_root() == str(tmp_path)
    monkeypatch.setattr("headwater.engine.scratch.MEMORY_BYTES_MIN", 1 << 62)
    assert memory_root() is None
