"""Programs that reach into the JVM: log4j's levels work, all else names the way in Python."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headwater import SparkContext
from headwater.errors import UnsupportedOperationException


@pytest.fixture(autouse=True)
def _levels_restored() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in ("headwater", "akka", "")]
    levels = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, levels):
        logger.setLevel(level)


@pytest.mark.parametrize("name", ["org", "org.apache.spark", "org.apache.spark.streaming"])
def test_log4j_s_level_of_spark_is_ours(sc: SparkContext, name: str) -> None:
    log4j = sc._jvm.org.apache.log4j
    log4j.LogManager.getLogger(name).setLevel(log4j.Level.ERROR)
    assert logging.getLogger("headwater").level == logging.ERROR


def test_log4j_s_root_level_is_ours_and_not_the_program_s(sc: SparkContext) -> None:
    before = logging.getLogger().level
    sc._jvm.org.apache.log4j.Logger.getRootLogger().setLevel(sc._jvm.org.apache.log4j.Level.OFF)
    assert logging.getLogger("headwater").level > logging.CRITICAL
    assert logging.getLogger().level == before


def test_log4j_s_other_loggers_are_python_s_of_that_name(sc: SparkContext, caplog: pytest.LogCaptureFixture) -> None:
    log4j = sc._jvm.org.apache.log4j
    logger = log4j.LogManager.getLogger("akka")
    logger.setLevel(log4j.Level.toLevel("warn"))
    logger.info("hidden")
    logger.warn("100 %")
    logger.error("shown")
    assert caplog.record_tuples == [("akka", logging.WARNING, "100 %"), ("akka", logging.ERROR, "shown")]
    assert (logger.getName(), logger.isEnabledFor(log4j.Level.DEBUG)) == ("akka", False)
    assert log4j.Level.WARN.toString() == "WARN"


@pytest.mark.parametrize(
    ("path", "instead", "use"),
    [
        ("sc._jvm.java.lang.System", "os.environ and time", lambda sc: sc._jvm.java.lang.System.getenv("HOME")),
        ("sc._jvm.java.util.HashMap", "Python's own collections", lambda sc: sc._jvm.java.util.HashMap()),
        ("sc._jvm.org.apache.hadoop.fs.FileSystem", "fsspec", lambda sc: sc._jvm.org.apache.hadoop.fs.FileSystem),
        (
            "sc._jvm.kafka.serializer.StringDecoder",
            "docs/how-to/kafka.md",
            lambda sc: sc._jvm.kafka.serializer.StringDecoder,
        ),
        (
            "sc._jvm.org.apache.log4j.PropertyConfigurator",
            "Python's logging",
            lambda sc: sc._jvm.org.apache.log4j.PropertyConfigurator.configure("x"),
        ),
        ("sc._jvm.com.example.Parser", "a Python package", lambda sc: sc._jvm.com.example.Parser()),
        ("sc._jvm.functions.make", "a Python package", lambda sc: sc._jvm.functions.make()),
        (
            "sc._jsc.hadoopConfiguration",
            "the settings spark.hadoop.*",
            lambda sc: sc._jsc.hadoopConfiguration().set("fs.s3a.access.key", "x"),
        ),
    ],
)
def test_all_else_is_an_error_that_names_the_way_in_python(
    sc: SparkContext, path: str, instead: str, use: Callable[[SparkContext], Any]
) -> None:
    with pytest.raises(UnsupportedOperationException) as caught:
        use(sc)
    assert str(caught.value).startswith(f"{path}: Headwater has no JVM. Use ")
    assert instead in str(caught.value)
