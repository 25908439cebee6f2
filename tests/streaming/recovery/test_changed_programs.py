"""A changed program and an older checkpoint: which streams go on, and what is said when the stored code does."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from headwater.streaming.recovery.code import changed_files, fingerprint
from tests.streaming.recovery.driving import Results, put
from tests.streaming.recovery.scripts import ended_script, run_script

INFO = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
logging.getLogger("headwater.streaming").setLevel(logging.INFO)
"""
FILES = """
def files(ssc, name):
    return ssc.textFileStream(str(root / name))
"""
ONE = (
    FILES
    + """
def define(ssc):
    files(ssc, "old").foreachRDD(results.of("old"))
"""
)
BEFORE_IT = (
    FILES
    + """
def define(ssc):
    files(ssc, "new"){new}.foreachRDD(results.of("new"))
    files(ssc, "old"){old}.foreachRDD(results.of("old"))
"""
)
SOCKET = """
def define(ssc):
    ssc.socketTextStream("localhost", {port}).foreachRDD(results.of("socket"))
"""
STATES = (
    FILES
    + """
def define(ssc):
    pairs = files(ssc, "old").map(lambda line: (line, 1))
    {first}
    pairs.updateStateByKey(count, 2){uid}.foreachRDD(results.of("count"))
"""
)
UPGRADE = "upgrade=yes"
RUN = """
driver = Driver(root / "checkpoints", define, upgrade=conf.get("upgrade") == "yes")
driver.start(1000 * int(conf.get("batch")) - 400).until(int(conf.get("batch")))
die()
"""


def run(root: Path, script: str, batch: int, *settings: str) -> str:
    """Run a script until the end of a batch, and kill it; returns what it has said."""
    return run_script(root, script + RUN, f"batch={batch}", *settings)


def refusal(root: Path, script: str, *settings: str) -> str:
    """With what a script is refused."""
    code, errors = ended_script(root, script + RUN, "batch=4", UPGRADE, *settings)
    assert code == 1, errors
    return errors.strip().splitlines()[-1]


# ------------------------------------------------------------------------------------------------ streams by position
def test_stream_put_before_another_is_refused_until_they_are_named_and_then_no_file_is_lost(tmp_path: Path) -> None:
    put(tmp_path / "old", "1", "before", -100)
    run(tmp_path, ONE, 1)
    put(tmp_path / "old", "2", "meanwhile", 2500)
    message = refusal(tmp_path, BEFORE_IT.format(new="", old=""))
    assert "the stream 'input-0' was the file stream of file:" in message
    assert "/old in the checkpoint, and is the file stream of file:" in message and "/new now" in message
    assert "Give the stream that has this source, 'input-1', .uid(\"input-0\")" in message
    assert "headwater.streaming.recovery.positionalMatch=warn" in message
    run(tmp_path, BEFORE_IT.format(new='.uid("new")', old='.uid("input-0")'), 4, UPGRADE)
    assert set(Results(tmp_path / "results").records("old")) == {"before", "meanwhile"}


def test_stream_of_another_source_takes_a_position_when_that_is_only_to_be_warned_about(tmp_path: Path) -> None:
    run(tmp_path, ONE, 1)
    warn = "headwater.streaming.recovery.positionalMatch=warn"
    errors = run(tmp_path, BEFORE_IT.format(new="", old=""), 4, UPGRADE, warn)
    assert "the stream 'input-0' was the file stream of" in errors


def test_receiver_of_another_address_and_a_stream_of_another_kind_are_refused(tmp_path: Path) -> None:
    run(tmp_path, SOCKET.format(port=9), 1)
    message = refusal(tmp_path, SOCKET.format(port=10))
    assert "SocketReceiver localhost:9 " in message and "SocketReceiver localhost:10 " in message
    assert "was the receiver stream of" in refusal(tmp_path, ONE)
    named = ONE.replace('(ssc, "old")', '(ssc, "old").uid("input-0")')
    assert "what is kept of one kind can't be another's. Give it another uid" in refusal(tmp_path, named)


def test_state_put_before_another_of_its_kind_is_refused_until_they_are_named(tmp_path: Path) -> None:
    put(tmp_path / "old", "1", "a", -100)
    run(tmp_path, STATES.format(first="", uid=""), 1)
    first = "pairs.updateStateByKey(lambda new, old: 5, 2)%s.foreachRDD(results.of('first'))"
    message = refusal(tmp_path, STATES.format(first=first % "", uid=""))
    assert "the stream 'state-0' was the stream of updateStateByKey over file stream of" in message
    assert "is the stream of updateStateByKey over file stream of" in message and "(number 1 of 2) now" in message
    run(tmp_path, STATES.format(first=first % '.uid("first")', uid='.uid("state-0")'), 4, UPGRADE)
    assert Results(tmp_path / "results").read("count")[-1] == [4, [["a", 1]]]


def test_named_stream_goes_on_with_another_source_and_that_is_said(tmp_path: Path) -> None:
    named = ONE.replace('(ssc, "old")', '(ssc, "old").uid("lines")')
    run(tmp_path, named, 1)
    errors = run(tmp_path, named.replace('(ssc, "old")', '(ssc, "other")'), 4, UPGRADE)
    assert "as its uid says, it goes on with what was kept of that" in errors


def test_upgrade_says_what_it_has_taken_over_what_is_new_and_what_is_left(tmp_path: Path) -> None:
    gone = ONE.replace('foreachRDD(results.of("old"))', "map(lambda line: (line, 1)).updateStateByKey(count).pprint()")
    run(tmp_path, gone, 1)
    drop = "headwater.streaming.recovery.dropUnknown=true"
    errors = run(tmp_path, INFO + BEFORE_IT.format(new='.uid("new")', old='.uid("input-0")'), 4, UPGRADE, drop)
    assert "with its batch interval of 1000 ms" in errors
    assert "The program is that of the script; files that have changed: script.py" in errors
    assert "Streams taken over from the checkpoint: input-0 (file stream of file:" in errors
    assert "Streams new, from the first batch on: new (file stream of file:" in errors
    assert "Streams left, as the program doesn't have them: state-0 (stream of updateStateByKey over" in errors


# ------------------------------------------------------------------------------------------------ changed code
def test_restart_says_that_the_stored_code_goes_on_when_the_script_has_changed(tmp_path: Path) -> None:
    run(tmp_path, ONE, 1)
    said = "script.py has changed since the program in file:"
    assert said not in run(tmp_path, "# a comment\n" + ONE, 2)
    changed = ONE.replace('results.of("old")', 'results.of("other")')
    errors = run(tmp_path, changed, 3)
    assert said in errors
    assert "its batch interval of 1000 ms. getOrCreate(path, setup, upgrade=True)" in errors
    assert said in run(tmp_path, changed, 4), "the stored one is that of the first script"
    assert said not in run(tmp_path, changed, 5, UPGRADE)
    assert said not in run(tmp_path, changed, 6)


def test_code_of_another_version_of_python_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
    now = fingerprint(None)
    name, digest, version = now["script"]
    assert changed_files({"script": [name, "0", version]}, now) == [name]
    assert changed_files({"script": [name, "0", "2.7"]}, now) == []
    assert changed_files({"script": [name, digest, version]}, now) == []
