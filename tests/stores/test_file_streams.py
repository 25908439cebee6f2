"""File streams of each store: every object once, by both rules of selection."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from headwater import SparkContext, filesystem
from headwater.testing import StreamHarness
from tests.conftest import SetConf
from tests.servers.proxy import FaultyProxy
from tests.servers.stores import Store
from tests.stores.conftest import HTTP_STORES, conf_of, stop_active_context
from tests.stores.test_files import write

# Stores tell the time of a change in seconds: a stream that is so old doesn't take an object for one from before it.
OLD_MS = 2000


class Watching(StreamHarness):
    """A harness whose clock begins at the stores' time."""

    def __init__(self, sc: SparkContext, batch_seconds: float = 1.0) -> None:
        super().__init__(batch_seconds, sc, patience=60.0)
        self._clock.advance(time.time_ns() // 1_000_000 - OLD_MS - self._clock.now_ms())

    def watch(self, url: str) -> list[list[Any]]:
        """Start a text stream of a directory; the list gets its records, batch by batch."""
        out = self.collect(self.ssc.textFileStream(url))
        self.start()
        self.run(1)
        return out

    def catch_up(self) -> None:
        """Let batches pass until all that the store has now is old enough to be taken, by either rule."""
        now_ms = time.time_ns() // 1_000_000
        self.run(3)
        while self._clock.now_ms() <= now_ms + 1000:
            self.run(1)


@pytest.fixture(params=["modificationTime", "identity"])
def rule(request: pytest.FixtureRequest, sc: SparkContext, set_conf: SetConf) -> str:
    """Both rules of selection, for streams that the test makes."""
    set_conf(sc, "headwater.streaming.fileStream.selection", request.param)
    set_conf(sc, "headwater.streaming.fileStream.stabilityDuration", "1s")
    return str(request.param)


@pytest.fixture
def harness(rule: str, sc: SparkContext) -> Iterator[Watching]:
    with Watching(sc) as made:
        yield made


def sorted_records(out: list[list[Any]]) -> list[Any]:
    return sorted(record for batch in out for record in batch)


def test_each_object_is_read_in_one_batch(harness: Watching, place: str) -> None:
    write(f"{place}/in/before", b"before\n")
    out = harness.watch(f"{place}/in")
    for number in range(6):
        write(f"{place}/in/{number}", b"%d first\n%d last\n" % (number, number))
        harness.run(1)
    harness.catch_up()
    expected = [f"{number} {line}" for number in range(6) for line in ("first", "last")]
    assert [record for record in sorted_records(out) if record != "before"] == expected


def test_object_that_is_renamed_into_the_directory_is_read_once(harness: Watching, place: str) -> None:
    out = harness.watch(f"{place}/in")
    write(f"{place}/in/.keep", b"x")
    for number in range(3):
        write(f"{place}/elsewhere/{number}", b"%d\n" % number)
        write(f"{place}/in/_half-{number}", b"%d\n" % number)
        system, source = filesystem.resolve(f"{place}/elsewhere/{number}")
        system.rename(source, f"{place}/in/{number}")
        harness.run(1)
    harness.catch_up()
    assert sorted_records(out) == ["0", "1", "2"]


def test_object_that_is_overwritten_is_another_one_by_identity_only(harness: Watching, rule: str, place: str) -> None:
    out = harness.watch(f"{place}/in")
    write(f"{place}/in/a", b"first\n")
    harness.catch_up()
    assert sorted_records(out) == ["first"]
    write(f"{place}/in/a", b"another\n")
    harness.catch_up()
    assert sorted_records(out) == (["another", "first"] if rule == "identity" else ["first"])


def test_late_object_is_read_by_identity_only(harness: Watching, rule: str, place: str) -> None:
    out = harness.watch(f"{place}/in")
    harness.run(120)  # the window is a minute, and a write takes its time
    write(f"{place}/in/late", b"late\n")
    harness.catch_up()
    assert sorted_records(out) == (["late"] if rule == "identity" else [])


def test_directories_of_a_glob_are_watched_and_may_come_later(harness: Watching, place: str) -> None:
    out = harness.watch(f"{place}/day=*")
    for day in (1, 2):
        write(f"{place}/day={day}/a", b"day %d\n" % day)
        harness.run(1)
    harness.catch_up()
    assert sorted_records(out) == ["day 1", "day 2"]


def test_small_objects_share_the_partitions_of_a_batch(harness: Watching, sc: SparkContext, place: str) -> None:
    partitions: list[int] = []
    harness.ssc.textFileStream(f"{place}/in").foreachRDD(lambda rdd: partitions.append(rdd.getNumPartitions()))
    out = harness.watch(f"{place}/in")
    for number in range(12):
        write(f"{place}/in/{number:02d}", b"%02d\n" % number)
    harness.catch_up()
    assert sorted_records(out) == [f"{number:02d}" for number in range(12)]
    assert max(partitions) <= 2 * sc.defaultParallelism


@pytest.mark.parametrize("store", HTTP_STORES, indirect=True)
def test_each_object_costs_one_read_and_each_batch_one_listing(store: Store, place: str) -> None:
    stop_active_context()
    with FaultyProxy(store.port) as proxy:
        conf = conf_of(store).setAll(store.settings_at(proxy.port).items())
        with SparkContext(conf=conf) as sc, Watching(sc) as harness:
            out = harness.watch(store.through(proxy.port, f"{place}/in"))
            for number in range(5):
                write(f"{place}/in/{number}", b"%d\n" % number)
            harness.catch_up()
            assert sorted_records(out) == ["0", "1", "2", "3", "4"]
            reads = [n for (method, path), n in proxy.requests.items() if method == "GET" and path[-1].isdigit()]
            looks = 1 if store.name == "webhdfs" else 0  # its driver asks for the size, too
            assert sorted(reads) == [1 + looks] * 5, proxy.requests
            before = proxy.requests.total()
            harness.run(3)
            assert proxy.requests.total() - before <= 2 * 3, proxy.requests
