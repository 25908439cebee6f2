"""Watched threads, and that the package has no others."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import headwater
from headwater.base.threads import WatchedThread

ROOT = Path(headwater.__file__).parent


@pytest.mark.parametrize("error", [ValueError("no"), MemoryError(), SystemExit(3), KeyboardInterrupt()])
def test_failure_of_a_thread_is_told_and_logged_whatever_it_is(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def work() -> None:
        raise error

    failures: list[BaseException] = []
    thread = WatchedThread(work, name="reader", on_failure=failures.append)
    thread.start()
    thread.join()
    assert failures == [error]
    assert [record.getMessage() for record in caplog.records] == ["thread reader has failed"]


def test_thread_that_ends_by_itself_tells_nobody(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[BaseException] = []
    done: list[str] = []
    thread = WatchedThread(lambda: done.append("work"), name="reader", on_failure=failures.append)
    thread.start()
    thread.join()
    assert (done, failures, caplog.record_tuples) == (["work"], [], [])


def _makes_a_thread(node: ast.AST) -> bool:
    """A call or a base class that is a thread of the standard library's."""
    named = node.func if isinstance(node, ast.Call) else node
    name = named.attr if isinstance(named, ast.Attribute) else getattr(named, "id", "")
    if isinstance(node, ast.ClassDef):
        return any(_makes_a_thread(base) for base in node.bases)
    wanted = {"Thread", "Timer", "start_new_thread", "_DummyThread"}
    return isinstance(node, (ast.Call, ast.Name, ast.Attribute)) and name in wanted


def test_every_thread_of_the_package_is_a_watched_one() -> None:
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Call, ast.ClassDef)) and _makes_a_thread(node):
                found.append(f"{path.relative_to(ROOT)}: {ast.unparse(node).splitlines()[0]}")
    assert found == [
        "base/threads.py: class WatchedThread(threading.Thread):",
        "util.py: class InheritableThread(threading.Thread):",  # the program's own
    ]
