"""S3: how its settings are understood, where keys come from, and what its errors say."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

from headwater import filesystem
from headwater.filesystem import options
from tests.servers.s3 import ACCESS_KEY, BUCKET, SECRET_KEY
from tests.servers.stores import Store
from tests.stores.test_files import write


@pytest.fixture
def store(s3: Store) -> Store:
    return s3


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing on this machine tells a key; returns where a file of credentials would be."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    return tmp_path / "credentials"


def without_keys(store: Store) -> dict[str, str]:
    return {key: value for key, value in store.settings.items() if not key.endswith(".key")}


def put(store: Store, url: str, content: bytes) -> None:
    """An object whose key may be any."""
    import boto3

    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    client = boto3.client("s3", region_name="us-east-1", endpoint_url=f"http://127.0.0.1:{store.port}", **keys)
    client.put_object(Bucket=BUCKET, Key=url.removeprefix(f"s3a://{BUCKET}/"), Body=content)


def translated(**settings: str) -> dict[str, Any]:
    pairs = {f"spark.hadoop.fs.s3a.{key.replace('__', '.')}": value for key, value in settings.items()}
    return options.locate("s3a://words/in", pairs).options


def test_amazons_own_is_reached_by_the_buckets_name() -> None:
    assert translated() == {
        "client_options": {},
        "retry_config": {"max_retries": 1},
        "virtual_hosted_style_request": True,
    }


@pytest.mark.parametrize(
    ("settings", "endpoint", "in_host"),
    [
        ({"endpoint": "http://127.0.0.1:9000"}, "http://127.0.0.1:9000", False),
        ({"endpoint": "minio.example:9000"}, "https://minio.example:9000", False),
        ({"endpoint": "minio:9000", "connection__ssl__enabled": "false"}, "http://minio:9000", False),
        ({"endpoint": "https://s.example", "path__style__access": "false"}, "https://words.s.example", True),
    ],
)
def test_server_of_ones_own_takes_the_bucket_in_the_path(
    settings: dict[str, str], endpoint: str, in_host: bool
) -> None:
    found = translated(**settings)
    assert found["endpoint"] == endpoint
    assert found["virtual_hosted_style_request"] is in_host


def test_hadoops_keys_have_their_meaning() -> None:
    found = translated(
        access__key="a",
        secret__key="b",
        session__token="c",
        endpoint__region="eu-west-1",
        attempts__maximum="4",
        connection__timeout="5s",
        connection__establish__timeout="200",
        connection__maximum="50",
        requester__pays__enabled="true",
        encryption__algorithm="SSE-KMS",
        encryption__key="d",
    )
    assert found == {
        "access_key_id": "a",
        "secret_access_key": "b",
        "session_token": "c",
        "region": "eu-west-1",
        "virtual_hosted_style_request": True,
        "client_options": {"timeout": "5000 ms", "connect_timeout": "200 ms", "pool_max_idle_per_host": "50"},
        "retry_config": {"max_retries": 3},
        "request_payer": True,
        "server_side_encryption": "aws:kms",
        "sse_kms_key_id": "d",
    }


def test_setting_of_a_bucket_wins() -> None:
    pairs = {"spark.hadoop.fs.s3a.access.key": "all", "spark.hadoop.fs.s3a.bucket.words.access.key": "one"}
    assert options.locate("s3a://words/in", pairs).options["access_key_id"] == "one"
    assert options.locate("s3a://others/in", pairs).options["access_key_id"] == "all"


def test_missing_keys_are_told_at_once(store: Store, no_keys: Path) -> None:
    filesystem.configure(without_keys(store))
    with pytest.raises(PermissionError, match=r"set spark\.hadoop\.fs\.s3a\.access\.key and"):
        filesystem.exists(f"s3a://{BUCKET}/in")


def test_keys_of_a_profile_are_found(store: Store, no_keys: Path) -> None:
    no_keys.write_text(f"[words]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n")
    filesystem.configure({**without_keys(store), "headwater.filesystem.s3.profile": "words"})
    place = store.place()
    write(f"{place}/a", b"by a profile")
    with filesystem.open_read(f"{place}/a") as file:
        assert file.read() == b"by a profile"


def test_public_bucket_needs_no_keys(store: Store, no_keys: Path) -> None:
    provider = "org.apache.hadoop.fs.s3a.AnonymousAWSCredentialsProvider"
    filesystem.configure({**without_keys(store), "spark.hadoop.fs.s3a.aws.credentials.provider": provider})
    assert not filesystem.exists(f"s3a://{BUCKET}/none")


def test_missing_bucket_is_told(place: str) -> None:
    with pytest.raises(filesystem.InvalidInputException, match="Input path does not exist: s3a://no-bucket/in"):
        filesystem.list_files("s3a://no-bucket/in")


def test_key_that_is_no_path_is_told(store: Store, place: str) -> None:
    put(store, f"{place}/in//a", b"x")
    with pytest.raises(OSError, match="Keys with an empty part") as caught:
        filesystem.list_files(f"{place}/in")
    assert caught.value.errno == errno.EINVAL


def test_file_without_content_that_stands_for_a_directory_is_no_file(store: Store, place: str) -> None:
    put(store, f"{place}/in/", b"")
    assert filesystem.list_files(f"{place}/in") == []
    write(f"{place}/in/a", b"x")
    assert [file.path for file in filesystem.list_files(f"{place}/in")] == [f"{place}/in/a"]
