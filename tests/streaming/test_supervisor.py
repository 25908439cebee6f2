"""A receiver's executor side: when its methods are called, and how its records become blocks."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from headwater.clock import Clock, ManualClock, SystemClock
from headwater.engine.blocks import decode
from headwater.engine.events import Wake, Woken
from headwater.engine.lineage import BlockRef
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming import Receiver
from headwater.streaming.runtime.receivers import BlockStored, Deregistered, Errored, Registered, Taken
from headwater.streaming.sources import blocks as generator
from headwater.streaming.sources import receiver as supervision
from headwater.streaming.sources.blocks import BlockGenerator, GeneratorState, RateLimiter
from headwater.streaming.sources.receiver import (
    Begin,
    CallStart,
    CallStop,
    CloseBlocks,
    Life,
    ReceiverSettings,
    Restart,
    Stop,
    Supervisor,
    SupervisorCore,
    TellStopped,
)


# ------------------------------------------------------------------------------------------------ the core
def test_supervisor_starts_restarts_after_the_delay_and_stops():
    core = SupervisorCore()
    assert core.handle(Begin(), 0) == [CallStart()]
    assert core.handle(Restart("no data", "", 2000), 100) == [
        CallStop(),
        TellStopped("Restarting receiver with delay 2000ms: no data", "", True),
        Wake(2100),
    ]
    assert core.handle(Restart("again", "", 2000), 150) == []
    assert core.handle(Woken(), 2099) == []
    assert core.handle(Woken(), 2100) == [CallStart()]
    assert core.handle(Stop("done", ""), 3000) == [CallStop(), CloseBlocks(), TellStopped("done", "", False)]
    assert core.life is Life.STOPPED


def test_supervisor_that_waits_for_its_restart_stops_without_calling_on_stop_again():
    core = SupervisorCore()
    core.handle(Begin(), 0)
    core.handle(Restart("no data", "", 2000), 100)
    assert core.handle(Stop("Stopped by driver", ""), 200) == [
        CloseBlocks(),
        TellStopped("Stopped by driver", "", False),
    ]
    assert core.handle(Woken(), 2100) == []


@pytest.mark.parametrize("event", [Begin(), Restart("m", "", 1), Stop("m", ""), Woken()])
@pytest.mark.parametrize("life", list(Life))
def test_supervisor_ignores_what_its_table_does_not_list(life, event):
    core = SupervisorCore()
    core.life = life
    actions = core.handle(event, 0)
    if (life, type(event)) in supervision.TRANSITIONS:
        assert core.life is supervision.TRANSITIONS[life, type(event)]
    else:
        assert (actions, core.life) == ([], life)


# ------------------------------------------------------------------------------------------------ blocks
def records_of(data: bytes | list[bytes]) -> list[Any]:
    return list(decode(data if isinstance(data, bytes) else b"".join(data)))


def fail(error: Exception) -> None:
    raise error


class Stored:
    """What a generator stored: (block id, records, count)."""

    def __init__(self) -> None:
        self.blocks: queue.SimpleQueue[tuple[str, list[Any], int]] = queue.SimpleQueue()
        self.gate = threading.Event()  # blocks are stored while it is set
        self.gate.set()

    def __call__(self, block_id: str, data: bytes | list[bytes], records: int, undecodable: int) -> None:
        assert self.gate.wait(30)
        self.blocks.put((block_id, records_of(data), records))

    def next(self) -> tuple[str, list[Any], int]:
        return self.blocks.get(timeout=30)


def make(clock: ManualClock, stored: Any, after_ms: int = -1, on_error: Any = None) -> BlockGenerator:
    made = BlockGenerator(7, interval_ms=200, after_ms=after_ms, store=stored, clock=clock, on_error=on_error or fail)
    made.start()
    return made


def test_each_interval_makes_a_block_named_after_its_begin():
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored)
    blocks.add("a")
    blocks.add("b")
    clock.advance(195)  # 5 ms ahead of the multiple, so that a batch at 1200 finds the block
    assert stored.next() == ("input-7-1000", ["a", "b"], 2)
    clock.advance(400)  # nothing was added: no block
    blocks.add("c")
    blocks.stop()
    (block_id, records, _) = stored.next()
    assert (records, stored.blocks.qsize()) == (["c"], 0)
    assert int(block_id.rpartition("-")[2]) > 1000


def test_block_ids_ascend_beyond_those_of_an_earlier_launch():
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored, after_ms=5000)
    blocks.store_now(["a"])
    blocks.store_now(["b"])
    assert [stored.next()[0] for _ in range(2)] == ["input-7-5001", "input-7-5002"]
    blocks.stop()


def test_text_is_stored_as_it_came():
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored)
    blocks.add_text(b"one\ntwo\r\n", 2, 0)
    blocks.add_text(b"three\n", 1, 0)
    blocks.stop()
    assert stored.next()[1:] == (["one", "two", "three"], 3)


def test_a_full_buffer_makes_whoever_adds_wait_until_it_is_stored(monkeypatch):
    monkeypatch.setattr(generator, "TEXT_BYTES_MAX", 4)
    clock, stored = ManualClock(1000), Stored()
    stored.gate.clear()
    blocks = make(clock, stored)
    done = threading.Event()

    def add() -> None:
        for _ in range(4):
            blocks.add_text(b"abc\n", 1, 0)
        done.set()

    threading.Thread(target=add, daemon=True).start()
    assert not done.wait(0.05)
    stored.gate.set()
    assert done.wait(30)
    blocks.stop()
    count = 0
    while count < 4:
        count += stored.next()[2]
    assert count == 4


def test_bulk_store_raises_what_storing_raised_and_interval_blocks_report_it():
    def full(*_: Any) -> None:
        raise SparkException("disk full")

    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    blocks = make(ManualClock(1000), full, on_error=errors.put)
    with pytest.raises(SparkException, match="disk full"):
        blocks.store_now(["a"])
    blocks.add("b")
    blocks.stop()
    assert str(errors.get(timeout=30)) == "disk full"


def test_adding_to_a_generator_that_is_not_active_is_refused():
    blocks = BlockGenerator(7, interval_ms=200, after_ms=-1, store=Stored(), clock=ManualClock(), on_error=fail)
    with pytest.raises(SparkException, match="BlockGenerator has not been started or has been stopped"):
        blocks.add("a")
    blocks.stop()
    with pytest.raises(SparkException, match="stream 7, stopped"):
        blocks.store_now(["a"])


@pytest.mark.parametrize("state", list(GeneratorState))
@pytest.mark.parametrize("step", ["start", "stop", "drained"])
def test_generator_step_that_is_not_in_the_table_raises_and_changes_nothing(state, step):
    blocks = BlockGenerator(7, interval_ms=200, after_ms=-1, store=Stored(), clock=ManualClock(), on_error=fail)
    blocks._state = state
    if (state, step) in generator.TRANSITIONS:
        blocks._move(step)
        assert blocks.state is generator.TRANSITIONS[state, step]
    else:
        with pytest.raises(KeyError):
            blocks._move(step)
        assert blocks.state is state


# ------------------------------------------------------------------------------------------------ rates
def test_rate_limit_lets_the_next_record_wait_for_the_ones_before():
    clock = ManualClock(0)
    limiter = RateLimiter(10, clock)
    limiter.acquire(5)  # at once: nothing is owed yet
    passed = threading.Event()
    threading.Thread(target=lambda: (limiter.acquire(), passed.set()), daemon=True).start()
    assert not passed.wait(0.05)
    clock.advance(500)
    assert passed.wait(30)


def test_rate_limit_saves_up_for_a_second_at_most():
    clock = ManualClock(0)
    limiter = RateLimiter(10, clock)
    clock.advance(60_000)
    for _ in range(11):
        limiter.acquire()
    passed = threading.Event()
    threading.Thread(target=lambda: (limiter.acquire(), passed.set()), daemon=True).start()
    assert not passed.wait(0.05)
    limiter.close()
    assert passed.wait(30)


@pytest.mark.parametrize("rate", [None, 0, -5])
def test_rate_of_zero_or_less_means_no_limit(rate):
    limiter = RateLimiter(rate, ManualClock())
    for _ in range(1000):
        limiter.acquire(1000)


# ------------------------------------------------------------------------------------------------ the whole
class Host:
    """An executor: keeps blocks, and what was posted to the driver."""

    executor_id, host, closing = "e0", "h", False
    supervisor: Supervisor
    answers = True  # as a driver does that has the block

    def __init__(self) -> None:
        self.conf: dict[str, str] = {}
        self.posted: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.blocks: dict[str, Any] = {}

    def put_block(self, block_id: str, data: Any, *, records: int, level: Any) -> BlockRef:
        self.blocks[block_id] = records_of(data)
        return BlockRef(block_id, ("e0",), records)

    def post(self, payload: Any) -> None:
        self.posted.put(payload)
        if self.answers and isinstance(payload, BlockStored):
            self.supervisor.receive(Taken(payload.block.block_id))

    def next(self) -> Any:
        return self.posted.get(timeout=30)


def supervised(receiver: Receiver, clock: Clock, rate_max: float | None = None) -> tuple[Supervisor, Host]:
    host = Host()
    settings = ReceiverSettings(0, 3, -1, 200, 2000, rate_max)
    supervisor = host.supervisor = Supervisor(receiver, settings, host, clock)
    supervisor.start()
    return supervisor, host


class Storing(Receiver):
    def __init__(self, *stores: Any) -> None:
        super().__init__()
        self.stores = stores

    def onStart(self) -> None:
        for data in self.stores:
            self.store(data)


def test_lists_and_iterators_are_blocks_of_their_own_and_all_else_is_one_record():
    supervisor, host = supervised(Storing([1, 2], iter("xy"), b"raw", (3, 4), "text", []), ManualClock(1000))
    assert host.next() == Registered(0, 3, "h", "e0")
    assert [host.next().block.records for _ in range(2)] == [2, 2]
    supervisor.stop()
    assert host.next().block.records == 3
    assert host.next() == Deregistered(0, 3, "Stopped by driver", "", False)
    assert list(host.blocks.values()) == [[1, 2], ["x", "y"], [b"raw", (3, 4), "text"]]


def test_text_under_a_rate_limit_is_cut_into_pieces_and_stays_whole():
    supervisor, host = supervised(Storing(), SystemClock(), rate_max=1_000_000)
    data = b"".join(b"line %d\n" % i for i in range(250_000))
    supervisor.store_text(data)
    supervisor.stop()
    lines = [line for block in host.blocks.values() for line in block]
    assert (len(lines), lines[0], lines[-1]) == (250_000, "line 0", "line 249999")


def test_undecodable_lines_are_counted_with_their_block():
    supervisor, host = supervised(Storing(), ManualClock(1000))
    host.next()
    supervisor.store_text("good é\n".encode() + b"bad \xff\nalso \xfe\n")
    supervisor.stop()
    stored = host.next()
    assert isinstance(stored, BlockStored)
    assert (stored.block.records, stored.undecodable) == (3, 2)


def test_a_receiver_whose_start_fails_is_started_again_after_the_delay():
    class Failing(Receiver):
        def onStart(self) -> None:
            raise ValueError("not now")

    clock = ManualClock(1000)
    supervisor, host = supervised(Failing(), clock)
    for _ in range(2):
        assert host.next() == Registered(0, 3, "h", "e0")
        gone = host.next()
        assert (gone.message, gone.restarts) == (
            "Restarting receiver with delay 2000ms: Error starting receiver 0",
            True,
        )
        assert gone.error.endswith("ValueError: not now")
        clock.advance(2000)
    host.next()
    supervisor.stop()


def test_reported_errors_reach_the_driver_and_nothing_stops():
    receiver = Storing()
    supervisor, host = supervised(receiver, ManualClock(1000))
    host.next()
    receiver.reportError("odd", OSError("x"))
    assert host.next() == Errored(0, 3, "odd", "OSError: x")
    assert (receiver.isStarted(), receiver.isStopped(), receiver.streamId()) == (True, False, 0)
    receiver.stop("enough")
    assert host.next() == Deregistered(0, 3, "enough", "", False)
    assert (receiver.isStarted(), receiver.isStopped()) == (False, True)
    supervisor.stop()


def test_a_receiver_that_is_not_attached_says_where_its_methods_work():
    with pytest.raises(IllegalStateException, match="has not been attached to the receiver yet"):
        Storing().store(1)
