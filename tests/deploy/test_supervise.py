"""`headwater supervise`: the policy by itself, and real programs that end, fail, are killed and are told to stop."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from headwater.deploy.cli import main
from headwater.deploy.supervise import HOUR_MS, RestartPolicy
from headwater.errors import IllegalArgumentException
from tests.engine.processes import alive
from tests.waiting import wait_for

PATIENCE_SECONDS = 60.0


# ------------------------------------------------------------------------------------------------ the policy
def policy(**changes: int) -> RestartPolicy:
    settings = {"first_pause_ms": 1000, "longest_pause_ms": 60_000, "reset_after_ms": 60_000, "restarts_max": 1000}
    return RestartPolicy(**{**settings, **changes})


def test_pause_doubles_up_to_its_bound_when_a_program_dies_soon() -> None:
    dying = policy()
    pauses = [dying.died(at_ms, ran_ms=59_999) for at_ms in range(0, 900_000, 100_000)]
    assert pauses == [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]


def test_pause_is_the_first_one_again_when_a_program_ran_long_enough() -> None:
    dying = policy()
    assert [dying.died(0, ran_ms=0), dying.died(1000, ran_ms=0)] == [1000, 2000]
    assert [dying.died(70_000, ran_ms=60_000), dying.died(80_000, ran_ms=0)] == [1000, 2000]


def test_restart_is_refused_when_an_hour_has_seen_too_many() -> None:
    dying = policy(restarts_max=2)
    assert [dying.died(at_ms, ran_ms=0) for at_ms in (0, 10)] == [1000, 2000]
    assert dying.died(HOUR_MS - 1, ran_ms=0) is None
    assert dying.died(HOUR_MS, ran_ms=0) == 4000  # the first one is an hour old, and a refused one counts for nothing
    assert dying.died(HOUR_MS + 9, ran_ms=0) is None
    assert dying.died(HOUR_MS + 10, ran_ms=0) == 8000


def test_nothing_is_restarted_when_the_limit_is_zero() -> None:
    assert policy(restarts_max=0).died(0, ran_ms=HOUR_MS) is None


def test_policy_refuses_a_longest_pause_below_the_first() -> None:
    with pytest.raises(IllegalArgumentException, match="longest pause between restarts, 0.5 s, is shorter than the fi"):
        policy(longest_pause_ms=500)


# ------------------------------------------------------------------------------------------------ real programs
class Supervised:
    """A supervisor that runs a script, which appends its pid to a file at each start."""

    def __init__(self, process: subprocess.Popen[str], directory: Path) -> None:
        self.process = process
        self._starts = directory / "starts"

    def pids(self) -> list[int]:
        """Of the script's processes that have begun to run, the oldest first."""
        text = self._starts.read_text() if self._starts.exists() else ""
        return [int(line) for line in text.splitlines()]

    def started(self, times: int) -> int:
        """Wait until the script has been started so often; returns the latest pid."""
        wait_for(lambda: len(self.pids()) >= times, f"started {times} times")
        return self.pids()[times - 1]

    def ended(self) -> tuple[int, list[str]]:
        """Wait for its end: (exit code, log without times)."""
        _, errors = self.process.communicate(timeout=PATIENCE_SECONDS)
        return self.process.returncode, log_lines(errors)


def log_lines(text: str) -> list[str]:
    """What a log says, without times and durations, pids replaced by PID."""
    lines = []
    for line in text.splitlines():
        stamped = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d headwater supervise: (.*)", line)
        assert stamped, text
        lines.append(re.sub(r"after \d+\.\d s", "after T", re.sub(r"pid \d+", "pid PID", stamped[1])))
    return lines


# Scripts begin by these imports, and say by BEGIN that they are ready for signals.
IMPORTS = "import os, signal, sys\n"
BEGIN = """
with open("starts", "a") as file:
    file.write(f"{os.getpid()}\\n")
with open("starts") as file:
    run = len(file.readlines())
"""
WAIT = BEGIN + "signal.pause()\n"
WAIT_FOR_MORE = BEGIN + "while True: signal.pause()\n"


