"""Who can read and write what is in a directory for checkpoints, and what is done where others can."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from headwater.errors import IllegalStateException
from headwater.filesystem import resolve_private, write_whole
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.lock import lock_directory
from headwater.streaming.recovery.log import LogWriter
from tests.engine.strangers import shared_directory, stranger
from tests.streaming.recovery.disks import child

PROGRAM = """
import os, sys
from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext

os.umask(0)
conf = SparkConf(loadDefaults=False).setMaster("local[1]").setAppName("private")
conf.set("spark.local.dir", f"{sys.argv[1]}/scratch")
ssc = StreamingContext(SparkContext(conf=conf), 0.1)
ssc.checkpoint(f"{sys.argv[1]}/below/checkpoints")
ssc.queueStream([[("a", 1)]] * 3).updateStateByKey(lambda new, old: sum(new) + (old or 0)).foreachRDD(
    lambda time, rdd: rdd.count()
)
ssc.start()
rdd = ssc.sparkContext.parallelize([1]).map(lambda x: x)
rdd.checkpoint()
rdd.count()
while not any(files for path, _, files in os.walk(f"{sys.argv[1]}/below/checkpoints/state")):
    ssc.awaitTermination(0.1)
for path, directories, files in os.walk(sys.argv[1]):
    for name in (*directories, *files):
        mode = os.lstat(os.path.join(path, name)).st_mode & 0o777
        print("MODE", oct(mode), name in directories, os.path.join(path, name))
ssc.stop()
"""


def test_what_is_written_below_a_directory_for_checkpoints_is_its_owners_alone_whatever_the_umask(
    tmp_path: Path,
) -> None:
    lines = [line.split(" ", 3)[1:] for line in child(PROGRAM, tmp_path) if line.startswith("MODE")]
    modes = {path: mode for mode, is_directory, path in lines if "/below" in path and is_directory == "True"}
    assert set(modes.values()) == {"0o700"} and f"{tmp_path}/below/checkpoints" in modes
    files = {path: mode for mode, is_directory, path in lines if "/below" in path and is_directory == "False"}
    assert set(files.values()) == {"0o600"}
    kinds = ("driver.lock", "program-1", "/state/", "/receivedBlockMetadata/", "/part-00000", "/checkpoint-")
    assert [kind for kind in kinds if not any(kind in path for path in files)] == []


# ------------------------------------------------------------------------------------------------ planted links
@pytest.fixture
def victim(tmp_path: Path) -> Path:
    file = tmp_path / "victim"
    file.write_text("what a link leads to")
    return file


def test_file_of_ours_is_not_written_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "checkpoint.tmp").symlink_to(victim)
    (tmp_path / "checkpoint").symlink_to(victim)
    write_whole(str(tmp_path / "checkpoint"), b"new")
    assert (tmp_path / "checkpoint").read_bytes() == b"new"
    assert victim.read_text() == "what a link leads to"


def test_file_that_somebody_holds_open_under_our_name_is_not_the_one_that_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "checkpoint.tmp", "w+") as planted:
        write_whole(str(tmp_path / "checkpoint"), b"new")
        assert planted.read() == ""
    assert stat.S_IMODE(os.stat(tmp_path / "checkpoint").st_mode) == 0o600


def test_lock_of_a_directory_is_not_taken_through_a_link(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "driver.lock").symlink_to(victim)
    with pytest.raises(OSError, match=r"symbolic links.*driver.lock"):
        lock_directory(str(tmp_path))
    assert victim.read_text() == "what a link leads to"


# ------------------------------------------------------------------------------------------------ who else can write
def test_directory_that_is_made_is_its_owners_alone(tmp_path: Path) -> None:
    lock_directory(str(tmp_path / "above" / "checkpoints")).close()
    LogWriter(str(tmp_path / "logs" / "1")).close()
    made = [path for path in tmp_path.rglob("*") if path.is_dir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in made} == {0o700} and len(made) == 4


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o750])
def test_directory_to_which_only_its_owner_can_write_is_taken_as_it_is(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    tmp_path.chmod(mode)
    lock_directory(str(tmp_path)).close()
    assert caplog.text == "" and stat.S_IMODE(tmp_path.stat().st_mode) == mode


@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_directory_of_ours_to_which_everybody_can_write_is_warned_about_once(
    tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    write_whole(str(tmp_path / "checkpoint"), b"ours")
    tmp_path.chmod(mode)
    lock_directory(str(tmp_path)).close()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == (
        f"everybody can write to the checkpoint directory {tmp_path}, and so have this program run any code. Take that "
        f"from them: chmod go-w {tmp_path}"
    )


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@as_root
def test_directory_of_a_group_is_warned_about(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    os.chown(tmp_path, -1, 65534)
    tmp_path.chmod(0o2775)
    lock_directory(str(tmp_path)).close()
    assert f"its group can write to the checkpoint directory {tmp_path}" in caplog.text


@as_root
def test_directory_of_another_user_to_which_everybody_can_write_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, -1)
    tmp_path.chmod(0o777)
    with pytest.raises(IllegalStateException, match=f"everybody can write to the checkpoint directory {tmp_path}"):
        lock_directory(str(tmp_path))
    lock_directory(str(tmp_path / "own")).close()  # as the message says


@as_root
@pytest.mark.parametrize("planted", [("touch",), ("mkdir",), ("ln", "-s", "/etc/passwd")])
def test_directory_in_which_everybody_can_write_and_somebody_has_is_refused(
    planted: tuple[str, ...],
) -> None:
    with shared_directory() as directory:
        system, path = resolve_private(str(directory / "state"))
        system.make_directory(path)
        checkpoint.write_program(str(directory), 1, b"ours")
        stranger(*planted, directory / "program-2")
        with pytest.raises(IllegalStateException, match=f"{directory}/program-2 isn't this user's"):
            lock_directory(str(directory))
