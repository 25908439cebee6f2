"""The watch over executors, in words: events in, actions out. Heartbeats come each second, the timeout is ten."""

from __future__ import annotations

import os
from typing import Any

import pytest

from headwater.engine.backends.watch import (
    FIRST_PAUSE_MS,
    FRUITLESS_ROUNDS_MAX,
    STARTING_MS_MAX,
    Deaths,
    ExecutorStarted,
    Gone,
    Joined,
    Looked,
    Replace,
    Watch,
)
from headwater.engine.events import Wake, Woken
from headwater.errors import IllegalArgumentException
from tests.engine.applications import App

HEARTBEAT_MS, TIMEOUT_MS = 1000, 10_000
PERIOD_MS = HEARTBEAT_MS // 2


class Watched:
    """A watch, checked after each event, that is woken when it wants to be."""

    def __init__(self, *executors: str) -> None:
        self.watch = Watch(HEARTBEAT_MS, TIMEOUT_MS)
        self.now_ms = 0
        self.wakes: list[int] = []
        for executor in executors:
            self.happens(ExecutorStarted(executor))
            self.happens(Joined(executor))

    def happens(self, event: Any) -> list[str]:
        actions = self.watch.handle(event, self.now_ms)
        self.watch.check()
        self.wakes += [action.at_ms for action in actions if isinstance(action, Wake)]
        return [_text(action) for action in actions if not isinstance(action, Wake)]

    def pass_ms(self, ms: int, *heard: str) -> list[str]:
        """Time passes in which these are heard all the time; what the watch says, except for its looks."""
        end_ms, said = self.now_ms + ms, []
        while self.wakes and min(self.wakes) <= end_ms:
            self.now_ms = max(self.now_ms, min(self.wakes))
            self.wakes.remove(min(self.wakes))
            said += self.woken(*heard)
        self.now_ms = end_ms
        return said

    def woken(self, *heard: str) -> list[str]:
        said = self.happens(Woken())
        if "look" in said:
            said.remove("look")
            said += self.happens(Looked(frozenset(heard)))
        return said


def _text(action: Any) -> str:
    return " ".join(map(str, (type(action).__name__.lower(), *action)))


def test_executor_that_is_heard_is_left_alone() -> None:
    assert Watched("a", "b").pass_ms(10 * TIMEOUT_MS, "a", "b") == []


def test_executor_is_suspect_after_two_heartbeats_without_a_word_and_fenced_after_the_timeout() -> None:
    watched = Watched("a", "b")
    assert watched.pass_ms(2 * HEARTBEAT_MS - 1, "b") == []
    assert watched.pass_ms(1, "b") == ["suspect a 2000"]
    assert watched.pass_ms(7999, "b") == []
    assert watched.pass_ms(1, "b") == ["fence a 10000"]
    assert watched.pass_ms(10 * TIMEOUT_MS, "b") == []


def test_suspect_is_trusted_when_it_is_heard_again() -> None:
    watched = Watched("a")
    assert watched.pass_ms(9500) == ["suspect a 2000"]
    assert watched.pass_ms(500, "a") == ["trust a 9500"]
    assert watched.pass_ms(9500) == ["suspect a 2000"]
    assert watched.pass_ms(500) == ["fence a 10000"]


def test_fenced_executor_is_not_watched_again_when_it_joins_late() -> None:
    watched = Watched("a")
    watched.pass_ms(TIMEOUT_MS)
    assert watched.happens(Joined("a")) == []
    assert watched.pass_ms(10 * TIMEOUT_MS) == []


def test_executor_that_has_left_is_not_watched() -> None:
    watched = Watched("a")
    watched.happens(Gone("a"))
    assert watched.pass_ms(10 * TIMEOUT_MS) == []
    assert not watched.wakes


def test_executor_is_watched_when_all_before_it_have_left() -> None:
    watched = Watched("a")
    watched.happens(Gone("a"))
    watched.pass_ms(TIMEOUT_MS)
    watched.happens(ExecutorStarted("b"))
    watched.happens(Joined("b"))
    assert watched.pass_ms(TIMEOUT_MS) == ["suspect b 2000", "fence b 10000"]


@pytest.mark.parametrize("times", [1, 8])
def test_time_in_which_the_driver_was_stopped_is_no_executors_silence(times: int) -> None:
    """Each time two periods at most count, and between two such times the executors are heard."""
    watched = Watched("a", "b")
    for _ in range(times):
        watched.now_ms += 100 * TIMEOUT_MS
        watched.wakes.clear()
        assert watched.woken() == []
        assert watched.pass_ms(PERIOD_MS, "a", "b") == []


def test_executor_that_was_silent_before_the_driver_was_stopped_is_still_counted() -> None:
    watched = Watched("a")
    assert watched.pass_ms(9000) == ["suspect a 2000"]
    watched.now_ms += 100 * TIMEOUT_MS
    watched.wakes.clear()
    assert watched.woken() == ["fence a 10000"]


def test_executor_may_take_longer_to_start_than_to_answer() -> None:
    watched = Watched()
    watched.happens(ExecutorStarted("a"))
    assert watched.pass_ms(STARTING_MS_MAX - 1) == []
    assert watched.pass_ms(1) == [f"fence a {STARTING_MS_MAX}"]


def test_replacement_starts_at_once_or_after_its_pause() -> None:
    watched = Watched()
    assert watched.happens(Replace(0)) == ["start"]
    watched.happens(Replace(300))
    watched.happens(Replace(100))
    assert watched.pass_ms(100) == ["start"]
    assert watched.pass_ms(199) == []
    assert watched.pass_ms(1) == ["start"]


# ------------------------------------------------------------------------------------------------ deaths in a row
def test_deaths_without_work_are_replaced_later_each_round_and_then_no_more() -> None:
    deaths = Deaths(executors=2)
    pauses = [deaths.add() for _ in range(2 * (FRUITLESS_ROUNDS_MAX + 1) + 1)]
    assert pauses[:8] == [0, 0, FIRST_PAUSE_MS, FIRST_PAUSE_MS, 200, 200, 400, 400]
    assert pauses[-3:] == [12_800, 12_800, None]
    assert str(deaths) == "executors died 19 times, and no task succeeded in between"


def test_thousand_deaths_are_no_reason_to_end_when_work_is_done_in_between() -> None:
    deaths = Deaths(executors=1)
    for _ in range(1000):
        assert deaths.add() == 0
        deaths.worked()


# ------------------------------------------------------------------------------------------------ settings
def test_timeout_that_is_not_longer_than_a_heartbeat_is_refused(tmp_path: Any) -> None:
    with pytest.raises(IllegalArgumentException, match="The value of spark.network.timeout=10000ms must be greater"):
        App("local", tmp_path, spark_network_timeout="10s")
    assert list((tmp_path / f"headwater-{os.geteuid()}").iterdir()) == []  # nothing is left of it
