"""Encrypted checkpoints: nothing in the directory can be read, a driver that has the key goes on, and no other one."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

import pytest

from headwater import SparkConf, SparkContext
from headwater.base.cipher import WrongKeyException
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming import StreamingContext

REPOSITORY = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("marked.py")
PATIENCE_SECONDS = 60.0
MARKER = "marker-93b1c0de"
KEY, OTHER_KEY = bytes(range(100, 132)), bytes(range(200, 232))
# What is in the directory, and by which names.
KINDS = {
    "checkpoints": "checkpoint-*",
    "programs": "program-*",
    "driver's log": "receivedBlockMetadata/*/log-*",
    "receivers' log": "receivedData/*/log-*",
    "states": "state/*/*/p*",
    "RDDs": "*/rdd-*/part-*",
}


def run(root: Path, settings: dict[str, str], records: int) -> dict[str, int]:
    """Run the program until it has counted so many records and has died; returns its counts."""
    for name in ("in", "scratch"):
        (root / name).mkdir(exist_ok=True)
    settings = {
        "spark.local.dir": str(root / "scratch"),
        "spark.streaming.receiver.writeAheadLog.enable": "true",
        "headwater.streaming.checkpoint.interval": "300ms",
        "headwater.streaming.failure.policy": "stop",
        **settings,
    }
    (root / "records").write_text(str(records))
    command = [sys.executable, str(PROGRAM), str(root), MARKER, json.dumps(settings)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    counts: dict[str, int] = json.loads((root / "counts").read_text())
    return counts


def readable(root: Path) -> dict[str, bool]:
    """By kind, whether the marker can be read in a file of it."""
    found = {kind: list((root / "checkpoints").glob(pattern)) for kind, pattern in KINDS.items()}
    assert all(found.values()), found
    return {kind: any(MARKER.encode() in path.read_bytes() for path in paths) for kind, paths in found.items()}


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an encrypted program was killed."""
    root = tmp_path_factory.mktemp("killed")
    (root / "key").write_bytes(KEY)
    run(root, {"headwater.encryption.keyFile": str(root / "key")}, 4)
    return root


@pytest.fixture
def root(tmp_path: Path, killed: Path) -> Path:
    """A copy of that, with the key's file in the same place."""
    (killed / "key").write_bytes(KEY)
    shutil.copytree(killed, tmp_path, dirs_exist_ok=True)
    return tmp_path


def never() -> NoReturn:
    raise AssertionError("there is a checkpoint")


def go_on(root: Path, setup: Any = never, **more: Any) -> StreamingContext:
    return StreamingContext.getOrCreate(str(root / "checkpoints"), setup, **more)


# ------------------------------------------------------------------------------------------------ with the key
def test_everything_in_the_directory_can_be_read_when_no_key_is_set(tmp_path: Path) -> None:
    run(tmp_path, {}, 4)
    assert readable(tmp_path) == dict.fromkeys(KINDS, True)


def test_nothing_in_the_directory_can_be_read_when_a_key_is_set(killed: Path) -> None:
    assert readable(killed) == dict.fromkeys(KINDS, False)
    everything = [path for path in (killed / "checkpoints").rglob("*") if path.is_file()]
    assert [path for path in everything if MARKER.encode() in path.read_bytes()] == []
    assert [path for path in everything if KEY in path.read_bytes() or KEY.hex().encode() in path.read_bytes()] == []


def test_driver_goes_on_from_an_encrypted_directory_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    # It dies in the batch that has what was received: that is run again, from the receivers' log.
    run(tmp_path, {"headwater.encryption.keyFile": str(tmp_path / "key")}, 3)
    # The next one isn't told where the key is: the directory says so.
    assert run(tmp_path, {}, 8) == {f"{MARKER}-received": 6, f"{MARKER}-file": 2}
    assert readable(tmp_path) == dict.fromkeys(KINDS, False)


def test_driver_goes_on_encrypted_from_a_directory_that_was_not(tmp_path: Path) -> None:
    run(tmp_path, {}, 4)
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "spark-defaults.conf").write_text(f"headwater.encryption.keyFile {tmp_path}/key\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONF_DIR", str(tmp_path))
        assert run(tmp_path, {}, 8) == {f"{MARKER}-received": 6, f"{MARKER}-file": 2}
    newest = max((tmp_path / "checkpoints").glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.split("-")[2]))
    assert MARKER.encode() not in newest.read_bytes()


# ------------------------------------------------------------------------------------------------ without it
def test_wrong_key_is_an_error_that_names_both(no_context: None, root: Path, killed: Path) -> None:
    (killed / "key").write_bytes(OTHER_KEY)
    with pytest.raises(WrongKeyException, match="is encrypted with the key of id .*, and the key that is set has id"):
        go_on(root)


def test_missing_key_is_an_error_that_names_its_setting(no_context: None, root: Path, killed: Path) -> None:
    (killed / "key").unlink()
    with pytest.raises(IllegalArgumentException, match=r"headwater\.encryption\.keyFile: .*/key can't be read"):
        go_on(root)


def test_no_key_is_an_error_that_names_the_settings(no_context: None, root: Path) -> None:
    (root / "checkpoints" / "encryption.json").unlink()
    with pytest.raises(WrongKeyException, match=r"no key is set. Name that key by headwater\.encryption\.keyFile"):
        go_on(root)


def test_context_without_the_key_does_not_go_on_in_the_clear(no_context: None, root: Path) -> None:
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("tests")
    with pytest.raises(WrongKeyException, match="what the checkpoint directory .* holds is encrypted .* no key is set"):
        go_on(root, lambda: StreamingContext(SparkContext(conf=conf), 0.2), upgrade=True)


def test_key_named_here_counts_more_than_what_the_directory_says(
    no_context: None, root: Path, killed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (killed / "key").unlink()
    (root / "spark-defaults.conf").write_text("headwater.encryption.keyVariable THE_KEY\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(root))
    monkeypatch.setenv("THE_KEY", KEY.hex())
    ssc = go_on(root)
    ssc.stop()


@pytest.mark.parametrize("kind", ["checkpoint", "program"])
def test_changed_file_is_no_checkpoint(no_context: None, root: Path, kind: str) -> None:
    for path in (root / "checkpoints").glob(f"{kind}-*"):
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
    with pytest.raises(SparkException, match=f"Failed to read checkpoint from directory .*{kind}-.* was changed"):
        go_on(root)


def test_damaged_header_of_the_newest_checkpoint_is_not_taken_for_another_key(no_context: None, root: Path) -> None:
    newest = max((root / "checkpoints").glob("checkpoint-*[0-9]"), key=lambda path: int(path.name.split("-")[2]))
    data = bytearray(newest.read_bytes())
    data[5] ^= 1  # of the key's id
    newest.write_bytes(data)
    ssc = go_on(root)
    ssc.stop()
