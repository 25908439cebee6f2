"""A batch that ends every driver: it is found by the command line, and dropped for good."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from headwater.deploy.cli import main
from tests.streaming.recovery.driving import START_MS, Results, put
from tests.streaming.recovery.scripts import ended_script, run_script

PROGRAM = """
def define(ssc):
    lines = ssc.textFileStream(str(root / "in"))
    written = results.of("lines")

    def write(time, rdd):
        if "poison" in rdd.collect():
            die()
        written(time, rdd)

    lines.foreachRDD(write)
    pairs = lines.map(lambda line: (line, 1))
    add = lambda a, b: a + b
    pairs.reduceByKeyAndWindow(add, None, 3, 1).foreachRDD(results.of("plain"))
    pairs.reduceByKeyAndWindow(add, lambda a, b: a - b, 3, 1).foreachRDD(results.of("inverse"))
    pairs.updateStateByKey(count).foreachRDD(results.of("state"))

driver = Driver(root / "checkpoints", define)
driver.start(1000 * int(conf.get("batch")) - 400).until(int(conf.get("until")))
die()
"""
POISON_MS = START_MS + 2000


@pytest.fixture
def root(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """The directory of a program that has died of the batch at 2 s, twice; encrypted, if a test asks for that."""
    settings = []
    if getattr(request, "param", ""):
        (tmp_path / "key").write_bytes(bytes(range(100, 132)))
        settings = [f"headwater.encryption.keyFile={tmp_path}/key"]
    put(tmp_path / "in", "1", "good", 900)
    put(tmp_path / "in", "2", "poison", 1900)
    run_script(tmp_path, PROGRAM, "batch=1", "until=2", *settings)
    put(tmp_path / "in", "3", "good", 2900)
    run_script(tmp_path, PROGRAM, "batch=3", "until=3", *settings)
    assert "poison" not in Results(tmp_path / "results").records("lines")
    assert [3, ["good"]] not in Results(tmp_path / "results").read("lines")
    return tmp_path


def test_batch_that_ends_every_driver_is_shown_and_when_it_is_dropped_the_next_goes_on(
    root: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert main(["checkpoint", str(root / "checkpoints")]) == 0
    shown = capsys.readouterr().out
    assert "script, batches of 1000 ms, the last one at" in shown
    assert f"  {POISON_MS} ms (2023-11-14 22:13:22 UTC)\n    input-0: " in shown and "/in/2" in shown
    with caplog.at_level(logging.WARNING):
        assert main(["checkpoint", str(root / "checkpoints"), "--drop", str(POISON_MS)]) == 0
    assert f"dropped: the batch of {POISON_MS} ms" in capsys.readouterr().out
    assert f"dropped: the batch of {POISON_MS} ms" in caplog.text and "/in/2" in caplog.text
    assert main(["checkpoint", str(root / "checkpoints")]) == 0
    assert f"  {POISON_MS} ms" not in capsys.readouterr().out
    for batch in (4, 5):
        run_script(root, PROGRAM, f"batch={batch}", f"until={batch}")
    results = Results(root / "results")
    assert [3, ["good"]] in results.read("lines")
    assert "poison" not in results.records("lines")
    assert results.read("plain")[-1] == results.read("inverse")[-1] == [5, [["good", 1]]]
    assert results.read("state")[-1] == [5, [["good", 2]]]


@pytest.mark.parametrize("root", ["encrypted"], indirect=True)
def test_batch_of_an_encrypted_directory_is_dropped_by_the_key_that_it_names(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["checkpoint", str(root / "checkpoints")]
    assert main([*command, "--drop", str(POISON_MS)]) == 0
    capsys.readouterr()
    assert main(command) == 0
    assert f"  {POISON_MS} ms" not in capsys.readouterr().out
    newest = max((root / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[2]))
    assert b"pending" not in newest.read_bytes()


def test_drop_changes_nothing_when_one_of_the_batches_is_not_pending(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(path.name for path in (root / "checkpoints").iterdir())
    directory = str(root / "checkpoints")
    assert main(["checkpoint", directory, "--drop", str(POISON_MS), "--drop", "5"]) == 2
    assert "the batch 5 isn't pending. Those that are: " in capsys.readouterr().err
    assert sorted(path.name for path in (root / "checkpoints").iterdir()) == before
    code, _ = ended_script(root, PROGRAM, "batch=4", "until=4")
    assert code < 0 and "poison" not in Results(root / "results").records("lines")


def test_command_says_when_there_are_no_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["checkpoint", str(tmp_path / "nowhere")]) == 2
    assert "nowhere has no checkpoints. Check the path." in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
