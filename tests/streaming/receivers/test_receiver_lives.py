"""Any order of words about receivers, late ones included: the tracker never comes to a state that isn't one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine.events import Woken
from headwater.engine.lineage import BlockRef
from headwater.streaming.receivers.messages import (
    STOPPED_BY_DRIVER,
    BlockStored,
    Deregistered,
    Errored,
    Lost,
    Registered,
)
from headwater.streaming.receivers.tracker import (
    Executors,
    LaunchAll,
    Launched,
    LaunchReceiver,
    ReceiverTracker,
    RecordBlock,
    Recorded,
    SetRate,
    StopAll,
)
from headwater.streaming.runtime.batches import Allocate, Drained

STREAMS = 3
RESTART_MS = 2000
executors = st.sampled_from(["e0", "e1", "e2"])


class World:
    """Receivers that say anything at any time, of their latest launch or of an earlier one."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self.core = ReceiverTracker(
            {stream_id: f"R-{stream_id}" for stream_id in range(STREAMS)},
            RESTART_MS,
            recorded=draw(st.booleans()),
            restarts_max=draw(st.sampled_from([None, 0, 2])),
            copies={0: 2},
        )
        self._epochs = [0] * STREAMS
        self._answered: set[tuple[int, int]] = set()  # launches that the engine has answered, each once
        self._recording: list[BlockStored] = []
        self._stored = 0
        self._now_ms = 0
        self.drained = 0

    def step(self, event: Any) -> None:
        for action in self.core.handle(event, self._now_ms):
            if isinstance(action, LaunchReceiver):
                assert action.epoch == self._epochs[action.stream_id] + 1
                self._epochs[action.stream_id] = action.epoch
            elif isinstance(action, RecordBlock):
                self._recording.append(action.stored)
            elif isinstance(action, Drained):
                self.drained += 1
        self.core.check()

    def any_event(self) -> Any:
        """Word of a receiver, of the engine, of the clock, or of the batches."""
        draw, stream_id = self._draw, self._draw(st.integers(0, STREAMS - 1))
        epoch = max(0, self._epochs[stream_id] - draw(st.sampled_from([0, 0, 0, 1])))
        self._now_ms += draw(st.sampled_from([0, 1, 150, RESTART_MS]))
        match draw(st.integers(0, 10)):
            case 0 if (stream_id, epoch) not in self._answered:
                return self._launched(stream_id, epoch)
            case 1 | 2:
                return Registered(stream_id, epoch, "h", draw(executors))
            case 3:
                return Deregistered(stream_id, epoch, "again", draw(st.sampled_from(["", "OSError: x"])), True)
            case 4:
                return Deregistered(stream_id, epoch, draw(st.sampled_from(["done", STOPPED_BY_DRIVER])), "", False)
            case 5:
                return Lost(stream_id, epoch, "died", draw(st.sampled_from(["", "e0"])))
            case 6:
                return Errored(stream_id, epoch, "odd", "ValueError: x")
            case 7:
                self._stored += 1
                return BlockStored(stream_id, BlockRef(f"input-{stream_id}-{self._stored}", ("e0",), 1))
            case 8 if self._recording:
                return Recorded(self._recording.pop(0), draw(st.sampled_from(["", "no space left"])))
            case 9:
                return draw(
                    st.sampled_from([Allocate(1000), SetRate(stream_id, 10.0), Woken()])
                    | st.frozensets(executors).map(Executors)
                )
            case _:
                return Woken()

    def _launched(self, stream_id: int, epoch: int) -> Launched:
        self._answered.add((stream_id, epoch))
        return Launched(stream_id, epoch, self._draw(executors), self._draw(st.booleans()))

    def end(self) -> None:
        """Stop all, and have each receiver that runs answer."""
        self.step(StopAll())
        while self._recording:
            self.step(Recorded(self._recording.pop()))
        for stream_id, epoch in enumerate(self._epochs):
            if (stream_id, epoch) not in self._answered:
                self.step(self._launched(stream_id, epoch))
            self.step(Deregistered(stream_id, epoch, STOPPED_BY_DRIVER, "", False))
        self.step(StopAll())


@settings(max_examples=60)
@given(st.data())
def test_no_order_of_events_breaks_a_receivers_life_and_all_end_once(data: st.DataObject) -> None:
    world = World(data.draw)
    world.step(Executors(frozenset({"e0"})))
    world.step(LaunchAll())
    for _ in range(data.draw(st.integers(0, 30))):
        world.step(world.any_event())
    world.end()
    assert world.drained == 1


@settings(max_examples=20)
@given(st.data())
def test_words_that_come_after_the_stop_change_nothing_any_more(data: st.DataObject) -> None:
    world = World(data.draw)
    world.step(LaunchAll())
    for _ in range(data.draw(st.integers(0, 10))):
        world.step(world.any_event())
    world.end()
    for _ in range(data.draw(st.integers(0, 20))):
        world.step(world.any_event())
    assert world.drained == 1
