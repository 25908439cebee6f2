"""The console's progress bar: its text, when it is written and cleared, and a real terminal."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from headwater import SparkConf
from headwater.engine.events import StageChanged
from headwater.engine.status import StatusStore
from headwater.ui.progress import FIRST_DELAY_MS, REWRITE_MS, ProgressLine, render, show_if_wanted

WIDTH = 41  # of the terminal; the last column stays empty


def stage(stage_id: int = 3, *, completed: int = 12, active: int = 2, tasks: int = 40) -> StageChanged:
    return StageChanged(stage_id, "count", 0, tasks, active, completed, 0, False)


# ------------------------------------------------------------------------------------------------ the text
@pytest.mark.parametrize(
    ("completed", "bar"),
    [
        (0, "[Stage 3:>                (0 + 2) / 40]"),
        (12, "[Stage 3:====>          (12 + 2) / 40]"),
        (39, "[Stage 3:==============>(39 + 2) / 40]"),
        (40, "[Stage 3:===============(40 + 2) / 40]"),
    ],
)
def test_bar_grows_with_the_tasks_that_have_completed(completed: int, bar: str) -> None:
    assert render([stage(completed=completed)], len(bar)) == bar


def test_bars_of_several_stages_share_the_line() -> None:
    line = render([stage(3), stage(4, completed=0)], 60)
    assert line == "[Stage 3:==>    (12 + 2) / 40][Stage 4:>       (0 + 2) / 40]"


def test_numbers_are_shown_when_there_is_no_room_for_a_bar() -> None:
    assert render([stage()], 5) == "[Stage 3:(12 + 2) / 40]"


def test_nothing_is_shown_of_no_stage() -> None:
    assert render([], 80) == ""


# ------------------------------------------------------------------------------------------------ when it is written
def test_stage_is_shown_only_once_it_has_run_for_a_while() -> None:
    line = ProgressLine()
    assert line.update(1000, [stage()], WIDTH) == ""
    assert line.update(1000 + FIRST_DELAY_MS - 1, [stage()], WIDTH) == ""
    assert line.update(1000 + FIRST_DELAY_MS, [stage()], WIDTH) == "\r" + render([stage()], WIDTH - 1)


def shown(now_ms: int = 1000) -> ProgressLine:
    """A line that shows the stage since `now_ms`."""
    line = ProgressLine()
    line.update(now_ms - FIRST_DELAY_MS, [stage()], WIDTH)
    assert line.update(now_ms, [stage()], WIDTH)
    return line


def test_same_line_is_written_again_only_after_a_minute() -> None:
    line = shown(1000)
    assert line.update(1200, [stage()], WIDTH) == ""
    assert line.update(1000 + REWRITE_MS, [stage()], WIDTH) == "\r" + render([stage()], WIDTH - 1)


def test_shorter_line_overwrites_all_of_the_one_before() -> None:
    line = shown()
    narrow = 31
    text = line.update(1200, [stage()], narrow)
    assert text == "\r" + render([stage()], narrow - 1) + " " * (WIDTH - narrow)


def test_line_is_cleared_once_when_all_stages_are_over() -> None:
    line = shown()
    assert line.update(1200, [], WIDTH) == "\r" + " " * (WIDTH - 1) + "\r"
    assert line.update(1400, [], WIDTH) == ""
    assert line.clear() == ""


def test_at_most_three_stages_are_shown() -> None:
    line = ProgressLine()
    stages = [stage(n) for n in range(5)]
    line.update(0, stages, 120)
    assert line.update(FIRST_DELAY_MS, stages, 120).count("[Stage") == 3


# ------------------------------------------------------------------------------------------------ the terminal
class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("setting", "stream"), [("true", io.StringIO()), ("false", Terminal()), (None, Terminal())])
def test_nothing_runs_when_it_is_not_asked_for_or_stderr_is_no_terminal(
    setting: str | None, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    conf = SparkConf(loadDefaults=False)
    if setting is not None:
        conf.set("spark.ui.showConsoleProgress", setting)
    assert show_if_wanted(conf, StatusStore()) is None


PROGRAM = """
import os, sys, time
from headwater import SparkConf, SparkContext

path = sys.argv[1]

def wait(n):
    while not os.path.exists(path):
        time.sleep(0.01)
    return n

conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("bar")
with SparkContext(conf=conf.set("spark.ui.showConsoleProgress", "true")) as sc:
    print(sc.parallelize(range(8), 4).map(wait).sum())
"""


def test_long_job_shows_a_bar_on_a_terminal_and_leaves_an_empty_line(tmp_path: Path) -> None:
    program, gate = tmp_path / "program.py", tmp_path / "gate"
    program.write_text(PROGRAM)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, str(program), str(gate)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "COLUMNS": "60", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    os.close(theirs)
    written = b""
    while b"(0 + 2) / 4]" not in written:
        written += os.read(ours, 4096)
    gate.touch()
    assert process.communicate()[0] == b"28\n"
    while True:
        try:
            written += os.read(ours, 4096)
        except OSError:  # EIO: nobody has the other end any more
            break
    os.close(ours)
    assert written.startswith(b"\r[Stage 0:>")
    assert written.endswith(b"\r" + b" " * 59 + b"\r")
