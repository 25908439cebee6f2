"""The documentation keeps its word: its examples run, its links lead somewhere, public names say what they are."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import inspect
import io
import logging
import os
import pkgutil
import re
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import headwater
import headwater.sql
import headwater.streaming
import headwater.testing
from headwater import SparkConf, SparkContext
from headwater.deploy import cli
from headwater.deploy.textserver import TextServer
from headwater.engine.backends.masters import parse_master
from headwater.errors import IllegalArgumentException
from headwater.settings.setting import Standing
from headwater.settings.table import SETTINGS, find
from headwater.sql import SparkSession
from headwater.streaming import StreamingContext

ROOT = Path(__file__).parent.parent
# Change fragments have links from the root: test_changes.py looks at them.
ALL_PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("**/*.md")
    if not any(part.startswith(".") or part == "build" for part in path.relative_to(ROOT).parts)
    and (path.parent != ROOT / "changes" or path.name == "README.md")
)
# Pages whose examples are run by another test, which has what they need.
RUN_ELSEWHERE = {
    "docs/how-to/filesystems.md": "tests/stores/test_page.py",
}
# The server that pages ask their readers to start: nc -lk 9999.
PORT = 9999
# What an example that waits for ever must have printed before it is ended.
BATCHES = 3
PATIENCE_SECONDS = 60.0

BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n?```text\n(?P<output>.*?)^```\n)?", re.M | re.S)
SHOWN = re.compile(r"^```py\n(.*?)^```$", re.M | re.S)
NAME = re.compile(r"`((?:spark|headwater)\.\w[\w.]*\w)(?:=[^`]*)?`")
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s#]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)
WIDTH = 120


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


PAGES = [page for page in ALL_PAGES if page not in RUN_ELSEWHERE and blocks(page)]


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


# What the documentation says isn't there -> whether that is so.
def _structured_streaming() -> None:
    with SparkContext.getOrCreate(SparkConf().setMaster("local")) as sc:
        SparkSession(sc).readStream  # noqa: B018


ABSENT: dict[str, Callable[[], bool]] = {
    "dynamic allocation": lambda: SETTINGS["spark.dynamicAllocation.enabled"].standing is Standing.NO_EFFECT,
    "Structured Streaming, Hive, ORC": lambda: _refused(_structured_streaming, NotImplementedError),
    "machine learning, graphs": lambda: importlib.util.find_spec("headwater.mllib") is None,
    "web UI, REST, metrics": lambda: SETTINGS["spark.ui.port"].standing is Standing.NO_EFFECT,
    "Ray and other clusters, `headwater submit`": lambda: (
        _refused(lambda: parse_master("ray"), IllegalArgumentException)
        and _refused(lambda: cli.main(["submit", "app.py"]), SystemExit)
    ),
}
ABSENT_PAGE = "docs/coming-from-pyspark.md"
ABSENT_HEADING = "## What is not there yet\n"
SAYS_ABSENT = re.compile(r"(?:not|n't) (?:there|exist|supported|implemented) yet", re.I)
SUBJECTS = re.compile(r"web UI|Ray|What is not there yet", re.I)


def test_what_the_docs_say_is_not_there_is_not_there(no_context: None, capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / ABSENT_PAGE).read_text().partition(ABSENT_HEADING)[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \|$", section, re.M)
    assert rows == list(ABSENT)
    assert [subject for subject, is_absent in ABSENT.items() if not is_absent()] == []


@pytest.mark.parametrize("page", ALL_PAGES)
def test_page_says_of_nothing_else_that_it_is_not_there(page: str) -> None:
    before, _, after = (ROOT / page).read_text().partition(ABSENT_HEADING)
    text = before + after.partition("\n## ")[2]
    sentences = [" ".join(sentence.split()) for sentence in re.split(r"(?<=[.|;])\s|\n\n", text)]
    assert [s for s in sentences if SAYS_ABSENT.search(s) and not SUBJECTS.search(s)] == []


def test_index_leads_to_every_page() -> None:
    index = ROOT / "docs/index.md"
    linked = {(index.parent / path).resolve() for path, _ in LINK.findall(index.read_text()) if path}
    pages = {path for path in (ROOT / "docs").glob("**/*.md") if path != index}
    assert pages - linked == set()


def test_concepts_name_what_recovery_needs() -> None:
    concepts = (ROOT / "docs/concepts.md").read_text()
    for name in ("StreamingContext.getOrCreate", "upgrade=True", "stream.uid(", "foreachTransaction", "supervise"):
        assert name in concepts, name


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if SHOWN.search((ROOT / page).read_text())])
def test_code_of_a_page_that_is_only_shown_is_python(page: str) -> None:
    for code in SHOWN.findall((ROOT / page).read_text()):
        ast.parse(textwrap.dedent(code))


def is_known(name: str) -> bool:
    """Whether a dotted name in the documentation is a setting's, or leads to something that can be imported."""
    if find(name) is not None or any(key.startswith(f"{name}.") for key in SETTINGS):
        return True
    with contextlib.suppress(ImportError, AttributeError):
        pkgutil.resolve_name(name)
        return True
    return False


