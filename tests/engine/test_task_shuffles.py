"""What map tasks write, and reduce tasks read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, load_records, loads
from headwater.engine.events import FailureKind, MapOutput, MapSegment
from headwater.engine.lineage import (
    Combiner,
    ShuffleWrite,
)
from headwater.engine.task import indexer
from tests.engine.tasks import Surroundings, add, reduced, result, run, source


def write(around: Surroundings, pairs: list[Any], partitions: int = 1, aggregator: Combiner | None = None) -> MapOutput:
    reply = run(around, source(pairs), ShuffleWrite(partitions, portable_hash, aggregator))
    assert reply.failure is None, reply.failure.traceback
    assert isinstance(reply.value, MapOutput)
    return reply.value


def contents(around: Surroundings, segments: tuple[MapSegment, ...]) -> list[Any]:
    """The pairs of a reduce partition as they lie in its segments."""
    read = []
    for segment in segments:
        data = segment.data
        if data is None:
            data = around.here.read(segment.block_id, segment.offset, segment.length)
        assert data is not None
        read += load_records(data)
    return read


def test_small_map_output_travels_in_the_reply(around: Surroundings) -> None:
    output = write(around, [("a", 1), ("b", 2), ("a", 3)])
    assert output.blocks == ()
    assert contents(around, output.parts[0]) == [("a", 1), ("b", 2), ("a", 3)]


def test_large_map_output_is_one_block(around: Surroundings) -> None:
    around.inline_limit = 10
    pairs = [(i, i) for i in range(1000)]
    output = write(around, pairs, partitions=3)
    ((block, size),) = output.blocks
    assert block == "shuffle_3_0_7_0"
    assert size == len(around.here.read(block) or b"")
    for i, part in enumerate(output.parts):
        assert contents(around, part) == [(k, v) for k, v in pairs if k % 3 == i]


def test_map_output_without_pairs_has_no_segments(around: Surroundings) -> None:
    around.inline_limit = 0
    assert write(around, [], partitions=2) == MapOutput(((), ()))


def test_empty_parts_have_no_segments(around: Surroundings) -> None:
    output = write(around, [(0, "x")], partitions=3)
    assert [len(part) for part in output.parts] == [1, 0, 0]


def test_map_side_combines(around: Surroundings) -> None:
    output = write(around, [("a", 1), ("b", 2), ("a", 3)], aggregator=Combiner(None, add, add))
    assert sorted(contents(around, output.parts[0])) == [("a", 4), ("b", 2)]


def test_map_side_does_not_combine_when_it_would_gain_nothing(around: Surroundings) -> None:
    grouping = Combiner(lambda v: [v], lambda a, v: [*a, v], add, map_side=False)
    output = write(around, [("a", 1), ("a", 3)], aggregator=grouping)
    assert contents(around, output.parts[0]) == [("a", 1), ("a", 3)]


@pytest.mark.parametrize("map_side", [True, False])
@pytest.mark.parametrize("inline_limit", [0, 1 << 30])
def test_task_that_outgrows_its_memory_writes_several_segments_that_the_reduce_task_merges(
    tmp_path: Path, map_side: bool, inline_limit: int
) -> None:
    around = Surroundings(tmp_path, inline_limit=inline_limit, memory_limit=1)
    pairs = [(i % 9000, 1) for i in range(30_000)]
    aggregator = Combiner(lambda v: v, add, add, map_side)
    output = write(around, pairs, partitions=2, aggregator=aggregator)
    assert len(output.parts[0]) > 1
    assert len(output.blocks) == (0 if inline_limit else len(output.parts[0]))
    assert sum(size for _, size in output.blocks) == sum(s.length for part in output.parts for s in part)
    around.memory_limit = 1 << 40
    merged = [result(around, reduced(aggregator), segments=[*part]) for part in output.parts]
    expected = {i: 30_000 // 9000 + (i < 30_000 % 9000) for i in range(9000)}
    assert dict(merged[0]) | dict(merged[1]) == expected
    assert len(merged[0]) + len(merged[1]) == 9000


def test_reduce_task_that_outgrows_its_memory_spills_and_says_how_much(tmp_path: Path) -> None:
    around = Surroundings(tmp_path, memory_limit=1)
    segment = MapSegment(dump_records([(i % 5000, 1) for i in range(20_000)]))
    reply = run(around, reduced(Combiner(None, add, add)), segments=[segment])
    assert dict(loads(reply.value)) == dict.fromkeys(range(5000), 4)
    assert reply.metrics["spilled_bytes"] > 0


def test_reduce_task_reads_segments_in_their_order_from_wherever_they_are(around: Surroundings) -> None:
    around.there.write("shuffle_3_1_9_0", [b"..", dump_records([("b", 2)])], in_memory=True)
    length = len(dump_records([("b", 2)]))
    segments = [
        MapSegment(dump_records([("a", 1)])),
        MapSegment(None, "shuffle_3_1_9_0", 2, length, ("b",), 3, 1),
        MapSegment(dump_records([("a", 3)])),
    ]
    assert result(around, reduced(None), segments=segments) == [("a", 1), ("b", 2), ("a", 3)]
    grouping = Combiner(lambda v: [v], lambda a, v: [*a, v], add, map_side=False)
    assert result(around, reduced(grouping), segments=segments) == [("a", [1, 3]), ("b", [2])]


def test_reduce_task_that_misses_a_map_output_names_it(around: Surroundings) -> None:
    gone = MapSegment(None, "shuffle_3_1_9_0", 0, 10, ("b",), 3, 1)
    failure = run(around, reduced(None), segments=[MapSegment(dump_records([("a", 1)])), gone]).failure
    assert failure is not None
    assert (failure.kind, failure.segment) == (FailureKind.FETCH, gone)
    assert failure.text == "map output 1 of shuffle 3 is gone"


def test_users_merge_function_that_raises_on_either_side_is_the_users_error(around: Surroundings) -> None:
    def merge(a: int, b: int) -> int:
        raise KeyError("the user's own")

    aggregator = Combiner(None, merge, merge)
    pairs = [("a", 1), ("a", 2)]
    map_side = run(around, source(pairs), ShuffleWrite(1, portable_hash, aggregator)).failure
    reduce_side = run(around, reduced(aggregator), segments=[MapSegment(dump_records([p])) for p in pairs]).failure
    for failure in (map_side, reduce_side):
        assert failure is not None
        assert (failure.kind, failure.text) == (FailureKind.RAISED, 'KeyError: "the user\'s own"')


@pytest.mark.parametrize(
    "key", ["word", "gr\u00fc\u00df", "\ud800", "", 7, -1, 2.5, None, True, (1, "a"), b"bytes", ("a", None)], ids=ascii
)
def test_key_goes_to_the_partition_of_its_portable_hash(key: Any) -> None:
    for partitions in (1, 2, 7):
        assert indexer(portable_hash, partitions)(key) == portable_hash(key) % partitions


def test_key_goes_where_the_users_function_says() -> None:
    index = indexer(lambda key: key - 100, 3)
    assert [index(key) for key in (0, 1, 2, 100)] == [2, 0, 1, 0]
