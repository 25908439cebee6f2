"""The stores, one after the other, and a context that reaches them by what programs for Spark set."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from headwater import SparkConf, SparkContext, filesystem
from tests.conftest import stop_active_context
from tests.servers.stores import Store

HTTP_STORES = ["s3", "webhdfs", "azure", "gcs"]
STORES = [*HTTP_STORES, "hdfs"]


@pytest.fixture(scope="session", params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    """Each of the stores."""
    found: Store = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def place(store: Store) -> str:
    """The URL of an empty directory, within reach of this process."""
    filesystem.configure(dict(store.settings))
    return store.place()


@pytest.fixture(scope="module")
def _context(store: Store) -> Iterator[SparkContext]:
    stop_active_context()
    with SparkContext(conf=conf_of(store)) as made:
        yield made


@pytest.fixture
def sc(_context: SparkContext) -> SparkContext:
    """A context whose workers reach the store, the same one for a module's tests."""
    return _context


def conf_of(store: Store, **more: str) -> SparkConf:
    """What a program sets that uses the store; dots of further keys are written `__`."""
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("stores").setAll(store.settings.items())
    return conf.setAll([(key.replace("__", "."), value) for key, value in more.items()])
