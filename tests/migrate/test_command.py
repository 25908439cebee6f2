"""The command `headwater migrate`: what it prints, what it writes, its exit codes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.deploy.cli import main

WORD_COUNT = """\
import findspark
findspark.init()
from pyspark import SparkContext
import pyspark.streaming

sc = SparkContext.getOrCreate()
ssc = pyspark.streaming.StreamingContext(sc, 0.1)
counts = ssc.queueStream([["a b", "a"]]).flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
counts.foreachRDD(lambda rdd: print(sorted(rdd.collect())) if not rdd.isEmpty() else None)
ssc.start()
ssc.awaitTerminationOrTimeout(1.0)
ssc.stop()
"""


def test_changes_are_shown_and_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "count.py"
    program.write_text(WORD_COUNT)
    assert main(["migrate", str(program)]) == 1
    shown = capsys.readouterr().out
    assert "-from pyspark import SparkContext\n" in shown
    assert "+from headwater import SparkContext\n" in shown
    assert "+ssc = headwater.streaming.StreamingContext(sc, 0.1)\n" in shown
    assert f"{program}:1: findspark: not needed: remove it" in shown
    assert program.read_text() == WORD_COUNT


def test_a_program_that_was_written_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "count.py"
    program.write_text(WORD_COUNT.partition("init()\n")[2])
    program.chmod(0o750)
    assert main(["migrate", "-w", str(program)]) == 0
    assert capsys.readouterr().out == f"{program}: written\n"
    assert program.stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path) == ["count.py"]
    run = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "[('a', 2), ('b', 1)]\n"


def test_a_program_without_pyspark_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.py").write_text("print('import pyspark')\n")
    assert main(["migrate", "-w", str(tmp_path / "a.py")]) == 0
    assert capsys.readouterr().out == ""


def test_the_programs_of_a_directory_are_migrated(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    for name in ("a.py", "inner/b.py", "c.txt"):
        (tmp_path / name).write_text("import pyspark\n")
    assert main(["migrate", "-w", str(tmp_path)]) == 0
    texts = [(tmp_path / name).read_text() for name in ("a.py", "inner/b.py", "c.txt")]
    assert texts == ["import headwater\n", "import headwater\n", "import pyspark\n"]


def test_a_program_keeps_its_encoding_and_its_line_ends(tmp_path: Path) -> None:
    program = tmp_path / "a.py"
    program.write_bytes(b"# -*- coding: latin-1 -*-\r\nimport pyspark\r\nx = '\xe9'\r\n")
    assert main(["migrate", "-w", str(program)]) == 0
    assert program.read_bytes() == b"# -*- coding: latin-1 -*-\r\nimport headwater\r\nx = '\xe9'\r\n"


def test_what_a_link_leads_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import pyspark\n")
    (tmp_path / "link.py").symlink_to("a.py")
    assert main(["migrate", "-w", str(tmp_path / "link.py")]) == 0
    assert (tmp_path / "link.py").is_symlink()
    assert (tmp_path / "a.py").read_text() == "import headwater\n"


def test_what_can_not_be_read_does_not_keep_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old.py").write_text("import pyspark\nprint 'x'\n")
    (tmp_path / "binary.py").write_bytes(b"\xff\xfe")
    (tmp_path / "good.py").write_text("import pyspark\n")
    (tmp_path / "book.ipynb").write_text('{"cells": []}')  # which Python could read, too
    names = [str(tmp_path / name) for name in ("old.py", "binary.py", "gone.py", "book.ipynb", "good.py")]
    assert main(["migrate", "-w", *names]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith(f"{names[0]}:2: not a program of Python 3: Missing parentheses")
    assert said[1].startswith(f"{names[1]}:1: not a program of Python 3: ")
    assert said[2].startswith(f"{names[2]}: [Errno 2] No such file or directory")
    assert said[3] == f"{names[3]}: a notebook. Make a script of it first: jupyter nbconvert --to script"
    assert (tmp_path / "good.py").read_text() == "import headwater\n"
    assert (tmp_path / "old.py").read_text() == "import pyspark\nprint 'x'\n"


def test_the_module_is_the_command(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import pyspark\n")
    run = subprocess.run(
        [sys.executable, "-m", "headwater.migrate", "-w", "a.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "a.py: written\n", "")


def test_the_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["migrate", "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith("usage: headwater migrate [-h] [-w] PATH [PATH ...]")
    assert "The exit code is 0, or 1 if there are lines that won't work" in help_text
