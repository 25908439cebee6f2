"""The documentation keeps its word: its examples run, its links lead somewhere, public names say what they are."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import io
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import headwater
import headwater.sql
import headwater.streaming
import headwater.testing
from headwater.deploy import cli
from headwater.deploy.textserver import TextServer
from headwater.engine.backends.masters import parse_master
from headwater.errors import IllegalArgumentException
from headwater.settings.setting import Standing
from headwater.settings.table import SETTINGS
from headwater.sql import functions
from headwater.streaming import StreamingContext

ROOT = Path(__file__).parent.parent
PAGES = (
    "README.md",
    "docs/exactly_once.md",
    "docs/guide.md",
    "docs/hadoop.md",
    "docs/migrating.md",
    "docs/outputs.md",
    "docs/receivers.md",
    "docs/recovery.md",
    "docs/testing.md",
)
ALL_PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("**/*.md")
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
)
# The server that pages ask their readers to start: nc -lk 9999.
PORT = 9999
# What an example that waits for ever must have printed before it is ended.
BATCHES = 3
PATIENCE_SECONDS = 60.0

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<output>.*?)^```\n)?", re.M | re.S)
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)


class Block(NamedTuple):
    """An example: its code, the line where that begins, and what it prints (None: the page doesn't say)."""

    code: str
    line: int
    output: str | None


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text()
    return [
        Block(found["code"], text.count("\n", 0, found.start("code")), found["output"])
        for found in BLOCK.finditer(text)
    ]


class Printed(io.StringIO):
    """What an example prints; `enough` is set once it has printed some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.enough = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        if self.getvalue().count("\nTime: ") >= BATCHES:
            self.enough.set()
        return written


@contextlib.contextmanager
def ended_once_it_has_printed_enough(printed: Printed) -> Iterator[None]:
    """Ends the program within as Ctrl-C would, but from another thread."""

    def end() -> None:
        printed.enough.wait(PATIENCE_SECONDS)
        active = StreamingContext.getActive()
        if active is not None:
            active.stop()

    watcher = threading.Thread(target=end, name="reader-of-the-page", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        printed.enough.set()
        watcher.join()


@pytest.fixture
def text_port() -> Iterator[int]:
    """The port of a text server: the pages' own if it is free."""
    try:
        server = TextServer(lines_per_s=50, port=PORT)
    except OSError:
        server = TextServer(lines_per_s=50)
    with server:
        yield server.port


@pytest.fixture
def _left_as_found() -> Iterator[None]:
    """The environment and the log's level, which examples may set, are afterwards as before."""
    logger = logging.getLogger("headwater")
    environment, level = dict(os.environ), logger.level
    yield
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    logger.setLevel(level)


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_a_page_run_in_order_and_print_what_it_says(
    page: str,
    text_port: int,
    no_context: None,
    _left_as_found: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    examples = blocks(page)
    assert examples
    for code, line, output in examples:
        # Empty lines before it: tracebacks name the page's lines.
        program = compile("\n" * line + code.replace(str(PORT), str(text_port)), str(ROOT / page), "exec")
        printed = Printed()
        with contextlib.redirect_stdout(printed):
            if ".awaitTermination()" in code:
                with ended_once_it_has_printed_enough(printed):
                    exec(program, namespace)
            else:
                exec(program, namespace)
        if output is not None:
            assert printed.getvalue() == output, f"{page}, line {line + 1}"
        elif "pprint" in code and "awaitTermination" in code:
            assert re.search(r"^\('\w+', \d+\)$", printed.getvalue(), re.M), f"{page}, line {line + 1}"


def _refused(call: Callable[[], object], *errors: type[BaseException]) -> bool:
    try:
        call()
    except errors:
        return True
    return False


# What the guide says isn't there -> whether that is so.
ABSENT: dict[str, Callable[[], bool]] = {
    "dynamic allocation": lambda: SETTINGS["spark.dynamicAllocation.enabled"].standing is Standing.NO_EFFECT,
    "SQL and data frames": lambda: _refused(lambda: functions.col("word"), NotImplementedError),
    "machine learning, graphs": lambda: importlib.util.find_spec("headwater.mllib") is None,
    "web UI, REST, metrics": lambda: SETTINGS["spark.ui.port"].standing is Standing.NO_EFFECT,
    "Ray and other clusters, `headwater submit`": lambda: (
        _refused(lambda: parse_master("ray"), IllegalArgumentException)
        and _refused(lambda: cli.main(["submit", "app.py"]), SystemExit)
    ),
}
ABSENT_HEADING = "## What is not there yet\n"
SAYS_ABSENT = re.compile(r"(?:not|n't) (?:there|exist|supported|implemented) yet", re.I)
SUBJECTS = re.compile(r"SQL|web UI|Ray|What is not there yet", re.I)


def test_what_the_guide_says_is_not_there_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "docs/guide.md").read_text().partition(ABSENT_HEADING)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section, re.M)
    assert rows == list(ABSENT)
    assert [subject for subject, is_absent in ABSENT.items() if not is_absent()] == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_page_says_of_nothing_else_that_it_is_not_there(page: str) -> None:
    before, _, after = (ROOT / page).read_text().partition(ABSENT_HEADING)
    text = before + after.partition("\n## ")[2]
    sentences = [" ".join(sentence.split()) for sentence in re.split(r"(?<=[.|;])\s|\n\n", text)]
    assert [s for s in sentences if SAYS_ABSENT.search(s) and not SUBJECTS.search(s)] == []


def test_guide_leads_to_every_page_and_names_what_recovery_needs() -> None:
    guide = (ROOT / "docs/guide.md").read_text()
    linked = {path for path, _ in LINK.findall(guide)}
    missing = {path.name for path in (ROOT / "docs").glob("*.md")} - {"guide.md"} - linked
    assert missing <= {"architecture.md"}  # which is for those who work on Headwater
    for name in ("StreamingContext.getOrCreate", "upgrade=True", "stream.uid(", "foreachTransaction", "supervise"):
        assert name in guide, name


def test_every_page_is_looked_at() -> None:
    assert set(PAGES) <= set(ALL_PAGES)


@pytest.mark.parametrize("page", ALL_PAGES)
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text()
    broken = []
    for path, heading in LINK.findall(text):
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists() or (heading and heading not in headings(target)):
            broken.append((path, heading))
    assert broken == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, by the rules of GitHub."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in HEADING.findall(text)}


@pytest.mark.parametrize(
    "module", [headwater, headwater.sql, headwater.streaming, headwater.testing], ids=lambda module: module.__name__
)
def test_public_names_say_what_they_are(module: object) -> None:
    silent = []
    for name in module.__all__:  # type: ignore[attr-defined]
        thing = getattr(module, name)
        if name.startswith("__"):
            continue
        if not inspect.getdoc(thing):
            silent.append(name)
        for member, value in inspect.getmembers(thing):
            is_ours = inspect.isfunction(value) or inspect.ismethod(value) or isinstance(value, property)
            if not member.startswith("_") and is_ours and not inspect.getdoc(value):
                silent.append(f"{name}.{member}")
    assert silent == []


@pytest.mark.parametrize("name", ["headwater.engine", "headwater.streaming.runtime", "headwater.deploy"])
def test_packages_say_what_they_hold(name: str) -> None:
    assert inspect.getdoc(importlib.import_module(name))
