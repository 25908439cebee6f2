"""S3: moto's server, with a bucket. It checks no signature."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator

import pytest

from tests.servers import leave_out
from tests.servers.processes import await_answer, free_port, running
from tests.servers.stores import Store

BUCKET = "bucket"
ACCESS_KEY, SECRET_KEY = "AKIDEXAMPLE", "s3-secret-EXAMPLEKEY"


def settings_at(port: int) -> dict[str, str]:
    """What a program for Spark sets."""
    return {
        "spark.hadoop.fs.s3a.endpoint": f"http://127.0.0.1:{port}",
        "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
        "spark.hadoop.fs.s3a.access.key": ACCESS_KEY,
        "spark.hadoop.fs.s3a.secret.key": SECRET_KEY,
        "spark.hadoop.fs.s3a.path.style.access": "true",
        "spark.hadoop.fs.s3a.attempts.maximum": "1",
    }


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server, started once."""
    if not all(map(importlib.util.find_spec, ("moto", "flask", "obstore", "boto3"))):
        leave_out("S3 (moto)", "pip install 'headwater[s3]' 'moto[server]'")
    import boto3

    port, log = free_port(), tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with running(command, log) as process:
        await_answer(port, process, log)
        boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{port}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        ).create_bucket(Bucket=BUCKET)
        yield Store("s3", f"s3a://{BUCKET}", port, settings_at, (f"s3://{BUCKET}", f"s3n://{BUCKET}"))
