"""The receiver of a Kinesis stream: a worker in an executor, whose records become blocks."""

from __future__ import annotations

import re
import socket
import uuid
from typing import Any, NamedTuple

from headwater.storagelevel import StorageLevel
from headwater.streaming.kinesis.coordinator import Coordinator
from headwater.streaming.kinesis.credentials import Keys, SparkAWSCredentials
from headwater.streaming.kinesis.leases import InitialPosition
from headwater.streaming.kinesis.reading import ReadSettings
from headwater.streaming.kinesis.records import Record
from headwater.streaming.kinesis.table import LeaseTable
from headwater.streaming.kinesis.worker import ShardWorker
from headwater.streaming.receivers.receiver import Receiver

# The region in the host name of a Kinesis endpoint: requests to it are signed for that one.
REGION = re.compile(r"^https?://kinesis\.([a-z0-9-]+)\.amazonaws\.com")
# A call that isn't answered by then has failed.
ANSWER_SECONDS_MAX = 10
# Connections that are kept; with more shards, further ones come and go.
CONNECTIONS_MAX = 50


class KinesisSettings(NamedTuple):
    """What a stream is read by."""

    app: str
    stream: str
    region: str
    kinesis_endpoint: str
    dynamodb_endpoint: str | None  # None: the region's
    initial: InitialPosition
    checkpoint_ms: int
    kinesis_credentials: SparkAWSCredentials
    dynamodb_credentials: SparkAWSCredentials


class KinesisReceiver(Receiver):
    """Reads a share of a stream's shards; all receivers of one application name share them.

    Args:
        settings: of the stream.
        storageLevel: of the blocks.
        whole: whether to store `Record`s rather than their data.
    """

    def __init__(self, settings: KinesisSettings, storageLevel: StorageLevel, *, whole: bool) -> None:
        super().__init__(storageLevel)
        self._settings = settings
        self._whole = whole
        self._worker: ShardWorker | None = None

    def onStart(self) -> None:
        self._worker = self._new_worker()
        self._worker.start()

    def onStop(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _secrets(self) -> tuple[Keys | None, Keys | None]:
        settings = self._settings
        return settings.kinesis_credentials.revealed(), settings.dynamodb_credentials.revealed()

    def _reveal(self, secrets: tuple[Keys | None, Keys | None]) -> None:
        kinesis, dynamodb = secrets
        self._settings = self._settings._replace(
            kinesis_credentials=self._settings.kinesis_credentials.with_keys(kinesis),
            dynamodb_credentials=self._settings.dynamodb_credentials.with_keys(dynamodb),
        )

    def _new_worker(self) -> ShardWorker:
        settings, conf = self._settings, self._supervisor.conf
        # Named anew with each start: what an earlier worker still does must not pass for ours.
        coordinator = Coordinator(
            f"{socket.gethostname()}:{uuid.uuid4()}",
            initial=settings.initial,
            lease_ms=conf.read("headwater.streaming.kinesis.leaseDuration"),
            checkpoint_ms=settings.checkpoint_ms,
            seed=uuid.uuid4().int,
        )
        read = ReadSettings(
            settings.stream,
            interval_ms=conf.read("headwater.streaming.kinesis.readInterval"),
            pause_ms=conf.read("spark.streaming.kinesis.retry.waitTime"),
            attempts_max=conf.read("spark.streaming.kinesis.retry.maxAttempts"),
        )
        return ShardWorker(
            coordinator,
            LeaseTable(self._client("dynamodb"), settings.app, settings.stream),
            self._client("kinesis"),
            read,
            store=self._store_records,
            report=self.reportError,
            failed=self.restart,
        )

    def _client(self, service: str) -> Any:
        from botocore.config import Config

        settings, region = self._settings, self._settings.region
        endpoint: str | None
        if service == "kinesis":
            credentials, endpoint = settings.kinesis_credentials, settings.kinesis_endpoint
            named = REGION.match(endpoint)
            region = named[1] if named else region
        else:
            credentials, endpoint = settings.dynamodb_credentials, settings.dynamodb_endpoint
        config = Config(
            connect_timeout=ANSWER_SECONDS_MAX,
            read_timeout=ANSWER_SECONDS_MAX,
            retries={"total_max_attempts": 1},  # trying again, and when, is the worker's
            max_pool_connections=CONNECTIONS_MAX,
        )
        session = credentials.session()
        return session.client(service, region_name=region, endpoint_url=endpoint, config=config)

    def _store_records(self, records: list[Record]) -> None:
        self.store(list(records) if self._whole else [record.data for record in records])
