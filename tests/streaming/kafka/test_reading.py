"""Reading ranges of offsets in tasks: gaps, expired records, brokers that go away, readers that are kept."""

from __future__ import annotations

import logging
from contextlib import suppress
from itertools import chain
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming.kafka import KafkaUtils, LocationStrategies, OffsetRange, TopicAndPartition
from headwater.streaming.kafka.params import read_params
from headwater.streaming.kafka.reading import FetchSettings, PartitionReader
from tests.servers.kafka import KafkaBroker
from tests.streaming.kafka.conftest import Topics, run_until_all_came, sorted_values
from tests.waiting import wait_for

COMPACTED = {
    "cleanup_policy": "compact",
    "segment_ms": 100,
    "min_cleanable_dirty_ratio": 0.01,
    "max_compaction_lag_ms": 100,
}


@pytest.fixture
def two_workers(no_context: None) -> Any:
    with SparkContext("local[2]", "kafka", conf=SparkConf(loadDefaults=False)) as sc:
        yield sc


def read(sc: SparkContext, broker: KafkaBroker, *ranges: OffsetRange, **params: Any) -> list[Any]:
    settings = {"bootstrap.servers": broker.bootstrap, **{key.replace("_", "."): v for key, v in params.items()}}
    return KafkaUtils.createRDD(sc, settings, list(ranges)).map(lambda pair: pair[1]).collect()


# ------------------------------------------------------------------------------------------------ ranges
def test_rdd_has_exactly_the_records_of_its_ranges(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic(partitions=2)
    for partition in (0, 1):
        kafka.send(topic, [f"{partition}-{i}" for i in range(100)], partition)
    ranges = (
        OffsetRange(topic, 1, 98, 100),
        OffsetRange(topic, 0, 0, 2),
        OffsetRange(topic, 1, 7, 9),
        OffsetRange(topic, 0, 5, 5),
    )
    assert read(two_workers, kafka, *ranges) == ["1-98", "1-99", "0-0", "0-1", "1-7", "1-8"]


def test_ranges_are_read_again_in_any_order(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [str(i) for i in range(30)])
    for begin, end in [(0, 10), (10, 20), (5, 15), (20, 30), (0, 30), (29, 30)]:
        assert read(two_workers, kafka, OffsetRange(topic, 0, begin, end)) == [str(i) for i in range(begin, end)]


def test_rest_of_a_range_that_nobody_wants_is_not_missed_later(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [str(i) for i in range(50)])
    rdd = KafkaUtils.createRDD(two_workers, {"bootstrap.servers": kafka.bootstrap}, [OffsetRange(topic, 0, 0, 50)])
    assert rdd.take(1) == [(None, "0")]
    assert rdd.count() == 50
    assert not rdd.isEmpty()


def test_ranges_are_cut_into_as_many_partitions_as_are_asked_for(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [str(i) for i in range(9)])
    params = {"bootstrap.servers": kafka.bootstrap}
    rdd = KafkaUtils.createRDD(two_workers, params, [OffsetRange(topic, 0, 0, 9)], minPartitions=3)
    assert rdd.map(lambda pair: pair[1]).glom().collect() == [["0", "1", "2"], ["3", "4", "5"], ["6", "7", "8"]]
    assert rdd.offsetRanges() == [OffsetRange(topic, 0, at, at + 3) for at in (0, 3, 6)]


def test_rdd_of_consumer_records_is_made_with_a_location(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, [("k", "v")])
    params, ranges = {"bootstrap.servers": kafka.bootstrap}, [OffsetRange(topic, 0, 0, 1)]
    location = LocationStrategies.PreferFixed({TopicAndPartition(topic, 0): "elsewhere"})
    (record,) = KafkaUtils.createRDD(two_workers, params, ranges, location).collect()
    assert (record.topic, record.offset, record.key, record.value) == (topic, 0, b"k", b"v")
    with pytest.raises(AssertionError, match="use LocationStrategies.PreferFixed"):
        KafkaUtils.createRDD(two_workers, params, ranges, LocationStrategies.PreferBrokers)


def test_offsets_that_are_not_there_are_an_error(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, ["a", "b"])
    params = {"bootstrap.servers": kafka.bootstrap}
    with pytest.raises(SparkException, match=r"Offsets not available on leader: .*range: \[1 -> 3\]\) of \[0 -> 2\]"):
        KafkaUtils.createRDD(two_workers, params, [OffsetRange(topic, 0, 0, 2), OffsetRange(topic, 0, 1, 3)])
    with pytest.raises(TypeError, match="offsetRanges should be list"):
        KafkaUtils.createRDD(two_workers, params, OffsetRange(topic, 0, 0, 2))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="kafkaParams should be dict"):
        KafkaUtils.createRDD(two_workers, [], [])  # type: ignore[arg-type]
    with pytest.raises(IllegalArgumentException, match="minPartitions must be an int of 0 or more, not -1"):
        KafkaUtils.createRDD(two_workers, params, [], minPartitions=-1)


