from __future__ import annotations

import ast
import queue
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater import clock as clock_module
from headwater.clock import EXPIRED, Clock, ManualClock, SystemClock

PATIENCE_SECONDS = 20.0


class Waiter:
    """A thread that waits on a clock, once for each deadline, and what each wait gave it."""

    def __init__(self, clock: Clock, *deadlines_ms: int | None) -> None:
        self.items: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.got: queue.SimpleQueue[Any] = queue.SimpleQueue()

        def wait() -> None:
            for deadline_ms in deadlines_ms:
                self.got.put(clock.get(self.items, deadline_ms))

        threading.Thread(target=wait, daemon=True).start()

    def next(self) -> Any:
        return self.got.get(timeout=PATIENCE_SECONDS)


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock()], ids=["system", "manual"])
def test_clock_gives_items_in_their_order(clock: Clock) -> None:
    items: queue.SimpleQueue[str] = queue.SimpleQueue()
    items.put("a")
    items.put("b")
    assert clock.get(items, None) == "a"
    assert clock.get(items, clock.now_ms() + 60_000) == "b"


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(5000)], ids=["system", "manual"])
@pytest.mark.parametrize("late_ms", [0, 1000])
def test_deadline_that_has_come_expires_at_once(clock: Clock, late_ms: int) -> None:
    assert clock.get(queue.SimpleQueue(), clock.now_ms() - late_ms) is EXPIRED


@pytest.mark.parametrize("clock", [SystemClock(), ManualClock(5000)], ids=["system", "manual"])
def test_item_that_is_there_comes_before_a_deadline_that_has_come(clock: Clock) -> None:
    items: queue.SimpleQueue[str] = queue.SimpleQueue()
    items.put("a")
    assert clock.get(items, 1) == "a"
    assert clock.get(items, 1) is EXPIRED


class Machine:
    """A machine whose clock can be set."""

    def __init__(self) -> None:
        self.wall_ns = 5_000_000_000_000
        self.steady_ns = 70_000_000
        self.clock = SystemClock(lambda: self.wall_ns, lambda: self.steady_ns)

    def pass_ms(self, ms: int) -> int:
        """Let time pass; returns what the clock says then, since the beginning."""
        self.wall_ns += ms * 1_000_000
        self.steady_ns += ms * 1_000_000
        return self.clock.now_ms() - 5_000_000

    def set_by_ms(self, ms: int) -> None:
        self.wall_ns += ms * 1_000_000


def test_system_clock_follows_when_the_machines_is_set_forward() -> None:
    machine = Machine()
    assert machine.pass_ms(100) == 100
    machine.set_by_ms(3_600_000)
    assert machine.pass_ms(100) == 3_600_200
    assert machine.clock.ahead_ms() == 0


def test_system_clock_goes_on_at_its_pace_when_the_machines_is_set_back() -> None:
    machine = Machine()
    machine.set_by_ms(-7_200_000)
    assert [machine.pass_ms(100) for _ in range(3)] == [100, 200, 300]
    assert machine.clock.ahead_ms() == 7_200_000
    machine.set_by_ms(7_100_000)
    assert machine.pass_ms(100) == 400
    assert machine.clock.ahead_ms() == 100_000
    machine.set_by_ms(200_000)
    assert machine.pass_ms(100) == 100_500
    assert machine.clock.ahead_ms() == 0


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(-(10**8), 10**8))))
def test_system_clock_never_goes_back_and_never_waits_longer(steps: list[tuple[int, int]]) -> None:
    machine, before_ms = Machine(), 0
    for passed_ms, set_by_ms in steps:
        machine.set_by_ms(set_by_ms)
        now_ms = machine.pass_ms(passed_ms)
        assert now_ms >= before_ms + passed_ms
        before_ms = now_ms


def test_system_clock_waits_for_its_deadline() -> None:
    clock = SystemClock()
    deadline_ms = clock.now_ms() + 20
    assert clock.get(queue.SimpleQueue(), deadline_ms) is EXPIRED
    assert clock.now_ms() >= deadline_ms - 1


def test_manual_clock_stands_still_until_it_is_told_to_move() -> None:
    clock = ManualClock(100)
    assert clock.now_ms() == 100
    clock.advance(50)
    clock.advance(0)
    assert clock.now_ms() == 150


def test_manual_clock_wakes_a_waiter_at_its_deadline_and_not_before() -> None:
    clock = ManualClock()
    waiter = Waiter(clock, 1000, 1000)
    waiter.items.put("it waits")
    assert waiter.next() == "it waits"
    clock.advance(999)
    assert waiter.got.empty()
    clock.advance(1)
    assert waiter.next() is EXPIRED


def test_manual_clock_wakes_all_whose_deadline_lies_in_between() -> None:
    clock = ManualClock()
    waiters = [Waiter(clock, deadline_ms) for deadline_ms in (300, 100, 200)]
    clock.advance(300)
    assert [waiter.next() for waiter in waiters] == [EXPIRED] * 3


def test_manual_clock_does_not_expire_a_later_wait_by_an_earlier_deadline() -> None:
    clock = ManualClock()
    waiter = Waiter(clock, 1000, 2000)
    waiter.items.put("an item ends the first wait")
    waiter.next()
    clock.advance(1000)
    waiter.items.put("and another the second")
    assert waiter.next() == "and another the second"


def test_manual_clock_waits_for_an_item_alone_when_there_is_no_deadline() -> None:
    clock = ManualClock()
    waiter = Waiter(clock, None)
    clock.advance(10**9)
    waiter.items.put("a")
    assert waiter.next() == "a"


# ------------------------------------------------------------------------------------------------ who reads the time
PACKAGE = Path(clock_module.__file__).parent

#: Modules that read the time by themselves, and why they may: see the header of headwater/clock.py.
READS_THE_TIME = {
    "clock.py": "the clock itself",
    "context.py": "the start time that the user is told",
    "deploy/supervise.py": "a process of its own, whose clock is given to its policy",
    "engine/handshakes.py": "how long a peer's proof is waited for",
    "engine/task.py": "how long a task took",
    "engine/warden.py": "how long processes have to end",
    "engine/wire.py": "how long a peer's proof is waited for",
    "filesystem/retries.py": "how long a store is waited for",
    "sql/arrowrows.py": "what the local time of an instant is",
    "sql/conf.py": "how far the local time zone is off",
    "streaming/kafka/brokers.py": "in tasks and receivers: how long a broker's answer counts",
    "streaming/kafka/reading.py": "in tasks: how long a broker is waited for",
    "streaming/kinesis/reading.py": "how long a call took, of the pause between two",
    "streaming/recovery/setaside.py": "the date in a directory's name, for the user",
    "testing/harness.py": "how long a test is patient",
}


def readers_of_the_time() -> set[str]:
    """The modules of the package that import `time`, or the present from `datetime`."""
    return {
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Import) and any(alias.name == "time" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and node.module == "time")
        or (isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"))
    }


def test_time_is_read_by_the_clock_and_where_a_reason_stands() -> None:
    assert sorted(readers_of_the_time() - READS_THE_TIME.keys()) == [], "take a Clock; headwater/clock.py says why"
    assert sorted(READS_THE_TIME.keys() - readers_of_the_time()) == [], "these read no time: strike them off the list"
