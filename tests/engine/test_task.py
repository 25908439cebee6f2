from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headwater import accumulators
from headwater.base.cipher import KeySource
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, load_records, loads
from headwater.engine.blocks import Placed, Places, decode, encode_records, text_block
from headwater.engine.events import FailureKind, MapOutput, Segment, StoredBlock, TaskReply, TaskSpec
from headwater.engine.lineage import (
    Action,
    Aggregator,
    BlockRef,
    Cartesian,
    Coalesce,
    Dataset,
    PerPartition,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
    StoredBlocks,
    Together,
    Union,
)
from headwater.engine.stages import Stage
from headwater.engine.states import LiveStates
from headwater.engine.task import Programs, TaskKilled, TaskRunner, current, indexer, reply_bytes
from headwater.errors import BlockLost, SerializationError
from headwater.storagelevel import StorageLevel
from headwater.taskcontext import TaskContext

COLLECT = Action(lambda partition, records: list(records))
ids = count()


class Surroundings:
    """An executor `a` whose blocks are files below a directory, and its neighbour `b`."""

    executor_id = "a"

    def __init__(self, root: Path, *, inline_limit: int = 1 << 20, memory_limit: int = 1 << 40) -> None:
        self.scratch = str(root / "spill")
        self.memory_limit = memory_limit
        self.inline_limit = inline_limit
        self.result_limit = 1 << 20
        self.compress = False
        self.key: KeySource | None = None
        self.states = LiveStates(1 << 20, self.scratch)
        self.here = Places(str(root / "memory"), str(root / "disk"))
        self.there = Places(str(root / "b-memory"), str(root / "b-disk"))
        self.here.make()
        self.there.make()

    def read(self, block_id: str, locations: tuple[str, ...], offset: int = 0, length: int = -1) -> bytes | None:
        data = self.here.read(block_id, offset, length)
        return self.there.read(block_id, offset, length) if data is None and "b" in locations else data

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        return self.here.place(block_id, pieces, use_memory=use_memory, use_disk=use_disk)

    def in_memory(self, block_id: str) -> bool:
        return self.here.in_memory(block_id)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int, *, in_memory: bool) -> tuple[str, ...]:
        self.there.write(block_id, pieces, in_memory=in_memory)
        return ("b",)


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(tmp_path)


def run(
    around: Surroundings,
    dataset: Dataset,
    ending: Action | ShuffleWrite = COLLECT,
    *,
    partition: int = 0,
    segments: list[Segment] | None = None,
    cached: dict[tuple[int, int], BlockRef] | None = None,
) -> TaskReply:
    """Run a stage's task: task 7 of stage 5, at its third attempt."""
    stage = Stage(5, dataset, ending)
    inputs: dict[tuple[int, int], Any] = {}
    for i, node in enumerate(stage.nodes):
        for p in range(node.num_partitions):
            if node.origin.payloads is not None:
                inputs[i, p] = node.origin.payloads[p]
            elif node.shuffle is not None:
                inputs[i, p] = segments
    shipped = stage.ship()
    shuffle_id = 3 if isinstance(ending, ShuffleWrite) else -1
    spec = TaskSpec(7, 1, 5, partition, 2, shipped.name, inputs, stage.caching, cached or {}, {"k": "v"}, shuffle_id)
    reply = TaskRunner(around).run(spec, shipped.data)
    assert reply.task_id == 7
    assert not os.path.exists(os.path.join(around.scratch, "spill-7"))
    return pickle.loads(reply_bytes(reply))  # as the executor sees it


def result(around: Surroundings, dataset: Dataset, **more: Any) -> Any:
    reply = run(around, dataset, **more)
    assert reply.failure is None, reply.failure.traceback
    return loads(reply.value)


def source(*partitions: list[Any]) -> Dataset:
    return Dataset(next(ids), Slice(), (), len(partitions), payloads=[dump_records(records) for records in partitions])


