"""How a program makes a stream of Kinesis records: PySpark's `KinesisUtils` and Scala's `KinesisInputDStream`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from headwater.base import extras
from headwater.errors import IllegalArgumentException
from headwater.rdd.checks import check_function
from headwater.storagelevel import StorageLevel
from headwater.streaming.decoding import utf8_decoder
from headwater.streaming.durations import duration_ms
from headwater.streaming.kinesis.credentials import SparkAWSCredentials, credentials_of
from headwater.streaming.kinesis.leases import AT_TIMESTAMP, LATEST, TRIM_HORIZON, InitialPosition
from headwater.streaming.kinesis.receiver import KinesisReceiver, KinesisSettings
from headwater.streaming.kinesis.records import Record

if TYPE_CHECKING:
    from headwater.streaming.context import StreamingContext
    from headwater.streaming.dstream import DStream

DEFAULT_ENDPOINT = "https://kinesis.us-east-1.amazonaws.com"
DEFAULT_REGION = "us-east-1"


class InitialPositionInStream:
    """Where an application begins that has no checkpoint for a stream."""

    LATEST, TRIM_HORIZON = 0, 1


class MetricsLevel:
    """How much is told to CloudWatch by PySpark; here nothing is."""

    DETAILED, SUMMARY, NONE = 0, 1, 2


class KinesisInitialPositions:
    """Where an application begins that has no checkpoint for a stream."""

    @staticmethod
    def Latest() -> InitialPosition:
        """With what comes from now on."""
        return InitialPosition(LATEST)

    @staticmethod
    def TrimHorizon() -> InitialPosition:
        """With the oldest records that the stream still has."""
        return InitialPosition(TRIM_HORIZON)

    @staticmethod
    def AtTimestamp(timestamp: datetime) -> InitialPosition:
        """With the first records at or after an instant; one without a time zone is local time."""
        return InitialPosition(AT_TIMESTAMP, round(timestamp.timestamp() * 1000))

    @staticmethod
    def fromKinesisInitialPosition(initialPositionInStream: int | InitialPosition) -> InitialPosition:
        """The position that PySpark's constant stands for; one of this class stays itself.

        Raises:
            IllegalArgumentException: it is neither.
        """
        if isinstance(initialPositionInStream, InitialPosition):
            return initialPositionInStream
        if initialPositionInStream == InitialPositionInStream.LATEST:
            return InitialPosition(LATEST)
        if initialPositionInStream == InitialPositionInStream.TRIM_HORIZON:
            return InitialPosition(TRIM_HORIZON)
        raise IllegalArgumentException(
            f"Illegal InitialPositionInStream {initialPositionInStream!r}. Please use InitialPositionInStream.LATEST "
            "or InitialPositionInStream.TRIM_HORIZON"
        )


class KinesisUtils:
    """PySpark's way to make a stream."""

    @staticmethod
    def createStream(
        ssc: StreamingContext,
        kinesisAppName: str,
        streamName: str,
        endpointUrl: str,
        regionName: str,
        initialPositionInStream: int | InitialPosition,
        checkpointInterval: float,
        storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2,
        awsAccessKeyId: str | None = None,
        awsSecretKey: str | None = None,
        decoder: Callable[[bytes], Any] = utf8_decoder,
        stsAssumeRoleArn: str | None = None,
        stsSessionName: str | None = None,
        stsExternalId: str | None = None,
        metricsLevel: int | None = None,
    ) -> DStream[Any]:
        """A stream of the records that a Kinesis stream gets, each at least once.

        All streams of one application name share the shards, also those of other programs. Keys that are given here
        aren't written to checkpoints: a restart from one takes AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the
        driver's environment. Better give none and name a profile or role, see `KinesisInputDStream.builder`.

        Args:
            ssc: the context.
            kinesisAppName: names the application, and the DynamoDB table of its leases and checkpoints.
            streamName: of the Kinesis stream.
            endpointUrl: of the Kinesis service.
            regionName: of the DynamoDB table.
            initialPositionInStream: `InitialPositionInStream.LATEST` or `.TRIM_HORIZON`, or a position of
                `KinesisInitialPositions`; used where there is no checkpoint.
            checkpointInterval: seconds between checkpoints; records since the last one come again after a failure.
            storageLevel: how received blocks are kept.
            awsAccessKeyId: given with `awsSecretKey`. None: what boto3 finds in the executor's surroundings.
            awsSecretKey: given with `awsAccessKeyId`.
            decoder: makes a record of its bytes; called in tasks.
            stsAssumeRoleArn: a role to assume; given with `stsSessionName` and `stsExternalId`.
            stsSessionName: of the assumed role's session.
            stsExternalId: the role's external id.
            metricsLevel: accepted for PySpark's sake, and ignored: no metrics are sent to CloudWatch.

        Raises:
            IllegalArgumentException: an argument is out of bounds, or lacks one that belongs to it.
            SparkException: boto3 isn't installed.
        """
        role = {
            "stsAssumeRoleArn": stsAssumeRoleArn,
            "stsSessionName": stsSessionName,
            "stsExternalId": stsExternalId,
        }
        credentials = credentials_of(awsAccessKeyId, awsSecretKey, role)
        builder = (
            KinesisInputDStreamBuilder()
            .streamingContext(ssc)
            .checkpointAppName(kinesisAppName)
            .streamName(streamName)
            .endpointUrl(endpointUrl)
            .regionName(regionName)
            .initialPosition(KinesisInitialPositions.fromKinesisInitialPosition(initialPositionInStream))
            .checkpointInterval(checkpointInterval)
            .storageLevel(storageLevel)
            .kinesisCredentials(credentials)
        )
        return builder.build().map(decoder)


