"""A worker: keeps leases, reads their shards, has the records stored, and checkpoints what was.

The coordinator decides on its loop's thread; a small pool does what it wants of DynamoDB and Kinesis; each shard has a
reader's thread; one thread stores. What comes while a block is being stored is the next block.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from headwater.base.daemonpool import DaemonPool
from headwater.base.exhaustive import assert_never
from headwater.base.threads import WatchedThread
from headwater.clock import SystemClock
from headwater.engine.loop import Loop
from headwater.streaming.kinesis import coordinator as core
from headwater.streaming.kinesis.leases import Shard
from headwater.streaming.kinesis.reading import THROTTLED, Fetched, ReadSettings, ShardReader, error_code
from headwater.streaming.kinesis.records import Record
from headwater.streaming.kinesis.table import LeaseTable

logger = logging.getLogger("headwater.streaming.kinesis")

# Calls at once to DynamoDB and Kinesis, other than reads: a worker of 200 shards renews them in well under a second.
CALLS_MAX = 4
# Answers of Kinesis, 10 MB each at most, that wait for being stored; then readers wait.
FETCHED_MAX = 8
# Who waits for room looks this often whether it should still.
LOOK_SECONDS = 0.2
# A stop waits this long for the block that is being stored, and as long for the last checkpoints.
LAST_STORE_SECONDS_MAX = 2.0


class ShardWorker:
    """One member of the application: shares the stream's shards with all others that use its lease table.

    Args:
        coordinator: decides; new, and named like no other worker ever.
        table: the leases.
        client: boto3's for Kinesis; safe to use from any thread.
        settings: how to read.
        store: has records stored; returns once they are. What it raises ends the worker's storing.
        report: is told (what, error) of trouble that doesn't end anything.
        failed: is told (what, error) of trouble after which nothing is stored any more. It should stop the worker.
    """

    def __init__(
        self,
        coordinator: core.Coordinator,
        table: LeaseTable,
        client: Any,
        settings: ReadSettings,
        *,
        store: Callable[[list[Record]], None],
        report: Callable[[str, BaseException], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self._table = table
        self._client = client
        self._settings = settings
        self._store = store
        self._report = report
        self._failed = failed
        self._readers: dict[str, ShardReader] = {}  # touched by the loop's thread only, until that has ended
        self._fetched: queue.Queue[Fetched] = queue.Queue(FETCHED_MAX)
        self._stopping = threading.Event()
        self._left = threading.Event()
        self._pool = DaemonPool(CALLS_MAX, f"kinesis-leases-{settings.stream}")
        self._loop: Loop[core.CoordinatorEvent, core.CoordinatorAction] = Loop(
            f"kinesis-{settings.stream}", coordinator, self._perform, SystemClock(), self._crashed
        )
        store_failed = partial(failed, f"Stream {settings.stream}: the thread that stores has failed")
        name = f"kinesis-store-{settings.stream}"
        self._storer = WatchedThread(self._run_storer, name=name, on_failure=store_failed)

    def start(self) -> None:
        """Begin to work."""
        self._storer.start()
        self._loop.start()
        self._loop.post(core.BeginReading())

    def stop(self) -> None:
        """Stop reading, checkpoint what is stored, give the leases back, and end; waits some seconds at most."""
        self._stopping.set()
        self._storer.join(LAST_STORE_SECONDS_MAX)
        self._loop.post(core.Leave())
        if not self._left.wait(LAST_STORE_SECONDS_MAX):
            logger.info("Stream %s: leases were not all given back; others wait until they run out", self._stream)
        self._loop.stop()
        self._pool.shutdown(wait=False)
        for reader in self._readers.values():
            reader.stop()

    @property
    def _stream(self) -> str:
        return self._settings.stream

    # -------------------------------------------------------------------------------------------- actions
    def _perform(self, action: core.CoordinatorAction) -> None:
        match action:
            case core.ReadShard(key, position):
                logger.info("Stream %s: reads shard %s from %s", self._stream, key, position.checkpoint.sequence)
                reader = ShardReader(
                    self._client,
                    key,
                    position,
                    self._settings,
                    self._deliver,
                    report=self._report,
                    failed=self._failed,
                )
                self._readers[key] = reader
                reader.start()
            case core.Cease(key):
                logger.info("Stream %s: reads shard %s no more", self._stream, key)
                self._readers.pop(key).stop()
            case core.Left():
                self._left.set()
            case _:
                self._pool.submit(self._call, action)

    def _call(self, action: core.CoordinatorCall) -> None:
        """One call to the outside; its outcome is an event."""
        event: core.CoordinatorEvent | None
        try:
            event = self._outcome(action)
        except BaseException as error:  # or the coordinator would wait for the outcome
            if not self._stopping.is_set() and error_code(error) not in THROTTLED:
                self._report(f"Stream {self._stream}: {type(action).__name__} failed, trying again", error)
            event = core.Failed(action)
        if event is not None:
            self._loop.post(event)

    def _outcome(self, action: core.CoordinatorCall) -> core.CoordinatorEvent | None:
        match action:
            case core.ListShards():
                return core.Listed(self._shards())
            case core.ScanLeases():
                return core.Scanned(self._table.scan())
            case core.Create(lease):
                self._table.create(lease)
                return core.Created(lease.key)
            case core.Write(before, after):
                if self._table.write(before, after):
                    return core.Written(before.key)
                return core.Refused(before.key, self._table.get(before.key))
            case core.Delete(lease):
                self._table.delete(lease)
                return None
        assert_never(action, "a call of the coordinator")

    def _shards(self) -> tuple[Shard, ...]:
        shards: list[Shard] = []
        arguments: dict[str, str] = {"StreamName": self._stream}
        while arguments:
            answer = self._client.list_shards(**arguments)
            shards += map(_shard_of, answer["Shards"])
            arguments = {"NextToken": answer["NextToken"]} if answer.get("NextToken") else {}
        return tuple(shards)

    def _crashed(self, crash: BaseException) -> None:
        self._left.set()
        self._failed(f"Stream {self._stream}: the coordinator failed", crash)

    # -------------------------------------------------------------------------------------------- records
    def _deliver(self, fetched: Fetched) -> None:
        """Hand over what a reader brings; waits for room."""
        while not self._stopping.is_set():
            try:
                self._fetched.put(fetched, timeout=LOOK_SECONDS)
            except queue.Full:
                continue
            return

    def _run_storer(self) -> None:
        while not self._stopping.is_set():
            try:
                waiting = [self._fetched.get(timeout=LOOK_SECONDS)]
            except queue.Empty:
                continue
            while len(waiting) < FETCHED_MAX and not self._fetched.empty():
                waiting.append(self._fetched.get())
            records = [record for fetched in waiting for record in fetched.records]
            try:
                if records:
                    self._store(records)
            except Exception as error:
                if not self._stopping.is_set():
                    self._failed(f"Stream {self._stream}: received records could not be stored", error)
                return
            for fetched in waiting:
                self._loop.post(core.Stored(fetched.key, fetched.checkpoint))


def _shard_of(description: dict[str, Any]) -> Shard:
    parents = tuple(description[name] for name in ("ParentShardId", "AdjacentParentShardId") if name in description)
    return Shard(description["ShardId"], parents, "EndingSequenceNumber" not in description["SequenceNumberRange"])
