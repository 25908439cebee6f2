"""Scratch directories where other users can write: what they have put there is neither used nor hurt."""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

import headwater
from headwater.engine.scratch import ScratchDirectory
from tests.engine.applications import running
from tests.engine.strangers import shared_directory, stranger
from tests.engine.test_scratch import owner

ROOT = Path(headwater.__file__).parents[1]
NAME = f"headwater-{os.geteuid()}"


@pytest.fixture
def shared() -> Iterator[Path]:
    with shared_directory() as directory:
        yield directory


def take_home(shared: Path, mode: str = "777") -> Path:
    """A stranger makes the directory that would be this user's."""
    stranger("mkdir", "-m", mode, shared / NAME)
    return shared / NAME


def dead_directory(directory: Path, name: str) -> Path:
    """What a killed application has left: its lock is free."""
    dead = directory / name
    dead.mkdir(mode=0o700)
    (dead / ".lock").touch()
    (dead / "rdd_0_0").write_text("records")
    return dead


# ------------------------------------------------------------------------------------------------ the user's home
@pytest.mark.parametrize("mode", ["777", "770", "755"])
def test_home_that_others_may_write_or_read_is_not_used(shared: Path, mode: str) -> None:
    home = take_home(shared, mode)
    scratch = ScratchDirectory(str(shared))
    assert os.path.dirname(scratch.path) == str(shared) and Path(scratch.path).name.startswith(f"{NAME}-app-")
    found = os.stat(scratch.path)
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o700)
    assert list(home.iterdir()) == []
    scratch.close()
    assert not os.path.exists(scratch.path)


def test_home_that_another_user_keeps_for_himself_hinders_no_start(shared: Path) -> None:
    take_home(shared, "700")
    with running("local[1]", shared) as app:
        assert app.works()


def test_home_that_is_a_link_is_not_used_wherever_it_leads(shared: Path, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    stranger("ln", "-s", tmp_path, shared / NAME)
    scratch = ScratchDirectory(str(shared))
    assert Path(scratch.path).parent == shared
    assert list(tmp_path.iterdir()) == []
    scratch.close()


def test_home_that_is_not_used_is_reported_once_with_the_reason_and_the_remedy(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = take_home(shared)
    for _ in range(2):
        ScratchDirectory(str(shared)).close()
    reason = "its mode is 0777, so that others may have put something there"
    if os.geteuid() == 0:
        reason = "it belongs to user 65534"
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{home} isn't used, since {reason}. Files go to {home}-app-... Have it removed: rm -r {home}"
    ]


def test_root_whose_entries_others_can_rename_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o777)
    ScratchDirectory(str(tmp_path)).close()
    assert f"others can rename Headwater's files in {tmp_path}" in caplog.text and f"chmod +t {tmp_path}" in caplog.text


def test_root_like_the_systems_temporary_directory_is_not_warned_about(
    shared: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ScratchDirectory(str(shared)).close()
    assert caplog.text == ""


# ------------------------------------------------------------------------------------------------ the sweep
def test_directory_beside_a_home_that_was_taken_is_swept_when_its_owner_was_killed(shared: Path) -> None:
    home = take_home(shared)
    with owner(shared) as (process, path):
        scratch = ScratchDirectory(str(shared))
        assert (path / "memory" / "rdd_0_0").read_text() == "records"  # its owner lives
        scratch.close()
        process.send_signal(signal.SIGKILL)
        process.wait()
    stranger("rmdir", home)
    ScratchDirectory(str(shared)).close()
    assert list(shared.iterdir()) == [home]


def test_sweep_leaves_alone_what_a_stranger_has_made(shared: Path, tmp_path: Path) -> None:
    ours = dead_directory(tmp_path, "app-dead")
    stranger("ln", "-s", ours, shared / f"{NAME}-app-link")
    stranger("mkdir", "-m", "777", shared / f"{NAME}-app-directory")
    stranger("touch", shared / f"{NAME}-app-directory" / ".lock")
    ScratchDirectory(str(shared)).close()
    assert (ours / "rdd_0_0").read_text() == "records"
    assert sorted(path.name for path in shared.iterdir()) == [NAME, f"{NAME}-app-directory", f"{NAME}-app-link"]


def test_sweep_does_not_take_a_lock_through_a_link(shared: Path, tmp_path: Path) -> None:
    dead = dead_directory(shared, f"{NAME}-app-dead")
    (dead / ".lock").unlink()
    (tmp_path / "lock").touch()
    (dead / ".lock").symlink_to(tmp_path / "lock")
    with open(tmp_path / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ScratchDirectory(str(shared)).close()
    assert dead.exists()


# ------------------------------------------------------------------------------------------------ programs of ours
@pytest.mark.parametrize("master", ["local[1]", "local-cluster[1,1,512]"])
def test_workers_and_executors_import_nothing_from_the_working_directory(tmp_path: Path, master: str) -> None:
    """A program started in /tmp must not run a `pickle.py` that is there."""
    (tmp_path / "pickle.py").write_text("raise SystemExit('a stranger runs code')\n")
    (tmp_path / "program").mkdir()
    program = tmp_path / "program" / "app.py"
    program.write_text(
        textwrap.dedent("""
        import sys
        from headwater import SparkContext
        with SparkContext(sys.argv[1], "app") as sc:
            print(sc.parallelize(range(4), 2).map(lambda x: x + 1).sum())
        """)
    )
    command = [sys.executable, str(program), master]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60)
    assert (done.stdout, "a stranger" in done.stderr) == ("10\n", False)
