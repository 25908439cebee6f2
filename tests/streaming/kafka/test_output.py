"""Streams into Kafka: at least once, and exactly once by transactions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming.kafka import KafkaUtils, ProducerRecord
from headwater.streaming.kafka.output import KafkaOutput
from headwater.streaming.kafka.params import read_params
from headwater.streaming.kafka.writing import Encoding
from headwater.streaming.outputs.batchoutput import OutputBatch
from headwater.testing import StreamHarness
from tests.servers.kafka import KafkaBroker
from tests.streaming.kafka.conftest import Topics, sorted_values

FIRST_MS = 1_767_323_045_000


def values(topics: Topics, topic: str, partitions: int = 1) -> list[bytes]:
    """All committed values of a topic, sorted."""
    return sorted(value for records in topics.broker.read(topic, partitions) for _, value in records)


def params(broker: KafkaBroker) -> dict[str, Any]:
    return {"bootstrap.servers": broker.bootstrap}


# ------------------------------------------------------------------------------------------------ at least once
def test_pairs_are_keys_and_values_and_others_values(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness(master="local")
    harness.stream([[("k", "v"), (b"\x00", None), "text", b"\xff"]]).saveToKafka(topic, params(topics.broker))
    harness.run()
    assert topics.broker.read(topic) == [[(b"k", b"v"), (b"\x00", None), (None, b"text"), (None, b"\xff")]]


def test_encoders_make_bytes_of_keys_and_values(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness(master="local")
    stream = harness.stream([[(1, {"a": 2}), (None, [])]])
    stream.saveToKafka(topic, params(topics.broker), keyEncoder=str, valueEncoder=json.dumps)
    harness.run()
    assert topics.broker.read(topic) == [[(b"1", b'{"a": 2}'), (None, b"[]")]]


def test_record_says_where_it_goes(topics: Topics) -> None:
    first, second, harness = topics.broker.topic(), topics.broker.topic(partitions=2), topics.harness()
    records = [ProducerRecord(first, "a"), ProducerRecord(second, "b", "k", 1, (("h", b"x"),))]
    harness.stream([records]).saveToKafka(None, params(topics.broker))
    harness.run()
    assert topics.broker.read(first) == [[(None, b"a")]]
    assert topics.broker.read(second, 2) == [[], [(b"k", b"b")]]


def test_rdd_is_saved_too(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    KafkaUtils.saveToKafka(harness.sc.parallelize(["a", "b"]), topic, params(topics.broker))
    assert values(topics, topic) == [b"a", b"b"]


@pytest.mark.parametrize(
    ("record", "error", "message"),
    [
        (3, TypeError, "the value 3 is neither str nor bytes but int. Give a valueEncoder"),
        (("k", 3.5), TypeError, "the value 3.5 is neither"),
        ((1, "v"), TypeError, "the key 1 is neither str nor bytes but int. Give a keyEncoder"),
        (ProducerRecord("no-such-topic", "v"), SparkException, "a record could not be delivered: no-such-topic"),
        (b"x" * 2_000_000, Exception, "size"),
    ],
)
def test_record_that_cannot_be_sent_fails_the_batch(
    topics: Topics, record: Any, error: type[Exception], message: str
) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    quick = {**params(topics.broker), "message.timeout.ms": 3000}
    harness.stream([[record], ["next"]]).saveToKafka(topic, quick)
    with pytest.raises(error, match=message):
        harness.run()
    harness.run()
    assert values(topics, topic) == [b"next"]


# ------------------------------------------------------------------------------------------------ exactly once
def batch(number: int = 0) -> OutputBatch:
    """One of batches of a second, when all before it are done."""
    return OutputBatch("", FIRST_MS + 1000 * number, FIRST_MS + 1000 * number)


def output(topics: Topics, topic: str, name: str) -> KafkaOutput:
    return KafkaOutput(read_params(params(topics.broker)), Encoding(topic, None, str), name, None)


def test_batch_is_written_once_however_often_it_runs(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    for _ in range(3):
        output(topics, topic, "once").write(batch(), harness.sc.parallelize(range(6), 3))
    output(topics, topic, "once").write(batch(1), harness.sc.parallelize([10], 3))
    output(topics, topic, "once").write(batch(), harness.sc.parallelize(range(6), 3))
    assert values(topics, topic) == sorted(str(each).encode() for each in [*range(6), 10])


def test_output_of_another_name_writes_again(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    for name in ("name-a", "name-b"):
        output(topics, topic, name).write(batch(), harness.sc.parallelize(["a"], 1))
    assert values(topics, topic) == [b"a", b"a"]


def test_only_partitions_that_are_missing_are_written_again(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness(master="local[2]")
    broken = KafkaOutput(read_params(params(topics.broker)), Encoding(topic, None, fail_on_three), "half", None)
    with pytest.raises(ZeroDivisionError):
        broken.write(batch(), harness.sc.parallelize(range(4), 4))
    assert set(values(topics, topic)) <= {b"0", b"1", b"2"}
    output(topics, topic, "half").write(batch(), harness.sc.parallelize(range(4), 4))
    assert values(topics, topic) == [b"0", b"1", b"2", b"3"]


def fail_on_three(record: int) -> str:
    return str(6 // (3 - record) and record)


def test_readers_see_nothing_of_a_partition_that_failed(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    broken = KafkaOutput(read_params(params(topics.broker)), Encoding(topic, None, fail_on_three), "unseen", None)
    with pytest.raises(ZeroDivisionError):
        broken.write(batch(), harness.sc.parallelize(range(4), 1))
    assert values(topics, topic) == []


def test_partitions_may_move_from_worker_to_worker(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    for number in range(8):
        # Without pins a partition's task runs wherever a core is free: its producer there may be an old one.
        output(topics, topic, "moving").write(batch(number), harness.sc.parallelize(range(3), 3))
    assert values(topics, topic) == sorted(str(each).encode() for each in [*range(3)] * 8)


def test_batch_that_is_partitioned_otherwise_than_before_is_refused(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    output(topics, topic, "parts").write(batch(), harness.sc.parallelize(range(4), 2))
    with pytest.raises(SparkException, match=r"has written the batch of \d+ ms in 2 partitions, now it has 3"):
        output(topics, topic, "parts").write(batch(), harness.sc.parallelize(range(4), 3))


def test_group_that_is_used_by_something_else_is_refused(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    topics.broker.commit("taken-0", topic, 17)
    with pytest.raises(SparkException, match="the consumer group 'taken-0' is used by something else"):
        output(topics, topic, "taken").write(batch(), harness.sc.parallelize(["a"], 1))


def test_stream_is_copied_exactly_once_over_failures_and_restarts(topics: Topics) -> None:
    source, sink = topics.broker.topic(), topics.broker.topic()
    harness = topics.harness()
    harness.checkpoint()
    stream = topics.direct(harness, source)
    stream.map(lambda pair: pair[1]).saveToKafka(sink, params(topics.broker), exactlyOnce="copy")
    for batch in range(4):
        topics.broker.send(source, [f"{batch}-{i}" for i in range(10)])
        harness.run()
    assert values(topics, sink) == sorted(f"{batch}-{i}".encode() for batch in range(4) for i in range(10))


# ------------------------------------------------------------------------------------------------ with the source
def copied(topics: Topics, source: str, sink: str, group: str, **more: Any) -> tuple[StreamHarness, list[Any]]:
    harness = topics.harness()
    stream = topics.direct(harness, source, group_id=group)
    upper = stream.map(lambda pair: pair[1].upper())
    upper.saveToKafka(sink, params(topics.broker), exactlyOnce=f"{group}-out", offsetsOf=stream, **more)
    return harness, harness.collect(stream, sorted_values)


def test_program_without_a_checkpoint_goes_on_where_its_output_ends(topics: Topics) -> None:
    source, sink = topics.broker.topic(partitions=2), topics.broker.topic()
    for round_ in range(3):
        for partition in (0, 1):
            topics.broker.send(source, [f"{round_}-{partition}-{i}" for i in range(3)], partition)
        harness, seen = copied(topics, source, sink, "rounds")
        harness.run()
        harness.close()
        assert len(seen[0]) == 6
        assert topics.broker.committed("rounds", source, 1) == 3 * (round_ + 1)
    expected = sorted(f"{r}-{p}-{i}".encode() for r in range(3) for p in (0, 1) for i in range(3))
    assert values(topics, sink) == expected


def test_batch_behind_one_that_was_not_written_is_refused(topics: Topics) -> None:
    source, sink = topics.broker.topic(), topics.broker.topic()
    topics.broker.send(source, ["bad"])
    harness, _ = copied(topics, source, sink, "gap", valueEncoder=refuse_bad)
    with pytest.raises(ValueError, match="bad"):
        harness.run()
    topics.broker.send(source, ["good"])
    # Without this, a restart would go on behind what was never written.
    topics.broker.commit("gap", source, 0)
    with pytest.raises(SparkException, match="the source's group doesn't stand where the batch begins"):
        harness.run()
    harness.close()
    harness, _ = copied(topics, source, sink, "gap")
    harness.run()
    assert values(topics, sink) == [b"BAD", b"GOOD"]


def refuse_bad(value: str) -> str:
    if value == "BAD":
        raise ValueError("bad")
    return value


# ------------------------------------------------------------------------------------------------ what is refused
def test_exactly_once_output_demands_a_checkpoint_directory_at_the_start(topics: Topics) -> None:
    topic, harness = topics.broker.topic(), topics.harness()
    harness.stream([["a"]]).saveToKafka(topic, params(topics.broker), exactlyOnce="demands")
    with pytest.raises(IllegalArgumentException, match="The checkpoint directory has not been set.*saveToKafka at"):
        harness.run()


@pytest.mark.parametrize(
    ("save", "error", "message"),
    [
        (lambda s, d, p: s.saveToKafka("t", [p]), TypeError, "kafkaParams should be dict"),
        (lambda s, d, p: s.saveToKafka("t", {}), IllegalArgumentException, "kafkaParams need bootstrap.servers"),
        (lambda s, d, p: s.saveToKafka(None, p, exactlyOnce="x"), IllegalArgumentException, "give the output's topic"),
        (lambda s, d, p: s.saveToKafka("t", p, exactlyOnce="x" * 201), IllegalArgumentException, "200 characters"),
        (lambda s, d, p: s.saveToKafka("t", p, offsetsOf=d), IllegalArgumentException, "a name as exactlyOnce"),
        (lambda s, d, p: s.saveToKafka("t", p, exactlyOnce="x", offsetsOf=s), TypeError, "createDirectStream returned"),
        (lambda s, d, p: s.saveToKafka("t", p, exactlyOnce="x", offsetsOf=d), IllegalArgumentException, "a group.id"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    no_context: None, save: Callable[..., None], error: type[Exception], message: str
) -> None:
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    with StreamHarness() as harness:
        direct = KafkaUtils.createDirectStream(harness.ssc, ["t"], nobody)
        with pytest.raises(error, match=message):
            save(harness.stream(), direct, nobody)


def test_two_outputs_of_one_name_are_refused(no_context: None) -> None:
    nobody = {"bootstrap.servers": "127.0.0.1:1"}
    with StreamHarness() as harness:
        harness.stream().saveToKafka("t", nobody, exactlyOnce="same")
        with pytest.raises(IllegalArgumentException, match="another saveToKafka has the name 'same'"):
            harness.stream().saveToKafka("u", nobody, exactlyOnce="same")
