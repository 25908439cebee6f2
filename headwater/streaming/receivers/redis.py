"""RedisStreamReceiver: entries of a Redis stream, acknowledged once they are stored.

A thread reads as a consumer of a group: first what this consumer was given before and hasn't acknowledged, then, in
turns, what other consumers have left unacknowledged for too long, and new entries. Each answer is stored as a block,
and then acknowledged.
"""

from __future__ import annotations

import threading
from functools import partial
from typing import Any

from headwater.base.extras import require
from headwater.base.threads import WatchedThread
from headwater.rdd.checks import check_not_negative, check_port
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.receiver import Receiver
from headwater.streaming.receivers.secrets import secret

# How many entries are asked for at once.
ENTRIES_MAX = 1000
# How long the server waits for new entries before it answers that there are none.
BLOCK_MS = 200
# Connections are given up after this long without an answer.
ANSWER_SECONDS_MAX = 30.0
# A stop waits this long for what is being stored to be acknowledged.
LAST_STORE_SECONDS_MAX = 2.0


class RedisStreamReceiver(Receiver):
    """Entries of a stream, as pairs (id, {field: value}), values in bytes. Needs redis-py: `pip install
    'headwater[redis]'`, and Redis 6.2 or later, or what speaks its protocol.

    An entry is acknowledged (XACK) once it is stored, so a group gets each at least once. Several receivers of one
    group share a stream: `ssc.union` them.

    Args:
        host: of the server.
        port: of the server.
        stream: the stream's key. It is made if it isn't there.
        group: the consumer group. It is made if it isn't there, and begins at `startId`.
        consumer: the name within the group, no other receiver's at a time; None makes one of the input stream's number.
        startId: where a new group begins: "0" is the stream's first entry, "$" what comes from now on.
        claimSeconds: entries that another consumer has had for this long, unacknowledged, are taken from it. Must be
            more than storing takes.
        database: its number.
        username: None is the server's default user.
        passwordVariable: the environment variable with the password, in executors. It is in no checkpoint.
        tls: speak TLS, and trust the certificate authorities of the system.
        storageLevel: of the blocks.

    Raises:
        SparkException: redis-py is missing.
        TypeError, ValueError: the port or `claimSeconds` is none.
    """

    def __init__(
        self,
        host: str,
        port: int,
        stream: str,
        group: str,
        consumer: str | None = None,
        startId: str = "0",
        claimSeconds: float = 60.0,
        database: int = 0,
        username: str | None = None,
        passwordVariable: str | None = None,
        tls: bool = False,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
    ) -> None:
        super().__init__(storageLevel)
        require("redis", "redis", "Redis receivers")
        check_port("port", port)
        check_not_negative("claimSeconds", claimSeconds)
        self._host, self._port, self._database, self._tls = host, port, database, tls
        self._username, self._password_variable = username, passwordVariable
        self._stream, self._group, self._consumer, self._start_id = stream, group, consumer, startId
        self._claim_ms = round(claimSeconds * 1000)
        self._stopping: threading.Event | None = None
        self._thread: threading.Thread | None = None

    def onStart(self) -> None:
        self._stopping = threading.Event()
        failed = partial(self.restart, "The thread that receives from Redis has failed")
        self._thread = WatchedThread(partial(self._receive, self._stopping), name="redis", on_failure=failed)
        self._thread.start()

    def onStop(self) -> None:
        if self._stopping is not None and self._thread is not None:
            self._stopping.set()
            self._thread.join(LAST_STORE_SECONDS_MAX)

    def _receive(self, stopping: threading.Event) -> None:
        """One connection, from its beginning to its end; then a restart, unless it's the receiver's end too."""
        redis = require("redis", "redis", "Redis receivers")
        try:
            with redis.Redis(
                host=self._host,
                port=self._port,
                db=self._database,
                username=self._username,
                password=secret(self._password_variable, "passwordVariable"),
                ssl=self._tls,
                protocol=2,  # answers have one form in each version of the client
                socket_timeout=ANSWER_SECONDS_MAX,
                socket_keepalive=True,
            ) as client:
                self._make_group(client, redis)
                self._read(client, stopping)
        except Exception as error:
            if not stopping.is_set():
                self.restart(f"Error receiving from Redis at {self._host}:{self._port}, stream {self._stream}", error)

    def _make_group(self, client: Any, redis: Any) -> None:
        try:
            client.xgroup_create(self._stream, self._group, id=self._start_id, mkstream=True)
        except redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # which says that it's there
                raise

    def _read(self, client: Any, stopping: threading.Event) -> None:
        group, stream = self._group, self._stream
        consumer = self._consumer or f"headwater-{self.streamId()}"
        kept, claimed = "0", "0-0"  # up to which id our own, and others', unacknowledged entries are looked through
        while not stopping.is_set() and (entries := _read_group(client, group, consumer, stream, kept)):
            kept = entries[-1][0].decode()
            self._keep(client, entries)
        while not stopping.is_set():
            claimed, entries, *_ = client.xautoclaim(
                stream, group, consumer, self._claim_ms, start_id=claimed, count=ENTRIES_MAX
            )
            self._keep(client, entries)
            if not stopping.is_set():
                self._keep(client, _read_group(client, group, consumer, stream, ">"))

    def _keep(self, client: Any, entries: list[Any]) -> None:
        """Store entries, then acknowledge them. Those that were deleted meanwhile have no fields, or not even an id."""
        records = [
            (number.decode(), {key.decode(): value for key, value in fields.items()})
            for number, fields in entries
            if fields
        ]
        if records:
            self.store(records)
        numbers = [number for number, _ in entries if number is not None]
        if numbers:
            client.xack(self._stream, self._group, *numbers)


def _read_group(client: Any, group: str, consumer: str, stream: str, after: str) -> list[Any]:
    """Entries after an id, or new ones (">"), which are waited for a little."""
    block_ms = BLOCK_MS if after == ">" else None
    answer = client.xreadgroup(group, consumer, {stream: after}, count=ENTRIES_MAX, block=block_ms)
    return answer[0][1] if answer else []
