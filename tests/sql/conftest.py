"""Fixtures of SQL's tests: one context and its engine for all tests of a process that need no other."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from headwater import SparkConf, SparkContext
from headwater.sql import SparkSession
from headwater.sql.application import Application
from headwater.sql.engines import Engines
from tests.conftest import stop_active_context


@pytest.fixture(scope="session")
def _warehouse(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("warehouse"))


@pytest.fixture
def spark(_warehouse: str) -> Iterator[SparkSession]:
    """A session of its own on a context of two workers that tests share."""
    active = SparkContext._active_spark_context
    if active is None or active.appName != "sql":
        stop_active_context()
        conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("sql")
        active = SparkContext(conf=conf.set("spark.sql.warehouse.dir", _warehouse))
    session = SparkSession(active)
    session.conf.set("spark.sql.session.timeZone", "UTC")
    yield session


@pytest.fixture
def engines(spark: SparkSession) -> Engines:
    """The engines of the session's application, one of which has started."""
    spark.sql("SELECT 1").collect()
    return Application.of(spark.sparkContext).engines


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process is in UTC, as naive datetimes are local ones."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()