# Pages that name what has gone, isn't there, or belongs to a file's format.
OTHER_NAMES = ("CHANGELOG.md", ABSENT_PAGE, "docs/formats/")


@pytest.mark.parametrize("page", [page for page in ALL_PAGES if not page.startswith(OTHER_NAMES)])
def test_names_on_a_page_are_those_of_settings_and_modules(page: str) -> None:
    names = NAME.findall((ROOT / page).read_text())
    assert sorted({name for name in names if not is_known(name)}) == []


@pytest.mark.parametrize("page", RUN_ELSEWHERE)
def test_a_page_that_is_run_elsewhere_is_run(page: str) -> None:
    assert page in (ROOT / RUN_ELSEWHERE[page]).read_text()


@pytest.mark.parametrize("page", ALL_PAGES)
def test_prose_of_a_page_is_wrapped(page: str) -> None:
    lines = FENCE.sub("", (ROOT / page).read_text()).splitlines()
    assert [line for line in lines if len(line) > WIDTH and not line.startswith("|") and " " in line.strip()] == []


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
    text = FENCE.sub("", page.read_text())
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in HEADING.findall(text)}


MESSAGE = re.compile(r"^> (.*(?:\n> .*)*)", re.M)
# Errors link to these: a heading that changes leaves its anchor behind as `<a id="..."></a>`.
ANCHORS = {
    "nothing-to-execute",
    "state-without-a-checkpoint-directory",
    "added-after-the-start",
    "only-one-context",
    "a-package-is-missing",
    "the-sql-engine",
    "a-setting-is-unknown-or-has-no-effect",
    "cant-be-pickled",
    "not-pairs",
    "a-key-hashes-by-identity",
    "results-are-too-large",
    "a-function-returned-none",
    "batches-fall-behind",
    "a-block-is-lost",
    "a-receiver-starts-again-and-again",
    "files-are-not-read",
    "memory-for-blocks-is-nearly-full",
    "an-output-was-committed-too-early",
    "the-directory-is-in-use",
    "the-old-code-goes-on",
    "streams-do-not-match",
    "the-batch-interval-has-changed",
    "the-number-of-partitions-has-changed",
    "the-clock-is-behind",
    "one-batch-fails-at-each-restart",
    "others-can-write-to-the-directory",
}


def texts_of_the_code() -> str:
    """All strings of the package; the values of f-strings and of `%s` are left out."""
    found = []
    for path in (ROOT / "headwater").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%[sdgr]", "\n", node.value))
    return "\n".join(found)


def test_troubleshooting_quotes_messages_that_there_are() -> None:
    messages = MESSAGE.findall((ROOT / "docs/operating/troubleshooting.md").read_text())
    assert len(messages) > 30
    texts = texts_of_the_code()
    pieces = [piece.strip() for message in messages for piece in message.replace("\n> ", " ").split("...")]
    assert [piece for piece in pieces if piece not in texts] == []


def test_anchors_of_troubleshooting_stay() -> None:
    text = (ROOT / "docs/operating/troubleshooting.md").read_text()
    kept = set(re.findall(r'<a id="([^"]+)"></a>', text))
    assert headings(ROOT / "docs/operating/troubleshooting.md") | kept >= ANCHORS


def test_errors_link_to_anchors_that_there_are() -> None:
    linked = set()
    for path in (ROOT / "headwater").glob("**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "see":
                linked.add(ast.literal_eval(node.args[0]))
    assert len(linked) >= 8
    assert linked - ANCHORS == set()


@pytest.mark.parametrize(
    "module", [headwater, headwater.sql, headwater.streaming, headwater.testing], ids=lambda module: module.__name__
)
def test_public_names_say_what_they_are(module: object) -> None:
    silent = []
    for name in module.__all__:  # type: ignore[attr-defined]
        thing = getattr(module, name)
        if name.startswith("__") or getattr(thing, "__module__", "").startswith("pyspark."):
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
