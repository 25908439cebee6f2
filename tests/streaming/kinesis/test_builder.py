"""What createStream and the builder take and refuse, and who they are to AWS."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs

import pytest

from headwater import SparkConf, SparkContext, StorageLevel
from headwater.errors import SparkException
from headwater.streaming import StreamingContext
from headwater.streaming.kinesis import (
    InitialPositionInStream,
    KinesisInitialPositions,
    KinesisInputDStream,
    KinesisUtils,
    SparkAWSCredentials,
    utf8_decoder,
)
from headwater.streaming.kinesis.leases import InitialPosition
from headwater.streaming.kinesis.receiver import KinesisReceiver

pytest.importorskip("boto3")
SECRET = "hush-hush-secret"


@pytest.fixture(scope="module")
def context() -> Iterator[SparkContext]:
    active = SparkContext._active_spark_context
    if active is not None:
        active.stop()
    made = SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("t"))
    yield made
    made.stop()


@pytest.fixture
def ssc(context: SparkContext) -> StreamingContext:
    return StreamingContext(context, 2)


def receiver(ssc: StreamingContext) -> Any:
    """The receiver of the last stream that was made."""
    return ssc.graph.inputs[-1].receiver  # type: ignore[attr-defined]


def required(ssc: StreamingContext) -> Any:
    return KinesisInputDStream.builder.streamingContext(ssc).streamName("s").checkpointAppName("a")


def create(ssc: StreamingContext, position: Any = InitialPositionInStream.LATEST, **more: Any) -> Any:
    arguments = {"regionName": "eu-west-1", "checkpointInterval": 3, **more}
    return KinesisUtils.createStream(
        ssc, "app", "stream", "https://kinesis.eu-west-1.amazonaws.com", initialPositionInStream=position, **arguments
    )


# ------------------------------------------------------------------------------------------------ arguments
def test_builder_has_defaults_for_all_but_the_names(ssc: StreamingContext) -> None:
    required(ssc).build()
    settings = receiver(ssc)._settings
    assert settings.kinesis_endpoint == "https://kinesis.us-east-1.amazonaws.com"
    assert (settings.region, settings.initial) == ("us-east-1", InitialPosition("LATEST"))
    assert settings.checkpoint_ms == 2000  # the batch interval
    assert receiver(ssc).storageLevel == StorageLevel.MEMORY_AND_DISK_2


def test_each_builder_is_new_and_may_be_called_for(ssc: StreamingContext) -> None:
    assert KinesisInputDStream.builder is not KinesisInputDStream.builder
    KinesisInputDStream.builder().streamingContext(ssc).streamName("s").checkpointAppName("a").build()


@pytest.mark.parametrize("missing", ["streamingContext", "streamName", "checkpointAppName"])
def test_builder_names_what_is_missing(ssc: StreamingContext, missing: str) -> None:
    builder = required(ssc)
    getattr(builder, missing)(None)
    with pytest.raises(ValueError, match=f"No value provided for required parameter {missing}$"):
        builder.build()


def test_create_stream_passes_its_arguments_on(ssc: StreamingContext) -> None:
    create(ssc, InitialPositionInStream.TRIM_HORIZON, storageLevel=StorageLevel.MEMORY_ONLY)
    settings = receiver(ssc)._settings
    assert (settings.app, settings.stream, settings.region) == ("app", "stream", "eu-west-1")
    assert (settings.initial.kind, settings.checkpoint_ms) == ("TRIM_HORIZON", 3000)
    assert receiver(ssc).storageLevel == StorageLevel.MEMORY_ONLY


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"position": 2}, "Illegal InitialPositionInStream"),
        ({"regionName": "not-a-region"}, "Region name 'not-a-region' is not valid."),
        ({"checkpointInterval": 0}, "checkpoint interval must be at least"),
        ({"awsAccessKeyId": "a"}, "awsAccessKeyId is set but awsSecretKey is null"),
        ({"awsSecretKey": SECRET}, "awsSecretKey is set but awsAccessKeyId is null"),
        ({"stsAssumeRoleArn": "r"}, "must all be defined or all be null; missing: stsSessionName, stsExternalId"),
    ],
)
def test_create_stream_refuses_what_is_wrong(ssc: StreamingContext, arguments: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        create(ssc, **arguments)
    assert SECRET not in str(caught.value)


def test_absent_boto3_is_an_error_that_names_the_extra(ssc: StreamingContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SparkException, match=r"pip install 'headwater\[kinesis\]'"):
        create(ssc)


def test_position_of_a_timestamp_is_its_milliseconds() -> None:
    from datetime import datetime, timezone

    at = datetime(2020, 1, 1, 0, 0, 0, 5000, timezone.utc)
    assert KinesisInitialPositions.AtTimestamp(at) == InitialPosition("AT_TIMESTAMP", 1577836800005)


def test_utf8_decoder_decodes_and_keeps_none() -> None:
    assert (utf8_decoder("é".encode()), utf8_decoder(None)) == ("é", None)


# ------------------------------------------------------------------------------------------------ credentials
def unpickled(made: KinesisReceiver) -> Any:
    data = pickle.dumps(made)
    assert SECRET.encode() not in data and b"AKIA" not in data
    return pickle.loads(data)


def test_keys_are_in_no_pickle_and_no_repr_but_reach_the_executor(ssc: StreamingContext) -> None:
    create(ssc, awsAccessKeyId="AKIA", awsSecretKey=SECRET)
    made = receiver(ssc)
    assert SECRET not in repr(made._settings) and SECRET not in repr(made._secrets())
    there = unpickled(made)
    there._reveal(made._secrets())
    found = there._settings.kinesis_credentials.session().get_credentials()
    assert (found.access_key, found.secret_key) == ("AKIA", SECRET)
    assert there._settings.dynamodb_credentials.session().get_credentials().secret_key == SECRET


def test_keys_of_a_restarted_program_are_the_environments(
    ssc: StreamingContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create(ssc, awsAccessKeyId="AKIA", awsSecretKey=SECRET)
    restarted = unpickled(receiver(ssc))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIB")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "other")
    assert restarted._secrets()[0][:2] == ("AKIB", "other")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    assert restarted._secrets() == (None, None)
    assert "AWS_SECRET_ACCESS_KEY are not set" in caplog.text


def test_profile_is_known_by_its_name_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "credentials").write_text(f"[team]\naws_access_key_id=AKIC\naws_secret_access_key={SECRET}\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    credentials = pickle.loads(pickle.dumps(SparkAWSCredentials.builder().profileCredentials("team").build()))
    assert credentials.session().get_credentials().access_key == "AKIC"
    assert credentials.revealed() is None


def test_builder_refuses_two_kinds_of_keys() -> None:
    builder = SparkAWSCredentials.builder().profileCredentials("team").basicCredentials("a", "b")
    with pytest.raises(ValueError, match="an access key or a profile, not both"):
        builder.build()


ASSUMED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIA</AccessKeyId><SecretAccessKey>assumed</SecretAccessKey><SessionToken>token</SessionToken>
<Expiration>2999-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>"""


def test_role_is_assumed_with_the_given_keys_when_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, list[str]]] = []

    class Sts(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            asked[-1]["authorization"] = [self.headers["Authorization"]]
            body = ASSUMED.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Sts)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setitem(os.environ, "AWS_ENDPOINT_URL_STS", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setitem(os.environ, "AWS_DEFAULT_REGION", "us-east-1")
        builder = SparkAWSCredentials.builder().basicCredentials("AKIA", SECRET)
        credentials = builder.stsCredentials("arn:aws:iam::1:role/r", "headwater", "ext").build()
        assert asked == []
        found = credentials.session().get_credentials().get_frozen_credentials()
    finally:
        server.shutdown()
        server.server_close()
    assert (found.access_key, found.secret_key, found.token) == ("ASIA", "assumed", "token")
    (request,) = asked
    assert request["RoleArn"] == ["arn:aws:iam::1:role/r"]
    assert (request["RoleSessionName"], request["ExternalId"]) == (["headwater"], ["ext"])
    assert "AKIA" in request["authorization"][0]
