"""A shard's reader: records from a position on, at the pace that Kinesis allows."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from headwater.base.threads import WatchedThread
from headwater.streaming.kinesis.coordinator import Position
from headwater.streaming.kinesis.leases import AT_TIMESTAMP, LATEST, SHARD_END, TRIM_HORIZON, ShardCheckpoint
from headwater.streaming.kinesis.records import Record, parts_of

# The most that a call may ask for; Kinesis answers with 10 MB at most.
RECORDS_MAX = 10_000
PAUSE_MS_MAX = 10_000
# What AWS says when it wants patience.
THROTTLED = frozenset(
    {
        "KMSThrottlingException",
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "ThrottlingException",
    }
)


class Fetched(NamedTuple):
    """What a reader brings: all of the shard up to `checkpoint`, since it brought something last."""

    key: str
    records: list[Record]
    checkpoint: ShardCheckpoint


class ReadSettings(NamedTuple):
    """How readers read."""

    stream: str
    interval_ms: int  # from one read of a shard to the next
    pause_ms: int  # after the first failure; it doubles
    attempts_max: int  # failures in a row that are an error to be reported; throttling isn't


class ShardReader:
    """Reads one shard on a thread of its own, until it ends or `stop` is called.

    Args:
        client: boto3's for Kinesis.
        key: the shard's id.
        position: where to begin.
        deliver: is given what was read, in order; may wait. The last one has SHARD_END, if the shard has ended.
        report: is told (what, error) of what keeps failing.
        failed: is told (what, error) of what ended the reader: a bug, or an answer that isn't Kinesis'.
    """

    def __init__(
        self,
        client: Any,
        key: str,
        position: Position,
        settings: ReadSettings,
        deliver: Callable[[Fetched], None],
        *,
        report: Callable[[str, Exception], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._client = client
        self._key = key
        self._position = position
        self._settings = settings
        self._deliver = deliver
        self._report = report
        self._stopping = threading.Event()
        name = f"kinesis-{settings.stream}-{key}"
        self._thread = WatchedThread(
            self._read, name=name, on_failure=partial(failed, f"The reader of shard {key} of {settings.stream} failed")
        )

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """End soon; doesn't wait."""
        self._stopping.set()

    def _read(self) -> None:
        iterator: str | None = None
        failures = throttled = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                iterator = iterator or self._iterator()
                answer = self._client.get_records(ShardIterator=iterator, Limit=RECORDS_MAX)
            except Exception as error:
                if error_code(error) == "ExpiredIteratorException":
                    iterator = None
                if error_code(error) in THROTTLED:
                    throttled += 1
                else:
                    failures += 1
                    if failures % self._settings.attempts_max == 0:
                        self._report(f"Shard {self._key} of {self._settings.stream} can't be read, trying on", error)
                self._stopping.wait(pause_seconds(self._settings.pause_ms, failures + throttled))
                continue
            failures = throttled = 0
            fetched = self._fetched(answer)
            iterator = answer.get("NextShardIterator")
            if self._stopping.is_set():
                return
            if fetched is not None:
                self._deliver(fetched)
            if iterator is None:
                self._deliver(Fetched(self._key, [], ShardCheckpoint(SHARD_END)))
                return
            self._stopping.wait(self._settings.interval_ms / 1000 - (time.monotonic() - begun))

    def _iterator(self) -> str:
        answer = self._client.get_shard_iterator(
            StreamName=self._settings.stream, ShardId=self._key, **iterator_arguments(self._position)
        )
        iterator: str = answer["ShardIterator"]
        if self._position.checkpoint.sequence == LATEST:
            # Should this iterator be lost, another LATEST would leave records out.
            self._position = Position(ShardCheckpoint(AT_TIMESTAMP), self._position.at_ms)
        return iterator

    def _fetched(self, answer: Mapping[str, Any]) -> Fetched | None:
        """What is new in an answer; None: nothing."""
        read = answer["Records"]
        if not read:
            return None
        after = self._position.checkpoint.order
        records = [part for record in read for part in parts_of(record, self._key)]
        if after > (-1, 0):
            # The first record may be the one that we begin after.
            records = [part for part in records if (int(part.sequenceNumber), part.subSequenceNumber) > after]
        last = read[-1]["SequenceNumber"]
        sub = records[-1].subSequenceNumber if records and records[-1].sequenceNumber == last else 0
        checkpoint = max(ShardCheckpoint(last, sub), self._position.checkpoint, key=lambda checkpoint: checkpoint.order)
        self._position = Position(checkpoint)
        return Fetched(self._key, records, checkpoint)


def iterator_arguments(position: Position) -> Mapping[str, Any]:
    """The arguments of GetShardIterator for a position."""
    kind = position.checkpoint.sequence
    if kind in (LATEST, TRIM_HORIZON):
        return {"ShardIteratorType": kind}
    if kind == AT_TIMESTAMP:
        return {"ShardIteratorType": kind, "Timestamp": position.at_ms / 1000}
    # From the checkpoint's record on: of an aggregated one only some parts may have been stored.
    return {"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": kind}


def error_code(error: BaseException) -> str:
    """What AWS calls an error; empty if it isn't AWS's."""
    response: Mapping[str, Any] = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def pause_seconds(first_ms: int, failures: int) -> float:
    """How long to wait after this many failures in a row: twice as long each time, by chance up to half of it less."""
    longest_ms = min(PAUSE_MS_MAX, first_ms << min(failures - 1, 20))
    return longest_ms * random.uniform(0.5, 1.0) / 1000
