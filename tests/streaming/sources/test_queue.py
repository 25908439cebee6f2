"""Streams of queues."""

from __future__ import annotations

from collections import deque

import pytest


@pytest.mark.parametrize("empty", [[], (), deque()], ids=["list", "tuple", "deque"])
def test_batch_of_an_empty_queue_has_one_empty_partition_and_nothing_to_tell(harness, empty) -> None:
    partitions = []
    harness.ssc.queueStream(empty).foreachRDD(lambda rdd: partitions.append((rdd.getNumPartitions(), rdd.collect())))
    infos = harness.run(2)
    assert partitions == [(1, [])] * 2
    assert [info.streamIdToInputInfo() for info in infos] == [{}, {}]


@pytest.mark.parametrize("kind", [list, deque])
def test_batch_takes_all_there_is_unless_one_at_a_time(harness, kind) -> None:
    sc = harness.sc
    entries = kind([sc.parallelize([1]), [2], range(3, 5)])
    all_at_once = harness.collected(harness.ssc.queueStream(kind(entries), oneAtATime=False, default=[0]))
    one_by_one = harness.collected(harness.ssc.queueStream(kind(entries), default=sc.parallelize([0])))
    harness.run(4)
    assert [sorted(batch) for batch in all_at_once] == [[1, 2, 3, 4], [0], [0], [0]]
    assert one_by_one == [[1], [2], [3, 4], [0]]


def test_entry_that_is_no_records_fails_its_batch_and_is_left_out(harness) -> None:
    out = harness.collected(harness.ssc.queueStream([[1], 5, [2]]))
    harness.run(3)
    with pytest.raises(TypeError, match="an entry must be an RDD or an iterable of records, not 5"):
        harness.ssc.awaitTermination(0)
    assert out == [[1], [2]]


@pytest.mark.parametrize("rdds", [iter([]), None, {1}, "ab"])
def test_anything_but_a_list_tuple_or_deque_is_refused(harness, rdds) -> None:
    with pytest.raises(TypeError, match="rdds must be a list or a deque, not "):
        harness.ssc.queueStream(rdds)


def test_default_that_is_no_records_is_refused_at_once(harness) -> None:
    with pytest.raises(TypeError, match="must be an RDD or an iterable of records, not 5"):
        harness.ssc.queueStream([], default=5)
