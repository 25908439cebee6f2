"""`headwater examples`, in a checkout and as somebody has it who installed a wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from headwater.deploy.cli import main

ROOT = Path(__file__).parent.parent.parent
NAMES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))


def test_examples_are_listed_with_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("  ")] == NAMES
    assert "  pi.py                              Estimate pi by throwing darts at a square." in lines


def test_examples_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["examples", str(tmp_path / "new" / "examples")]) == 0
    assert sorted(path.name for path in (tmp_path / "new" / "examples").iterdir()) == NAMES


def test_examples_overwrite_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pi.py").write_text("mine")
    assert main(["examples", str(tmp_path)]) == 2
    assert "File exists" in capsys.readouterr().err
    assert (tmp_path / "pi.py").read_text() == "mine"


@pytest.mark.parametrize("where", ["--prefix", "--target"])
def test_a_wheel_brings_the_examples_along(where: str, tmp_path: Path) -> None:
    source, installed = tmp_path / "source", tmp_path / "installed"
    source.mkdir()
    for name in ("headwater", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    options = ["--ignore-installed", "--no-build-isolation", "--no-deps", "--no-index"]
    subprocess.run([*pip, "install", *options, where, str(installed), str(source)], check=True, timeout=110)

    package = next(installed.glob("**/headwater/__init__.py"))
    environment = {**os.environ, "PYTHONPATH": str(package.parent.parent)}
    command = [sys.executable, "-m", "headwater", "examples", "examples"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)
    assert sorted(path.name for path in (tmp_path / "examples").iterdir()) == NAMES
    example = [sys.executable, "examples/pi.py", "1"]
    ended = subprocess.run(example, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout[:16]) == (0, "Pi is roughly 3."), ended.stderr
