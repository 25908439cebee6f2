"""What all tests have: their servers, and what the examples in docstrings begin with, under the names that they use.

Of an example `sc` is a SparkContext, which all examples share; `harness` a StreamHarness on it, and `ssc` the harness's
StreamingContext; `spark` a SparkSession on it; `directory` the path of an empty directory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import SparkContext
from headwater.sql import Row
from headwater.sql.batchframes import session_of
from headwater.testing import StreamHarness

_MASTER = "local[2]"

# Each is known to pytest once, so that a process starts a server once, whichever folders its tests are in.
pytest_plugins = [
    f"tests.servers.{name}"
    for name in ("azure", "gcs", "groups", "hdfs", "kafka", "kinesis", "mosquitto", "postgres", "redis", "s3")
]


@pytest.fixture(scope="session")
def _no_context_left() -> Iterator[None]:
    yield
    _stop_context()


@pytest.fixture
def _shared_context(_no_context_left: None) -> SparkContext:
    active = SparkContext._active_spark_context
    if active is not None and active.master == _MASTER:
        return active
    _stop_context()
    return SparkContext(_MASTER, "examples")


@pytest.fixture
def _harness(_shared_context: SparkContext) -> Iterator[StreamHarness]:
    with StreamHarness(sparkContext=_shared_context) as harness:
        yield harness


@pytest.fixture(autouse=True)
def _names_of_examples(request: pytest.FixtureRequest) -> None:
    if not isinstance(request.node, pytest.DoctestItem):
        return
    source = "".join(example.source for example in request.node.dtest.examples)
    if "StreamHarness()" in source:
        _stop_context()  # it makes one of its own
        return
    used = set(re.findall(r"\b(sc|ssc|spark|harness|directory)\b", source))
    names = request.getfixturevalue("doctest_namespace")
    if "sc" in used:
        names["sc"] = request.getfixturevalue("_shared_context")
    if "spark" in used:
        names["spark"] = session_of(request.getfixturevalue("_shared_context"))
    if "Row(" in source:
        names["Row"] = Row
    if used & {"harness", "ssc"}:
        harness: StreamHarness = request.getfixturevalue("_harness")
        names.update(harness=harness, ssc=harness.ssc)
    if "directory" in used:
        path: Path = request.getfixturevalue("tmp_path")
        names["directory"] = str(path)


def _stop_context() -> None:
    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()
