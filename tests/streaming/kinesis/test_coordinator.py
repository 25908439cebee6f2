"""The coordinator, without a table: by single events, and many of them over a simulated one."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine.events import Wake, Woken
from headwater.streaming.kinesis import coordinator as core
from headwater.streaming.kinesis.coordinator import Coordinator
from headwater.streaming.kinesis.leases import (
    AT_TIMESTAMP,
    LATEST,
    SHARD_END,
    TRIM_HORIZON,
    InitialPosition,
    Shard,
    ShardCheckpoint,
    ShardLease,
    missing_leases,
)

LEASE_MS = 900
HORIZON = ShardCheckpoint(TRIM_HORIZON)
END = ShardCheckpoint(SHARD_END)


def worker(initial: str = TRIM_HORIZON, name: str = "me") -> Coordinator:
    return Coordinator(name, initial=InitialPosition(initial, 5), lease_ms=LEASE_MS, checkpoint_ms=100)


def without_wakes(actions: list[Any]) -> list[Any]:
    return [action for action in actions if not isinstance(action, Wake)]


def listed(made: Coordinator, *shards: Shard) -> Coordinator:
    """Begun, and knows these shards; a scan is under way."""
    assert without_wakes(made.handle(core.BeginReading(), 0)) == [core.ListShards(), core.ScanLeases()]
    assert without_wakes(made.handle(core.Scanned(()), 0)) == []
    assert without_wakes(made.handle(core.Listed(shards), 0)) == [core.ScanLeases()]
    return made


def holding(made: Coordinator, lease: ShardLease) -> tuple[Coordinator, ShardLease]:
    """Holds a lease since 0 ms."""
    listed(made, Shard(lease.key))
    takes = [a for a in made.handle(core.Scanned((lease,)), 0) if isinstance(a, core.Write)]
    assert len(takes) == 1
    made.handle(core.Written(lease.key), 0)
    return made, takes[0].after


# ------------------------------------------------------------------------------------------------ leases
A, B, C = Shard("a", (), False), Shard("b", ("a",)), Shard("c", ("a",))


@pytest.mark.parametrize(
    ("initial", "leased", "expected"),
    [
        (TRIM_HORIZON, (), [("a", TRIM_HORIZON), ("b", TRIM_HORIZON), ("c", TRIM_HORIZON)]),
        (LATEST, (), [("b", LATEST), ("c", LATEST)]),  # closed: nothing comes
        (LATEST, ("a",), [("b", TRIM_HORIZON), ("c", TRIM_HORIZON)]),
        (LATEST, ("a", "b"), [("c", TRIM_HORIZON)]),
        (AT_TIMESTAMP, (), [("a", AT_TIMESTAMP), ("b", AT_TIMESTAMP), ("c", AT_TIMESTAMP)]),
        (LATEST, ("a", "b", "c"), []),
    ],
)
def test_missing_leases_are_of_shards_to_read(initial: str, leased: tuple[str, ...], expected: list[Any]) -> None:
    made = missing_leases([C, B, A], leased, InitialPosition(initial))
    assert sorted((lease.key, lease.checkpoint.sequence) for lease in made) == expected


def test_missing_leases_list_parents_before_children() -> None:
    shards = [Shard("0", ("1",)), Shard("1", ("2", "3")), Shard("2"), Shard("3", ("gone",))]
    keys = [lease.key for lease in missing_leases(shards, (), InitialPosition(TRIM_HORIZON))]
    assert keys.index("1") > max(keys.index("2"), keys.index("3"))
    assert keys[-1] == "0"


def test_checkpoints_are_ordered_as_numbers() -> None:
    texts = [
        HORIZON,
        ShardCheckpoint("9", 5),
        ShardCheckpoint("10"),
        ShardCheckpoint("10", 2),
        ShardCheckpoint("1" + "0" * 60),
        END,
    ]
    assert sorted(texts[::-1], key=lambda checkpoint: checkpoint.order) == texts


# ------------------------------------------------------------------------------------------------ single events
def test_a_shard_without_lease_gets_one() -> None:
    made = listed(worker(), Shard("a"))
    assert without_wakes(made.handle(core.Scanned(()), 1)) == [core.Create(ShardLease("a", None, 0, HORIZON))]
    assert without_wakes(made.handle(core.Created("a"), 2)) == [core.ScanLeases()]


def test_a_free_lease_is_taken_and_read() -> None:
    made = listed(worker(), Shard("a"))
    lease = ShardLease("a", None, 4, ShardCheckpoint("17", 2))
    after = ShardLease("a", "me", 5, ShardCheckpoint("17", 2), (), 1, 10)
    assert without_wakes(made.handle(core.Scanned((lease,)), 10)) == [core.Write(lease, after)]
    assert without_wakes(made.handle(core.Written("a"), 20)) == [
        core.ReadShard("a", core.Position(ShardCheckpoint("17", 2), 10))
    ]
    assert made.held(20) == {"a"}
    assert made.held(10 + LEASE_MS) == set()


def test_anothers_lease_is_taken_only_when_it_stood_still() -> None:
    made = listed(worker(), Shard("a"))
    lease = ShardLease("a", "other", 4, HORIZON)
    moved = ShardLease("a", "other", 5, HORIZON)
    assert without_wakes(made.handle(core.Scanned((lease,)), 10)) == []
    assert without_wakes(made.handle(core.Scanned((moved,)), 10 + LEASE_MS)) == []
    assert without_wakes(made.handle(core.Scanned((moved,)), 9 + 2 * LEASE_MS)) == []
    (take,) = without_wakes(made.handle(core.Scanned((moved,)), 10 + 2 * LEASE_MS))
    assert take == core.Write(moved, ShardLease("a", "me", 6, HORIZON, (), 1, 10 + 2 * LEASE_MS))


def test_a_child_waits_for_its_parents_end() -> None:
    made = listed(worker(), A, B)
    parent, child = ShardLease("a", "other", 1, HORIZON), ShardLease("b", None, 0, HORIZON, ("a",))
    assert without_wakes(made.handle(core.Scanned((parent, child)), 1)) == []
    ended = ShardLease("a", None, 2, END)
    (take,) = without_wakes(made.handle(core.Scanned((ended, child)), 2))
    assert take.before == child


def test_a_renewal_is_asked_for_in_time_and_extends_the_lease() -> None:
    made, lease = holding(worker(), ShardLease("a", None, 0, HORIZON))
    actions = without_wakes(made.handle(Woken(), LEASE_MS // 3))
    (renewal,) = [action for action in actions if isinstance(action, core.Write)]
    assert (renewal.before, renewal.after.counter) == (lease, lease.counter + 1)
    made.handle(core.Written("a"), 800)
    assert made.held(LEASE_MS // 3 + LEASE_MS - 1) == {"a"}
    assert made.held(LEASE_MS // 3 + LEASE_MS) == set()


def test_a_lease_that_could_not_be_renewed_in_time_is_given_up() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    assert core.Cease("a") in made.handle(Woken(), LEASE_MS)


def test_a_lease_taken_by_another_is_given_up() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    made.handle(Woken(), 300)
    assert core.Cease("a") in made.handle(core.Refused("a", ShardLease("a", "other", 9, HORIZON)), 310)
    assert made.held(310) == set()


def test_a_write_whose_answer_was_lost_is_known_again() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    (write,) = [action for action in made.handle(Woken(), 300) if isinstance(action, core.Write)]
    made.handle(core.Failed(write), 310)
    (again,) = [action for action in made.handle(Woken(), 400) if isinstance(action, core.Write)]
    assert again == write
    (third,) = [a for a in made.handle(core.Refused("a", write.after), 410) if isinstance(a, core.Write)]
    assert third.before == write.after


def test_a_checkpoint_is_written_once_its_interval_is_over() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    assert without_wakes(made.handle(core.Stored("a", ShardCheckpoint("9")), 50)) == []
    assert without_wakes(made.handle(core.Stored("a", ShardCheckpoint("10")), 60)) == []
    assert without_wakes(made.handle(core.Stored("a", ShardCheckpoint("8")), 70)) == []
    (write,) = without_wakes(made.handle(Woken(), 100))
    assert (write.after.checkpoint, write.after.switches) == (ShardCheckpoint("10"), 0)
    made.handle(core.Written("a"), 110)
    assert without_wakes(made.handle(core.Stored("a", ShardCheckpoint("11")), 199)) == []
    (write,) = without_wakes(made.handle(Woken(), 200))
    assert write.after.checkpoint == ShardCheckpoint("11")


def test_a_shards_end_is_written_at_once_and_its_lease_given_back() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    (write,) = without_wakes(made.handle(core.Stored("a", END), 10))
    assert (write.after.checkpoint, write.after.owner) == (END, None)
    actions = without_wakes(made.handle(core.Written("a"), 20))
    assert set(actions) >= {core.Cease("a"), core.ListShards()}


def test_who_leaves_writes_the_last_checkpoints_and_gives_back() -> None:
    made, _ = holding(worker(), ShardLease("a", None, 0, HORIZON))
    made.handle(core.Stored("a", ShardCheckpoint("7")), 10)
    (write,) = without_wakes(made.handle(core.Leave(), 20))
    assert (write.after.checkpoint, write.after.owner) == (ShardCheckpoint("7"), None)
    assert without_wakes(made.handle(core.Written("a"), 30)) == [core.Cease("a"), core.Left()]


def test_latest_is_remembered_for_who_takes_the_lease_before_a_checkpoint() -> None:
    made = listed(worker(LATEST), Shard("a"))
    made.handle(core.Scanned((ShardLease("a", None, 3, ShardCheckpoint(LATEST), (), 1, 77),)), 1000)
    actions = without_wakes(made.handle(core.Written("a"), 1001))
    assert actions == [core.ReadShard("a", core.Position(ShardCheckpoint(AT_TIMESTAMP), 77))]


def test_leases_of_a_busy_worker_are_stolen_until_loads_differ_by_one() -> None:
    keys = [str(number) for number in range(7)]
    made = listed(worker(), *map(Shard, keys))
    table = tuple(ShardLease(key, "other", 1, HORIZON) for key in keys)
    takes = [action for action in made.handle(core.Scanned(table), 1) if isinstance(action, core.Write)]
    assert len(takes) == 3
    for take in takes:
        made.handle(core.Written(take.before.key), 2)
    table = tuple(ShardLease(key, "me" if key in made.held(2) else "other", 2, HORIZON) for key in keys)
    assert not [action for action in made.handle(core.Scanned(table), 3) if isinstance(action, core.Write)]


def test_an_ended_lease_is_deleted_once_its_shard_is_gone() -> None:
    made = listed(worker(), Shard("b", ("a",)))
    table = (ShardLease("a", None, 3, END), ShardLease("b", "other", 1, HORIZON, ("a",)))
    assert without_wakes(made.handle(core.Scanned(table), 1)) == [core.Delete(table[0])]


# ------------------------------------------------------------------------------------------------ a simulated table
class Simulation:
    """Workers over one table, on virtual time; with `trouble` calls are slow, fail or lose their answers, and workers
    stand still for a while."""

    def __init__(self, shards: int, seed: int) -> None:
        self.random = random.Random(seed)
        self.trouble = 0.0
        self.now = 0
        self.table: dict[str, ShardLease] = {}
        self.shards = tuple(Shard(str(number)) for number in range(shards))
        self.workers: dict[str, Coordinator] = {}
        self.reading: dict[str, set[str]] = {}
        self.moved_ms: dict[str, int] = {}  # when a lease was written last
        self.stolen: set[str] = set()  # shards that were once taken from an owner that lived: by balancing
        self.steals_allowed = True
        self._still_until: dict[str, int] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()

    def add(self) -> str:
        name = f"w{next(self._order)}"
        self.workers[name] = Coordinator(
            name,
            initial=InitialPosition(TRIM_HORIZON),
            lease_ms=LEASE_MS,
            checkpoint_ms=100,
            seed=self.random.randrange(1000),
        )
        self.reading[name] = set()
        self._tell(name, core.BeginReading(), self.random.randrange(LEASE_MS))
        return name

    def kill(self) -> None:
        if self.workers:
            del self.workers[self.random.choice(sorted(self.workers))]

    def run(self, duration_ms: int) -> None:
        until = self.now + duration_ms
        while self._queue and self._queue[0][0] <= until:
            self.now, _, step = heapq.heappop(self._queue)
            step()
            for key in self.table.keys() - self.stolen:
                believers = [name for name, made in self.workers.items() if key in made.held(self.now)]
                assert len(believers) <= 1, (self.now, key, believers)
        self.now = until

    def _later(self, delay_ms: int, step: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now + delay_ms, next(self._order), step))

    def _tell(self, name: str, event: Any, delay_ms: int) -> None:
        self._later(delay_ms, lambda: self._handle(name, event))

    def _handle(self, name: str, event: Any) -> None:
        made = self.workers.get(name)
        if made is None:
            return
        still = self._still_until.get(name, 0) - self.now
        if still > 0:  # what came waits
            return self._tell(name, event, still)
        if self.random.random() < self.trouble / 50:
            self._still_until[name] = self.now + self.random.randrange(1, 2 * LEASE_MS)
        for action in made.handle(event, self.now):
            match action:
                case Wake(at_ms):
                    self._tell(name, Woken(), max(0, at_ms - self.now))
                case core.ReadShard(key, _):
                    assert key not in self.reading[name]
                    self.reading[name].add(key)
                case core.Cease(key):
                    self.reading[name].remove(key)
                case _:
                    self._call(name, action)
        made.check()
        assert made.held(self.now) <= self.reading[name]

    def _call(self, name: str, action: Any) -> None:
        if self.random.random() < self.trouble / 10:
            return self._tell(name, core.Failed(action), self._delay_ms())
        self._later(self._delay_ms(), lambda: self._take_effect(name, action))

    def _take_effect(self, name: str, action: Any) -> None:
        event = self._effect(name, action)
        lost = self.random.random() < self.trouble / 10
        self._tell(name, core.Failed(action) if lost else event, self._delay_ms())

    def _effect(self, name: str, action: Any) -> Any:
        match action:
            case core.ListShards():
                return core.Listed(self.shards)
            case core.ScanLeases():
                return core.Scanned(tuple(self.table.values()))
            case core.Create(lease):
                self.table.setdefault(lease.key, lease)
                return core.Created(lease.key)
            case core.Write(before, after):
                current = self.table[before.key]
                if (current.owner, current.counter) != (before.owner, before.counter):
                    return core.Refused(before.key, current)
                stood_still = self.now - self.moved_ms.get(before.key, 0) >= LEASE_MS
                if before.owner not in (None, name) and not stood_still:
                    assert self.steals_allowed, (self.now, before, after)
                    self.stolen.add(before.key)
                self.moved_ms[before.key] = self.now
                self.table[before.key] = after
                return core.Written(before.key)
        raise AssertionError(action)

    def _delay_ms(self) -> int:
        slow = self.random.random() < self.trouble / 5
        return self.random.randrange(LEASE_MS) if slow else self.random.randrange(1, 30)


@settings(max_examples=40)
@given(
    shards=st.integers(1, 12),
    seed=st.integers(0, 10**6),
    trouble=st.sampled_from([0.2, 1.0]),
    story=st.lists(st.sampled_from(["add", "kill", "run"]), min_size=1, max_size=12),
)
def test_all_shards_end_up_shared_evenly_whatever_happened(
    shards: int, seed: int, trouble: float, story: list[str]
) -> None:
    simulation = Simulation(shards, seed)
    simulation.add()
    simulation.trouble = trouble
    for step in story:
        if step == "run":
            simulation.run(3 * LEASE_MS)
        else:
            getattr(simulation, step)()
    simulation.trouble = 0.0
    simulation.add()
    simulation.run(40 * LEASE_MS)
    loads = Counter(lease.owner for lease in simulation.table.values())
    assert loads.keys() <= simulation.workers.keys()
    assert sum(loads.values()) == shards
    counts = [loads[name] for name in simulation.workers]
    assert max(counts) - min(counts) <= 1
    for name, made in simulation.workers.items():
        held = {key for key, lease in simulation.table.items() if lease.owner == name}
        assert made.held(simulation.now) == simulation.reading[name] == held


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), workers=st.integers(2, 4))
def test_no_shard_has_two_owners_that_believe_in_it_unless_one_was_stolen(seed: int, workers: int) -> None:
    """With one shard nothing is balanced, so every change of owner is by expiry."""
    simulation = Simulation(1, seed)
    simulation.steals_allowed = False
    simulation.trouble = 1.0
    for _ in range(workers):
        simulation.add()
    for _ in range(4):
        simulation.run(5 * LEASE_MS)
        simulation.kill()
        simulation.add()
