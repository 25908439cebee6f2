"""The directory for checkpoints, or a part of it, is removed under a running program: it's written anew."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headwater.errors import IllegalStateException
from headwater.streaming.recovery.lock import FileLock
from headwater.streaming.recovery.log import LogWriter, read_log
from tests.streaming.recovery.counting import WINDOW_SECONDS
from tests.streaming.recovery.killing import PATIENCE_SECONDS, Files, Program, Server
from tests.waiting import wait_for

OFTEN = {"headwater.streaming.checkpoint.interval": "300ms"}


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Also when a test fails, its processes end."""
    yield
    while Program.made:
        Program.made.pop().kill()


def remove_all(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints.rename(checkpoints.with_name("removed")))  # at one moment


def remove_old(checkpoints: Path) -> None:
    """As a cleaner of temporary files does: what has not changed lately goes."""
    for path in (*checkpoints.glob("program-*"), *checkpoints.glob("driver.lock"), *checkpoints.glob("state/*/*/*")):
        path.unlink(missing_ok=True)


def await_batches(program: Program, more: int = 4) -> None:
    """Until batches have begun and ended since."""
    before = len(program.batches("ids"))
    wait_for(lambda: len(program.batches("ids")) >= before + more, program.log)


def await_batches_after(program: Program, seconds: float) -> None:
    """Until batches of later than a time, in seconds since 1970, have ended, however late they are processed."""
    wait_for(lambda: sum(time_ms > 1000 * seconds for time_ms in program.batches("ids")) >= 3, program.log)


@pytest.mark.parametrize("remove", [remove_all, remove_old])
def test_program_that_is_killed_later_goes_on_with_all_counts(tmp_path: Path, remove: Callable[[Path], None]) -> None:
    program = Program(tmp_path, conf=OFTEN)
    program.start()
    program.await_start()
    with Files(tmp_path) as files:
        await_batches(program)
        remove(tmp_path / "checkpoints")
        await_batches(program)
        wait_for(lambda: "was removed while the application runs" in program.log(), program.log)
        program.kill()
        assert program.log().count("was removed while the application runs") == 1, program.log()
        program.start()
        await_batches(program)
    program.await_numbers(files.sent)
    program.kill()
    program.check(exactly=files.sent)


def test_receiver_logs_what_it_gets_in_a_new_directory_and_a_restart_works(tmp_path: Path) -> None:
    conf = {**OFTEN, "spark.streaming.receiver.writeAheadLog.enable": "true"}
    with Server() as server:
        program = Program(tmp_path, conf=conf, port=server.port)
        program.start()
        program.await_start()
        await_batches(program, 8)
        remove_all(tmp_path / "checkpoints")
        wait_for(lambda: "was removed while the application runs" in program.log(), program.log)
        await_batches_after(program, time.time() + WINDOW_SECONDS)  # out of all windows is what was received before
        program.kill()
        program.start()
        await_batches(program, 8)
        sent = set(server.sent)
    program.await_numbers(sent)
    program.kill()
    program.check()


# ------------------------------------------------------------------------------------------------ parts
def test_log_goes_on_in_a_new_segment_and_knows_that_it_is_not_whole(tmp_path: Path) -> None:
    log = LogWriter(str(tmp_path / "log"))
    log.append([b"one"])
    assert log.is_whole()
    shutil.rmtree(tmp_path / "log")
    assert not log.is_whole()
    log.append([b"two"])
    assert not log.is_whole()
    log.close()
    assert [record for _, record in read_log(str(tmp_path / "log"))] == [b"two"]


def test_lock_is_taken_again_unless_another_driver_was_faster(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "driver.lock"
    path.parent.mkdir()
    first = FileLock("checkpoints", str(path))
    losses: list[BaseException] = []
    shutil.rmtree(path.parent)
    first.check()
    with pytest.raises(IllegalStateException, match="in use"):
        FileLock("checkpoints", str(path))
    path.unlink()
    second = FileLock("checkpoints", str(path))
    first.when_lost(losses.append)
    with pytest.raises(IllegalStateException, match="in use"):
        first.check()
    first.close()
    second.close()
    wait_for(lambda: bool(losses), "the loss is told")


def test_state_whose_segments_are_gone_is_not_begun_anew_in_silence(tmp_path: Path) -> None:
    program = Program(tmp_path, conf=OFTEN, states=[])
    program.start()
    program.await_start()
    (tmp_path / "in" / "1.txt").write_text("1\n")
    program.await_numbers({1})
    await_batches(program)
    program.kill()
    shutil.rmtree(tmp_path / "checkpoints" / "state")
    assert program.start().wait(PATIENCE_SECONDS) == 1
    assert re.search(r"SparkException: the state 'state-0' can't be gone on from: \d+ of its segments", program.log())
