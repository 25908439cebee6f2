"""Back-pressure: what the estimator finds, who is told of it, and that sources obey."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import threading
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming import Receiver, StreamingContext
from headwater.streaming.listener import BatchInfo, OutputOperationInfo, StreamInputInfo
from headwater.streaming.runtime.backpressure import PIDRateEstimator, PIDSettings, RateController, initial_rate
from headwater.testing import StreamHarness
from tests.waiting import wait_for

BATCH_MS = 20
PROPORTIONAL = PIDSettings(1.0, 0.0, 0.0, 10)


def estimator(settings: PIDSettings = PROPORTIONAL, batch_ms: int = BATCH_MS) -> PIDRateEstimator:
    return PIDRateEstimator(batch_ms, settings)


def rates_of(made: PIDRateEstimator, records: list[int], processing_ms: list[int], scheduling_ms: list[int]) -> list:
    """What the estimator says of batches that end one interval after the other."""
    return [
        made.compute((n + 1) * BATCH_MS, records=r, processing_ms=p, scheduling_ms=s)
        for n, (r, p, s) in enumerate(zip(records, processing_ms, scheduling_ms, strict=True))
    ]


def conf(**settings: Any) -> SparkConf:
    made = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("pressure")
    return made.setAll((key.replace("__", "."), value) for key, value in settings.items())


def pressed(**settings: Any) -> SparkConf:
    return conf(spark__streaming__backpressure__enabled="true", **settings)


# ------------------------------------------------------------------------------------------------ the estimator
@pytest.mark.parametrize(
    "wrong", [{"proportional": -1e-9}, {"integral": -1.0}, {"derived": -0.5}, {"min_rate": 0}, {"min_rate": -3}]
)
def test_estimator_refuses_negative_weights_and_a_lowest_rate_that_is_not_positive(wrong: dict[str, float]) -> None:
    with pytest.raises(IllegalArgumentException, match=r"pid\."):
        estimator(PROPORTIONAL._replace(**wrong))


@pytest.mark.parametrize("batch_ms", [0, -1])
def test_estimator_refuses_an_interval_that_is_not_positive(batch_ms: int) -> None:
    with pytest.raises(IllegalArgumentException, match=f"batch interval {batch_ms} ms"):
        estimator(batch_ms=batch_ms)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.streaming.backpressure.rateEstimator", "guess"),
        ("spark.streaming.backpressure.pid.minRate", "0"),
        ("spark.streaming.backpressure.pid.proportional", "-1"),
    ],
)
def test_setting_of_the_estimator_is_refused_when_it_is_set(key: str, value: str) -> None:
    with pytest.raises(IllegalArgumentException, match=key):
        pressed().set(key, value)


def test_first_batch_gives_no_rate_and_the_second_does() -> None:
    assert rates_of(estimator(), [10, 10], [10, 10], [0, 0]) == [None, 1000]


@pytest.mark.parametrize(("time_ms", "records", "processing_ms"), [(20, 10, 10), (19, 10, 10), (40, 0, 10), (40, 9, 0)])
def test_batch_that_is_old_or_empty_or_took_no_time_gives_no_rate(
    time_ms: int, records: int, processing_ms: int
) -> None:
    made = estimator()
    made.compute(20, records=10, processing_ms=10, scheduling_ms=0)
    assert made.compute(time_ms, records=records, processing_ms=processing_ms, scheduling_ms=0) is None


def test_rate_stays_when_nothing_waits_and_the_weights_are_zero() -> None:
    rates = rates_of(estimator(PIDSettings(0, 0, 0, 10)), [50] * 60, [20] * 60, [0] * 60)
    assert rates == [None] + [2500] * 59


def test_rate_follows_the_processing_rate_with_the_proportional_part_alone() -> None:
    records = list(range(1, 51))
    rates = rates_of(estimator(PROPORTIONAL._replace(min_rate=1)), records, [20] * 50, [100] * 50)
    assert rates[1:] == pytest.approx([n / 20 * 1000 for n in records[1:]])


@pytest.mark.parametrize("settings", [PIDSettings(1, 0.2, 0, 10), PIDSettings(1, 0, 0.1, 10), PIDSettings(1, 1, 1, 10)])
def test_rate_never_falls_below_the_lowest(settings: PIDSettings) -> None:
    falling, waiting = [1000 - n * 19 for n in range(50)], [n * 100 for n in range(50)]
    rates = rates_of(estimator(settings), falling, [BATCH_MS] * 50, waiting)
    assert min(rates[1:]) >= 10
    assert rates[-1] == 10


def test_rate_falls_with_what_waits_by_the_integral_part() -> None:
    made = estimator(PIDSettings(1.0, 0.2, 0.0, 10))
    rates = rates_of(made, [20] * 3, [BATCH_MS] * 3, [0, 0, 3 * BATCH_MS])
    assert rates[1:] == pytest.approx([1000, 1000 - 0.2 * 3 * 1000])


def test_rate_is_damped_by_the_derived_part() -> None:
    plain = rates_of(estimator(PIDSettings(1.0, 0, 0, 10)), [20, 40], [BATCH_MS] * 2, [0, 0])
    damped = rates_of(estimator(PIDSettings(1.0, 0, 0.01, 10)), [20, 40], [BATCH_MS] * 2, [0, 0])
    assert (plain[1], damped[1]) == (2000, 2500)  # the error is -1000, and was 0 one interval before


@pytest.mark.parametrize("seed", range(20))
def test_rate_comes_to_within_a_tenth_of_what_processing_can_do(seed: int) -> None:
    """A simulated application: each batch holds what the rate let in during the one before."""
    chance = random.Random(seed)
    capacity = 1000 + chance.random() * 9000
    offered = 3 * capacity
    made = PIDRateEstimator(1000, PIDSettings(1.0, 0.2, 0.0, 100))
    free_ms, lags = 0, []
    limits = {0: offered}  # when -> the rate from then on
    for now in range(1000, 120_000, 1000):
        rate = limits[max(at for at in limits if at <= now)]
        records = int(min(rate, offered))
        start = max(now, free_ms)
        took = max(1, round(records / capacity * 1000 * (0.95 + 0.1 * chance.random())))
        free_ms = start + took
        found = made.compute(free_ms, records=records, processing_ms=took, scheduling_ms=start - now)
        if found is not None:
            limits[free_ms] = found
        lags.append(free_ms - now)
    assert rate == pytest.approx(capacity, rel=0.1)
    assert max(lags[-50:]) <= 2000


# ------------------------------------------------------------------------------------------------ the controller
def batch(end_ms: int, records: dict[int, int], failure: str | None = None) -> BatchInfo:
    """A batch that took 500 ms and waited for none."""
    inputs = {stream_id: StreamInputInfo(stream_id, count) for stream_id, count in records.items()}
    output = OutputOperationInfo(end_ms, 0, "out", "out at x", end_ms - 500, end_ms, failure)
    return BatchInfo(end_ms - 500, inputs, end_ms - 500, end_ms - 500, end_ms, {0: output})


def test_controller_counts_each_streams_own_records() -> None:
    controller = RateController.from_conf(pressed(), 1000, [0, 1, 2])
    assert controller.completed(batch(1000, {0: 5000, 1: 100, 2: 0})) == {}
    assert controller.completed(batch(2000, {0: 5000, 1: 100, 2: 0})) == {0: 10_000, 1: 200}


def test_controller_learns_nothing_from_a_batch_when_an_output_failed() -> None:
    controller = RateController.from_conf(pressed(), 1000, [0])
    controller.completed(batch(1000, {0: 5000}))
    assert controller.completed(batch(2000, {0: 5000}, "ValueError")) == {}


def test_controller_has_no_rates_when_it_is_off() -> None:
    controller = RateController.from_conf(conf(), 1000, [0])
    assert [controller.completed(batch(end_ms, {0: 5000})) for end_ms in (1000, 2000)] == [{}, {}]


@pytest.mark.parametrize(
    ("settings", "rate"),
    [
        ({}, None),
        ({"spark__streaming__backpressure__initialRate": "500"}, 500),
        ({"spark__streaming__backpressure__initialRate": "0"}, None),
        ({"spark__streaming__backpressure__initialRate": "-1"}, None),
        ({"spark__streaming__receiver__maxRate": "70"}, 70),
        ({"spark__streaming__receiver__maxRate": "0"}, None),
    ],
)
def test_initial_rate_is_what_is_set_and_zero_or_less_is_no_limit(settings: dict[str, str], rate: float | None) -> None:
    assert initial_rate(pressed(**settings)) == rate
    assert initial_rate(conf(**settings)) is None


# ------------------------------------------------------------------------------------------------ the whole
class Flooding(Receiver):
    """Stores numbers as fast as it may."""

    def onStart(self) -> None:
        threading.Thread(target=self.run, daemon=True).start()

    def run(self) -> None:
        with contextlib.suppress(SparkException):  # it is stopped between two records
            for n in count():
                self.store(n)


def test_receiver_obeys_the_rate_that_is_found(no_context: None, patience: float) -> None:
    """Each record costs 2 ms of an output: 500 a second; the receiver alone would bring a hundred times that."""
    settings = pressed(spark__streaming__backpressure__initialRate="400", spark__streaming__blockInterval="50ms")
    ssc = StreamingContext(SparkContext(conf=settings), 0.2)
    counts: queue.SimpleQueue[int] = queue.SimpleQueue()
    pause = threading.Event()

    def slowly(rdd: Any) -> None:
        count = rdd.count()
        pause.wait(count * 0.002)
        counts.put(count)

    ssc.receiverStream(Flooding()).foreachRDD(slowly)
    ssc.start()
    seen = [counts.get(timeout=patience) for _ in range(12)]
    ssc.stop()
    assert 0 < sum(seen[2:]) / 10 < 300  # a fifth of a second at 500 a second are 100; unlimited, many thousands


def test_iterator_brings_no_more_than_the_rate_that_is_found(patience: float) -> None:
    """The estimator learns nothing on a clock that stands still while batches run; so the rate is set by hand."""
    settings = pressed(spark__streaming__backpressure__initialRate="40")
    with StreamHarness(0.5, conf=settings) as harness:
        counts = harness.collect(harness.ssc.iteratorStream(iter(range(100_000)), 300).count(), lambda found: found[0])
        harness.start()
        (node,) = harness.ssc.graph.inputs
        for rate, records in ((40.0, 20), (10.0, 5), (0.1, 1), (1e9, 300)):
            harness.ssc.graph.limit({0: rate})
            for _ in range(5):  # those that were let in before are brought first
                wait_for(lambda: node.puller.waiting >= records, f"{records} records wait")  # noqa: B023
                harness.run()
            assert counts[-1] == records
        assert counts[0] == 20  # the initial rate


@pytest.mark.parametrize("selection", ["identity", "modificationTime"])
def test_file_stream_takes_the_oldest_files_up_to_the_rate_and_the_rest_later(
    no_context: None, tmp_path: Path, selection: str
) -> None:
    """A file waits longer than the window of the rule by modification time."""
    settings = pressed(
        headwater__streaming__fileStream__selection=selection,
        headwater__streaming__fileStream__stabilityDuration="0",
        spark__streaming__fileStream__minRememberDuration="2s",
    )

    def put(name: str, modified_ms: int) -> None:
        (tmp_path / f".{name}").write_text(f"{name}\n" * 10)
        os.utime(tmp_path / f".{name}", ns=(modified_ms * 1_000_000,) * 2)
        (tmp_path / f".{name}").rename(tmp_path / name)

    with StreamHarness(1.0, conf=settings) as harness:
        taken = harness.collect(harness.ssc.textFileStream(str(tmp_path)), lambda lines: list(dict.fromkeys(lines)))
        harness.start()
        now_ms = harness.clock.now_ms()
        put("a", now_ms + 100)
        harness.run()
        harness.ssc.graph.limit({0: 25.0})
        for age, name in enumerate("hgfedcb"):  # the last in the alphabet is the oldest
            put(name, now_ms + 1000 + age)
        harness.run(4)
        harness.ssc.graph.limit({0: 1.0})
        put("j", now_ms + 4200)
        put("i", now_ms + 4300)
        harness.run(3)
        assert taken == [["a"], ["g", "h"], ["e", "f"], ["c", "d"], ["b"], ["j"], ["i"], []]


def test_file_stream_takes_one_file_until_it_knows_what_a_byte_is_worth(no_context: None, tmp_path: Path) -> None:
    settings = pressed(spark__streaming__backpressure__initialRate="25")
    with StreamHarness(1.0, conf=settings) as harness:
        counts = harness.collect(harness.ssc.textFileStream(str(tmp_path)).count(), lambda found: found[0])
        harness.start()
        for name in "abcde":
            (tmp_path / name).write_text(f"{name}\n" * 10)
            os.utime(tmp_path / name, ns=((harness.clock.now_ms() + 100) * 1_000_000,) * 2)
        harness.run(4)
        assert counts == [10, 20, 20, 0]


def test_file_that_cannot_be_read_is_not_in_the_way_of_the_next_one(no_context: None, tmp_path: Path) -> None:
    settings = pressed(spark__streaming__backpressure__initialRate="5")
    with StreamHarness(1.0, conf=settings) as harness:
        read = lambda sc, path: sc.parallelize([int(Path(path).read_text())])  # noqa: E731
        taken = harness.collect(harness.ssc.fileStream(str(tmp_path), reader=read))
        harness.start()
        for age, text in enumerate(("broken", "1", "2")):
            (tmp_path / text).write_text(text)
            os.utime(tmp_path / text, ns=((harness.clock.now_ms() + 100 + age) * 1_000_000,) * 2)
        harness.runBatch()
        harness.runBatch()
        with pytest.raises(SparkException, match="broken could not be read"):
            harness.ssc.awaitTerminationOrTimeout(0)
        assert taken == [[1], [2]]