def step(parent: Dataset, kind: Any, function: Callable[[Any], Any]) -> Dataset:
    return Dataset(next(ids), PerRecord(kind, function), (parent,), parent.num_partitions)


def mapped(parent: Dataset, function: Callable[[Any], Any]) -> Dataset:
    return step(parent, "map", function)


def reduced(aggregator: Aggregator | None) -> Dataset:
    shuffle = Shuffle(3, source([]), ShuffleWrite(1, portable_hash))
    return Dataset(next(ids), ShuffleRead(aggregator), (), 1, shuffle=shuffle)


def add(a: int, b: int) -> int:
    return a + b


# ------------------------------------------------------------------------------------------------ results
def test_task_gives_the_actions_result_on_its_partition(around: Surroundings) -> None:
    assert result(around, mapped(source([1], [2, 3]), lambda r: r * 10), partition=1) == [20, 30]


def test_task_passes_its_partition_to_the_action(around: Surroundings) -> None:
    action = Action(lambda partition, records: (partition, sum(records)))
    assert loads(run(around, source([1], [2, 3]), action, partition=1).value) == (1, 5)


@pytest.mark.parametrize(
    ("dataset", "partition", "records"),
    [
        (Dataset(0, Union((1, 2)), (source([1]), source([2], [3])), 3), 2, [3]),
        (Dataset(0, Coalesce(((2, 0), (1,))), (source([1], [2], [3]),), 2), 0, [3, 1]),
        (Dataset(0, Cartesian(2), (source([1, 2], [3]), source([4], [5, 6])), 4), 1, [(1, 5), (1, 6), (2, 5), (2, 6)]),
        (
            Dataset(0, Together(2, lambda p, sides: zip(*sides)), (source([1, 2]), source([3, 4])), 1),
            0,
            [(1, 3), (2, 4)],
        ),
        (Dataset(0, PerPartition(lambda p, records: [p, *records]), (source([1], [2]),), 2), 1, [1, 2]),
        (
            step(step(source([(1, 2)]), "mapValues", str), "flatMapValues", lambda v: [v, v + "!"]),
            0,
            [(1, "2"), (1, "2!")],
        ),
    ],
    ids=["union", "coalesce", "cartesian", "together", "perPartition", "perRecord"],
)
def test_task_computes_an_operator(around: Surroundings, dataset: Dataset, partition: int, records: list[Any]) -> None:
    assert result(around, dataset, partition=partition) == records


@pytest.mark.parametrize("operator", ["union", "perPartition"])
def test_task_computes_a_deep_lineage(around: Surroundings, operator: str) -> None:
    dataset = source([1])
    for _ in range(300):
        if operator == "union":
            dataset = Dataset(next(ids), Union((1,)), (dataset,), 1)
        else:
            dataset = Dataset(next(ids), PerPartition(lambda p, records: records), (dataset,), 1)
    assert result(around, dataset) == [1]


def test_task_reads_stored_blocks(around: Surroundings) -> None:
    around.there.write("input-0-1", text_block([b"one\ntwo\n"]), in_memory=True)
    blocks = Dataset(next(ids), StoredBlocks(), (), 1, payloads=[BlockRef("input-0-1", ("b",))])
    assert result(around, mapped(blocks, str.upper)) == ["ONE", "TWO"]


def test_task_whose_stored_block_is_gone_raises_block_lost(around: Surroundings) -> None:
    blocks = Dataset(next(ids), StoredBlocks(), (), 1, payloads=[BlockRef("input-0-1", ("b",))])
    failure = run(around, blocks).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (
        FailureKind.RAISED,
        "headwater.errors.BlockLost: could not compute partition 0: block input-0-1 not found",
    )
    assert isinstance(loads(failure.error), BlockLost)


