"""On which executor each receiver runs, and who hears it, without any executor."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.engine.events import ReceiverLost, ReceiverPosted
from headwater.engine.members import Members
from headwater.engine.receiverplaces import ReceiverPlaces
from headwater.errors import SparkException
from tests.engine.told import Fixed
from tests.waiting import PATIENCE_SECONDS


class Bed:
    """Executors a and b, each on a host of its own name, and what receivers' owners have heard."""

    def __init__(self) -> None:
        self.backend = Fixed("a", "b")
        self.members = Members()
        for executor_id in "ab":
            self.members.join(executor_id, f"host-{executor_id}")
        self.places = ReceiverPlaces(self.backend, self.members)
        self.heard: list[Any] = []

    def start(self, receiver_id: int, *, preferred_host: str | None = None, avoid: str | None = None) -> str:
        return self.places.start(receiver_id, b"factory", self.heard.append, preferred_host=preferred_host, avoid=avoid)


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_receiver_runs_on_the_executor_with_the_fewest(bed: Bed) -> None:
    assert [bed.start(number) for number in range(4)] == ["a", "b", "a", "b"]
    assert bed.backend.told["b"].taken() == [("start_receiver", 1, b"factory"), ("start_receiver", 3, b"factory")]


def test_receiver_that_starts_anew_does_not_count_itself(bed: Bed) -> None:
    assert [bed.start(0), bed.start(1), bed.start(0)] == ["a", "b", "a"]


def test_receiver_runs_on_its_preferred_host_however_many_are_there(bed: Bed) -> None:
    assert [bed.start(number, preferred_host="host-b") for number in range(3)] == ["b", "b", "b"]


def test_receiver_whose_preferred_host_has_no_executor_runs_elsewhere_and_that_is_logged(
    bed: Bed, caplog: pytest.LogCaptureFixture
) -> None:
    assert bed.start(0, preferred_host="elsewhere") == "a"
    assert "receiver 0 prefers elsewhere, where no executor is" in caplog.text


def test_receiver_avoids_an_executor_and_suspects_while_there_are_others(bed: Bed) -> None:
    assert bed.start(0, avoid="a") == "b"
    bed.members.suspect("b")
    assert [bed.start(1), bed.start(2)] == ["a", "a"]


def test_receiver_without_any_executor_is_refused(bed: Bed) -> None:
    bed.backend.told.clear()
    with pytest.raises(SparkException, match="receiver 0 can't start: there is no executor at the moment"):
        bed.start(0)


def test_receiver_is_told_where_it_runs_and_no_more_when_it_has_stopped(bed: Bed) -> None:
    bed.start(0)
    bed.backend.told["a"].taken()
    bed.places.send(0, "hello")
    bed.places.stop(0, PATIENCE_SECONDS)
    bed.places.send(0, "nobody")
    bed.places.stop(0, PATIENCE_SECONDS)
    assert bed.backend.told["a"].taken() == [("send_to_receiver", 0, "hello"), ("stop_receiver", 0)]
    assert bed.backend.told["b"].taken() == []


def test_owner_hears_its_receiver_from_the_executor_where_it_runs_alone(bed: Bed) -> None:
    bed.start(0)
    bed.places.hear(ReceiverPosted("b", 0, "from where it ran before"))
    bed.places.hear(ReceiverPosted("a", 0, "hello"))
    bed.places.hear(ReceiverPosted("a", 1, "of no one"))
    assert bed.heard == ["hello"]


def test_owners_are_told_once_that_their_receivers_are_gone(bed: Bed) -> None:
    for number in range(3):
        bed.start(number)
    bed.places.lose("a", "it died")
    bed.places.lose("a", "it died")
    assert bed.heard == [ReceiverLost(0, "a", "it died"), ReceiverLost(2, "a", "it died")]


def test_receiver_whose_executor_dies_meanwhile_is_lost(bed: Bed) -> None:
    """The executor has left between the choice and the call, so that nobody else will tell."""
    executors = bed.backend.executors()
    calls = iter([executors, {"b": executors["b"]}])
    bed.backend.executors = lambda: next(calls)  # type: ignore[method-assign]
    assert bed.start(0) == "a"
    assert bed.heard == [ReceiverLost(0, "a", "it died while the receiver was being started")]
