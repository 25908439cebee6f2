"""Fixtures of all tests.

`sc` runs a test on each kind of master. It lives as long as pytest can group tests by it, since only one context can
live at a time; a test that needs another one asks for `no_context`.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext
from tests.servers import LEFT_OUT

collect_ignore = ["programs"]  # programs for PySpark, which test_programs.py runs

MASTERS = ["local", "local[2]", "local-cluster[2,1,512]"]

# Context, key, value.
SetConf = Callable[[SparkContext, str, str], None]

# An example runs jobs, so there are few; their time says nothing about the code under test.
settings.register_profile(
    "jobs",
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("jobs")


def _start(master: str) -> SparkContext:
    stop_active_context()
    return SparkContext(conf=SparkConf(loadDefaults=False).setMaster(master).setAppName("tests"))


def stop_active_context() -> None:
    """End the context that lives, whoever started it."""
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()


@pytest.fixture(scope="session", params=MASTERS)
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def _contexts() -> Iterator[dict[str, SparkContext]]:
    """The latest context of each master: a test in between may have stopped it."""
    contexts: dict[str, SparkContext] = {}
    yield contexts
    stop_active_context()


@pytest.fixture
def sc(master: str, _contexts: dict[str, SparkContext]) -> Iterator[SparkContext]:
    """A context that runs, the same one for all tests of a master in a row. Its thread's properties begin empty."""
    left = StreamingContext.getActive()
    if left is not None:
        left.stop(stopSparkContext=False)  # of a test that failed: the next ones are not to blame
    context = _contexts.get(master)
    if context is None or SparkContext._active_spark_context is not context:
        context = _contexts[master] = _start(master)
    context.checkpoint_directory = None  # of the test before
    with context.job_properties_restored():
        yield context


@pytest.fixture
def set_conf(monkeypatch: pytest.MonkeyPatch) -> SetConf:
    """Sets a key of a context that runs, which a program can't, until the test ends."""
    return lambda sc, key, value: monkeypatch.setitem(sc.conf._pairs, key, value)


@pytest.fixture
def no_context() -> Iterator[None]:
    """No context lives, before and after the test."""
    stop_active_context()
    yield
    stop_active_context()


@pytest.fixture
def untraced() -> Iterator[None]:
    """No code is traced, as coverage does it, for tests that throw exceptions into threads.

    As long as one is on its way to a thread that sleeps, CPython 3.11 lets no traced thread go on.
    """
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    threading.settrace(None)
    sys.settrace(None)
    yield
    threading.settrace(of_threads)
    sys.settrace(tracer)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which servers could not be run, and how to get them."""
    reasons = {report.longrepr[2] for report in terminalreporter.stats.get("skipped", ())}
    for reason in sorted(reasons):
        if reason.startswith(f"Skipped: {LEFT_OUT}"):
            terminalreporter.write_line(reason.removeprefix("Skipped: "))
