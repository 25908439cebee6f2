"""Kinesis streams on real servers: word count, sharing, resharding, faults."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from itertools import count

from headwater.streaming.kinesis import (
    InitialPositionInStream,
    KinesisInitialPositions,
    KinesisUtils,
    Record,
    utf8_decoder,
)
from tests.streaming.kinesis.aggregation import aggregated
from tests.streaming.kinesis.conftest import Gathered, Programs
from tests.waiting import wait_for


def test_word_count_counts_every_word_once(programs: Programs, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", programs.server.dynamodb_url)
    stream = programs.server.stream(shards=2)
    stream.put(["to be or", "not to be"] * 50)
    counts = Gathered()
    with programs.context() as ssc:
        lines = KinesisUtils.createStream(
            ssc,
            programs.app,
            stream.name,
            programs.server.url,
            "us-east-1",
            InitialPositionInStream.TRIM_HORIZON,
            1,
            awsAccessKeyId="a",
            awsSecretKey="b",
        )
        lines.flatMap(str.split).countByValue().foreachRDD(counts.add)
        ssc.start()
        counts.wait(lambda got: sum(number for _, number in got) >= 300)
    total: Counter[str] = Counter()
    for word, number in counts.records:
        total[word] += number
    assert total == {"to": 100, "be": 100, "or": 50, "not": 50}


def test_restart_goes_on_after_the_checkpoint(programs: Programs) -> None:
    stream = programs.server.stream(shards=2)
    first = {f"first-{i}" for i in range(100)}
    second = {f"second-{i}" for i in range(100)}
    stream.put(sorted(first))
    with programs.context() as ssc:
        got = programs.gather(ssc, stream.name)
        ssc.start()
        got.wait_for(first)
    leases = programs.leases()
    assert {lease.get("leaseOwner") for lease in leases.values()} == {None}  # given back
    assert all(lease["checkpoint"].isdigit() for lease in leases.values())
    stream.put(sorted(second))
    with programs.context() as ssc:
        got = programs.gather(ssc, stream.name)
        ssc.start()
        got.wait_for(second)
    assert sorted(got.records) == sorted(second)


def test_latest_leaves_out_what_was_there_before(programs: Programs) -> None:
    stream = programs.server.stream()
    stream.put(["old"])
    with programs.context() as ssc:
        got = Gathered()
        builder = programs.builder(ssc, stream.name).initialPosition(KinesisInitialPositions.Latest())
        builder.build().map(utf8_decoder).foreachRDD(got.add)
        ssc.start()
        # It begins some time after the start: what comes before that, comes too early.
        numbers = count()

        def arrived() -> bool:
            stream.put([f"new-{next(numbers)}"])
            return bool(got.records)

        wait_for(arrived, "a record has arrived")
    assert "old" not in got.records


def test_timestamp_begins_with_the_records_since(programs: Programs) -> None:
    stream = programs.server.stream()
    stream.put(["old"])
    arrived = stream.client.get_records(
        ShardIterator=stream.client.get_shard_iterator(
            StreamName=stream.name, ShardId=stream.shards()[0]["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
    )["Records"][0]["ApproximateArrivalTimestamp"]
    since = datetime.fromtimestamp(arrived.timestamp() + 1, timezone.utc)
    wait_for(lambda: datetime.now(timezone.utc) > since, "a second has passed")
    stream.put(["new"])
    with programs.context() as ssc:
        got = Gathered()
        builder = programs.builder(ssc, stream.name).initialPosition(KinesisInitialPositions.AtTimestamp(since))
        builder.build().map(utf8_decoder).foreachRDD(got.add)
        ssc.start()
        got.wait(bool)
    assert got.records == ["new"]


def test_two_receivers_share_the_shards(programs: Programs) -> None:
    stream = programs.server.stream(shards=4)
    with programs.context("local-cluster[2,1,512]") as ssc:
        got = programs.gather(ssc, stream.name, stream.name)
        ssc.start()

        def shared() -> bool:
            loads = Counter(lease.get("leaseOwner") for lease in programs.leases().values())
            return sorted(loads.values()) == [2, 2] and None not in loads

        wait_for(shared, "two shards each")
        # Who had a shard that was taken reads it too, until it knows: a third of a lease's time.
        numbers = count()

        def comes_once() -> bool:
            records = {f"{next(numbers)}-{i}" for i in range(40)}
            stream.put(sorted(records))
            got.wait_for(records)
            return sum(record in records for record in got.records) == len(records)

        wait_for(comes_once, "each record comes once")


def test_split_and_merge_under_load_lose_nothing(programs: Programs) -> None:
    stream = programs.server.stream()
    expected: set[str] = set()

    def put(name: str) -> None:
        records = {f"{name}-{i}" for i in range(100)}
        expected.update(records)
        stream.put(sorted(records))

    with programs.context() as ssc:
        got = programs.gather(ssc, stream.name)
        ssc.start()
        put("before")
        (only,) = stream.shards()
        stream.split(only)
        put("split")
        got.wait_for(expected)
        left, right = stream.shards()
        stream.merge(left, right)
        put("merged")
        got.wait_for(expected)
        wait_for(lambda: ended(programs) == 3, "the parents are read to their ends")
    assert sorted(got.records) == sorted(expected)


def ended(programs: Programs) -> int:
    return sum(lease["checkpoint"] == "SHARD_END" for lease in programs.leases().values())


def test_throttled_reads_are_tried_again_until_all_is_there(programs: Programs) -> None:
    stream = programs.server.stream(shards=2)
    records = {f"record-{i}" for i in range(200)}
    stream.put(sorted(records))
    refusing = programs.server.refusing
    with refusing("GetRecords", 0.4), refusing("GetShardIterator", 0.4), programs.context() as ssc:
        got = programs.gather(ssc, stream.name)
        ssc.start()
        got.wait_for(records)
    assert len(got.records) == len(records)


def test_throttled_leases_cost_no_record(programs: Programs) -> None:
    stream = programs.server.stream(shards=3)
    expected: set[str] = set()
    with programs.server.refusing("UpdateItem", 0.5), programs.context() as ssc:
        got = programs.gather(ssc, stream.name)
        ssc.start()
        for number in range(5):
            records = {f"{number}-{i}" for i in range(50)}
            stream.put(sorted(records))
            expected |= records
            got.wait_for(expected)
    assert set(got.records) == expected


def test_message_handler_gets_the_parts_of_aggregated_records(programs: Programs) -> None:
    stream = programs.server.stream()
    stream.client.put_record(
        StreamName=stream.name, Data=aggregated([("a", None, b"one"), ("b", "7", b"two")]), PartitionKey="x"
    )
    stream.client.put_record(StreamName=stream.name, Data=b"three", PartitionKey="c")
    got = Gathered()

    def fields(record: Record) -> tuple[bytes, str, str | None, int, str]:
        return record.data, record.partitionKey, record.explicitHashKey, record.subSequenceNumber, record.shardId

    with programs.context() as ssc:
        programs.builder(ssc, stream.name).buildWithMessageHandler(fields).foreachRDD(got.add)
        ssc.start()
        got.wait(lambda records: len(records) >= 3)
    shard = stream.shards()[0]["ShardId"]
    assert got.records == [
        (b"one", "a", None, 0, shard),
        (b"two", "b", "7", 1, shard),
        (b"three", "c", None, 0, shard),
    ]
