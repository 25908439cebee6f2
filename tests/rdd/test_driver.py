"""What RDDs and streams ask of their context, on a context that runs and on one that has stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalStateException
from headwater.rdd.driver import Driver


@pytest.fixture
def driver(sc: SparkContext) -> Driver:
    """A context is one: mypy says so here."""
    return sc


def numbers(partition: int, records: Any) -> list[Any]:
    return [partition, *records]


def test_job_gives_the_partitions_asked_for_in_their_order(driver: Driver) -> None:
    rdd = driver.parallelize(["a", "b", "c"], 3)
    assert driver.run_job(rdd, numbers, [2, 0]) == [[2, "c"], [0, "a"]]
    assert driver.run_job(rdd, numbers, []) == []


def test_submitted_job_tells_results_by_position(driver: Driver) -> None:
    told: dict[int, Any] = {}
    job = driver.submit_job(driver.parallelize(["a", "b", "c"], 3), numbers, [2, 0], told.__setitem__)
    assert job.result() == [[2, "c"], [0, "a"]]
    assert told == {0: [2, "c"], 1: [0, "a"]}


def test_checkpoint_that_is_wanted_is_made_by_the_next_job(driver: Driver, sc: SparkContext, tmp_path: Any) -> None:
    sc.setCheckpointDir(str(tmp_path))
    assert driver.checkpoint_directory == sc.getCheckpointDir()
    rdd = driver.parallelize(["a"], 1)
    rdd.checkpoint()
    driver.submit_job(rdd, numbers, [0]).result()
    assert not rdd.isCheckpointed()
    driver.run_job(rdd, numbers, [0])
    assert rdd.isCheckpointed()


def test_job_properties_are_those_of_the_thread_and_come_back(driver: Driver) -> None:
    seen: list[Any] = []
    with driver.job_properties_restored():
        driver.job_properties = {"color": "red"}
        other = threading.Thread(target=lambda: seen.append(dict(driver.job_properties)))
        other.start()
        other.join()
        assert driver.job_properties == {"color": "red"}
    assert seen == [{}]
    assert "color" not in driver.job_properties


def test_settings_are_seen_as_they_are(driver: Driver, sc: SparkContext) -> None:
    assert driver.conf.get("spark.app.id") == sc.applicationId
    assert driver.conf is driver.conf
    assert sc.getConf() is not driver.conf


@pytest.mark.parametrize(("setting", "partitions"), [({}, None), ({"spark.default.parallelism": "3"}, 3)])
def test_partitions_after_a_shuffle_are_the_settings(
    no_context: None, setting: dict[str, str], partitions: int | None
) -> None:
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("driver").setAll(setting.items())
    with SparkContext(conf=conf) as sc:
        assert sc.reduce_partitions == partitions


@pytest.mark.parametrize(
    "use",
    [
        lambda driver: driver.application,
        lambda driver: driver.check_running(),
        lambda driver: driver.emptyRDD(),
        lambda driver: driver.broadcast(1),
        lambda driver: driver.defaultParallelism,
    ],
)
def test_what_needs_the_engine_says_where_the_context_was_stopped(
    no_context: None, use: Callable[[Driver], Any]
) -> None:
    sc = SparkContext("local", "driver", conf=SparkConf(loadDefaults=False))
    sc.stop()
    with pytest.raises(IllegalStateException, match="stopped SparkContext.*it was stopped by"):
        use(sc)
    assert sc.conf.get("spark.app.name") == "driver"
