"""updateStateByKey against a fold over the batches."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException
from headwater.streaming import StreamingContext
from headwater.testing import StreamHarness
from tests.engine.processes import executors
from tests.streaming.conftest import Harness

KEYS = st.one_of(st.integers(0, 3), st.sampled_from([True, 1.0, None, "a", "b", (1, "a"), (1.0, None)]))
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.integers(-3, 3)), max_size=6), min_size=1, max_size=7)


@pytest.fixture(scope="session", params=["local", "local[2]"])
def master(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def own(no_context: None, request: pytest.FixtureRequest) -> Iterator[StreamHarness]:
    """A harness with a master and settings of the test's: `parametrize("own", [(master, {...})], indirect=True)`."""
    name, more = request.param
    conf = SparkConf(loadDefaults=False).setMaster(name).setAppName("state").setAll(more.items())
    with SparkContext(conf=conf) as sc, StreamHarness(1.0, sc) as made:
        made.checkpoint()
        yield made


def summed(values: list[int], state: int | None) -> int | None:
    total = (state or 0) + sum(values)
    return total or None


def appended(values: list[int], state: list[int] | None) -> list[int] | None:
    """Changes its state in place; a 0 drops the key."""
    state = [] if state is None else state
    state.append(len(values))
    state.extend(sorted(values))
    return None if 0 in values else state


def fold(
    batches: list[list[Any] | None], function: Callable[[list[Any], Any], Any], initial: list[Any]
) -> list[dict[Any, Any]]:
    """The state after each batch; None stands for a batch without an RDD."""
    state, seen = dict(initial), []
    for batch in batches:
        if batch is not None:
            values = defaultdict(list)
            for key, value in batch:
                values[key].append(value)
            updated = {key: function(values[key], state.get(key)) for key in [*state, *values.keys() - state.keys()]}
            state = {key: value for key, value in updated.items() if value is not None}
        seen.append({key: list(value) if type(value) is list else value for key, value in state.items()})
    return seen


def in_two(key: Any) -> int:
    return 1 if key is None or isinstance(key, tuple) else 0


def failed(harness: StreamHarness, batches: int) -> list[bool]:
    """Lets batches pass; returns which of them failed."""
    harness.start()
    infos = [harness.runBatch() for _ in range(batches)]
    return [any(o.failureReason() is not None for o in i.outputOperationInfos().values()) for i in infos]


# ------------------------------------------------------------------------------------------------ what it computes
@pytest.mark.parametrize("function", [summed, appended])
@settings(max_examples=12)
@given(batches=BATCHES, initial=st.lists(st.tuples(KEYS, st.just(2)), max_size=3), data=st.data())
def test_state_is_a_fold_over_the_batches(
    sc: SparkContext, function: Callable[[list[Any], Any], Any], batches: list[Any], initial: list[Any], data: Any
) -> None:
    if function is appended:
        initial = [(key, [value]) for key, value in initial]
    initial = list(dict(initial).items())
    partitions = data.draw(st.integers(1, 3), "partitions")
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        begun = sc.parallelize(initial) if data.draw(st.booleans(), "initial RDD") else initial
        stream = harness.stream(batches)
        if data.draw(st.booleans(), "custom partitions"):
            state = stream.updateStateByKey(function, 2, begun, in_two)
        else:
            state = stream.updateStateByKey(function, partitions, initialRDD=begun)
        out = harness.collect(state, dict)
        harness.run(len(batches) + 1)
    assert out == fold([*batches, []], function, [(k, list(v) if type(v) is list else v) for k, v in initial])


@settings(max_examples=8)
@given(batches=st.lists(st.one_of(st.none(), st.lists(st.tuples(KEYS, st.integers(-3, 3)), max_size=4)), max_size=6))
def test_state_stays_when_its_parent_has_no_rdd(sc: SparkContext, batches: list[Any]) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        stream = harness.stream([["none"] if batch is None else batch for batch in batches])
        odd = stream.transform(lambda rdd: None if rdd.collect() == ["none"] else rdd)
        out = harness.collect(odd.updateStateByKey(appended, initialRDD=[("z", [9])]), dict)
        harness.run(len(batches) + 1)
    assert out == fold([*batches, []], appended, [("z", [9])])


