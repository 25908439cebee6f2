"""A graceful stop right after the start: what waits in queues and files is processed, as by PySpark."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkContext
from headwater.streaming import StreamingContext


@pytest.fixture
def ssc(sc: SparkContext) -> StreamingContext:
    return StreamingContext(sc, 0.2)


def processed(ssc: StreamingContext, stream: Any) -> list[list[Any]]:
    """What a stream brings, by batch, when the context is stopped at once; empty batches aren't."""
    batches: list[list[Any]] = []

    def keep(rdd: Any) -> None:
        if records := rdd.collect():
            batches.append(records)

    stream.foreachRDD(keep)
    ssc.start()
    ssc.stop(stopSparkContext=False, stopGraceFully=True)
    return batches


@pytest.mark.parametrize("kind", [list, deque])
@pytest.mark.parametrize(
    ("entries", "expected"), [([[1, 2], [3]], [[1, 2], [3]]), ([[1], [2], [3]], [[1], [2]]), ([[1]], [[1]]), ([], [])]
)
def test_queue_has_the_batch_that_is_due_and_one_more(
    ssc: StreamingContext, kind: Any, entries: list[list[int]], expected: list[list[int]]
) -> None:
    assert processed(ssc, ssc.queueStream(kind(entries))) == expected


def test_queue_whose_batches_take_all_is_emptied(ssc: StreamingContext) -> None:
    (batch,) = processed(ssc, ssc.queueStream([[1], [2], [3]], oneAtATime=False))
    assert sorted(batch) == [1, 2, 3]


def test_files_that_wait_are_read(ssc: StreamingContext, tmp_path: Path) -> None:
    stream, made_ms = ssc.textFileStream(str(tmp_path)), time.time_ns() // 1_000_000
    file = tmp_path / "a"
    while not file.exists() or file.stat().st_mtime_ns // 1_000_000 <= made_ms:  # the system's time stamps lag
        file.write_text("one\ntwo\n")
    assert processed(ssc, stream) == [["one", "two"]]


def test_files_that_were_there_before_are_read_if_they_are_wanted(ssc: StreamingContext, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one\n")
    assert processed(ssc, ssc.fileStream(str(tmp_path), newFilesOnly=False)) == [["one"]]


def test_stop_without_anything_that_waits_makes_no_batch(sc: SparkContext, tmp_path: Path) -> None:
    ssc = StreamingContext(sc, 3600)  # else the stop would last as long
    stream = ssc.union(ssc.queueStream([]), ssc.textFileStream(str(tmp_path)))
    assert processed(ssc, stream) == []
