"""Starts and stops of a context, with threads that only note what is asked of them; see test_context for real ones."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headwater.errors import IllegalStateException
from headwater.streaming.context import StreamingContextState
from headwater.streaming.graph.graph import Graph
from headwater.streaming.lifecycle import Lifecycle
from headwater.streaming.waiter import Waiter

PATIENCE_SECONDS = 10.0


class Context:
    """Whose life it is, and what its life asks of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.waiter = Waiter()
        self.lifecycle = Lifecycle(
            self,
            Graph(1000),
            self.waiter,
            stop_spark_context=lambda: self.calls.append("stop spark context"),
            give_up=lambda: self.calls.append("give up"),
            gracefully=True,
        )

    def stop(self, *, stop_spark_context: bool = False, gracefully: bool = False) -> None:
        self.lifecycle.stop(stop_spark_context=stop_spark_context, gracefully=gracefully)


class Threads:
    """The threads of a started context. The end of a graceful stop waits for `hurry`."""

    def __init__(self, calls: list[str], *, runs_here: bool = False) -> None:
        self._calls = calls
        self._runs_here = runs_here
        self._hurried = threading.Event()
        self.stopping = threading.Event()

    def runs_here(self) -> bool:
        return self._runs_here

    def hurry(self) -> None:
        self._calls.append("hurry")
        self._hurried.set()

    def stop(self, *, gracefully: bool) -> None:
        self._calls.append("stop gracefully" if gracefully else "stop")
        self.stopping.set()
        if gracefully:
            assert self._hurried.wait(PATIENCE_SECONDS)


@pytest.fixture
def context() -> Iterator[Context]:
    made = Context()
    yield made
    if made.lifecycle.state is StreamingContextState.ACTIVE:
        made.stop()


def in_background(target: Any, **arguments: Any) -> threading.Thread:
    thread = threading.Thread(target=target, kwargs=arguments)
    thread.start()
    return thread


def test_context_is_the_active_one_from_its_start_to_its_end(context: Context) -> None:
    assert Lifecycle.active is None
    context.lifecycle.start(lambda: Threads(context.calls))
    assert (Lifecycle.active, context.lifecycle.state) == (context.lifecycle, StreamingContextState.ACTIVE)
    context.stop(stop_spark_context=True)
    assert (Lifecycle.active, context.lifecycle.state) == (None, StreamingContextState.STOPPED)
    assert context.calls == ["stop", "stop spark context"]
    assert context.lifecycle.wait(0)


def test_start_that_raises_ends_the_context_for_good(context: Context) -> None:
    def begin() -> Threads:
        raise ValueError("no outputs")

    with pytest.raises(ValueError, match="no outputs"):
        context.lifecycle.start(begin)
    assert (Lifecycle.active, context.calls) == (None, ["give up"])
    assert context.lifecycle.wait(0)
    with pytest.raises(IllegalStateException, match="already been stopped"):
        context.lifecycle.start(begin)


def test_second_start_starts_nothing(context: Context) -> None:
    context.lifecycle.start(lambda: Threads(context.calls))
    context.lifecycle.start(lambda: pytest.fail("it has started"))


def test_start_beside_another_context_says_where_that_was_started(context: Context) -> None:
    context.lifecycle.start(lambda: Threads(context.calls))
    other = Context()
    with pytest.raises(IllegalStateException, match=r"was\s+started at test_lifecycle\.py:\d+"):
        other.lifecycle.start(lambda: Threads(other.calls))
    context.stop()
    other.lifecycle.start(lambda: Threads(other.calls))
    other.stop()


def test_stop_before_the_start_is_for_good_and_stops_the_spark_context(context: Context) -> None:
    context.stop(stop_spark_context=True)
    context.stop(stop_spark_context=True)
    assert context.calls == ["give up", "stop spark context", "stop spark context"]
    assert context.lifecycle.wait(0)


def test_stop_on_a_thread_of_the_context_returns_and_goes_on_in_the_background(context: Context) -> None:
    threads = Threads(context.calls, runs_here=True)
    context.lifecycle.start(lambda: threads)
    context.stop(gracefully=True)
    context.stop()  # hurries the first, and doesn't wait for it here
    assert context.waiter.wait(PATIENCE_SECONDS)
    assert sorted(context.calls) == ["hurry", "stop gracefully"]


def test_second_stop_waits_for_the_first_and_hurries_it_if_it_is_not_graceful(context: Context) -> None:
    threads = Threads(context.calls)
    context.lifecycle.start(lambda: threads)
    first = in_background(context.stop, gracefully=True)
    assert threads.stopping.wait(PATIENCE_SECONDS)
    patient = in_background(context.stop, gracefully=True)
    context.stop(stop_spark_context=True)
    assert context.lifecycle.state is StreamingContextState.STOPPED
    for thread in (first, patient):
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
    assert context.calls == ["stop gracefully", "hurry", "stop spark context"]


def test_wait_on_a_thread_of_the_context_is_refused(context: Context) -> None:
    context.lifecycle.start(lambda: Threads(context.calls, runs_here=True))
    with pytest.raises(IllegalStateException, match="it would wait for its own end"):
        context.lifecycle.wait(0)
    context.stop()
    assert context.waiter.wait(PATIENCE_SECONDS)
