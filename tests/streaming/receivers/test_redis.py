"""RedisStreamReceiver against a real server."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater.streaming import StreamingContext
from headwater.streaming.receivers import RedisStreamReceiver
from tests.streaming.programs import FRAGILE_LOG, broken, program
from tests.waiting import wait_for


@pytest.fixture
def client(redis_port: int) -> Iterator[Any]:
    import redis

    with redis.Redis(port=redis_port, protocol=2) as made:
        yield made


@pytest.fixture
def stream() -> str:
    return f"s-{uuid.uuid4().hex[:8]}"


def received(port: int, stream: str, **options: Any) -> Callable[[StreamingContext], Any]:
    return lambda ssc: ssc.receiverStream(RedisStreamReceiver("127.0.0.1", port, stream, "group", **options))


def values(records: list[Any]) -> list[bytes]:
    return [fields["n"] for _, fields in records]


def pending(client: Any, stream: str) -> int:
    return int(client.xpending(stream, "group")["pending"])


def test_entries_arrive_from_the_first_one_and_are_acknowledged(redis_port: int, client: Any, stream: str) -> None:
    ids = [client.xadd(stream, {"n": n, "raw": b"\xff"}) for n in range(3)]
    with program(received(redis_port, stream)) as running:
        running.wait(lambda: len(running.records) == 3)
        ids += [client.xadd(stream, {"n": n, "raw": b"\xff"}) for n in range(3, 2500)]
        running.wait(lambda: len(running.records) == 2500)
    expected = [(number.decode(), {"n": b"%d" % n, "raw": b"\xff"}) for n, number in enumerate(ids)]
    assert running.records == expected
    assert pending(client, stream) == 0
    assert running.errors == []


def test_group_that_begins_at_the_end_sees_later_entries_only(redis_port: int, client: Any, stream: str) -> None:
    client.xadd(stream, {"n": "old"})
    with program(received(redis_port, stream, startId="$")) as running:
        wait_for(lambda: client.xinfo_groups(stream), "the group is there")
        client.xadd(stream, {"n": "new"})
        running.wait(lambda: len(running.records) == 1)
    assert values(running.records) == [b"new"]


def test_entries_of_a_dead_consumer_are_claimed(redis_port: int, client: Any, stream: str) -> None:
    client.xgroup_create(stream, "group", id="0", mkstream=True)
    for n in range(3):
        client.xadd(stream, {"n": n})
    assert client.xreadgroup("group", "dead", {stream: ">"}, count=2)
    with program(received(redis_port, stream, claimSeconds=0.05)) as running:
        running.wait(lambda: len(running.records) == 3)
    assert sorted(values(running.records)) == [b"0", b"1", b"2"]
    assert pending(client, stream) == 0


def test_entries_of_an_own_earlier_life_come_first(redis_port: int, client: Any, stream: str) -> None:
    client.xgroup_create(stream, "group", id="0", mkstream=True)
    for n in range(3):
        client.xadd(stream, {"n": n})
    (_, first), *_ = client.xreadgroup("group", "me", {stream: ">"}, count=2)[0][1]
    assert first == {b"n": b"0"}
    client.xdel(stream, client.xrange(stream)[1][0])  # its id is still pending, without fields
    with program(received(redis_port, stream, consumer="me")) as running:
        running.wait(lambda: len(running.records) == 2)
    assert values(running.records) == [b"0", b"2"]
    assert pending(client, stream) == 0


def test_entry_that_can_not_be_stored_is_read_again(redis_port: int, client: Any, stream: str, tmp_path: Path) -> None:
    client.xadd(stream, {"n": "first"})
    with program(received(redis_port, stream), FRAGILE_LOG, tmp_path) as running:
        running.wait(lambda: len(running.records) == 1)
        with broken(tmp_path / "receivedData"):
            client.xadd(stream, {"n": "fragile"})
            running.wait(lambda: bool(running.errors))
            assert pending(client, stream) == 1
        running.wait(lambda: len(running.records) == 2)
    assert values(running.records) == [b"first", b"fragile"]
    assert f"Error receiving from Redis at 127.0.0.1:{redis_port}, stream {stream}" in running.errors[0]


def test_receivers_of_one_group_share_a_stream(redis_port: int, client: Any, stream: str) -> None:
    def union(ssc: StreamingContext) -> Any:
        return ssc.union(*[received(redis_port, stream)(ssc) for _ in range(2)])

    with program(union) as running:
        for n in range(500):
            client.xadd(stream, {"n": n})
        running.wait(lambda: len(running.records) == 500)
        names = {row["name"] for row in client.xinfo_consumers(stream, "group")}
    assert sorted(int(value) for value in values(running.records)) == list(range(500))
    assert names == {b"headwater-0", b"headwater-1"}
