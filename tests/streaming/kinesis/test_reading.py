"""A shard's reader against the server; answers that Kinesis gives in trouble come from boto3's event hooks."""

from __future__ import annotations

import queue
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.streaming.kinesis.coordinator import Position
from headwater.streaming.kinesis.leases import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, ShardCheckpoint
from headwater.streaming.kinesis.reading import (
    PAUSE_MS_MAX,
    Fetched,
    ReadSettings,
    ShardReader,
    iterator_arguments,
    pause_seconds,
)
from tests.servers.kinesis import KinesisServer, KinesisStream
from tests.streaming.kinesis.aggregation import aggregated

PATIENCE_SECONDS = 30.0
HORIZON = Position(ShardCheckpoint(TRIM_HORIZON))


class Reading:
    """A reader of a stream's first shard, what it brings and what it reports."""

    def __init__(self, stream: KinesisStream, client: Any, position: Position, attempts_max: int = 3) -> None:
        self.fetched: queue.Queue[Fetched] = queue.Queue()
        self.reports: queue.Queue[tuple[str, Exception]] = queue.Queue()
        settings = ReadSettings(stream.name, interval_ms=5, pause_ms=1, attempts_max=attempts_max)
        key = "shardId-000000000000"
        self.failures: queue.Queue[tuple[str, Exception]] = queue.Queue()
        self._reader = ShardReader(
            client,
            key,
            position,
            settings,
            self.fetched.put,
            report=lambda what, error: self.reports.put((what, error)),
            failed=lambda what, error: self.failures.put((what, error)),
        )

    def __enter__(self) -> Reading:
        self._reader.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._reader.stop()

    def next(self) -> Fetched:
        return self.fetched.get(timeout=PATIENCE_SECONDS)

    def texts(self, number: int) -> list[str]:
        texts: list[str] = []
        while len(texts) < number:
            texts += [record.data.decode() for record in self.next().records]
        return texts


@pytest.fixture
def stream(kinesis_server: KinesisServer) -> KinesisStream:
    return kinesis_server.stream()


@pytest.fixture
def client(kinesis_server: KinesisServer) -> Any:
    return kinesis_server.client("kinesis")


def failing(client: Any, call: str, code: str, times: int) -> threading.Event:
    """Have the next calls fail with this code; the event says that they have."""
    left = iter(range(times))
    over = threading.Event()

    def fail(**_: Any) -> Any:
        if next(left, None) is None:
            over.set()
            return None
        return SimpleNamespace(status_code=400), {"Error": {"Code": code, "Message": "as the test says"}}

    client.meta.events.register(f"before-call.kinesis.{call}", fail)
    return over


def calls(client: Any, call: str) -> list[dict[str, Any]]:
    """The parameters of such calls from now on."""
    seen: list[dict[str, Any]] = []
    client.meta.events.register(f"provide-client-params.kinesis.{call}", lambda params, **_: seen.append(dict(params)))
    return seen


def test_reader_goes_on_after_the_last_record_when_its_iterator_has_expired(stream: KinesisStream, client: Any) -> None:
    stream.put(["one"])
    asked = calls(client, "GetShardIterator")
    with Reading(stream, client, HORIZON) as reading:
        first = reading.next()
        assert failing(client, "GetRecords", "ExpiredIteratorException", 1).wait(PATIENCE_SECONDS)
        stream.put(["two", "three"])
        assert sorted(reading.texts(2)) == ["three", "two"]
        assert reading.reports.empty()
    assert [call["ShardIteratorType"] for call in asked] == ["TRIM_HORIZON", "AT_SEQUENCE_NUMBER"]
    assert asked[1]["StartingSequenceNumber"] == first.checkpoint.sequence


def test_reader_of_the_latest_does_not_skip_records_when_its_first_iterator_has_expired(
    stream: KinesisStream, client: Any
) -> None:
    stream.put(["since it began"])
    failing(client, "GetRecords", "ExpiredIteratorException", 1)
    asked = calls(client, "GetShardIterator")
    with Reading(stream, client, Position(ShardCheckpoint(LATEST), at_ms=1000)) as reading:
        assert reading.texts(1) == ["since it began"]
    assert [call["ShardIteratorType"] for call in asked] == ["LATEST", "AT_TIMESTAMP"]