class KinesisInputDStreamBuilder:
    """Builds a stream of Kinesis records; setters return the builder."""

    def __init__(self) -> None:
        self._ssc: StreamingContext | None = None
        self._stream_name: str | None = None
        self._app: str | None = None
        self._endpoint = DEFAULT_ENDPOINT
        self._region = DEFAULT_REGION
        self._dynamodb_endpoint: str | None = None
        self._initial = InitialPosition(LATEST)
        self._checkpoint_ms: int | None = None
        self._storage_level = StorageLevel.MEMORY_AND_DISK_2
        self._kinesis_credentials = SparkAWSCredentials()
        self._dynamodb_credentials: SparkAWSCredentials | None = None

    def __call__(self) -> KinesisInputDStreamBuilder:
        """The builder itself: `KinesisInputDStream.builder()` is Java's form."""
        return self

    def streamingContext(self, ssc: StreamingContext) -> KinesisInputDStreamBuilder:
        """The context; required."""
        self._ssc = ssc
        return self

    def streamName(self, streamName: str) -> KinesisInputDStreamBuilder:
        """The Kinesis stream's name; required."""
        self._stream_name = streamName
        return self

    def checkpointAppName(self, appName: str) -> KinesisInputDStreamBuilder:
        """The name of the application and of its lease table in DynamoDB; required."""
        self._app = appName
        return self

    def endpointUrl(self, url: str) -> KinesisInputDStreamBuilder:
        """The Kinesis service; https://kinesis.us-east-1.amazonaws.com by default."""
        self._endpoint = url
        return self

    def regionName(self, regionName: str) -> KinesisInputDStreamBuilder:
        """The region of the lease table; us-east-1 by default."""
        self._region = regionName
        return self

    def dynamoDBEndpointUrl(self, url: str) -> KinesisInputDStreamBuilder:
        """The DynamoDB service, if it isn't the region's or that of AWS_ENDPOINT_URL_DYNAMODB."""
        self._dynamodb_endpoint = url
        return self

    def initialPosition(self, initialPosition: InitialPosition) -> KinesisInputDStreamBuilder:
        """Where to begin without a checkpoint: of `KinesisInitialPositions`; `Latest()` by default."""
        self._initial = initialPosition
        return self

    def initialPositionInStream(self, initialPosition: int) -> KinesisInputDStreamBuilder:
        """Where to begin without a checkpoint, as `InitialPositionInStream` says."""
        return self.initialPosition(KinesisInitialPositions.fromKinesisInitialPosition(initialPosition))

    def checkpointInterval(self, interval: float) -> KinesisInputDStreamBuilder:
        """Seconds between checkpoints; the batch interval by default."""
        self._checkpoint_ms = duration_ms(interval, "checkpoint interval")
        return self

    def storageLevel(self, storageLevel: StorageLevel) -> KinesisInputDStreamBuilder:
        """How received blocks are kept; MEMORY_AND_DISK_2 by default."""
        self._storage_level = storageLevel
        return self

    def kinesisCredentials(self, credentials: SparkAWSCredentials) -> KinesisInputDStreamBuilder:
        """Who reads the stream; what boto3 finds by default."""
        self._kinesis_credentials = credentials
        return self

    def dynamoDBCredentials(self, credentials: SparkAWSCredentials) -> KinesisInputDStreamBuilder:
        """Who uses the lease table; the same as for Kinesis by default."""
        self._dynamodb_credentials = credentials
        return self

    def cloudWatchCredentials(self, credentials: SparkAWSCredentials) -> KinesisInputDStreamBuilder:
        """Accepted for programs that set it: no metrics go to CloudWatch."""
        return self

    def build(self) -> DStream[Any]:
        """The stream of the records' data, as bytes.

        Raises:
            IllegalArgumentException: a required value is missing, or the region unknown.
            SparkException: boto3 isn't installed.
        """
        return self._build(whole=False)

    def buildWithMessageHandler(self, handler: Callable[[Record], Any]) -> DStream[Any]:
        """The stream of what `handler(record)` returns for each `Record`; it is called in tasks.

        Raises:
            IllegalArgumentException: a required value is missing, or the region unknown.
            SparkException: boto3 isn't installed.
            TypeError: the handler is no function.
        """
        check_function("handler", handler)
        return self._build(whole=True).map(handler)

    def _build(self, *, whole: bool) -> DStream[Any]:
        ssc: StreamingContext = _required(self._ssc, "streamingContext")
        settings = KinesisSettings(
            app=_required(self._app, "checkpointAppName"),
            stream=_required(self._stream_name, "streamName"),
            region=_valid_region(self._region),
            kinesis_endpoint=self._endpoint,
            dynamodb_endpoint=self._dynamodb_endpoint,
            initial=self._initial,
            checkpoint_ms=ssc.batch_ms if self._checkpoint_ms is None else self._checkpoint_ms,
            kinesis_credentials=self._kinesis_credentials,
            dynamodb_credentials=self._dynamodb_credentials or self._kinesis_credentials,
        )
        return ssc.receiverStream(KinesisReceiver(settings, self._storage_level, whole=whole))


class _NewBuilder:
    """An attribute that is a new builder each time it is asked for."""

    def __get__(self, instance: object, owner: type) -> KinesisInputDStreamBuilder:
        return KinesisInputDStreamBuilder()


class KinesisInputDStream:
    """Scala's way to make a stream: `KinesisInputDStream.builder.streamingContext(ssc)...build()`."""

    builder = _NewBuilder()


def _required(value: Any, name: str) -> Any:
    if value is None:
        raise IllegalArgumentException(f"No value provided for required parameter {name}")
    return value


def _valid_region(name: str) -> str:
    extras.require("boto3", "kinesis", "Kinesis streams")
    from botocore.exceptions import UnknownRegionError
    from botocore.session import get_session

    try:
        get_session().get_partition_for_region(name)
    except (UnknownRegionError, TypeError) as error:
        raise IllegalArgumentException(f"Region name '{name}' is not valid.") from error
    return name