# ------------------------------------------------------------------------------------------------ gaps
def test_aborted_transactions_and_their_marks_are_gaps(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic()
    kafka.send(topic, ["a"], transaction="one")
    kafka.send(topic, ["never"], transaction="two", commit=False)
    kafka.send(topic, ["b"], transaction="three")
    # Each transaction's mark has an offset of its own.
    whole = OffsetRange(topic, 0, 0, 6)
    assert read(two_workers, kafka, whole, isolation_level="read_committed") == ["a", "b"]
    assert read(two_workers, kafka, whole) == ["a", "never", "b"]
    for offset, expected in enumerate([["a"], [], [], [], ["b"], []]):
        one = OffsetRange(topic, 0, offset, offset + 1)
        assert read(two_workers, kafka, one, isolation_level="read_committed") == expected


def test_open_transaction_is_read_by_nobody_who_wants_committed_records(topics: Topics) -> None:
    from confluent_kafka import Producer

    topic, harness = topics.broker.topic(), topics.harness()
    got = harness.collect(topics.direct(harness, topic, isolation_level="read_committed"), sorted_values)
    seen = harness.collect(topics.direct(harness, topic), sorted_values)
    producer = Producer({"bootstrap.servers": topics.broker.bootstrap, "transactional.id": topic, "log_level": 2})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(topic, "open")
    assert producer.flush(30) == 0
    harness.run()
    producer.commit_transaction(30)
    run_until_all_came(harness, got, 1)
    assert got[0] == []
    assert list(chain.from_iterable(got)) == list(chain.from_iterable(seen)) == ["open"]
    assert seen[0] == ["open"]


def test_compacted_topic_is_read_without_what_is_gone(two_workers: SparkContext, kafka: KafkaBroker) -> None:
    topic = kafka.topic(**COMPACTED)

    def is_compacted() -> bool:
        # A segment is cleaned only once a later record has closed it.
        kafka.send(topic, [("other", "x")])
        return len(kafka.read(topic)[0]) < kafka.end(topic)

    kafka.send(topic, [("k", f"{i}") for i in range(20)])
    wait_for(is_compacted, "the topic is compacted")
    expected, end = [value.decode() for _, value in kafka.read(topic)[0]], kafka.end(topic)
    pieces = [OffsetRange(topic, 0, at, min(at + 5, end)) for at in range(0, end, 5)]
    got = read(two_workers, kafka, *pieces)
    # It may go on being compacted: nothing comes that wasn't there, and the last record of each key is.
    assert set(got) <= set(expected)
    assert "19" in got


# ------------------------------------------------------------------------------------------------ expired records
def test_expired_records_fail_the_batch(topics: Topics) -> None:
    topic = topics.broker.topic()
    # A reader that is kept has fetched ahead what expires.
    harness = topics.harness(
        spark_streaming_kafka_maxRatePerPartition=5, spark_streaming_kafka_consumer_cache_enabled="false"
    )
    topics.broker.send(topic, [str(i) for i in range(20)])
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    harness.run()
    topics.broker.delete_records(topic, 0, before=12)
    with pytest.raises(SparkException, match=rf"{topic}-0: offset \d+ is out of range: the topic has 12 to 20"):
        harness.run(2)
    assert got[0] == ["0", "1", "2", "3", "4"]


def test_expired_records_are_skipped_by_a_setting(topics: Topics, caplog: pytest.LogCaptureFixture) -> None:
    topic = topics.broker.topic()
    harness = topics.harness(
        master="local",
        spark_streaming_kafka_maxRatePerPartition=5,
        spark_streaming_kafka_consumer_cache_enabled="false",
        headwater_streaming_kafka_offsetsExpired="earliest",
    )
    topics.broker.send(topic, [str(i) for i in range(20)])
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    harness.run()
    topics.broker.delete_records(topic, 0, before=12)
    caplog.set_level(logging.WARNING)
    harness.run(3)
    assert list(chain.from_iterable(got)) == [*map(str, range(5)), *map(str, range(12, 20))]
    assert "5 records are skipped" in caplog.text


class Answer:
    """What a consumer got: a record, or an error that has a code."""

    def __init__(self, offset: int, code: int | None = None) -> None:
        self._offset, self._code = offset, code

    def error(self) -> Any:
        from confluent_kafka import KafkaError

        return None if self._code is None else KafkaError(self._code)

    def offset(self) -> int:
        return self._offset

    def value(self) -> bytes:
        return b"new"

    def key(self) -> None:
        return None


class NewTopic:
    """A consumer of a topic that was made anew: brokers tell of the old one `late` times, of the new one later."""

    def __init__(self, late: int) -> None:
        self._late = late

    def assign(self, partitions: list[Any]) -> None:
        assert [partition.offset for partition in partitions] == [0]

    def consume(self, count: int, seconds: float) -> list[Answer]:
        from confluent_kafka import KafkaError

        self._late -= 1
        return [Answer(0) if self._late < 0 else Answer(0, KafkaError.OFFSET_OUT_OF_RANGE)]

    def get_watermark_offsets(self, partition: Any, seconds: float) -> tuple[int, int]:
        return 0, 1


@pytest.mark.parametrize("skips_expired", [False, True])
def test_offset_that_the_topic_has_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, skips_expired: bool) -> None:
    settings, wanted = FetchSettings(10_000, skips_expired, 0), OffsetRange("topic", 0, 0, 1)
    params = read_params({"bootstrap.servers": "127.0.0.1:1"})
    monkeypatch.setattr("confluent_kafka.Consumer", lambda _: NewTopic(late=3))
    reader = PartitionReader(params, wanted.topicPartition())
    assert [message.value() for taken in reader.messages(wanted, settings) for message in taken] == [b"new"]
    monkeypatch.setattr("confluent_kafka.Consumer", lambda _: NewTopic(late=1_000_000))
    reader = PartitionReader(params, wanted.topicPartition())
    with pytest.raises(SparkException, match=r"for 50 ms \(.*offset 0 is out of range: the topic has 0 to 1\)"):
        next(reader.messages(wanted, settings._replace(poll_ms=50)))