def test_task_knows_its_context_while_it_runs(around: Surroundings) -> None:
    def see(_partition: int, _records: Any) -> Any:
        context, task = TaskContext.get(), current()
        assert context is not None
        assert task is not None
        return (
            context.stageId(),
            context.partitionId(),
            context.attemptNumber(),
            context.taskAttemptId(),
            context.getLocalProperty("k"),
            task.spec.task_id,
        )

    assert loads(run(around, source([], []), Action(see), partition=1).value) == (5, 1, 2, 7, "v", 7)
    assert TaskContext.get() is None
    assert current() is None


def test_task_measures_how_long_it_ran(around: Surroundings) -> None:
    assert run(around, source([])).metrics["run_us"] >= 0


# ------------------------------------------------------------------------------------------------ failures
def boom(record: int) -> int:
    return 1 // record


def test_users_exception_is_told_with_its_type_text_and_traceback(around: Surroundings) -> None:
    reply = run(around, mapped(source([0]), boom))
    failure = reply.failure
    assert failure is not None
    assert reply.value is None
    assert (failure.kind, failure.text) == (FailureKind.RAISED, "ZeroDivisionError: integer division or modulo by zero")
    assert isinstance(loads(failure.error), ZeroDivisionError)
    assert "in boom\n    return 1 // record" in failure.traceback
    assert failure.traceback.rstrip().endswith(failure.text)


@pytest.mark.parametrize("kinds", [["map"], ["map", "map"], ["filter"], ["flatMap"]])
def test_traceback_shows_no_frame_of_the_engine(around: Surroundings, kinds: list[str]) -> None:
    dataset = source([0])
    for kind in kinds:
        dataset = step(dataset, kind, boom if kind == kinds[-1] else lambda r: r)
    failure = run(around, dataset).failure
    assert failure is not None
    assert os.path.join("headwater", "engine") not in failure.traceback


def test_cause_of_a_users_exception_is_told(around: Surroundings) -> None:
    def chained(record: int) -> int:
        try:
            return boom(record)
        except ZeroDivisionError as error:
            raise ValueError("no zeros, please") from error

    failure = run(around, mapped(source([0]), chained)).failure
    assert failure is not None
    assert "ZeroDivisionError" in failure.traceback
    assert "ValueError: no zeros, please" in failure.traceback


class NotPicklable(Exception):
    def __init__(self) -> None:
        super().__init__("by no means")
        self.lock = threading.Lock()


class NotUnpicklable(Exception):
    def __init__(self, code: int, *, reason: str) -> None:
        super().__init__(f"{code}: {reason}")


@pytest.mark.parametrize(
    ("error", "text"), [(NotPicklable(), "by no means"), (NotUnpicklable(7, reason="why not"), "7: why not")]
)
def test_exception_that_does_not_survive_pickling_is_told_by_its_text(
    around: Surroundings, error: Exception, text: str
) -> None:
    made = {"NotPicklable": NotPicklable, "NotUnpicklable": lambda: NotUnpicklable(7, reason="why not")}
    make, name = made[type(error).__name__], type(error).__name__

    def fail(_record: int) -> int:
        raise make()

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert failure.kind is FailureKind.RAISED
    assert failure.text.endswith(f"{name}: {text}")
    assert failure.error == b""


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_what_is_no_exception_but_raised_is_a_failure_like_others(around: Surroundings, error: BaseException) -> None:
    def fail(_record: int) -> int:
        raise error

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert failure.kind is FailureKind.RAISED
    assert failure.text.startswith(type(error).__name__)


def test_killed_task_says_so(around: Surroundings) -> None:
    def fail(_record: int) -> int:
        raise TaskKilled

    failure = run(around, mapped(source([0]), fail)).failure
    assert failure is not None
    assert (failure.kind, failure.text) == (FailureKind.KILLED, "killed on request")


