"""Ranges of offsets: how far a batch reads, and how it's cut; pure."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headwater.streaming.kafka import OffsetRange, TopicAndPartition
from headwater.streaming.kafka.offsets import ReadLimits, description, next_ranges, split

A, B, C = (TopicAndPartition("t", partition) for partition in range(3))


def limits(rate: float | None = None, most: float = 0, least: float = 1, batch_ms: int = 1000) -> ReadLimits:
    return ReadLimits(batch_ms, lambda _: most, lambda _: least, rate)


def counts(positions: dict[TopicAndPartition, int], latest: dict[TopicAndPartition, int], how: ReadLimits) -> list[int]:
    return [each.count() for each in next_ranges(positions, latest, how)]


def test_batch_reads_all_there_is_without_limits() -> None:
    assert next_ranges({A: 5, B: 0}, {A: 9, B: 7}, limits()) == [OffsetRange("t", 0, 5, 9), OffsetRange("t", 1, 0, 7)]


def test_partition_whose_end_is_unknown_brings_nothing() -> None:
    assert next_ranges({A: 5}, {}, limits()) == [OffsetRange("t", 0, 5, 5)]


def test_rate_of_each_partition_is_for_a_second() -> None:
    assert counts({A: 0, B: 0}, {A: 90, B: 4}, limits(most=20, batch_ms=500)) == [10, 4]


def test_rate_of_the_stream_is_shared_out_by_what_waits() -> None:
    assert counts({A: 0, B: 0}, {A: 300, B: 100}, limits(rate=40)) == [30, 10]


def test_lower_of_both_rates_counts() -> None:
    assert counts({A: 0, B: 0}, {A: 300, B: 100}, limits(rate=40, most=20)) == [20, 10]


def test_partition_gets_a_record_however_low_its_share() -> None:
    assert counts({A: 0, B: 0}, {A: 1_000_000, B: 1}, limits(rate=10, least=0.001, batch_ms=100)) == [1, 1]


def test_partition_gets_its_least_rate() -> None:
    assert counts({A: 0, B: 0}, {A: 1_000_000, B: 50}, limits(rate=10, least=5)) == [9, 5]


@given(
    st.dictionaries(st.sampled_from([A, B, C]), st.tuples(st.integers(0, 1000), st.integers(0, 5000)), min_size=1),
    st.one_of(st.none(), st.floats(0.1, 1e6)),
    st.floats(0, 1e6),
    st.integers(1, 10_000),
)
def test_ranges_follow_on_their_positions_and_no_partition_starves(
    lags: dict[TopicAndPartition, tuple[int, int]], rate: float | None, most: float, batch_ms: int
) -> None:
    positions = {each: at for each, (at, _) in lags.items()}
    latest = {each: at + lag for each, (at, lag) in lags.items()}
    ranges = next_ranges(positions, latest, limits(rate, most, batch_ms=batch_ms))
    assert [each.topicPartition() for each in ranges] == list(positions)
    for each in ranges:
        at, lag = lags[each.topicPartition()]
        assert each.fromOffset == at
        assert min(lag, 1) <= each.count() <= lag


@given(st.lists(st.integers(0, 200), min_size=1, max_size=5), st.integers(0, 20))
def test_pieces_of_ranges_make_the_ranges(lengths: list[int], at_least: int) -> None:
    ranges = [OffsetRange("t", partition, 10, 10 + length) for partition, length in enumerate(lengths)]
    pieces = split(ranges, at_least)
    assert [(each.partition, offset) for each in pieces for offset in range(each.fromOffset, each.untilOffset)] == [
        (each.partition, offset) for each in ranges for offset in range(each.fromOffset, each.untilOffset)
    ]
    assert len(pieces) >= len(ranges)


def test_range_is_described_as_spark_does() -> None:
    ranges = [OffsetRange("t", 0, 1, 4), OffsetRange("t", 1, 2, 2)]
    assert str(ranges[0]) == "OffsetRange(topic: 't', partition: 0, range: [1 -> 4])"
    assert description(ranges) == "topic: t\tpartition: 0\toffsets: 1 to 4"