# ------------------------------------------------------------------------------------------------ brokers away
def test_records_that_do_not_come_in_time_are_an_error(kafka: KafkaBroker, topics: Topics) -> None:
    topic = kafka.topic()
    kafka.send(topic, ["a"])
    harness = topics.harness(spark_streaming_kafka_consumer_poll_ms="300ms")
    params = {"bootstrap.servers": kafka.bootstrap}
    rdd = KafkaUtils.createRDD(harness.sc, params, [OffsetRange(topic, 0, 0, 1)])
    kafka.kill()
    try:
        with pytest.raises(SparkException, match="failed to get the records from 0 on after polling for 300 ms"):
            rdd.collect()
    finally:
        kafka.start()

    def is_there() -> bool:
        with suppress(SparkException):  # 300 ms are short for a broker that has just come back, too
            return bool(rdd.collect() == [(None, "a")])
        return False

    wait_for(is_there, "the record")


def test_batches_are_empty_while_the_broker_is_away_and_nothing_is_lost(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    topics.broker.send(topic, ["a"])
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    beside = harness.collect(harness.stream([["1"], ["2"], ["3"], ["4"]]))
    harness.run()
    topics.broker.kill()
    try:
        harness.run(3)
    finally:
        topics.broker.start()
    topics.broker.send(topic, ["b", "c"], 1)
    run_until_all_came(harness, got, 3)
    assert list(chain.from_iterable(got)) == ["a", "b", "c"]
    assert beside[:4] == [["1"], ["2"], ["3"], ["4"]]
    assert caplog.text.count("Batches bring nothing new until the brokers answer; nothing is lost.") == 1
