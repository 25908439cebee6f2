"""The direct stream: what each batch reads of a real broker's topics."""

from __future__ import annotations

import logging
import re
import time
from itertools import chain
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalStateException, SparkException
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import (
    ConsumerRecord,
    ConsumerStrategies,
    KafkaRDD,
    KafkaUtils,
    LocationStrategies,
    OffsetRange,
    PerPartitionConfig,
    TopicAndPartition,
)
from tests.streaming.kafka.conftest import Topics, run_until_all_came, sorted_values


def numbered(name: str, count: int) -> list[str]:
    return [f"{name}{i}" for i in range(count)]


# ------------------------------------------------------------------------------------------------ where it begins
def test_batch_has_what_came_since_the_last_one(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    topics.broker.send(topic, [("k", "a0"), "a1"])
    got = harness.collect(topics.direct(harness, topic))
    harness.run()
    topics.broker.send(topic, ["b"], partition=1)
    harness.run(2)
    assert got == [[("k", "a0"), (None, "a1")], [(None, "b")], []]


def test_graceful_stop_right_after_the_start_reads_what_is_there(topics: Topics) -> None:
    topic = topics.broker.topic()
    topics.broker.send(topic, ["a", "b"])
    with SparkContext("local[2]", "stop", conf=SparkConf(loadDefaults=False)) as sc:
        ssc, got = StreamingContext(sc, 0.2), []
        stream = KafkaUtils.createDirectStream(ssc, [topic], topics.params())
        stream.foreachRDD(lambda rdd: got.extend(sorted_values(rdd.collect())))
        ssc.start()
        ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert got == ["a", "b"]


@pytest.mark.parametrize(("reset", "expected"), [("smallest", ["old", "new"]), ("largest", ["new"])])
def test_stream_without_offsets_begins_as_reset_says(topics: Topics, reset: str, expected: list[str]) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, ["old"])
    got = harness.collect(topics.direct(harness, topic, auto_offset_reset=reset), sorted_values)
    harness.start()
    topics.broker.send(topic, ["new"])
    harness.run()
    assert got == [sorted(expected)]


