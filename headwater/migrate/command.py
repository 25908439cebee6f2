"""The command: which files, what is shown, what is written."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
import tempfile
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path

from headwater.migrate.remarks import Remark, remarks
from headwater.migrate.rewriting import rewritten

NOTHING_TO_DO, SOMETHING_TO_DO, UNREADABLE = 0, 1, 2


def run(paths: Sequence[str], *, write: bool) -> int:
    """Migrate programs.

    Args:
        paths: files, and directories whose .py files are meant.
        write: change the files; otherwise print the changes as a diff.

    Returns:
        The exit code: 0; 1 if there are lines that won't work; 2 if a file can't be read or isn't Python 3.
    """
    code = NOTHING_TO_DO
    for path in _programs(paths):
        try:
            source, encoding = _read(path)
            target, found = rewritten(source), remarks(source)
        except SyntaxError as error:
            print(f"{path}:{error.lineno or 1}: not a program of Python 3: {error.msg}", file=sys.stderr)
            code = UNREADABLE
            continue
        except (OSError, ValueError) as error:
            print(f"{path}: {error}", file=sys.stderr)
            code = UNREADABLE
            continue
        if target != source:
            if write:
                _write(path, target.encode(encoding))
                print(f"{path}: written")
            else:
                print(_diff(path, source, target), end="")
        for remark in found:
            print(_line(path, remark))
        if found:
            code = max(code, SOMETHING_TO_DO)
    return code


def _programs(paths: Sequence[str]) -> Iterator[Path]:
    for name in paths:
        path = Path(name)
        if path.is_dir():
            yield from sorted(path.rglob("*.py"))
        else:
            yield path


def _read(path: Path) -> tuple[str, str]:
    """A program's text, with its line ends as they are, and its encoding."""
    if path.suffix == ".ipynb":
        raise ValueError("a notebook. Make a script of it first: jupyter nbconvert --to script")
    with open(path, "rb") as file:
        encoding, _ = tokenize.detect_encoding(file.readline)
    return path.read_bytes().decode(encoding), encoding


def _write(path: Path, data: bytes) -> None:
    """Replace a file's content; who reads meanwhile sees the old one or the new one."""
    target = path.resolve()
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(handle, "wb") as file:
            file.write(data)
        shutil.copymode(target, temporary)
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _diff(path: Path, source: str, target: str) -> str:
    lines = difflib.unified_diff(
        source.splitlines(), target.splitlines(), str(path), f"{path} (migrated)", lineterm="", n=1
    )
    return "".join(f"{line}\n" for line in lines)


def _line(path: Path, remark: Remark) -> str:
    return f"{path}:{remark.line}: {remark.text}"
