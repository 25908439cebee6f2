"""Every DStream operation of one batch, against what lists give."""

from __future__ import annotations

import operator
from collections import Counter, deque
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import StorageLevel
from headwater.errors import SparkException, UnsupportedOperationException
from headwater.streaming.durations import local_datetime

WORDS = ["a b", "b c b"]
PAIRS = [("a", 1), ("b", 2), ("a", 3)]


def as_sets(batches):
    return [sorted(batch) for batch in batches]


OPERATIONS = [
    ("map", WORDS, lambda s: s.map(str.upper), ["A B", "B C B"]),
    ("flatMap", WORDS, lambda s: s.flatMap(str.split), ["a", "b", "b", "b", "c"]),
    ("filter", WORDS, lambda s: s.filter(lambda w: "c" in w), ["b c b"]),
    ("mapPartitions", WORDS, lambda s: s.mapPartitions(lambda it: [len(list(it))]).reduce(operator.add), [2]),
    ("mapPartitionsWithIndex", WORDS, lambda s: s.mapPartitionsWithIndex(lambda i, it: it), WORDS),
    ("glom", WORDS, lambda s: s.repartition(1).glom().map(sorted), [WORDS]),
    ("mapValues", PAIRS, lambda s: s.mapValues(lambda v: v + 1), [("a", 2), ("a", 4), ("b", 3)]),
    ("flatMapValues", PAIRS, lambda s: s.flatMapValues(range), [("a", n) for n in (0, 0, 1, 2)] + [("b", 0), ("b", 1)]),
    ("reduceByKey", PAIRS, lambda s: s.reduceByKey(operator.add), [("a", 4), ("b", 2)]),
    ("combineByKey", PAIRS, lambda s: s.combineByKey(str, lambda c, v: c, lambda c, d: c).keys_only(), ["a", "b"]),
    ("groupByKey", PAIRS, lambda s: s.groupByKey().mapValues(sorted), [("a", [1, 3]), ("b", [2])]),
    ("countByValue", ["x", "y", "x"], lambda s: s.countByValue(), [("x", 2), ("y", 1)]),
    ("count", WORDS, lambda s: s.count(), [2]),
    ("count of nothing", [], lambda s: s.count(), [0]),
    ("reduce", [1, 2, 3], lambda s: s.reduce(operator.add), [6]),
    ("reduce of nothing", [], lambda s: s.reduce(operator.add), []),
    ("partitionBy", PAIRS, lambda s: s.partitionBy(3), PAIRS),
    ("transform", WORDS, lambda s: s.transform(lambda rdd: rdd.map(len)), [3, 5]),
    ("union", [1], lambda s: s.union(s), [1, 1]),
    ("join", PAIRS, lambda s: s.join(s.filter(lambda p: p[0] == "b")), [("b", (2, 2))]),
    ("leftOuterJoin", [("a", 1)], lambda s: s.leftOuterJoin(s.filter(lambda p: False)), [("a", (1, None))]),
    ("rightOuterJoin", [("a", 1)], lambda s: s.filter(lambda p: False).rightOuterJoin(s), [("a", (None, 1))]),
    ("fullOuterJoin", [("a", 1)], lambda s: s.fullOuterJoin(s.map(lambda p: ("b", 2))),
     [("a", (1, None)), ("b", (None, 2))]),
    ("cogroup", [("a", 1)], lambda s: s.cogroup(s).mapValues(lambda g: [list(x) for x in g]), [("a", [[1], [1]])]),
    ("transformWith", [1, 2], lambda s: s.transformWith(lambda a, b: a.union(b), s.map(lambda n: -n)), [-2, -1, 1, 2]),
]  # fmt: skip


@pytest.mark.parametrize(("records", "operation", "expected"), [row[1:] for row in OPERATIONS],
                         ids=[row[0] for row in OPERATIONS])  # fmt: skip
def test_operation_of_one_batch(harness, records, operation, expected, monkeypatch) -> None:
    from headwater.streaming import DStream

    monkeypatch.setattr(DStream, "keys_only", lambda s: s.map(lambda pair: pair[0]), raising=False)
    out = harness.collected(operation(harness.ssc.queueStream([records])))
    harness.ssc.start()
    harness.run(1)
    assert as_sets(out) == [sorted(expected)]


