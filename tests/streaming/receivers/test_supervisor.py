"""A receiver's executor side: when its methods are called, and how its records become blocks."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from headwater.base.cipher import KeySource
from headwater.base.lives import IllegalMove
from headwater.clock import Clock, ManualClock, SystemClock
from headwater.engine.blocks import decode
from headwater.engine.events import Wake, Woken
from headwater.engine.lineage import BlockRef
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming import Receiver
from headwater.streaming.receivers import blocks as generator
from headwater.streaming.receivers import supervisor as supervision
from headwater.streaming.receivers.blocks import BlockGenerator, GeneratorState
from headwater.streaming.receivers.messages import (
    BlockStored,
    Deregistered,
    Errored,
    Limit,
    ReceiverSettings,
    Registered,
    Taken,
)
from headwater.streaming.receivers.ratelimiter import RateLimiter
from headwater.streaming.receivers.receiver import ReceiverState
from headwater.streaming.receivers.supervisor import (
    BeginReceiving,
    CallStart,
    CallStop,
    CloseBlocks,
    GiveUp,
    Restart,
    Stop,
    Supervisor,
    SupervisorCore,
    SupervisorEvent,
    TellStopped,
)


# ------------------------------------------------------------------------------------------------ the core
def test_supervisor_starts_restarts_after_the_delay_and_stops() -> None:
    core = SupervisorCore(2000)
    assert core.handle(BeginReceiving(), 0) == [CallStart()]
    assert core.handle(Restart("no data", "", None, False), 100) == [
        CallStop(),
        TellStopped("Restarting receiver with delay 2000ms: no data", "", True),
        Wake(2100),
    ]
    assert core.handle(Restart("again", "", None, False), 150) == []
    assert core.handle(Woken(), 2099) == []
    assert core.handle(Woken(), 2100) == [CallStart()]
    assert core.handle(Stop("done", ""), 3000) == [CallStop(), CloseBlocks(), TellStopped("done", "", False)]
    assert core.state is ReceiverState.STOPPED


def test_supervisor_that_waits_for_its_restart_stops_without_calling_on_stop_again() -> None:
    core = SupervisorCore(2000)
    core.handle(BeginReceiving(), 0)
    core.handle(Restart("no data", "", 2000, False), 100)
    assert core.handle(Stop("Stopped by driver", ""), 200) == [
        CloseBlocks(),
        TellStopped("Stopped by driver", "", False),
    ]
    assert core.handle(Woken(), 2100) == []


def pauses(core: SupervisorCore, *restarts: Restart) -> list[int]:
    """How long a receiver waits that fails again and again, each time at once."""
    now, waited = 0, []
    core.handle(BeginReceiving(), now)
    for restart in restarts:
        wake = core.handle(restart, now)[-1]
        waited.append(wake.at_ms - now)
        now = wake.at_ms
        assert core.handle(Woken(), now) == [CallStart()]
    return waited


def test_supervisor_waits_longer_each_time_when_nothing_is_stored_in_between() -> None:
    fails, worked = Restart("no data", "", None, False), Restart("no data", "", None, True)
    assert pauses(SupervisorCore(100), *[fails] * 6) == [100, 200, 400, 800, 800, 800]
    assert pauses(SupervisorCore(100), fails, fails, fails, worked, fails) == [100, 200, 400, 100, 200]
    assert pauses(SupervisorCore(0), fails, fails) == [0, 0]


def test_supervisor_waits_as_long_as_the_receiver_asks() -> None:
    asked, fails = Restart("busy", "", 7, False), Restart("no data", "", None, False)
    assert pauses(SupervisorCore(100), asked, fails, asked, fails) == [7, 100, 7, 200]


WAYS: dict[ReceiverState, list[SupervisorEvent]] = {
    ReceiverState.CREATED: [],
    ReceiverState.STARTED: [BeginReceiving()],
    ReceiverState.RESTARTING: [BeginReceiving(), Restart("m", "", 0, True)],
    ReceiverState.STOPPED: [Stop("m", "")],
}


@pytest.mark.parametrize("event", [BeginReceiving(), Restart("m", "", 1, True), Stop("m", ""), Woken(), GiveUp()])
@pytest.mark.parametrize("state", list(ReceiverState))
def test_supervisor_ignores_what_its_table_does_not_list(state: ReceiverState, event: SupervisorEvent | Woken) -> None:
    core = SupervisorCore(2000)
    for before in WAYS[state]:
        core.handle(before, 0)
    assert core.state is state
    actions = core.handle(event, 0)
    if (state, type(event)) in supervision.LIFE.moves:
        assert core.state is supervision.LIFE.moves[state, type(event)]
    else:
        assert (actions, core.state) == ([], state)


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
    made = inactive(clock, stored, after_ms, on_error)
    made.start()
    return made


def inactive(clock: ManualClock, stored: Any, after_ms: int = -1, on_error: Any = None) -> BlockGenerator:
    return BlockGenerator(
        7,
        interval_ms=200,
        after_ms=after_ms,
        store=stored,
        clock=clock,
        on_error=on_error or fail,
        on_refused=lambda refused, error: fail(error),
    )


def test_each_interval_makes_a_block_named_after_its_begin() -> None:
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


def test_block_ids_ascend_beyond_those_of_an_earlier_launch() -> None:
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored, after_ms=5000)
    blocks.store_now(["a"])
    blocks.store_now(["b"])
    assert [stored.next()[0] for _ in range(2)] == ["input-7-5001", "input-7-5002"]
    blocks.stop()


def test_text_is_stored_as_it_came() -> None:
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored)
    blocks.add_text(b"one\ntwo\r\n", 2, 0)
    blocks.add_text(b"three\n", 1, 0)
    blocks.stop()
    assert stored.next()[1:] == (["one", "two", "three"], 3)


def test_a_full_buffer_makes_whoever_adds_wait_until_it_is_stored(monkeypatch) -> None:
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


def test_bulk_store_raises_what_storing_raised_and_interval_blocks_report_it() -> None:
    def full(*_: Any) -> None:
        raise SparkException("disk full")

    errors: queue.SimpleQueue[Exception] = queue.SimpleQueue()
    blocks = make(ManualClock(1000), full, on_error=errors.put)
    with pytest.raises(SparkException, match="disk full"):
        blocks.store_now(["a"])
    blocks.add("b")
    blocks.stop()
    assert str(errors.get(timeout=30)) == "disk full"


def test_adding_to_a_generator_that_is_not_active_is_refused() -> None:
    blocks = inactive(ManualClock(), Stored())
    with pytest.raises(SparkException, match="BlockGenerator has not been started or has been stopped"):
        blocks.add("a")
    blocks.stop()
    with pytest.raises(SparkException, match="stream 7, stopped"):
        blocks.store_now(["a"])


def test_generator_that_is_started_twice_raises_and_goes_on() -> None:
    clock, stored = ManualClock(1000), Stored()
    blocks = make(clock, stored)
    with pytest.raises(IllegalMove, match="the block generator of stream 7 is active, from where 'start'"):
        blocks.start()
    assert blocks.state is GeneratorState.ACTIVE
    blocks.add("a")
    blocks.stop()
    assert stored.next()[1] == ["a"]


def test_generator_that_was_never_started_stops_and_stays_so() -> None:
    blocks = inactive(ManualClock(), Stored())
    blocks.stop()
    blocks.stop()
    with pytest.raises(IllegalMove, match="Its story: initialized, stop -> stopped"):
        blocks.start()
    assert blocks.state is GeneratorState.STOPPED


# ------------------------------------------------------------------------------------------------ rates
def test_rate_limit_lets_the_next_record_wait_for_the_ones_before() -> None:
    clock = ManualClock(0)
    limiter = RateLimiter(10, clock)
    limiter.acquire(5)  # at once: nothing is owed yet
    passed = threading.Event()
    threading.Thread(target=lambda: (limiter.acquire(), passed.set()), daemon=True).start()
    assert not passed.wait(0.05)
    clock.advance(500)
    assert passed.wait(30)


def test_rate_limit_saves_up_for_a_second_at_most() -> None:
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


def waits(limiter: RateLimiter, records: int = 1) -> threading.Event:
    """Somebody who acquires; the event is set once he may pass."""
    passed = threading.Event()
    threading.Thread(target=lambda: (limiter.acquire(records), passed.set()), daemon=True).start()
    return passed


def test_rate_limit_that_is_raised_lets_those_pass_who_wait() -> None:
    clock = ManualClock(0)
    limiter = RateLimiter(1, clock)
    limiter.acquire(1000)  # owes a quarter of an hour
    passed = waits(limiter)
    assert not passed.wait(0.05)
    limiter.limit(1000)
    assert not passed.wait(0.05)
    clock.advance(1000)
    assert passed.wait(30)


def test_rate_limit_that_is_lowered_holds_those_who_wait_longer() -> None:
    clock = ManualClock(0)
    limiter = RateLimiter(1000, clock)
    limiter.acquire(1000)
    passed = waits(limiter)
    limiter.limit(100)
    clock.advance(9_999)
    assert not passed.wait(0.05)
    clock.advance(1)
    assert passed.wait(30)


def test_rate_limit_that_is_lifted_forgets_what_is_owed() -> None:
    clock = ManualClock(0)
    limiter = RateLimiter(1, clock)
    limiter.acquire(1000)
    passed = waits(limiter)
    limiter.limit(None)
    assert passed.wait(30)
    limiter.limit(1)
    limiter.acquire()


@pytest.mark.parametrize("rate", [None, 0, -5])
def test_rate_of_zero_or_less_means_no_limit(rate) -> None:
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
        self.key: KeySource | None = None
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


def supervised(
    receiver: Receiver, clock: Clock, rate_max: float | None = None, rate: float | None = None, host: Host | None = None
) -> tuple[Supervisor, Host]:
    host = host or Host()
    settings = ReceiverSettings(0, 3, -1, 200, 2000, rate_max, rate)
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


def test_lists_and_iterators_are_blocks_of_their_own_and_all_else_is_one_record() -> None:
    supervisor, host = supervised(Storing([1, 2], iter("xy"), b"raw", (3, 4), "text", []), ManualClock(1000))
    assert host.next() == Registered(0, 3, "h", "e0")
    assert [host.next().block.records for _ in range(2)] == [2, 2]
    supervisor.stop()
    assert host.next().block.records == 3
    assert host.next() == Deregistered(0, 3, "Stopped by driver", "", False)
    assert list(host.blocks.values()) == [[1, 2], ["x", "y"], [b"raw", (3, 4), "text"]]


def test_text_under_a_rate_limit_is_cut_into_pieces_and_stays_whole() -> None:
    supervisor, host = supervised(Storing(), SystemClock(), rate_max=1_000_000)
    data = b"".join(b"line %d\n" % i for i in range(250_000))
    supervisor.store_text(data)
    supervisor.stop()
    lines = [line for block in host.blocks.values() for line in block]
    assert (len(lines), lines[0], lines[-1]) == (250_000, "line 0", "line 249999")


def test_undecodable_lines_are_counted_with_their_block() -> None:
    supervisor, host = supervised(Storing(), ManualClock(1000))
    host.next()
    supervisor.store_text("good é\n".encode() + b"bad \xff\nalso \xfe\n")
    supervisor.stop()
    stored = host.next()
    assert isinstance(stored, BlockStored)
    assert (stored.block.records, stored.undecodable) == (3, 2)


def test_a_receiver_whose_start_fails_is_started_again_after_the_delay() -> None:
    class Failing(Receiver):
        def onStart(self) -> None:
            raise ValueError("not now")

    clock = ManualClock(1000)
    supervisor, host = supervised(Failing(), clock)
    for delay_ms in (2000, 4000):
        assert host.next() == Registered(0, 3, "h", "e0")
        gone = host.next()
        assert (gone.message, gone.restarts) == (
            f"Restarting receiver with delay {delay_ms}ms: Error starting receiver 0",
            True,
        )
        assert gone.error.endswith("ValueError: not now")
        clock.advance(delay_ms)
    host.next()
    supervisor.stop()


def test_reported_errors_reach_the_driver_and_nothing_stops() -> None:
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


def test_a_receiver_that_is_not_attached_says_where_its_methods_work() -> None:
    with pytest.raises(IllegalStateException, match="has not been attached to the receiver yet"):
        Storing().store(1)


# ------------------------------------------------------------------------------------------------ limits
class Pulled(Receiver):
    """Stores what the test tells it to, on threads of its own."""

    def onStart(self) -> None:
        pass

    def outcome_of(self, data: Any) -> queue.SimpleQueue[str]:
        """Store it; gets "stored", or the error."""
        outcome: queue.SimpleQueue[str] = queue.SimpleQueue()

        def run() -> None:
            try:
                self.store(data)
            except Exception as error:
                outcome.put(str(error))
            else:
                outcome.put("stored")

        threading.Thread(target=run, daemon=True).start()
        return outcome


def block_of(host: Host) -> BlockStored:
    while not isinstance(event := host.next(), BlockStored):
        pass
    return event


def test_bulk_stores_wait_for_the_rate_as_single_ones_do() -> None:
    clock, receiver = ManualClock(1000), Pulled()
    supervisor, host = supervised(receiver, clock, rate_max=10)
    outcome = receiver.outcome_of(list(range(25)))
    for _ in range(2):  # no more than a second's worth at once
        assert block_of(host).block.records == 10
        with pytest.raises(queue.Empty):
            outcome.get(timeout=0.05)
        clock.advance(1000)
    assert block_of(host).block.records == 5
    assert outcome.get(timeout=30) == "stored"
    supervisor.stop()


@pytest.mark.parametrize(
    ("rate_max", "rate", "limit"),
    [(None, None, None), (10, None, 10), (None, 7, 7), (10, 7, 7), (10, 70, 10), (0, None, None), (-1, 7, 7)],
)
def test_most_that_is_allowed_caps_what_back_pressure_says(rate_max, rate, limit) -> None:
    supervisor, _ = supervised(Pulled(), ManualClock(), rate_max=rate_max, rate=rate)
    assert supervisor._limiter.per_second == limit
    supervisor.receive(Limit(10**6))
    assert supervisor._limiter.per_second == (rate_max if rate_max and rate_max > 0 else 10**6)
    supervisor.stop()


# ------------------------------------------------------------------------------------------------ acknowledgement
class Silent(Host):
    answers = False


def silent() -> tuple[Pulled, Supervisor, Host, ManualClock]:
    receiver, clock = Pulled(), ManualClock(1000)
    supervisor, host = supervised(receiver, clock, host=Silent())
    assert isinstance(host.next(), Registered)
    return receiver, supervisor, host, clock


def test_store_returns_when_the_driver_has_the_block_and_not_before() -> None:
    receiver, supervisor, host, _ = silent()
    outcome = receiver.outcome_of([1, 2])
    stored = block_of(host)
    with pytest.raises(queue.Empty):
        outcome.get(timeout=0.05)
    supervisor.receive(Taken(stored.block.block_id))
    assert outcome.get(timeout=30) == "stored"
    supervisor.stop()


def test_store_raises_why_the_driver_refuses_the_block() -> None:
    receiver, supervisor, host, _ = silent()
    outcome = receiver.outcome_of([1, 2])
    supervisor.receive(Taken(block_of(host).block.block_id, "no space left"))
    assert outcome.get(timeout=30) == "block input-0-1000 was stored, but it does not count: no space left"
    supervisor.stop()


def test_store_raises_when_the_driver_does_not_answer_in_time_and_a_late_answer_is_ignored() -> None:
    receiver, supervisor, host, clock = silent()
    outcome = receiver.outcome_of([1, 2])
    stored = block_of(host)
    clock.advance(29_999)
    with pytest.raises(queue.Empty):
        outcome.get(timeout=2 * supervision.LOOK_SECONDS)
    clock.advance(1)
    assert "the driver did not answer within 30000 ms" in outcome.get(timeout=30)
    supervisor.receive(Taken(stored.block.block_id))
    again = receiver.outcome_of([3])
    supervisor.receive(Taken(block_of(host).block.block_id))
    assert again.get(timeout=30) == "stored"
    supervisor.stop()


def test_store_raises_when_the_executor_is_closing() -> None:
    receiver, supervisor, host, _ = silent()
    outcome = receiver.outcome_of([1, 2])
    block_of(host)
    host.closing = True
    assert "the executor is closing" in outcome.get(timeout=30)
    supervisor.stop()


def test_receiver_says_that_it_has_stopped_after_its_last_block_when_a_store_is_under_way() -> None:
    receiver, supervisor, host, _ = silent()
    outcome = receiver.outcome_of([1, 2])
    stored = block_of(host)
    stopping = threading.Thread(target=supervisor.stop, daemon=True)
    stopping.start()
    while not receiver.isStopped():
        pass
    with pytest.raises(queue.Empty):  # nothing more is heard of it
        host.posted.get(timeout=0.05)
    supervisor.receive(Taken(stored.block.block_id))
    assert outcome.get(timeout=30) == "stored"
    assert isinstance(host.next(), Deregistered)
    stopping.join(30)
    assert not stopping.is_alive()
    assert "has been stopped" in receiver.outcome_of([3]).get(timeout=30)