def test_stream_begins_with_the_offsets_that_are_given(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    for partition in (0, 1):
        topics.broker.send(topic, numbered(f"{partition}-", 4), partition)
    stream = KafkaUtils.createDirectStream(
        harness.ssc, [topic], topics.params(), fromOffsets={TopicAndPartition(topic, 1): 3}
    )
    got = harness.collect(stream, sorted_values)
    harness.run()
    assert got == [["0-0", "0-1", "0-2", "0-3", "1-3"]]


def test_stream_begins_where_its_group_has_committed(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, numbered("m", 5))
    topics.broker.commit("committed", topic, 3)
    got = harness.collect(topics.direct(harness, topic, group_id="committed"), sorted_values)
    harness.run()
    assert got == [["m3", "m4"]]


def test_stream_does_not_start_without_offsets_when_reset_is_none(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    harness.collect(topics.direct(harness, topic, group_id="empty", auto_offset_reset="none"))
    with pytest.raises(SparkException, match=rf"the group 'empty' has no offsets for {topic}-0, and auto.offset.reset"):
        harness.start()


# ------------------------------------------------------------------------------------------------ how far it reads
def test_batch_reads_no_more_of_a_partition_than_its_rate(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness(spark_streaming_kafka_maxRatePerPartition=3)
    topics.broker.send(topic, numbered("a", 7), 0)
    topics.broker.send(topic, numbered("b", 2), 1)
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    harness.run(3)
    assert got == [["a0", "a1", "a2", "b0", "b1"], ["a3", "a4", "a5"], ["a6"]]


def test_program_says_how_fast_each_partition_is_read(topics: Topics) -> None:
    class Slowly(PerPartitionConfig):
        def maxRatePerPartition(self, topicPartition: TopicAndPartition) -> float:
            return topicPartition.partition + 1

    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    for partition in (0, 1):
        topics.broker.send(topic, numbered(f"{partition}-", 4), partition)
    strategy = ConsumerStrategies.Subscribe([topic], topics.params(value_deserializer="StringDeserializer"))
    stream = KafkaUtils.createDirectStream(harness.ssc, LocationStrategies.PreferConsistent, strategy, Slowly())
    got = harness.collect(stream.map(lambda record: record.value), sorted)
    harness.run(2)
    assert got == [["0-0", "1-0", "1-1"], ["0-1", "1-2", "1-3"]]


def test_first_batch_reads_no_faster_than_the_initial_rate(topics: Topics) -> None:
    harness = topics.harness(spark_streaming_backpressure_enabled="true", spark_streaming_backpressure_initialRate=2)
    topic = topics.broker.topic()
    topics.broker.send(topic, numbered("m", 9))
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    harness.run()
    assert got == [["m0", "m1"]]


def test_listeners_hear_of_offsets_and_records(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    topics.broker.send(topic, numbered("m", 5), 1)
    harness.collect(topics.direct(harness, topic))
    (info,) = harness.run()
    brought = info.streamIdToInputInfo()[0]
    assert brought.numRecords() == info.numRecords() == 5
    assert brought.metadataDescription() == f"topic: {topic}\tpartition: 1\toffsets: 0 to 5"
    assert brought.metadata()["offsets"] == [OffsetRange(topic, 0, 0, 0), OffsetRange(topic, 1, 0, 5)]


# ------------------------------------------------------------------------------------------------ new partitions
def test_partition_that_is_added_is_read_from_its_beginning(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    got = harness.collect(topics.direct(harness, topic, auto_offset_reset="latest"), sorted_values)
    harness.run()
    topics.broker.add_partitions(topic, 2)
    topics.broker.send(topic, ["in the new one"], 1)
    topics.broker.send(topic, ["in the old one"], 0)
    run_until_all_came(harness, got, 2)
    assert got[0] == []
    assert sorted(chain.from_iterable(got)) == ["in the new one", "in the old one"]


def test_topic_that_is_made_later_is_read_from_its_beginning(topics: Topics) -> None:
    first, harness = topics.broker.topic(), topics.harness()
    prefix = first[:-4]
    pattern = ConsumerStrategies.SubscribePattern(f"{re.escape(prefix)}.*", topics.params(auto_offset_reset="latest"))
    stream = KafkaUtils.createDirectStream(harness.ssc, LocationStrategies.PreferConsistent, pattern)
    got = harness.collect(stream, lambda records: sorted((record.topic, record.value) for record in records))
    harness.run()
    second = topics.broker.topic(name=f"{prefix}-later")
    topics.broker.send(second, ["new"])
    topics.broker.send(first, ["old"])
    run_until_all_came(harness, got, 2)
    assert sorted(chain.from_iterable(got)) == sorted([(first, b"old"), (second, b"new")])


def test_only_assigned_partitions_are_read(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=3), topics.harness()
    for partition in range(3):
        topics.broker.send(topic, [str(partition)], partition)
    assigned = ConsumerStrategies.Assign([TopicAndPartition(topic, 0), TopicAndPartition(topic, 2)], topics.params())
    stream = KafkaUtils.createDirectStream(harness.ssc, LocationStrategies.PreferBrokers, assigned)
    got = harness.collect(stream.map(lambda record: record.value), sorted)
    harness.run()
    assert got == [[b"0", b"2"]]


def test_batches_are_empty_until_the_topic_is_there(topics: Topics, caplog: pytest.LogCaptureFixture) -> None:
    harness = topics.harness()
    got = harness.collect(topics.direct(harness, "not-yet-there", auto_offset_reset="latest"), sorted_values)
    harness.run()
    assert "there is no such topic yet" in caplog.text
    topics.broker.topic(name="not-yet-there")
    topics.broker.send("not-yet-there", ["first"])
    harness.run(2)
    assert got == [[], ["first"], []]


# ------------------------------------------------------------------------------------------------ records
def test_record_has_all_that_a_message_has(topics: Topics) -> None:
    topic, harness, now_ms = topics.broker.topic(), topics.harness(), time.time_ns() // 1_000_000
    topics.broker.send(topic, [("key", "value")], timestamp=now_ms, headers=[("from", b"here"), ("empty", None)])
    params = topics.params(key_deserializer="StringDeserializer", value_deserializer=bytes.decode)
    strategy = ConsumerStrategies.Subscribe([topic], params)
    got = harness.collect(KafkaUtils.createDirectStream(harness.ssc, LocationStrategies.PreferConsistent, strategy))
    harness.run()
    headers = (("from", b"here"), ("empty", None))
    assert got == [[ConsumerRecord(topic, 0, 0, now_ms, "CreateTime", "key", "value", headers)]]


def test_message_handler_makes_the_records(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, [("k", "v"), "w"])
    stream = KafkaUtils.createDirectStream(
        harness.ssc,
        [topic],
        topics.params(),
        messageHandler=lambda m: (m.topic, m.partition, m.offset, m.key, m.message),
    )
    got = harness.collect(stream)
    harness.run()
    assert got == [[(topic, 0, 0, "k", "v"), (topic, 0, 1, None, "w")]]


def test_records_can_be_windowed_and_persisted(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    strategy = ConsumerStrategies.Subscribe([topic], topics.params())
    stream = KafkaUtils.createDirectStream(harness.ssc, LocationStrategies.PreferConsistent, strategy)
    got = harness.collect(stream.window(2).map(lambda record: record.value), sorted)
    for name in ("a", "b", "c"):
        topics.broker.send(topic, [name])
        harness.run()
    assert got == [[b"a"], [b"a", b"b"], [b"b", b"c"]]


def test_decoder_that_raises_fails_the_batch_and_not_the_stream(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, ["17", "many"])
    stream = KafkaUtils.createDirectStream(
        harness.ssc, [topic], topics.params(), valueDecoder=lambda data: int(data or b"")
    )
    got = harness.collect(stream, sorted_values)
    with pytest.raises(ValueError, match="invalid literal"):
        harness.run()
    topics.broker.send(topic, ["18"])
    harness.run()
    assert got == [[18]]


# ------------------------------------------------------------------------------------------------ RDDs and ranges
def test_first_rdd_has_its_ranges_and_those_made_of_it_say_so(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    topics.broker.send(topic, numbered("m", 3), 1)
    ranges: list[list[OffsetRange]] = []

    def keep(rdd: Any) -> Any:
        assert isinstance(rdd, KafkaRDD)
        ranges.append(rdd.offsetRanges())
        return rdd.map(lambda pair: pair[1])

    def derived(rdd: Any) -> None:
        with pytest.raises(
            IllegalStateException, match="offsetRanges: this RDD was made from that of the Kafka stream"
        ):
            rdd.offsetRanges()

    topics.direct(harness, topic).transform(keep).foreachRDD(derived)
    harness.run()
    assert ranges == [[OffsetRange(topic, 0, 0, 0), OffsetRange(topic, 1, 0, 3)]]


def test_batch_is_cut_into_as_many_partitions_as_are_asked_for(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, numbered("m", 8))
    stream = KafkaUtils.createDirectStream(harness.ssc, [topic], topics.params(), minPartitions=4)
    got = harness.collect(stream.map(lambda pair: pair[1]).glom())
    harness.run()
    assert got == [[["m0", "m1"], ["m2", "m3"], ["m4", "m5"], ["m6", "m7"]]]


def test_partition_stays_with_its_worker(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=4), topics.harness()
    stream = topics.direct(harness, topic).mapPartitionsWithIndex(lambda index, _: [(index, process_id())])
    got = harness.collect(stream, sorted)
    harness.run(4)
    assert got[1:] == [got[0]] * 3
    assert len({process for _, process in got[0]}) == 2


def process_id() -> int:
    import os

    return os.getpid()


# ------------------------------------------------------------------------------------------------ topics made anew
def remade(topics: Topics, policy: str) -> tuple[Any, list[Any]]:
    topic, harness = topics.broker.topic(), topics.harness(headwater_streaming_kafka_offsetsExpired=policy)
    topics.broker.send(topic, numbered("old", 5))
    got = harness.collect(topics.direct(harness, topic), sorted_values)
    harness.run()
    topics.broker.remake(topic)
    topics.broker.send(topic, ["new"])
    return harness, got


def test_topic_that_is_made_anew_is_an_error(topics: Topics) -> None:
    harness, got = remade(topics, "fail")
    with pytest.raises(SparkException, match="ends at 1, and was read to 5: a topic was made anew"):
        for _ in range(20):  # until the brokers' leaders are known again
            harness.run()
    assert got[0] == numbered("old", 5)
    assert not any(got[1:])


def test_topic_that_is_made_anew_is_read_from_its_beginning_by_a_setting(
    topics: Topics, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    harness, got = remade(topics, "earliest")
    run_until_all_came(harness, got, 6)
    assert list(chain.from_iterable(got[1:])) == ["new"]
    assert "It goes on with the oldest records that are there" in caplog.text
