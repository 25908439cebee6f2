"""Offsets that a direct stream commits for its group: when a batch is done, and not before."""

from __future__ import annotations

import queue
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException
from headwater.streaming.kafka import OffsetRange, TopicAndPartition
from tests.streaming.kafka.conftest import Topics
from tests.waiting import wait_for

PATIENCE_SECONDS = 30.0


def await_committed(topics: Topics, group: str, topic: str, offset: int) -> None:
    wait_for(lambda: topics.broker.committed(group, topic) == offset, f"{offset} is committed")


def test_offsets_are_committed_when_the_batch_is_done(topics: Topics) -> None:
    topic, harness = topics.broker.topic(partitions=2), topics.harness()
    topics.broker.send(topic, ["a", "b"])
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
    before: list[Any] = []
    stream = topics.direct(harness, topic, group_id="done")

    def commit(rdd: Any) -> None:
        stream.commitAsync(rdd.offsetRanges(), lambda *answer: answers.put(answer))
        before.append(topics.broker.committed("done", topic))

    stream.foreachRDD(commit)
    harness.run()
    offsets, error = answers.get(timeout=PATIENCE_SECONDS)
    assert (before, offsets, error) == ([None], {TopicAndPartition(topic, 0): 2, TopicAndPartition(topic, 1): 0}, None)
    assert topics.broker.committed("done", topic) == 2


def test_offsets_are_committed_at_the_latest_when_the_context_stops(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, ["a", "b"])
    stream = topics.direct(harness, topic, group_id="stop")
    stream.foreachRDD(lambda rdd: None)
    harness.run()
    stream.commitAsync([OffsetRange(topic, 0, 0, 1), OffsetRange(topic, 0, 1, 2)])
    harness.ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert topics.broker.committed("stop", topic) == 2


def test_offsets_of_a_failed_batch_are_not_committed(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.send(topic, ["a"])
    stream = topics.direct(harness, topic, group_id="failed")

    def fail_once(rdd: Any) -> None:
        stream.commitAsync(rdd.offsetRanges())
        if not rdd.isEmpty():
            raise OSError("the database is away")

    stream.foreachRDD(fail_once)
    with pytest.raises(OSError, match="the database is away"):
        harness.run()
    assert topics.broker.committed("failed", topic) is None


def test_offsets_of_done_batches_are_committed_by_themselves_if_the_program_wants_it(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    stream = topics.direct(harness, topic, group_id="auto", enable_auto_commit="true")
    stream.foreachRDD(lambda rdd: None)
    for end in (1, 2, 3):
        topics.broker.send(topic, ["a"])
        harness.run()
        await_committed(topics, "auto", topic, end)


def test_offsets_behind_a_failed_batch_are_not_committed_by_themselves(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    stream = topics.direct(harness, topic, group_id="behind", enable_auto_commit="true")

    def fail(rdd: Any) -> None:
        if rdd.values().collect() == ["bad"]:
            raise OSError("no")

    stream.foreachRDD(fail)
    topics.broker.send(topic, ["good"])
    harness.run()
    await_committed(topics, "behind", topic, 1)
    topics.broker.send(topic, ["bad"])
    with pytest.raises(OSError, match="no"):
        harness.run()
    topics.broker.send(topic, ["good", "good"])
    harness.run(2)
    harness.ssc.stop(stopSparkContext=False, stopGraceFully=True)
    assert topics.broker.committed("behind", topic) == 1


def test_stream_without_a_group_cannot_commit(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    with pytest.raises(IllegalArgumentException, match="commitAsync: kafkaParams need a group.id"):
        topics.direct(harness, topic).commitAsync([])
