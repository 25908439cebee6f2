"""Tests that share a server run in one worker process of pytest-xdist, which starts it; all others run in any.

The process that deals them out knows nothing of a test but its id, so ids tell which server it needs; the collection
checks that they do.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# Group -> what is in the ids of its tests. The first one that is found counts.
GROUPS = {
    "kafka": "kafka",
    "kinesis": "kinesis",
    "mosquitto": "mqtt",
    "redis": "redis",
    "postgres": "postgres",
    "hadoop": "test_interoperation",
    "hdfs": r"tests/stores/.*(hdfs|name_node|without_patience)",
    "azure": "tests/stores/.*azure",
    "gcs": "tests/stores/.*gcs",
    "s3": "tests/stores/",
}
# Fixture, or the name of one as a parameter -> its group.
SHARED = {
    **{name: name for name in ("azure", "gcs", "hadoop", "hdfs", "kafka", "mosquitto", "postgres", "s3")},
    "hdfs_cluster": "hdfs",
    "kinesis_server": "kinesis",
    "redis_port": "redis",
    "webhdfs": "hdfs",
}


def group_of(nodeid: str) -> str | None:
    """The group of a test, by its id.

    >>> group_of("tests/stores/test_files.py::test_rename[webhdfs]"), group_of("tests/test_clock.py::test_now")
    ('hdfs', None)
    """
    return next((group for group, pattern in GROUPS.items() if re.search(pattern, nodeid)), None)


class Grouped(LoadScopeScheduling):  # type: ignore[misc]
    """Deals out groups first, the largest before the others, and then single tests in their order."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid) or nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Grouped:
    return Grouped(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        names = {*getattr(item, "fixturenames", ()), *(value for value in parameters if isinstance(value, str))}
        wanted = {SHARED[name] for name in names if name in SHARED}
        if wanted and group_of(item.nodeid) not in wanted:
            raise pytest.UsageError(f"{item.nodeid} needs {wanted}: have its id, or GROUPS of {__name__}, say so")