@pytest.fixture
def supervise(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    @contextmanager
    def start(script: str, *options: str, arguments: tuple[str, ...] = (), **how: Any) -> Iterator[Supervised]:
        (tmp_path / "app.py").write_text(IMPORTS + script)
        pauses = ("--first-pause", "0.01", "--longest-pause", "0.01")
        process = subprocess.Popen(
            [sys.executable, "-m", "headwater", "supervise", *pauses, *options, "app.py", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # The tests themselves may run by nohup.
            **{"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL), **how},
        )
        with process:
            try:
                yield Supervised(process, tmp_path)
            finally:
                process.kill()  # the script goes with it

    yield start


def test_program_that_ends_well_ends_the_supervision(supervise: Any) -> None:
    with supervise(BEGIN + "print(sys.argv[1:])", arguments=("--log", "a b", "-x")) as supervised:
        output, errors = supervised.process.communicate(timeout=PATIENCE_SECONDS)
    assert (supervised.process.returncode, output) == (0, "['--log', 'a b', '-x']\n")
    assert log_lines(errors) == [
        "pid PID started: app.py",
        "pid PID ended with exit code 0 after T; the supervision ends",
    ]


def test_program_is_started_again_when_it_fails(supervise: Any) -> None:
    with supervise(BEGIN + "sys.exit(7 if run < 3 else 0)") as supervised:
        assert supervised.ended() == (
            0,
            [
                "pid PID started: app.py",
                "pid PID ended with exit code 7 after T; it is started again in 0.01 s",
                "pid PID started: app.py",
                "pid PID ended with exit code 7 after T; it is started again in 0.01 s",
                "pid PID started: app.py",
                "pid PID ended with exit code 0 after T; the supervision ends",
            ],
        )


def test_program_is_started_again_when_it_is_killed(supervise: Any) -> None:
    with supervise(BEGIN + "signal.pause() if run < 3 else sys.exit(0)") as supervised:
        for times in (1, 2):
            os.kill(supervised.started(times), signal.SIGKILL)
        code, log = supervised.ended()
    assert code == 0
    assert log.count("pid PID was killed by SIGKILL after T; it is started again in 0.01 s") == 2
    assert len(set(supervised.pids())) == 3


@pytest.mark.parametrize(
    ("end", "expected"),
    [("sys.exit(7)", 7), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("raise ValueError", 1)],
    ids=["exit", "kill", "exception"],
)
def test_exit_code_is_the_programs_last_when_the_limit_is_reached(supervise: Any, end: str, expected: int) -> None:
    with supervise(BEGIN + end, "--max-restarts", "2", "--log", "log") as supervised:
        supervised.process.communicate(timeout=PATIENCE_SECONDS)
    assert supervised.process.returncode == expected
    assert len(supervised.pids()) == 3


def test_log_goes_to_a_file_when_there_is_one_and_says_why_it_ended(supervise: Any, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("2026-01-01T00:00:00+00:00 headwater supervise: of yesterday\n")
    with supervise(BEGIN + "sys.exit(7)", "--max-restarts", "0", "--log", "log") as supervised:
        output, errors = supervised.process.communicate(timeout=PATIENCE_SECONDS)
    assert (output, errors) == ("", "")
    text = (tmp_path / "log").read_text()
    assert log_lines(text) == [
        "of yesterday",
        "pid PID started: app.py",
        "pid PID ended with exit code 7 after T; it is not started again: the limit is 0 restarts an hour",
    ]
    assert f"pid {supervised.pids()[0]} ended" in text


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_signal_is_passed_on_and_ends_the_supervision(supervise: Any, name: str) -> None:
    clean = f"signal.signal(signal.{name}, lambda *_: sys.exit(5))\n"
    with supervise(clean + WAIT) as supervised:
        supervised.started(1)
        os.killpg(supervised.process.pid, signal.Signals[name])  # as a terminal does it; it must arrive only once
        assert supervised.ended() == (
            5,
            [
                "pid PID started: app.py",
                f"{name} received; {name} is sent to pid PID",
                "pid PID ended with exit code 5 after T; the supervision ends",
            ],
        )


def test_exit_code_tells_the_signal_when_the_program_does_not_handle_it(supervise: Any) -> None:
    with supervise(WAIT) as supervised:
        supervised.started(1)
        supervised.process.terminate()
        assert supervised.ended()[0] == 128 + signal.SIGTERM


def test_program_that_takes_its_time_is_killed_when_a_second_signal_comes(supervise: Any, tmp_path: Path) -> None:
    slow = 'signal.signal(signal.SIGTERM, lambda *_: open("stopping", "w").close())\n'
    with supervise(slow + WAIT_FOR_MORE) as supervised:
        pid = supervised.started(1)
        supervised.process.terminate()
        wait_for((tmp_path / "stopping").exists, "the first signal has arrived")
        assert alive([pid])
        supervised.process.terminate()
        code, log = supervised.ended()
    assert code == 128 + signal.SIGKILL
    assert "SIGTERM received; SIGKILL is sent to pid PID" in log


def test_program_is_not_started_again_when_a_signal_comes_in_the_pause(supervise: Any, tmp_path: Path) -> None:
    pause = ("--longest-pause", "3600", "--first-pause", "3600", "--log", "log")
    with supervise(BEGIN + "sys.exit(7)", *pause) as supervised:
        log = tmp_path / "log"
        wait_for(lambda: log.exists() and "it is started again in 3600 s" in log.read_text(), "it pauses")
        supervised.process.terminate()
        supervised.process.communicate(timeout=PATIENCE_SECONDS)
    assert supervised.process.returncode == 7
    assert log_lines(log.read_text())[-1] == "SIGTERM received; it is not started again"
    assert len(supervised.pids()) == 1


def test_hang_up_is_ignored_when_it_was_at_the_start(supervise: Any) -> None:
    ignoring = {"preexec_fn": lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)}  # as nohup does
    with supervise(WAIT, **ignoring) as supervised:
        supervised.started(1)
        os.kill(supervised.process.pid, signal.SIGHUP)
        supervised.process.terminate()
        code, log = supervised.ended()
    assert code == 128 + signal.SIGTERM
    assert not [line for line in log if "SIGHUP" in line]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux kills a process when its parent dies")
def test_program_dies_with_its_supervisor(supervise: Any) -> None:
    with supervise(WAIT_FOR_MORE) as supervised:
        pid = supervised.started(1)
        supervised.process.kill()
        wait_for(lambda: not alive([pid]), "the program is gone")


# ------------------------------------------------------------------------------------------------ files
def test_pid_file_holds_the_supervisor_while_it_runs(supervise: Any, tmp_path: Path) -> None:
    (tmp_path / "pid").write_text("99999999\n")  # left by one that was killed
    with supervise(WAIT, "--pid-file", "pid") as supervised:
        supervised.started(1)
        assert (tmp_path / "pid").read_text() == f"{supervised.process.pid}\n"
        supervised.process.terminate()
        supervised.ended()
    assert not (tmp_path / "pid").exists()


def test_second_supervisor_is_refused_when_the_pid_file_is_held(
    supervise: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with supervise(WAIT, "--pid-file", "pid") as supervised:
        supervised.started(1)
        assert main(["supervise", "--pid-file", str(tmp_path / "pid"), str(tmp_path / "app.py")]) == 2
        assert f"pid: a supervisor with pid {supervised.process.pid} is running." in capsys.readouterr().err
        assert (tmp_path / "pid").read_text() == f"{supervised.process.pid}\n"


def test_pid_file_is_not_written_through_a_link(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As somebody may have put one into a directory like /tmp."""
    (tmp_path / "app.py").write_text("")
    (tmp_path / "other").write_text("what the link leads to")
    (tmp_path / "pid").symlink_to(tmp_path / "other")
    assert main(["supervise", "--pid-file", str(tmp_path / "pid"), str(tmp_path / "app.py")]) == 2
    assert "pid can't be written: Too many levels of symbolic links" in capsys.readouterr().err
    assert (tmp_path / "other").read_text() == "what the link leads to"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere.py"], "there is no program 'nowhere.py' in "),
        (["--log", "missing/log", "app.py"], "missing/log can't be written: No such file or directory."),
        (["--pid-file", "missing/pid", "app.py"], "missing/pid can't be written: No such file or directory."),
        (["--first-pause", "9", "--longest-pause", "8", "app.py"], "the longest pause between restarts, 8 s, is shor"),
    ],
)
def test_supervision_is_refused_in_one_line_when_it_cannot_work(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "app.py").write_text("raise SystemExit(9)")
    assert main(["supervise", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"headwater supervise: error: {complaint}")
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "the following arguments are required: PROGRAM"),
        (["--max-restarts", "-1", "app.py"], "argument --max-restarts: -1 is not a whole number of at least 0"),
        (["--max-restarts", "many", "app.py"], "argument --max-restarts: many is not a whole number of at least 0"),
        (["--first-pause", "0", "app.py"], "argument --first-pause: 0 is not a number above 0"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["supervise", *arguments])
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err