def test_result_that_cannot_be_pickled_is_refused(around: Surroundings) -> None:
    for action in (lambda p, records: threading.Lock(), lambda p, records: [threading.Lock()]):
        failure = run(around, source([1]), Action(action)).failure
        assert failure is not None
        assert failure.kind is FailureKind.REFUSED
        assert "Could not serialize object: TypeError: cannot pickle '_thread.lock' object" in failure.text
        assert isinstance(loads(failure.error), SerializationError)


def test_result_over_the_limit_is_refused(around: Surroundings) -> None:
    around.result_limit = 100
    failure = run(around, source([]), Action(lambda p, records: "x" * 200)).failure
    assert failure is not None
    assert failure.kind is FailureKind.REFUSED
    assert "bigger than spark.driver.maxResultSize (100 bytes)" in failure.text


def test_map_output_that_cannot_be_pickled_is_refused(around: Surroundings) -> None:
    write = ShuffleWrite(1, portable_hash)
    failure = run(around, mapped(source([1]), lambda r: (r, threading.Lock())), write).failure
    assert failure is not None
    assert failure.kind is FailureKind.REFUSED


def test_program_that_cannot_be_unpickled_fails_each_of_its_tasks(around: Surroundings) -> None:
    """The executor sends a program once a worker, whether or not the worker could make use of it."""
    runner = TaskRunner(around)
    spec = TaskSpec(7, 1, 5, 0, 0, "name", {}, {}, {}, {})
    broken = b"cno_such_module_at_all\nf\n."
    for program in (broken, None, None):
        failure = runner.run(spec, program).failure
        assert failure is not None
        assert failure.kind is FailureKind.RAISED
        assert "No module named 'no_such_module_at_all'" in failure.text


def test_reply_that_cannot_be_pickled_becomes_one_that_says_so() -> None:
    reply = pickle.loads(reply_bytes(TaskReply(7, None, threading.Lock(), b"", (), {})))
    assert (reply.task_id, reply.value) == (7, None)
    assert "cannot pickle '_thread.lock' object" in reply.failure.text


# ------------------------------------------------------------------------------------------------ accumulators
def test_what_a_task_adds_is_in_its_reply(around: Surroundings) -> None:
    total = accumulators.create(0)

    def tally(record: int) -> int:
        total.add(record)
        return record

    assert loads(run(around, mapped(source([1, 2]), tally)).accumulators) == {total.aid: 3}
    assert total.value == 0


def test_what_a_failed_task_added_is_not_in_its_reply(around: Surroundings) -> None:
    total = accumulators.create(0)

    def tally(record: int) -> int:
        total.add(1)
        return boom(record)

    assert run(around, mapped(source([1, 0]), tally)).accumulators == b""
    assert run(around, source([1])).accumulators == b""
    total.add(5)
    assert total.value == 5


# ------------------------------------------------------------------------------------------------ keeping partitions
def kept(parent: Dataset, level: StorageLevel) -> Dataset:
    dataset = Dataset(77, PerRecord("map", lambda r: r + 1), (parent,), parent.num_partitions)
    dataset.storage_level = level
    return dataset


@pytest.mark.parametrize(
    ("level", "executors", "memory"),
    [
        (StorageLevel.MEMORY_ONLY, ("a",), True),
        (StorageLevel.MEMORY_AND_DISK, ("a",), True),
        (StorageLevel.DISK_ONLY, ("a",), False),
        (StorageLevel.MEMORY_ONLY_2, ("a", "b"), True),
        (StorageLevel.DISK_ONLY_2, ("a", "b"), False),
    ],
    ids=str,
)
def test_partition_is_kept_at_its_level(
    around: Surroundings, level: StorageLevel, executors: tuple[str, ...], memory: bool
) -> None:
    reply = run(around, mapped(kept(source([1], [2]), level), lambda r: -r), partition=1)
    assert loads(reply.value) == [-3]
    (stored,) = reply.stored
    assert stored == StoredBlock("rdd_77_1", stored.size, executors, memory, level.useDisk)
    for places in [around.here, around.there][: len(executors)]:
        block = places.read("rdd_77_1")
        assert block is not None
        assert list(decode(block)) == [3]
        assert len(block) == stored.size
        assert os.path.exists(os.path.join(places.memory if memory else places.disk, "rdd_77_1"))