def test_word_count_over_batches_is_each_batchs_own(harness) -> None:
    lines = [["a b a"], [], ["c"], ["a", "a"]]
    words = harness.ssc.queueStream(lines).flatMap(lambda line: line.split())
    out = harness.collected(words.map(lambda w: (w, 1)).reduceByKey(operator.add))
    harness.ssc.start()
    harness.run(4)
    assert [dict(batch) for batch in out] == [dict(Counter(" ".join(batch).split())) for batch in lines]


# ------------------------------------------------------------------------------------------------ time and sharing
def test_functions_get_the_batch_time_as_a_naive_local_datetime(harness) -> None:
    times = []

    def seen(time, rdd):
        times.append(time)
        return rdd

    harness.ssc.queueStream([]).transform(seen).foreachRDD(lambda time, rdd: times.append(time))
    harness.ssc.start()
    harness.run(1)
    assert times == [local_datetime(1_000_000_000)] * 2
    assert all(isinstance(time, datetime) and time.tzinfo is None for time in times)


def test_shared_parent_of_two_outputs_is_computed_once_a_batch(harness) -> None:
    calls = []

    def once(rdd):
        calls.append(rdd)
        return rdd

    shared = harness.ssc.queueStream([[1], [2]]).transform(once)
    one, two = harness.collected(shared), harness.collected(shared.map(lambda n: -n))
    harness.ssc.start()
    harness.run(2)
    assert (len(calls), one, two) == (2, [[1], [2]], [[-1], [-2]])


def test_stream_without_an_output_is_never_computed(harness) -> None:
    calls = []
    harness.ssc.queueStream([[1]]).transform(lambda rdd: calls.append(rdd))
    out = harness.collected(harness.ssc.queueStream([[2]]))
    harness.ssc.start()
    harness.run(1)
    assert (calls, out) == ([], [[2]])


def test_transform_that_returns_none_has_no_output_in_that_batch(harness) -> None:
    out = harness.collected(harness.ssc.queueStream([[1]]).transform(lambda rdd: None))
    other = harness.collected(harness.ssc.queueStream([[2]]))
    harness.ssc.start()
    harness.run(1)
    assert (out, other) == ([], [[2]])


def test_context_transform_gets_a_list_of_rdds(harness) -> None:
    one, two = harness.ssc.queueStream([[1]]), harness.ssc.queueStream([[2]])
    out = harness.collected(harness.ssc.transform([one, two], lambda rdds: rdds[0].union(rdds[1])))
    harness.ssc.start()
    harness.run(1)
    assert as_sets(out) == [[1, 2]]


def test_context_union_of_streams(harness) -> None:
    streams = [harness.ssc.queueStream([[n]]) for n in range(3)]
    assert harness.ssc.union(streams[0]) is streams[0]
    with pytest.raises(ValueError, match="should have at least one DStream to union"):
        harness.ssc.union()
    out = harness.collected(harness.ssc.union(*streams))
    harness.ssc.start()
    harness.run(1)
    assert as_sets(out) == [[0, 1, 2]]


# ------------------------------------------------------------------------------------------------ queues
def test_queue_is_live_and_a_list_is_left_as_it_is(harness) -> None:
    entries = [[1]]
    out = harness.collected(harness.ssc.queueStream(entries))
    harness.ssc.start()
    harness.run(2)
    entries.append([2])
    harness.run(1)
    assert (out, entries) == ([[1], [], [2]], [[1], [2]])


def test_deque_is_emptied(harness) -> None:
    entries = deque([[1], [2]])
    out = harness.collected(harness.ssc.queueStream(entries, oneAtATime=False))
    harness.ssc.start()
    harness.run(1)
    assert (as_sets(out), len(entries)) == ([[1, 2]], 0)


def test_default_is_used_whenever_the_queue_is_empty(harness) -> None:
    out = harness.collected(harness.ssc.queueStream([[1]], default=[0]))
    harness.ssc.start()
    harness.run(3)
    assert out == [[1], [0], [0]]


