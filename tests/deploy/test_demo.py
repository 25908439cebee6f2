"""`headwater demo` as a user runs it: a process, its output, Ctrl-C, and what it leaves behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater import SparkContext
from headwater.deploy.cli import main
from headwater.deploy.textserver import LINES
from tests.engine.processes import alive, complaints, descendants, name_of, scratch_directories
from tests.waiting import wait_for

PATIENCE_SECONDS = 60.0
WORDS = {word for line in LINES for word in line.split()}
COUNT = re.compile(r"\('(\w+)', (\d+)\)")


@contextmanager
def demo(*arguments: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """A running demo, in a session of its own as under a terminal; killed if the test leaves it behind."""
    process = subprocess.Popen(
        [sys.executable, "-m", "headwater", "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def batches(output: str) -> list[dict[str, int]]:
    """The counts that were printed for each batch."""
    frames = re.split(r"-+\nTime: .*\n-+\n", output)[1:]
    return [{word: int(count) for word, count in COUNT.findall(frame)} for frame in frames]


def wait_for_counts(process: subprocess.Popen[str]) -> str:
    """Read what the demo prints until it has counted something."""
    assert process.stdout is not None
    read = ""
    while not COUNT.search(read):
        line = process.stdout.readline()
        assert line, f"the demo ended early:\n{read}"
        read += line
    return read


def left_in(temporary: Path) -> list[str]:
    return [str(path) for path in temporary.glob("headwater-*/*")]


def test_demo_prints_each_batch_and_what_to_try_next(tmp_path: Path) -> None:
    with demo("--seconds", "8", "--rate", "100", temporary=tmp_path) as process:
        output, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaints(errors)) == (0, [])
    assert "100 lines a second, on local[2].\nIt ends after 8 s, or on Ctrl-C.\n" in output
    counted = batches(output)
    assert any(counted)
    assert {word for counts in counted for word in counts} <= WORDS
    assert all(len(counts) <= 10 for counts in counted)  # as pprint does
    _, _, what_next = output.partition("\nWhat to try next:\n")
    assert "python examples/network_wordcount.py localhost 9999" in what_next
    assert "docs/getting-started.md" in what_next
    assert left_in(tmp_path) == []


@pytest.mark.parametrize("to_all", [False, True], ids=["to the driver", "to all, as a terminal"])
@pytest.mark.parametrize("master", ["local", "local[2]", "local-cluster[2,1,512]"])
def test_demo_ends_cleanly_on_ctrl_c(master: str, to_all: bool, tmp_path: Path) -> None:
    with demo("--rate", "1000", "--master", master, temporary=tmp_path) as process:
        output = wait_for_counts(process)
        processes = descendants(process.pid)
        directories = scratch_directories({process.pid, *processes})
        assert (len(processes) > 0) == (master != "local")
        assert directories
        if to_all:
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, complaints(errors)) == (0, [])
    assert f", on {master}.\nCtrl-C ends it.\n" in output
    assert "What to try next:" in rest
    wait_for(lambda: not alive(processes), f"ended: {[name_of(pid) for pid in processes]}")
    assert [path for path in directories if os.path.exists(path)] == []
    assert left_in(tmp_path) == []


def test_demos_run_side_by_side_each_on_a_port_of_its_own(tmp_path: Path) -> None:
    with demo(temporary=tmp_path) as one, demo(temporary=tmp_path) as other:
        ports = [re.search(r"127\.0\.0\.1:(\d+)", wait_for_counts(process)) for process in (one, other)]
        assert ports[0] and ports[1] and ports[0][1] != ports[1][1]
        for process in (one, other):
            process.send_signal(signal.SIGINT)
        for process in (one, other):
            _, errors = process.communicate(timeout=PATIENCE_SECONDS)
            assert (process.returncode, complaints(errors)) == (0, [])


@pytest.mark.parametrize("master", ["bogus", "local[0]", "spark://host:7077", ""])
def test_demo_refuses_a_wrong_master_in_one_line(
    master: str, no_context: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--master", master]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(
        f"headwater demo: error: spark.master: Could not parse Master URL: '{master}'. Use local "
    )
    assert said.err.count("\n") == 1
    assert SparkContext._active_spark_context is None
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("text-")] == []


def test_demo_refuses_a_wrong_default_in_one_line(
    no_context: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.joinpath("spark-defaults.conf").write_text("spark.streaming.blockInterval soon\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert main(["demo"]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("headwater demo: error: ")
    assert "spark.streaming.blockInterval" in said.err
    assert said.err.count("\n") == 1