def test_reader_reports_what_keeps_failing_and_goes_on(stream: KinesisStream, client: Any) -> None:
    stream.put(["one"])
    failing(client, "GetRecords", "InternalFailure", 7)
    with Reading(stream, client, HORIZON, attempts_max=3) as reading:
        assert reading.texts(1) == ["one"]
        what, error = reading.reports.get_nowait()
        assert f"Shard shardId-000000000000 of {stream.name} can't be read" in what
        assert "InternalFailure" in str(error)
        assert reading.reports.qsize() == 1  # at the sixth


def test_throttling_is_no_error(stream: KinesisStream, client: Any) -> None:
    stream.put(["one"])
    failing(client, "GetRecords", "ProvisionedThroughputExceededException", 7)
    failing(client, "GetShardIterator", "LimitExceededException", 4)
    with Reading(stream, client, HORIZON, attempts_max=1) as reading:
        assert reading.texts(1) == ["one"]
        assert reading.reports.empty()


def test_answer_that_makes_no_sense_ends_the_reader_aloud(stream: KinesisStream, client: Any) -> None:
    client.meta.events.register("before-call.kinesis.GetRecords", lambda **_: (SimpleNamespace(status_code=200), {}))
    with Reading(stream, client, HORIZON) as reading:
        what, error = reading.failures.get(timeout=PATIENCE_SECONDS)
    assert what == f"The reader of shard shardId-000000000000 of {stream.name} failed"
    assert isinstance(error, KeyError)


def test_reader_begins_within_an_aggregated_record(stream: KinesisStream, client: Any) -> None:
    data = aggregated([("k", None, b"one"), ("k", None, b"two"), ("k", None, b"three")])
    put = client.put_record(StreamName=stream.name, Data=data, PartitionKey="k")["SequenceNumber"]
    stream.put(["four"])
    with Reading(stream, client, Position(ShardCheckpoint(put, 1))) as reading:
        assert reading.texts(2) == ["three", "four"]
    with Reading(stream, client, Position(ShardCheckpoint(put, 2))) as reading:
        assert reading.texts(1) == ["four"]


def test_checkpoint_of_an_aggregated_record_is_its_last_part(stream: KinesisStream, client: Any) -> None:
    data = aggregated([("k", None, b"one"), ("k", None, b"two")])
    put = client.put_record(StreamName=stream.name, Data=data, PartitionKey="k")["SequenceNumber"]
    with Reading(stream, client, HORIZON) as reading:
        assert reading.next().checkpoint == ShardCheckpoint(put, 1)


def test_end_of_a_shard_comes_after_its_records(stream: KinesisStream, client: Any) -> None:
    stream.put(["one"])
    stream.split(stream.shards()[0])
    with Reading(stream, client, HORIZON) as reading:
        assert [record.data for record in reading.next().records] == [b"one"]
        assert reading.next() == Fetched("shardId-000000000000", [], ShardCheckpoint(SHARD_END))


@pytest.mark.parametrize(
    ("position", "arguments"),
    [
        (HORIZON, {"ShardIteratorType": "TRIM_HORIZON"}),
        (Position(ShardCheckpoint(LATEST), 5), {"ShardIteratorType": "LATEST"}),
        (Position(ShardCheckpoint(AT_TIMESTAMP), 1500), {"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1.5}),
        (Position(ShardCheckpoint("7", 3)), {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "7"}),
    ],
)
def test_position_is_an_iterator(position: Position, arguments: dict[str, Any]) -> None:
    assert iterator_arguments(position) == arguments


@pytest.mark.parametrize(("failures", "longest_ms"), [(1, 100), (2, 200), (4, 800), (50, PAUSE_MS_MAX)])
def test_pause_doubles_up_to_a_bound(failures: int, longest_ms: int) -> None:
    for _ in range(50):
        assert longest_ms / 2 <= pause_seconds(100, failures) * 1000 <= longest_ms
