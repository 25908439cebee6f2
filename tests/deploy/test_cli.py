"""The `headwater` command: what it says, and its exit codes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import headwater
from headwater.deploy.cli import main


def exit_code(*arguments: str) -> int:
    """What the command ends with, whether it returns or exits by itself."""
    try:
        return main(arguments)
    except SystemExit as end:
        assert isinstance(end.code, int)
        return end.code


def test_command_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"headwater {headwater.__version__}\n"


def test_command_explains_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("--help") == 0
    help_text = capsys.readouterr().out
    assert help_text.startswith("usage: headwater ")
    assert "demo" in help_text


def test_command_without_arguments_prints_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code("--help")
    help_text = capsys.readouterr().out
    assert exit_code() == 0
    assert capsys.readouterr().out == help_text


def test_command_explains_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("demo", "--help") == 0
    help_text = capsys.readouterr().out
    assert [option for option in ("--seconds", "--rate", "--master") if option not in help_text] == []


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dmeo"], "argument COMMAND: invalid choice: 'dmeo'"),
        (["--verison"], "unrecognized arguments: --verison"),
        (["demo", "twice"], "unrecognized arguments: twice"),
        (["demo", "--rate", "0"], "argument --rate: 0 is not a number above 0"),
        (["demo", "--rate", "many"], "argument --rate: many is not a number above 0"),
        (["demo", "--seconds", "-1"], "argument --seconds: -1 is not a number above 0"),
        (["demo", "--seconds", "nan"], "argument --seconds: nan is not a number above 0"),
        (["demo", "--seconds", "inf"], "argument --seconds: inf is not a number above 0"),
    ],
)
def test_command_refuses_wrong_arguments_and_says_how_to_use_it(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*arguments) == 2
    said = capsys.readouterr()
    assert said.err.startswith("usage: headwater ")
    assert complaint in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    "command",
    [[sys.executable, "-m", "headwater"], [str(Path(sys.executable).with_name("headwater"))]],
    ids=["module", "script"],
)
def test_command_is_a_module_and_a_script(command: list[str]) -> None:
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=60)
    assert (version.returncode, version.stdout, version.stderr) == (0, f"headwater {headwater.__version__}\n", "")
    wrong = subprocess.run([*command, "dmeo"], capture_output=True, text=True, timeout=60)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("usage: headwater ")
