"""Queries are planned beside each other, and none while a view is replaced."""

from __future__ import annotations

import threading

from headwater.sql.planning import Planning
from tests.waiting import wait_for


def started(work: object) -> threading.Thread:
    thread = threading.Thread(target=work)  # type: ignore[arg-type]
    thread.start()
    return thread


def test_queries_are_planned_beside_each_other() -> None:
    planning = Planning()
    planning.begin()
    planning.begin()
    planning.end()
    planning.end()


def test_a_replacement_waits_for_those_that_are_planned_and_keeps_others_waiting() -> None:
    planning, story = Planning(), list[str]()

    def replace() -> None:
        with planning.interrupted():
            story.append("replaced")

    def plan() -> None:
        planning.begin()
        story.append("planned")
        planning.end()

    planning.begin()
    replacing = started(replace)
    wait_for(lambda: planning.is_interrupted, "the replacement's turn")
    later = started(plan)
    later.join(0.05)
    assert story == []
    planning.end()
    replacing.join()
    later.join()
    assert story == ["replaced", "planned"]


def test_replacements_follow_each_other_also_after_one_that_failed() -> None:
    planning, inside = Planning(), [0]

    def replace() -> None:
        for _ in range(50):
            try:
                with planning.interrupted():
                    inside[0] += 1
                    assert inside[0] == 1
                    inside[0] -= 1
                    raise ValueError
            except ValueError:
                continue

    threads = [started(replace) for _ in range(4)]
    for thread in threads:
        thread.join()
    planning.begin()
    planning.end()
