"""A program that begins anew in a used directory loses nothing of what others have left there."""

from __future__ import annotations

from pathlib import Path

import pytest

from headwater.deploy.cli import main
from headwater.streaming.recovery.lock import lock_directory
from tests.streaming.recovery.driving import Results, put
from tests.streaming.recovery.scripts import run_script

COUNTING = """
def define(ssc):
    pairs = ssc.textFileStream(str(root / "in")).map(lambda line: (line, 1))
    pairs.updateStateByKey(count, 2).foreachRDD(results.of("counts"))
"""
RECEIVING = """
from headwater.streaming import Receiver

class Once(Receiver):
    def onStart(self):
        if not (root / "stored").exists():
            self.store(["received"])
            (root / "stored").touch()
    def onStop(self):
        pass

def define(ssc):
    ssc.receiverStream(Once()).foreachRDD(results.of("received"))
"""
GOING_ON = """
driver = Driver(root / conf.get("directory"), define).start(1000 * int(conf.get("batch")) - 400)
while conf.get("wait") and not (root / "stored").exists():
    pass
driver.until(int(conf.get("batch"))) if not conf.get("wait") else None
die()
"""
ANEW = """
ssc = StreamingContext(sc, 1)
ssc.textFileStream(str(root / "other")).foreachRDD(lambda rdd: None)
ssc.checkpoint(str(root / "checkpoints"))
ssc.start()
ssc.stop()
die()
"""
LOG = "spark.streaming.receiver.writeAheadLog.enable=true"


def go_on(root: Path, program: str, batch: int, directory: str = "checkpoints", *settings: str) -> str:
    return run_script(root, program + GOING_ON, f"batch={batch}", f"directory={directory}", *settings)


def aside(root: Path) -> list[str]:
    """The directories that are set aside, the oldest first."""
    return sorted(str(path.relative_to(root)) for path in (root / "checkpoints" / "set-aside").iterdir())


def test_what_was_there_is_set_aside_and_can_be_gone_on_from(tmp_path: Path) -> None:
    put(tmp_path / "in", "1", "a", 900)
    go_on(tmp_path, COUNTING, 1)
    said = run_script(tmp_path, ANEW)
    (name,) = aside(tmp_path)
    assert "checkpoints of 'script', and this context begins anew, as it was not made by getOrCreate" in said
    assert f'StreamingContext.getOrCreate("file:{tmp_path}/{name}", setup) goes on from them' in said
    put(tmp_path / "in", "2", "a", 1900)
    go_on(tmp_path, COUNTING, 2, name)
    assert Results(tmp_path / "results").read("counts")[-1] == [2, [["a", 2]]]


def test_encrypted_checkpoints_are_set_aside_with_word_of_where_their_key_is(
    tmp_path: Path, no_context: None, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "key").write_bytes(bytes(range(100, 132)))
    key = f"headwater.encryption.keyFile={tmp_path}/key"
    put(tmp_path / "in", "1", "a", 900)
    go_on(tmp_path, COUNTING, 1, "checkpoints", key)
    said = run_script(tmp_path, ANEW)
    (name,) = aside(tmp_path)
    assert "checkpoints of 'script', and this context begins anew" in said
    assert main(["checkpoint", str(tmp_path / name)]) == 0  # which isn't told of the key
    assert "script, batches of 1000 ms" in capsys.readouterr().out
    put(tmp_path / "in", "2", "a", 1900)
    go_on(tmp_path, COUNTING, 2, name, key)
    assert Results(tmp_path / "results").read("counts")[-1] == [2, [["a", 2]]]


def test_received_data_is_set_aside_too(tmp_path: Path) -> None:
    go_on(tmp_path, RECEIVING, 1, "checkpoints", LOG, "wait=yes")
    run_script(tmp_path, ANEW)
    (name,) = aside(tmp_path)
    go_on(tmp_path, RECEIVING, 2, name, LOG)
    assert set(Results(tmp_path / "results").records("received")) == {"received"}


def test_program_that_begins_anew_sees_nothing_of_the_old_run(tmp_path: Path) -> None:
    put(tmp_path / "in", "1", "a", 900)
    go_on(tmp_path, COUNTING, 1)
    run_script(tmp_path, ANEW)
    there = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    (program,) = [name for name in there if name.startswith("program-")]
    assert all(int(name.rpartition("-")[2]) >= int(program[8:]) for name in there if name.startswith("checkpoint-"))
    assert list((tmp_path / "checkpoints" / "state").rglob("p0*")) == []


@pytest.mark.parametrize(("kept", "there"), [("2", 2), ("0", 0)])
def test_as_many_are_kept_of_an_application_as_the_setting_says(tmp_path: Path, kept: str, there: int) -> None:
    setting = f"headwater.streaming.checkpoint.setAside={kept}"
    (tmp_path / "checkpoints" / "set-aside" / "other-20200101T000000-7").mkdir(parents=True)
    said = [run_script(tmp_path, ANEW, setting) for _ in range(4)]
    names = aside(tmp_path)
    assert names.pop(0) == "checkpoints/set-aside/other-20200101T000000-7", "another application's"
    assert len(names) == there
    assert "set-aside" not in said[0] and "removed" not in said[0], "there was nothing"
    assert " is removed: of the checkpoints of an application" in said[-1] if there else "are removed, as" in said[-1]


def test_one_that_a_driver_works_with_is_kept(tmp_path: Path) -> None:
    for _ in range(2):
        run_script(tmp_path, ANEW, "headwater.streaming.checkpoint.setAside=1")
    (held,) = aside(tmp_path)
    lock = lock_directory(str(tmp_path / held))
    said = run_script(tmp_path, ANEW, "headwater.streaming.checkpoint.setAside=1")
    lock.close()
    assert f"{held} is kept: " in said and "is in use by process" in said
    assert len(aside(tmp_path)) == 2