def test_partition_is_kept_compressed_when_that_is_set(around: Surroundings) -> None:
    around.compress = True
    (stored,) = run(around, kept(source([0] * 10_000), StorageLevel.MEMORY_ONLY)).stored
    assert stored.size < 1000
    assert list(decode(around.here.read("rdd_77_0") or b"")) == [1] * 10_000


@pytest.mark.parametrize("where", ["here", "there"])
def test_kept_partition_is_read_and_not_computed(around: Surroundings, where: str) -> None:
    places: Places = getattr(around, where)
    places.write("rdd_77_0", [encode_records(["kept"])], in_memory=True)
    reply = run(around, kept(source([1]), StorageLevel.MEMORY_ONLY), cached={(1, 0): BlockRef("rdd_77_0", ("b",))})
    assert loads(reply.value) == ["kept"]
    assert reply.stored == ()


@pytest.mark.parametrize("in_memory", [True, False])
def test_partition_that_another_task_has_just_kept_here_is_read_and_reported_where_it_is(
    around: Surroundings, in_memory: bool
) -> None:
    around.here.write("rdd_77_0", [encode_records(["kept"])], in_memory=in_memory)
    reply = run(around, kept(source([1]), StorageLevel.MEMORY_AND_DISK))
    assert loads(reply.value) == ["kept"]
    assert [stored.in_memory for stored in reply.stored] == [in_memory]


def test_kept_partition_that_is_gone_is_reported(around: Surroundings) -> None:
    failure = run(
        around, kept(source([1]), StorageLevel.MEMORY_ONLY), cached={(1, 0): BlockRef("rdd_77_0", ("b",))}
    ).failure
    assert failure is not None
    assert (failure.kind, failure.block_id) == (FailureKind.CACHE, "rdd_77_0")


def test_partition_that_is_used_twice_is_computed_once(around: Surroundings) -> None:
    computed = Dataset(88, PerPartition(lambda p, records: [os.urandom(8)]), (source([1]),), 1)
    computed.storage_level = StorageLevel.MEMORY_ONLY
    both = Dataset(next(ids), Together(2, lambda p, sides: zip(*sides)), (computed, computed), 1)
    ((a, b),) = result(around, both)
    assert a == b


def test_partition_that_was_kept_before_the_task_failed_is_in_its_reply(around: Surroundings) -> None:
    reply = run(around, mapped(kept(source([-1]), StorageLevel.MEMORY_ONLY), boom))
    assert reply.failure is not None
    assert [stored.block_id for stored in reply.stored] == ["rdd_77_0"]


# ------------------------------------------------------------------------------------------------ shuffles
def write(
    around: Surroundings, pairs: list[Any], partitions: int = 1, aggregator: Aggregator | None = None
) -> MapOutput:
    reply = run(around, source(pairs), ShuffleWrite(partitions, portable_hash, aggregator))
    assert reply.failure is None, reply.failure.traceback
    assert isinstance(reply.value, MapOutput)
    return reply.value


def contents(around: Surroundings, segments: tuple[Segment, ...]) -> list[Any]:
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
    output = write(around, [("a", 1), ("b", 2), ("a", 3)], aggregator=Aggregator(None, add, add))
    assert sorted(contents(around, output.parts[0])) == [("a", 4), ("b", 2)]


def test_map_side_does_not_combine_when_it_would_gain_nothing(around: Surroundings) -> None:
    grouping = Aggregator(lambda v: [v], lambda a, v: [*a, v], add, map_side=False)
    output = write(around, [("a", 1), ("a", 3)], aggregator=grouping)
    assert contents(around, output.parts[0]) == [("a", 1), ("a", 3)]


