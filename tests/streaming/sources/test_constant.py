"""Streams that are the same in every batch."""

from __future__ import annotations

import pytest

from headwater.errors import IllegalStateException
from headwater.streaming import ConstantInputDStream


def test_constant_stream_is_the_same_rdd_in_every_batch(harness) -> None:
    table = harness.sc.parallelize([("a", 1), ("b", 2)])
    seen = []
    stream = ConstantInputDStream(harness.ssc, table)
    stream.foreachRDD(seen.append)
    joined = harness.collected(harness.ssc.queueStream([[("a", "x")], [("b", "y")]]).join(stream))
    harness.run(2)
    assert seen == [table, table]
    assert joined == [[("a", ("x", 1))], [("b", ("y", 2))]]


def test_constant_stream_leaves_the_programs_rdd_cached(harness) -> None:
    table = harness.sc.parallelize([1]).cache()
    harness.collected(ConstantInputDStream(harness.ssc, table))
    harness.run(5)
    assert table.is_cached
    table.unpersist()


def test_constant_stream_of_anything_else_is_refused(harness) -> None:
    with pytest.raises(TypeError, match="rdd must be an RDD, not list"):
        ConstantInputDStream(harness.ssc, [1])


def test_constant_stream_cannot_be_added_to_a_context_that_has_started(harness) -> None:
    table = harness.sc.parallelize([1])
    harness.collected(ConstantInputDStream(harness.ssc, table))
    harness.start()
    with pytest.raises(IllegalStateException, match="after starting a context"):
        ConstantInputDStream(harness.ssc, table)
