"""What all tests have: their servers, and for the examples in docstrings a context under the name `sc`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater import SparkContext

_MASTER = "local[2]"

# Each is known to pytest once, so that a process starts a server once, whichever folders its tests are in.
pytest_plugins = [
    f"tests.servers.{name}"
    for name in ("azure", "gcs", "groups", "hdfs", "kafka", "kinesis", "mosquitto", "postgres", "redis", "s3")
]


@pytest.fixture(scope="session")
def _no_context_left() -> Iterator[None]:
    yield
    if SparkContext._active_spark_context is not None:
        SparkContext._active_spark_context.stop()


@pytest.fixture(autouse=True)
def _context_of_examples(request: pytest.FixtureRequest) -> None:
    item = request.node
    source = "".join(example.source for example in item.dtest.examples) if isinstance(item, pytest.DoctestItem) else ""
    active = SparkContext._active_spark_context
    if active is not None and ("StreamHarness()" in source or ("sc." in source and active.master != _MASTER)):
        active.stop()
        active = None
    if "sc." in source:
        request.getfixturevalue("_no_context_left")
        request.getfixturevalue("doctest_namespace")["sc"] = active or SparkContext(_MASTER, "examples")