@pytest.mark.parametrize("map_side", [True, False])
@pytest.mark.parametrize("inline_limit", [0, 1 << 30])
def test_task_that_outgrows_its_memory_writes_several_segments_that_the_reduce_task_merges(
    tmp_path: Path, map_side: bool, inline_limit: int
) -> None:
    around = Surroundings(tmp_path, inline_limit=inline_limit, memory_limit=1)
    pairs = [(i % 9000, 1) for i in range(30_000)]
    aggregator = Aggregator(lambda v: v, add, add, map_side)
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
    segment = Segment(dump_records([(i % 5000, 1) for i in range(20_000)]))
    reply = run(around, reduced(Aggregator(None, add, add)), segments=[segment])
    assert dict(loads(reply.value)) == dict.fromkeys(range(5000), 4)
    assert reply.metrics["spilled_bytes"] > 0


def test_reduce_task_reads_segments_in_their_order_from_wherever_they_are(around: Surroundings) -> None:
    around.there.write("shuffle_3_1_9_0", [b"..", dump_records([("b", 2)])], in_memory=True)
    length = len(dump_records([("b", 2)]))
    segments = [
        Segment(dump_records([("a", 1)])),
        Segment(None, "shuffle_3_1_9_0", 2, length, ("b",), 3, 1),
        Segment(dump_records([("a", 3)])),
    ]
    assert result(around, reduced(None), segments=segments) == [("a", 1), ("b", 2), ("a", 3)]
    grouping = Aggregator(lambda v: [v], lambda a, v: [*a, v], add, map_side=False)
    assert result(around, reduced(grouping), segments=segments) == [("a", [1, 3]), ("b", [2])]


def test_reduce_task_that_misses_a_map_output_names_it(around: Surroundings) -> None:
    gone = Segment(None, "shuffle_3_1_9_0", 0, 10, ("b",), 3, 1)
    failure = run(around, reduced(None), segments=[Segment(dump_records([("a", 1)])), gone]).failure
    assert failure is not None
    assert (failure.kind, failure.segment) == (FailureKind.FETCH, gone)
    assert failure.text == "map output 1 of shuffle 3 is gone"


def test_users_merge_function_that_raises_on_either_side_is_the_users_error(around: Surroundings) -> None:
    def merge(a: int, b: int) -> int:
        raise KeyError("the user's own")

    aggregator = Aggregator(None, merge, merge)
    pairs = [("a", 1), ("a", 2)]
    map_side = run(around, source(pairs), ShuffleWrite(1, portable_hash, aggregator)).failure
    reduce_side = run(around, reduced(aggregator), segments=[Segment(dump_records([p])) for p in pairs]).failure
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


# ------------------------------------------------------------------------------------------------ programs
def test_programs_keeps_those_used_last() -> None:
    programs = Programs()
    for i in range(Programs.LIMIT):
        assert programs.use(str(i), i) == i
    assert programs.use("0", None) == 0
    programs.use("one more", 1)
    assert programs.knows("0")
    assert not programs.knows("1")


def test_programs_of_a_worker_and_its_executors_twin_agree() -> None:
    """The executor notes a name where the worker keeps a program: both forget the same."""
    worker, twin = Programs(), Programs()
    for i in range(1000):
        name = str(i * i % 97)
        known = twin.knows(name)
        twin.use(name, True)
        assert worker.use(name, None if known else f"program {name}") == f"program {name}"


def test_task_runs_a_program_that_came_with_an_earlier_task(around: Surroundings) -> None:
    runner = TaskRunner(around)
    stage = Stage(5, source([1]), COLLECT)
    shipped = stage.ship()
    spec = TaskSpec(7, 1, 5, 0, 0, shipped.name, {(0, 0): dump_records([1])}, {}, {}, {})
    assert loads(runner.run(spec, shipped.data).value) == [1]
    later = spec._replace(task_id=8, inputs={(0, 0): dump_records([2])})
    assert loads(runner.run(later, None).value) == [2]