def test_key_of_the_initial_rdd_is_updated_in_the_first_batch(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        state = harness.stream([[]]).updateStateByKey(lambda new, old: (new, old), initialRDD=[("z", 9)])
        out = harness.collect(state)
        harness.run()
    assert out == [[("z", ([], 9))]]


def test_state_has_all_batches_when_its_reader_leaves_some_out(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        state = harness.stream([[("a", n)] for n in range(1, 7)]).updateStateByKey(summed)
        out = harness.collect(state.window(1, 3))
        harness.run(6)
    assert out == [[("a", 6)], [("a", 21)]]


@settings(max_examples=8)
@given(batches=BATCHES, window=st.integers(1, 4), slide=st.integers(1, 3))
def test_window_over_a_state_has_the_states_of_its_batches(
    sc: SparkContext, batches: list[Any], window: int, slide: int
) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        state = harness.stream(batches).updateStateByKey(summed)
        out = harness.collect(state.window(window, slide), lambda pairs: sorted(map(repr, pairs)))
        harness.run(len(batches))
    states = fold(batches, summed, [])
    expected = [
        sorted(repr(pair) for state in states[max(0, end - window) : end] for pair in state.items())
        for end in range(slide, len(batches) + 1, slide)
    ]
    assert out == expected


# ------------------------------------------------------------------------------------------------ what it costs
def test_function_is_called_once_a_batch_when_two_outputs_read_the_state(sc: SparkContext) -> None:
    calls = sc.accumulator(0)

    def update(values: list[int], state: int | None) -> int:
        calls.add(1)
        return (state or 0) + sum(values)

    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        state = harness.stream([[("a", 1), ("b", 1)]]).updateStateByKey(update)
        out = harness.collect(state, dict)
        more = harness.collect(state.mapValues(lambda v: -v), dict)
        harness.run(3)
    assert out == [{"a": 1, "b": 1}] * 3
    assert more == [{"a": -1, "b": -1}] * 3
    assert calls.value == 6


def shuffles_of(rdd: Any) -> int:
    """How many shuffles an RDD reads, that of its state left out."""
    seen, todo = 0, [rdd]
    while todo:
        dataset = todo.pop()
        if type(dataset.operator).__name__ in ("Reach", "StoredState"):
            continue
        todo += [*dataset.parents, *([dataset.shuffle.parent] if dataset.shuffle else [])]
        seen += dataset.shuffle is not None
    return seen


def test_state_is_joined_without_a_shuffle_when_the_partitions_are_the_same(sc: SparkContext) -> None:
    shuffles = []
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        counts = harness.stream([[("a", 1)], [("b", 2)]]).reduceByKey(max, 3)
        joined = counts.updateStateByKey(summed, 3).join(counts, 3)
        joined.foreachRDD(lambda rdd: shuffles.append(shuffles_of(rdd)))
        out = harness.collect(joined)
        harness.run(2)
    assert out == [[("a", (1, 1))], [("b", (2, 2))]]
    assert shuffles == [1, 1]  # that of reduceByKey


def lineage_depth(rdd: Any) -> int:
    depth, level = 0, [rdd]
    while level:
        depth += 1
        level = [p for d in level for p in (*d.parents, *([d.shuffle.parent] if d.shuffle else []))]
    return depth


def test_lineage_and_files_do_not_grow_with_the_batches(sc: SparkContext) -> None:
    batches = 300
    with StreamHarness(1.0, sc) as harness:
        directory = Path(harness.checkpoint())
        state = harness.stream([[(n % 50, 1)] for n in range(batches)]).updateStateByKey(
            lambda new, old: (old or 0) + len(new) if new or old else None, 2
        )
        depths: list[int] = []
        files: list[int] = []
        state.foreachRDD(lambda rdd: depths.append(lineage_depth(rdd)))
        state.foreachRDD(lambda rdd: files.append(sum(p.is_file() for p in directory.glob("state/**/p*"))))
        out = harness.collect(state, dict)
        harness.run(batches)
        reached = len(state.node._reached)
    assert out[-1] == dict.fromkeys(range(50), batches // 50)
    assert max(depths[10:]) == max(depths[:10])
    assert max(files) > 0
    assert max(files[20:]) <= 2 * 2 * (1 + 7 * 2) + 4  # two versions of two partitions of an image and two levels
    assert reached <= 4


# ------------------------------------------------------------------------------------------------ faults
def test_batch_whose_function_raises_is_left_out_whole(sc: SparkContext) -> None:
    def update(values: list[int], state: int | None) -> int:
        if 13 in values:
            raise ValueError("unlucky")
        return (state or 0) + sum(values)

    with Harness(sc) as harness:
        harness.checkpoint()
        batches = [[(0, 1), (1, 1)], [(0, 5), (1, 13)], [(1, 2)], [(0, 13)], [(0, 13)], [(0, 1)]]
        out = harness.collect(harness.stream(batches).updateStateByKey(update, 2), dict)
        assert failed(harness, 7) == [False, True, False, True, True, False, False]
    assert out == [{0: 1, 1: 1}, {0: 1, 1: 3}, {0: 2, 1: 3}, {0: 2, 1: 3}]


def test_version_is_made_after_all_when_only_an_output_behind_it_fails(sc: SparkContext) -> None:
    def fragile(pair: tuple[Any, int]) -> tuple[Any, int]:
        if pair[1] == 3:
            raise ValueError("three")
        return pair

    with Harness(sc) as harness:
        harness.checkpoint()
        state = harness.stream([[("a", 1)], [("a", 2)], [("a", 3)]]).updateStateByKey(summed)
        out = harness.collect(state.map(fragile))
        assert failed(harness, 3) == [False, True, False]
    assert out == [[("a", 1)], [("a", 6)]]


RETRIES = {"headwater.streaming.failure.policy": "retry", "headwater.streaming.failure.retryWait": "0ms"}


@pytest.mark.parametrize("own", [("local", RETRIES)], indirect=True)
def test_batch_counts_once_when_its_output_is_tried_again(own: StreamHarness) -> None:
    tries = []

    def output(rdd: Any) -> None:
        tries.append(dict(rdd.collect()))
        if len(tries) in (2, 3):
            raise OSError("not now")

    own.stream([[("a", 1)], [("a", 2)], [("a", 4)]]).updateStateByKey(summed).foreachRDD(output)
    own.run(3)
    assert tries == [{"a": 1}, {"a": 3}, {"a": 3}, {"a": 3}, {"a": 7}]


@pytest.mark.parametrize(
    "own", [("local[2]", {}), ("local-cluster[2,1,512]", {})], indirect=True, ids=["local[2]", "local-cluster"]
)
@pytest.mark.parametrize("during", [True, False])
def test_state_is_exact_when_the_worker_that_holds_it_is_killed(
    own: StreamHarness, during: bool, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"

    def kill(pid: int) -> None:
        if not killed.exists():
            killed.touch()
            os.kill(pid, signal.SIGKILL)

    def update(values: list[int], state: int | None) -> int:
        if during and 13 in values:
            kill(os.getpid())
        return (state or 0) + sum(values)

    def between(rdd: Any) -> None:
        if not during and len(out) == 4:
            rdd.foreachPartition(lambda pairs: kill(os.getpid()) if list(pairs) else None)

    batches = [[(key, 13 if n == 4 else n) for key in range(6)] for n in range(8)]
    state = own.stream(batches).updateStateByKey(update, 4)
    out = own.collect(state, dict)
    state.foreachRDD(between)
    own.run(8)
    assert killed.exists()
    assert out == fold(batches, summed_always, [])


@pytest.mark.parametrize("own", [("local-cluster[2,1,512]", {})], indirect=True)
@pytest.mark.parametrize("during", [True, False])
def test_state_is_exact_when_an_executor_is_killed(own: StreamHarness, during: bool, tmp_path: Path) -> None:
    killed, doomed = tmp_path / "killed", tmp_path / "doomed"

    def update(values: list[int], state: int | None) -> int:
        if during and 13 in values and not killed.exists():
            killed.touch()
            os.kill(int(doomed.read_text()), signal.SIGKILL)
        return (state or 0) + sum(values)

    batches = [[(key, 13 if n == 4 else n) for key in range(6)] for n in range(8)]
    out = own.collect(own.stream(batches).updateStateByKey(update, 4), dict)
    own.run(4)
    doomed.write_text(str(executors()[0]))
    if not during:
        os.kill(executors()[0], signal.SIGKILL)
    own.run(4)
    assert killed.exists() or not during
    assert out == fold(batches, summed_always, [])


def summed_always(values: list[int], state: int | None) -> int:
    return (state or 0) + sum(values)


def test_stream_goes_on_when_a_version_cannot_be_stored(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        directory = Path(harness.checkpoint())
        state = harness.stream([[("a", n)] for n in range(1, 9)]).updateStateByKey(summed, 2)
        out = harness.collect(state, dict)
        harness.run(3)
        (segments,) = {path.parent for path in directory.glob("state/**/p*")}
        moved = segments.with_name("moved")
        segments.rename(moved)
        segments.touch()  # a file where the directory was: nothing can be written
        harness.run(2)
        segments.unlink()
        moved.rename(segments)
        stored = state.node._stored.versions()[-1]
        harness.run(3)
        later = state.node._stored.versions()[-1]
    assert out == [{"a": n * (n + 1) // 2} for n in range(1, 9)]
    assert later >= stored + 5000


@pytest.mark.parametrize("own", [("local[2]", {"spark.streaming.concurrentJobs": "2"})], indirect=True)
def test_state_is_exact_when_jobs_run_side_by_side(own: StreamHarness) -> None:
    batches = [[(key, n) for key in range(4)] for n in range(40)]
    state = own.stream(batches).updateStateByKey(summed_always, 2)
    seen: dict[Any, dict[Any, int]] = {}
    state.foreachRDD(lambda time, rdd: seen.__setitem__(time, dict(rdd.collect())))
    out = own.collect(state.map(lambda pair: pair), dict)
    own.start()
    own.clock.advance(39_000)
    own.run(1)
    own.ssc.stop(stopSparkContext=False, stopGraceFully=True)
    expected = fold(batches, summed_always, [])
    assert [seen[time] for time in sorted(seen)] == expected
    assert sorted(out, key=lambda pairs: pairs[0]) == expected


# ------------------------------------------------------------------------------------------------ on disk
@pytest.mark.parametrize("own", [("local[2]", {"headwater.streaming.state.memoryLimit": "1b"})], indirect=True)
def test_state_is_exact_when_it_is_larger_than_memory(own: StreamHarness) -> None:
    batches = [[(key, (n * key) % 5) for key in range(0, 40, n % 3 + 1)] for n in range(12)]
    state = own.stream(batches).updateStateByKey(appended, 3)
    out = own.collect(state, dict)
    windows = own.collect(state.window(2, 2), lambda pairs: sorted(map(repr, pairs)))
    own.run(12)
    expected = fold(batches, appended, [])
    assert out == expected
    assert windows == [
        sorted(repr(pair) for state in expected[end - 2 : end] for pair in state.items()) for end in range(2, 13, 2)
    ]


# ------------------------------------------------------------------------------------------------ what is refused
def test_start_without_a_checkpoint_directory_says_how_to_set_it(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([[("a", 1)]]).updateStateByKey(summed).pprint()
    with pytest.raises(IllegalArgumentException, match="The checkpoint directory has not been set. Please set it by"):
        ssc.start()
    ssc.stop(stopSparkContext=False)


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (1, "1000 ms, which is lower than its slide time \\(2000 ms\\). Please set it to at least 2000 ms"),
        (3, "3000 ms, which is not a multiple of its slide time \\(2000 ms\\). Please set it to at least 4000 ms"),
    ],
)
def test_start_refuses_a_checkpoint_interval_that_does_not_fit_the_slide(
    sc: SparkContext, tmp_path: Path, interval: int, text: str
) -> None:
    ssc = StreamingContext(sc, 1)
    before = sc.checkpoint_directory
    ssc.checkpoint(str(tmp_path))
    stream = ssc.queueStream([[("a", 1)]]).reduceByKeyAndWindow(max, min, 2, 2)
    stream.checkpoint(interval).pprint()
    with pytest.raises(IllegalArgumentException, match=f"checkpoint interval .* has been set to {text}"):
        ssc.start()
    ssc.stop(stopSparkContext=False)
    sc.checkpoint_directory = before


@settings(max_examples=6)
@given(batches=BATCHES, interval=st.integers(2, 4))
def test_state_is_exact_when_only_some_batches_are_stored(sc: SparkContext, batches: list[Any], interval: int) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        state = harness.stream(batches).updateStateByKey(appended).checkpoint(interval)
        out = harness.collect(state, dict)
        harness.run(len(batches))
        stored = state.node._stored.versions()
        zero = state.node.zero_ms
    assert out == fold(batches, appended, [])
    assert all((version - zero) % (interval * 1000) == 0 for version in stored)
