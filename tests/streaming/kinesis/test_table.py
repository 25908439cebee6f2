"""The lease table on a real DynamoDB server."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from headwater.errors import SparkException
from headwater.streaming.kinesis.leases import ShardCheckpoint, ShardLease
from headwater.streaming.kinesis.table import LeaseTable
from tests.servers.kinesis import KinesisServer

LEASE = ShardLease("shard-1", None, 0, ShardCheckpoint("TRIM_HORIZON"), ("p1", "p2"))


@pytest.fixture
def table(kinesis_server: KinesisServer) -> LeaseTable:
    made = LeaseTable(kinesis_server.client("dynamodb"), f"t-{uuid.uuid4().hex[:8]}", "stream")
    assert made.scan() == ()  # that makes it
    return made


def test_lease_comes_back_as_it_was_written(table: LeaseTable) -> None:
    table.create(LEASE)
    taken = replace(LEASE, owner="me", counter=1, checkpoint=ShardCheckpoint("1" * 56, 3), switches=2, started_ms=99)
    assert table.write(LEASE, taken)
    assert table.scan() == (taken,)
    given_back = replace(taken, owner=None, counter=2)
    assert table.write(taken, given_back)
    assert table.get("shard-1") == given_back
    table.delete(given_back)
    assert table.get("shard-1") is None


def test_creating_a_lease_again_changes_nothing(table: LeaseTable) -> None:
    table.create(LEASE)
    table.create(replace(LEASE, counter=7))
    assert table.scan() == (LEASE,)


@pytest.mark.parametrize("stale", [replace(LEASE, counter=3), replace(LEASE, owner="other")])
def test_write_on_what_has_changed_is_refused(table: LeaseTable, stale: ShardLease) -> None:
    table.create(LEASE)
    assert not table.write(stale, replace(stale, owner="me", counter=stale.counter + 1))
    assert table.scan() == (LEASE,)


def test_one_of_many_racing_writes_wins(table: LeaseTable) -> None:
    table.create(LEASE)
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda n: table.write(LEASE, replace(LEASE, owner=f"w{n}", counter=1)), range(8)))
    assert sum(won) == 1
    assert table.scan()[0].owner == f"w{won.index(True)}"


def test_fields_of_other_programs_stay(kinesis_server: KinesisServer) -> None:
    client, name = kinesis_server.client("dynamodb"), f"t-{uuid.uuid4().hex[:8]}"
    table = LeaseTable(client, name, "stream")
    table.scan()
    item = {"leaseKey": "s", "checkpoint": "5", "throughput": "x"}
    client.put_item(TableName=name, Item={k: {"S": v} for k, v in item.items()} | {"leaseCounter": {"N": "4"}})
    (lease,) = table.scan()
    assert lease == ShardLease("s", None, 4, ShardCheckpoint("5"))
    assert table.write(lease, replace(lease, owner="me", counter=5))
    assert client.get_item(TableName=name, Key={"leaseKey": {"S": "s"}})["Item"]["throughput"] == {"S": "x"}


def test_table_of_another_stream_is_an_error(kinesis_server: KinesisServer, table: LeaseTable) -> None:
    table.create(LEASE)
    other = LeaseTable(kinesis_server.client("dynamodb"), table._name, "clicks")
    with pytest.raises(SparkException, match="is about the stream 'stream', not 'clicks'. Give each stream"):
        other.scan()