@settings(max_examples=5)
@given(st.lists(st.lists(st.integers()), max_size=3))
def test_any_queue_comes_out_as_it_went_in(sc, batches) -> None:
    from tests.streaming.conftest import Harness

    harness = Harness(sc)
    out = harness.collected(harness.ssc.queueStream(batches))
    harness.ssc.start()
    harness.run(len(batches) + 1)
    harness.ssc.stop(stopSparkContext=False)
    assert out == [*batches, []]


# ------------------------------------------------------------------------------------------------ output
def test_pprint_frames_ten_records_and_says_when_there_are_more(harness, capsys) -> None:
    harness.ssc.queueStream([range(11), [], [None]]).pprint()
    harness.ssc.start()
    harness.run(3)
    rule = "-" * 43
    times = [str(local_datetime(1_000_000_000 + n * 1000)) for n in range(3)]
    expected = [
        *(rule, f"Time: {times[0]}", rule, *map(str, range(10)), "...", ""),
        *(rule, f"Time: {times[1]}", rule, ""),
        *(rule, f"Time: {times[2]}", rule, "None", ""),
    ]
    assert capsys.readouterr().out.split("\n")[:-1] == expected


def test_jobs_carry_the_starters_properties_and_their_own(harness) -> None:
    sc = harness.ssc.sparkContext
    sc.setLocalProperty("mine", "yes")
    sc.setJobGroup("group", "described")
    seen = []
    keys = ["mine", "spark.jobGroup.id", "spark.streaming.internal.batchTime", "spark.streaming.internal.outputOpId",
            "spark.job.description", "left"]  # fmt: skip

    def look(rdd):
        seen.append([sc.getLocalProperty(key) for key in keys])
        sc.setLocalProperty("left", "behind")

    harness.ssc.queueStream([]).foreachRDD(look)
    harness.ssc.start()
    harness.run(2)
    clock = local_datetime(1_000_000_000).strftime("%H:%M:%S")
    description = (
        f'Streaming job from <a href="/streaming/batch/?id=1000000000">[output operation 0, batch time {clock}]</a>'
    )
    assert seen[0] == ["yes", None, "1000000000", "0", description, None]
    assert seen[1][5] is None  # what one job sets is gone for the next


# ------------------------------------------------------------------------------------------------ keeping
def test_persisted_stream_keeps_its_rdds_as_long_as_it_remembers_them(harness) -> None:
    kept = []
    stream = harness.ssc.queueStream([[1], [2], [3]]).map(lambda n: n).cache()
    stream.foreachRDD(lambda rdd: kept.append((rdd, rdd.is_cached, rdd.count())))
    harness.ssc.start()
    harness.run(3)
    assert [(cached, count) for _, cached, count in kept] == [(True, 1)] * 3
    assert not kept[0][0].is_cached
    assert kept[2][0].is_cached
    with pytest.raises(UnsupportedOperationException, match="Cannot change storage level of a DStream after streaming"):
        stream.persist(StorageLevel.DISK_ONLY)


def test_rdds_of_the_program_are_not_unpersisted(harness) -> None:
    table = harness.ssc.sparkContext.parallelize([1]).cache()
    queued = harness.ssc.queueStream([table, table])
    harness.collected(queued)
    harness.collected(queued.transform(lambda rdd: table))
    harness.ssc.start()
    harness.run(4)
    assert table.is_cached
    table.unpersist()


def test_slice_gives_the_remembered_batches_of_an_interval(harness) -> None:
    stream = harness.ssc.queueStream([[1], [2], [3]]).map(lambda n: n)
    harness.collected(stream)
    with pytest.raises(SparkException, match="has not been initialized"):
        stream.slice(0, 1)
    harness.ssc.remember(60)
    harness.ssc.start()
    harness.run(3)
    begin = 1_000_000
    assert [rdd.collect() for rdd in stream.slice(begin, begin + 1)] == [[1], [2]]
    whole = stream.slice(local_datetime(0), local_datetime((begin + 2) * 1000))
    assert [rdd.collect() for rdd in whole] == [[1], [2], [3]]


def test_nothing_grows_over_many_batches(harness) -> None:
    stream = harness.ssc.queueStream([], default=[1]).map(lambda n: (n, 1))
    harness.collected(stream.transform(lambda rdd: rdd))
    harness.ssc.start()
    harness.run(30)
    for node in harness.ssc.graph._nodes:
        assert len(node.remembered()) <= 2
