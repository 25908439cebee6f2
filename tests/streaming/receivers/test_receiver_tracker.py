"""The receiver tracker: events in, whole action lists out."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from headwater.base.lives import IllegalMove
from headwater.engine.events import Wake, Woken
from headwater.engine.lineage import BlockRef
from headwater.streaming.listener import ReceiverError, ReceiverInfo, ReceiverStarted, ReceiverStopped
from headwater.streaming.receivers.messages import (
    STOPPED_BY_DRIVER,
    BlockStored,
    Deregistered,
    Errored,
    Limit,
    Lost,
    Registered,
    Taken,
)
from headwater.streaming.receivers.tracker import (
    Executors,
    Halt,
    LaunchAll,
    Launched,
    LaunchReceiver,
    ReceivedBatch,
    ReceiverTracker,
    RecordBlock,
    Recorded,
    SetRate,
    StopAll,
    Tell,
    TrackerEvent,
)
from headwater.streaming.runtime.batches import Allocate, Allocated, Announce, Drained, LogLine, Report

RESTART_MS = 2000


class Driven:
    """A tracker whose invariants are checked after each event."""

    def __init__(self, *names: str, **more: Any) -> None:
        self.core = ReceiverTracker(dict(enumerate(names)), RESTART_MS, **more)

    def __call__(self, event: Any, now_ms: int = 0) -> list[Any]:
        actions = self.core.handle(event, now_ms)
        self.core.check()
        return actions


def running(*names: str, **more: Any) -> Driven:
    driven = Driven(*(names or ("R-0",)), **more)
    driven(LaunchAll())
    for stream_id in range(len(names) or 1):
        driven(Launched(stream_id, 1, "e0"))
        driven(Registered(stream_id, 1, "h", "e0"))
    return driven


def block(stream_id: int, ms: int, records: int = 1) -> BlockRef:
    return BlockRef(f"input-{stream_id}-{ms}", ("e0",), records)


def levels(actions: list[Any]) -> list[int]:
    return [action.level for action in actions if isinstance(action, LogLine)]


def test_receivers_are_launched_and_announced_once_they_register() -> None:
    driven = Driven("R-0", "R-1")
    assert driven(LaunchAll()) == [LaunchReceiver(0, 1, -1), LaunchReceiver(1, 1, -1)]
    assert driven(Launched(0, 1, "e0")) == []
    info = ReceiverInfo(0, "R-0", True, "h", "e0")
    assert driven(Registered(0, 1, "h", "e0")) == [Announce(ReceiverStarted(info))]


def test_blocks_go_to_the_next_batch_and_to_no_other() -> None:
    driven = running("R-0", "R-1")
    first, second, third = (BlockStored(i, block(i, ms)) for i, ms in ((0, 100), (0, 300), (1, 1100)))
    driven(first)
    driven(second)
    assert driven(Allocate(1000)) == [Allocated(1000, {0: ReceivedBatch((first, second)), 1: ReceivedBatch(())})]
    driven(third)
    assert driven(Allocate(2000)) == [Allocated(2000, {0: ReceivedBatch(()), 1: ReceivedBatch((third,))})]


def test_whoever_stored_a_block_is_told_that_it_is_taken() -> None:
    driven = running()
    assert driven(BlockStored(0, block(0, 100))) == [Tell(0, Taken("input-0-100"))]


def test_block_counts_once_it_is_recorded_where_there_is_a_ledger() -> None:
    driven = running(recorded=True)
    stored = BlockStored(0, block(0, 100))
    assert driven(stored) == [RecordBlock(stored)]
    assert driven(Allocate(1000)) == [Allocated(1000, {0: ReceivedBatch(())})]
    assert driven(Recorded(stored)) == [Tell(0, Taken("input-0-100"))]
    assert driven(Allocate(2000)) == [Allocated(2000, {0: ReceivedBatch((stored,))})]


def test_block_that_could_not_be_recorded_never_counts() -> None:
    driven = running(recorded=True)
    stored = BlockStored(0, block(0, 100))
    driven(stored)
    assert driven(Recorded(stored, "no space")) == [Tell(0, Taken("input-0-100", "no space"))]
    assert driven(Allocate(1000)) == [Allocated(1000, {0: ReceivedBatch(())})]


def test_receivers_are_drained_when_their_last_block_is_recorded() -> None:
    driven = running(recorded=True)
    stored = BlockStored(0, block(0, 100))
    driven(stored)
    driven(StopAll())
    assert Drained(True) not in driven(Deregistered(0, 1, "Stopped by driver", "", False))
    assert driven(Recorded(stored))[-1] == Drained(True)


def test_blocks_from_before_a_restart_go_to_the_first_batch() -> None:
    driven = Driven("R-0", recorded=True)
    stored = BlockStored(0, block(0, 100))
    driven.core.restored(0, [stored], used=["input-0-100"])
    assert driven(Allocate(1000)) == [Allocated(1000, {0: ReceivedBatch((stored,))})]


def test_batch_that_a_previous_driver_has_begun_takes_no_block_that_waits() -> None:
    driven = Driven("R-0", recorded=True)
    stored = BlockStored(0, block(0, 100))
    driven.core.restored(0, [stored], used=["input-0-100", "input-0-50"])
    driven.core.begun_before([1000])
    assert driven(Allocate(1000)) == [Allocated(1000, {})]
    assert driven(Allocate(2000)) == [Allocated(2000, {0: ReceivedBatch((stored,))})]


def test_block_ids_of_a_restart_are_above_all_that_were_used() -> None:
    driven = Driven("R-0", recorded=True)
    driven.core.restored(0, [], used=["input-0-50", "input-0-700", "input-0-100"])
    assert driven(LaunchAll()) == [LaunchReceiver(0, 1, 700)]


def test_undecodable_lines_are_warned_of_once_and_counted_each_batch() -> None:
    driven = running()
    assert levels(driven(BlockStored(0, block(0, 100), 2))) == [logging.WARNING]
    assert levels(driven(BlockStored(0, block(0, 300), 3))) == []
    assert driven(Allocate(1000))[0].blocks[0].undecodable == 5
    assert levels(driven(BlockStored(0, block(0, 1100), 1))) == []
    assert driven(Allocate(2000))[0].blocks[0].undecodable == 1


def test_reported_error_shows_in_the_status_and_stops_nothing() -> None:
    driven = running()
    info = ReceiverInfo(0, "R-0", True, "h", "e0", "odd", "ValueError: x", 50)
    text = "Error reported by receiver for stream 0: odd - ValueError: x"
    assert driven(Errored(0, 1, "odd", "ValueError: x"), 50) == [
        LogLine(logging.WARNING, text),
        Announce(ReceiverError(info)),
    ]


def test_the_same_failure_is_a_warning_once_until_data_flows_again() -> None:
    driven = running()
    restart = Deregistered(0, 1, "Restarting: refused", "OSError: refused", True)
    seen = []
    for _ in range(3):
        seen += levels(driven(restart))
        driven(Registered(0, 1, "h", "e0"))
    driven(BlockStored(0, block(0, 100)))
    seen += levels(driven(restart))
    assert seen == [logging.WARNING, logging.DEBUG, logging.DEBUG, logging.WARNING]


def test_restart_with_an_error_is_an_error_and_a_stop_for_listeners() -> None:
    driven = running()
    info = ReceiverInfo(0, "R-0", False, "h", "e0", "Restarting", "OSError: x", 9)
    actions = driven(Deregistered(0, 1, "Restarting", "OSError: x", True), 9)
    assert actions[1:] == [Announce(ReceiverError(info)), Announce(ReceiverStopped(info))]


def test_receiver_that_stopped_itself_is_not_launched_again() -> None:
    driven = running()
    actions = driven(Deregistered(0, 1, "done", "", False))
    assert actions == [
        LogLine(logging.WARNING, "Deregistered receiver for stream 0: done"),
        Announce(ReceiverStopped(ReceiverInfo(0, "R-0", False, "h", "e0"))),
    ]
    assert driven(Woken(), 10**9) == []


def test_receiver_of_a_lost_executor_starts_at_once_above_its_last_block() -> None:
    driven = running()
    driven(BlockStored(0, block(0, 700)))
    actions = driven(Lost(0, 1, "e0 died"), 5000)
    assert [type(action) for action in actions] == [LogLine, Announce, LaunchReceiver]
    assert actions[-1] == LaunchReceiver(0, 2, 700)


def test_launch_avoids_the_executor_that_lost_the_receiver_last() -> None:
    driven = running()
    assert driven(Lost(0, 1, "e0 died", "e0"), 5000)[-1] == LaunchReceiver(0, 2, -1, avoid="e0")
    driven(Lost(0, 2, "it could not be made"), 5000)
    (again,) = driven(Woken(), 5100)
    assert again == LaunchReceiver(0, 3, -1, avoid="e0")
    driven(Registered(0, 3, "h", "e1"), 5200)
    assert driven(Lost(0, 3, "e1 died", "e1"), 9000)[-1] == LaunchReceiver(0, 4, -1, avoid="e1")


@pytest.mark.parametrize(
    "late", [Registered(0, 2, "h", "e0"), Lost(0, 2, "once more"), Deregistered(0, 2, "late", "", True)]
)
def test_word_of_a_launch_that_was_lost_counts_for_nothing(late: TrackerEvent) -> None:
    driven = Driven("R-0")
    driven(LaunchAll())
    driven(Lost(0, 1, "no executor"), 0)
    driven(Lost(0, 2, "no executor"), 0)
    assert driven(late, 10) == []
    assert driven(Woken(), 100) == [LaunchReceiver(0, 3, -1)]


def test_event_that_its_life_does_not_allow_raises_with_the_receivers_story() -> None:
    driven = running()
    driven(StopAll())
    driven(Deregistered(0, 1, STOPPED_BY_DRIVER, "", False))
    with pytest.raises(IllegalMove) as raised:
        driven.core.handle(LaunchAll(), 0)
    assert str(raised.value) == (
        "receiver R-0 is stopped, from where 'launch' leads nowhere. Its story: "
        "new, launch -> launching, registers -> running, stop -> stopping, ends -> stopped"
    )


def test_word_of_an_earlier_epoch_is_ignored_but_its_blocks_are_taken() -> None:
    driven = running()
    driven(Lost(0, 1, "e0 died"), 5000)
    assert driven(Registered(0, 1, "h", "e0")) == []
    assert driven(Deregistered(0, 1, "late", "", False)) == []
    assert driven(Lost(0, 1, "again")) == []
    driven(BlockStored(0, block(0, 700)))
    assert driven.core.unallocated() == 1


def test_launches_that_fail_pause_longer_each_time_up_to_the_restart_delay() -> None:
    driven = Driven("R-0")
    driven(LaunchAll())
    pauses, now, epoch = [], 0, 1
    for _ in range(8):
        *_, last = driven(Lost(0, epoch, "no executor"), now)
        if isinstance(last, Wake):
            pauses.append(last.at_ms - now)
            now = last.at_ms
            assert driven(Woken(), now - 1) == []
            (last,) = driven(Woken(), now)
        assert isinstance(last, LaunchReceiver)
        epoch = last.epoch
    assert pauses == [100, 200, 400, 800, 1600, 2000, 2000]


def test_receiver_that_ran_for_a_while_starts_without_a_pause_again() -> None:
    driven = running()
    driven(Lost(0, 1, "died"), 100)
    driven(Registered(0, 2, "h", "e1"), 200)
    assert isinstance(driven(Lost(0, 2, "died"), 300)[-1], Wake)  # 100 ms are not a while
    driven(Woken(), 400)
    driven(Registered(0, 3, "h", "e1"), 500)
    assert isinstance(driven(Lost(0, 3, "died"), 500 + RESTART_MS)[-1], LaunchReceiver)


def test_stop_drains_once_all_receivers_have_answered() -> None:
    driven = running("R-0", "R-1")
    assert driven(StopAll()) == [Halt(0), Halt(1)]
    assert Drained(False) not in driven(Deregistered(0, 1, "Stopped by driver", "", False))
    driven(BlockStored(1, block(1, 100)))
    assert driven(Deregistered(1, 1, "Stopped by driver", "", False))[-1] == Drained(True)
    assert driven(StopAll()) == []


@pytest.mark.parametrize("event", [Lost(0, 1, "died"), Deregistered(0, 1, "Stopped", "", False)])
def test_stop_does_not_wait_for_a_receiver_that_is_gone(event) -> None:
    driven = running()
    driven(StopAll())
    assert driven(event)[-1] == Drained(False)


def test_receiver_that_restarts_while_it_is_stopped_answers_once_more() -> None:
    driven = running()
    driven(StopAll())
    assert Drained(False) not in driven(Deregistered(0, 1, "Restarting", "", True))
    assert driven(Deregistered(0, 1, "Stopped by driver", "", False))[-1] == Drained(False)


def test_stop_before_the_launch_has_returned_halts_the_receiver_once() -> None:
    driven = Driven("R-0")
    driven(LaunchAll())
    assert driven(StopAll()) == []
    assert driven(Registered(0, 1, "h", "e0")) == []
    assert driven(Launched(0, 1, "e0")) == [Halt(0)]
    assert driven(Deregistered(0, 1, "Stopped by driver", "", False))[-1] == Drained(False)


def test_stop_without_receivers_is_drained_at_once() -> None:
    assert Driven()(StopAll()) == [Drained(False)]


# ------------------------------------------------------------------------------------------------ limits
def test_rate_is_told_to_the_receiver_and_to_the_one_that_is_launched_after_it() -> None:
    driven = running(rate=500.0)
    assert driven(SetRate(0, 120.0)) == [Tell(0, Limit(120.0))]
    assert driven(Lost(0, 1, "e0 died"), 5000)[-1] == LaunchReceiver(0, 2, -1, 120.0)


def test_first_launch_has_the_initial_rate() -> None:
    assert Driven("R-0", rate=500.0)(LaunchAll()) == [LaunchReceiver(0, 1, -1, 500.0)]


def test_fewer_copies_than_the_level_asks_for_are_warned_of_once_a_stream() -> None:
    driven = running("R-0", "R-1", copies={0: 2, 1: 2})
    two = BlockStored(0, BlockRef("input-0-50", ("e0", "e1"), 1))
    assert levels(driven(two)) == []
    (_, warning) = driven(BlockStored(0, block(0, 100)))
    assert warning.level == logging.WARNING
    assert "R-0: received blocks are to have 2 copies and have 1" in warning.text
    assert "spark.streaming.receiver.writeAheadLog.enable=true" in warning.text
    assert levels(driven(BlockStored(0, block(0, 300)))) == []
    assert levels(driven(BlockStored(1, block(1, 100)))) == [logging.WARNING]


def test_block_that_comes_after_the_last_receiver_has_ended_is_refused() -> None:
    driven = running()
    driven(StopAll())
    driven(Lost(0, 1, "died"))
    (told,) = driven(BlockStored(0, block(0, 100)))
    assert (told.message.block_id, "the context stops" in told.message.failure) == ("input-0-100", True)
    assert driven.core.unallocated() == 0


# ------------------------------------------------------------------------------------------------ giving up
RESTARTS = Deregistered(0, 1, "Restarting: refused", "OSError: refused", True)


def reports(actions: list[Any]) -> list[str]:
    return [str(action.error) for action in actions if isinstance(action, Report)]


def test_receiver_that_fails_too_often_in_a_row_is_stopped_and_reported() -> None:
    driven = running("R-0", "R-1", restarts_max=2)
    for _ in range(2):
        assert reports(driven(RESTARTS)) == []
        driven(Registered(0, 1, "h", "e0"))
    actions = driven(RESTARTS)
    assert Halt(0) in actions
    (text,) = reports(actions)
    assert "R-0: the receiver of stream 0 is not started again: it failed 3 times in a row" in text
    assert "'Restarting: refused'" in text
    assert "headwater.streaming.receiver.maxRestarts is 2" in text
    assert levels(driven(Deregistered(0, 1, "Stopped by driver", "", False))) == [logging.INFO]
    assert driven.core.infos()[1].active()  # the other stream goes on
    assert driven(StopAll()) == [Halt(1)]


def test_block_in_between_makes_the_count_of_failures_begin_anew() -> None:
    driven = running(restarts_max=1)
    for ms in (100, 300, 500):
        assert reports(driven(RESTARTS)) == []
        driven(Registered(0, 1, "h", "e0"))
        driven(BlockStored(0, block(0, ms)))


def test_receiver_that_can_not_be_launched_is_given_up_after_as_many_restarts() -> None:
    driven = Driven("R-0", restarts_max=2)
    driven(LaunchAll())
    assert reports(driven(Lost(0, 1, "no executor"), 0)) == []
    driven(Lost(0, 2, "no executor"), 0)
    driven(Woken(), 100)
    actions = driven(Lost(0, 3, "no executor"), 100)
    assert len(reports(actions)) == 1
    assert not any(isinstance(action, (LaunchReceiver, Wake)) for action in actions)
    assert driven(StopAll()) == [Drained(False)]


def test_receiver_that_was_given_up_is_not_reported_again_when_its_executor_dies() -> None:
    driven = running(restarts_max=0)
    assert len(reports(driven(RESTARTS))) == 1
    actions = driven(Lost(0, 1, "e0 died"))
    assert reports(actions) == []
    assert driven(StopAll()) == [Drained(False)]


# ------------------------------------------------------------------------------------------------ where they run
def crowded(*names: str, **more: Any) -> Driven:
    """Receivers that all run on e0."""
    driven = running(*names, **more)
    assert driven(Executors(frozenset({"e0"}))) == []
    return driven


def moved(driven: Driven, stream_id: int, to: str) -> list[Any]:
    """What follows when a receiver that was halted has stopped, and runs elsewhere."""
    assert LaunchReceiver(stream_id, 2, -1) in driven(Deregistered(stream_id, 1, STOPPED_BY_DRIVER, "", False))
    driven(Launched(stream_id, 2, to))
    return driven(Registered(stream_id, 2, "h", to))


def halts(actions: list[Any]) -> list[int]:
    return [action.stream_id for action in actions if isinstance(action, Halt)]


def test_receivers_move_one_after_the_other_until_no_executor_has_two_more() -> None:
    driven = crowded("a", "b", "c", "d", "e")
    assert halts(driven(Executors(frozenset({"e0", "e1"})))) == [0]
    assert halts(driven(Executors(frozenset({"e0", "e1", "e2"})))) == []  # one at a time
    assert halts(moved(driven, 0, "e1")) == [1]
    assert halts(moved(driven, 1, "e2")) == [2]
    assert halts(moved(driven, 2, "e1")) == []
    assert [info.executorId() for info in driven.core.infos().values()] == ["e1", "e2", "e1", "e0", "e0"]


def test_receivers_stay_when_the_difference_is_one_or_they_are_not_to_move() -> None:
    assert driven_to_two(crowded("a")) == []
    assert driven_to_two(crowded("a", "b", moves=False)) == []
    assert driven_to_two(crowded("a", "b")) == [0]


def driven_to_two(driven: Driven) -> list[int]:
    return halts(driven(Executors(frozenset({"e0", "e1"}))))


def test_receiver_that_prefers_a_place_stays_there() -> None:
    driven = Driven("a", "b", "c")
    driven(LaunchAll())
    for stream_id in range(3):
        driven(Registered(stream_id, 1, "h", "e0"))  # before the engine's answer: nobody knows yet whether it may move
    assert driven_to_two(driven) == []
    assert driven(Launched(0, 1, "e0", movable=False)) == []
    driven(Executors(frozenset({"e0", "e1", "e2"})))
    assert halts(driven(Launched(2, 1, "e0"))) == [2]


def test_receiver_that_comes_back_to_where_it_was_is_left_there() -> None:
    driven = crowded("a", "b")
    assert driven_to_two(driven) == [0]
    assert halts(moved(driven, 0, "e0")) == []
    assert halts(driven(Executors(frozenset({"e0"})))) == []
    assert driven_to_two(driven) == [0]  # one that comes later counts


def test_receiver_that_stops_by_itself_while_it_is_to_move_is_not_launched_again() -> None:
    driven = crowded("a", "b")
    driven_to_two(driven)
    actions = driven(Deregistered(0, 1, "had enough", "", False))
    assert not any(isinstance(action, LaunchReceiver) for action in actions)


def test_receiver_whose_executor_dies_while_it_is_to_move_is_launched_at_once() -> None:
    driven = crowded("a", "b")
    driven_to_two(driven)
    assert LaunchReceiver(0, 2, -1) in driven(Lost(0, 1, "executor e0 was lost"))


def test_receiver_that_restarts_while_it_is_to_move_answers_once_more() -> None:
    driven = crowded("a", "b")
    driven_to_two(driven)
    assert not any(isinstance(a, LaunchReceiver) for a in driven(Deregistered(0, 1, "again", "", True)))
    assert LaunchReceiver(0, 2, -1) in driven(Deregistered(0, 1, STOPPED_BY_DRIVER, "", False))


def test_stop_waits_for_a_receiver_that_is_to_move_and_halts_it_no_more() -> None:
    driven = crowded("a", "b")
    driven_to_two(driven)
    assert halts(driven(StopAll())) == [1]
    driven(Deregistered(1, 1, STOPPED_BY_DRIVER, "", False))
    assert driven(Deregistered(0, 1, STOPPED_BY_DRIVER, "", False))[-1] == Drained(False)
