"""mapWithState against a model that takes one record after the other."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, NoSuchElementException, SparkException
from headwater.rdd.partitioner import Partitioner
from headwater.streaming import State, StateSpec, StreamingContext
from headwater.testing import StreamHarness
from tests.streaming.conftest import Harness

KEYS = st.one_of(st.integers(0, 2), st.sampled_from([True, 1.0, None, "a", (1, "a")]))
STEPS = st.sampled_from(["add", "look", "remove", "both", "change"])
BATCHES = st.lists(st.lists(st.tuples(KEYS, STEPS), max_size=6), min_size=1, max_size=8)


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


def stepped(key: Any, step: str | None, state: State, *, as_list: bool = False) -> Any:
    """What a record does to its key's state; tells what it saw."""
    seen = (repr(key if key != 1 else 1), step, state.exists(), state.isTimingOut(), repr(state.getOption()))
    if step == "add":
        number = (len(state.get()) if as_list else state.get()) if state.exists() else 0
        state.update([0] * (number + 1) if as_list else number + 1)
    elif step == "remove" and state.exists():
        state.remove()
    elif step == "both":
        state.update([7] if as_list else 7)
        state.remove()
    elif step == "change" and as_list and state.exists():
        changed = [*state.get(), 1]
        state.get().append(1)
        state.update(changed)
    return seen


def timed_step(time: datetime, key: Any, step: str | None, state: State) -> Any:
    seen = stepped(key, step, state)
    return None if step == "look" else (time.timestamp(), seen)


class Model:
    """One record after the other, in one dict."""

    def __init__(self, *, as_list: bool, timeout: int | None, initial: list[tuple[Any, Any]]) -> None:
        self.states: dict[Any, tuple[Any, int]] = {key: (value, 1) for key, value in initial}
        self._as_list = as_list
        self._timeout = timeout

    def batch(self, time: int, records: list[tuple[Any, str]]) -> list[Any]:
        out = []
        for key, step in records:
            held = self.states.get(key)
            state = State() if held is None else State(list(held[0]) if self._as_list else held[0])
            out.append(stepped(key, step, state, as_list=self._as_list))
            if state.exists():
                self.states[key] = (state.get(), time)
            else:
                self.states.pop(key, None)
        if self._timeout is not None:
            for key, (value, touched) in list(self.states.items()):
                if time - touched > self._timeout:
                    out.append(stepped(key, None, State(value, timing_out=True), as_list=self._as_list))
                    del self.states[key]
        return out

    def snapshot(self) -> Counter[str]:
        return Counter(repr((key if key != 1 else 1, value)) for key, (value, _) in self.states.items())


def snapshot(pairs: list[Any]) -> Counter[str]:
    return Counter(repr((key if key != 1 else 1, value)) for key, value in pairs)


def by_key(records: list[Any]) -> dict[str, list[Any]]:
    """What was seen of each key, in order."""
    found: dict[str, list[Any]] = {}
    for record in records:
        found.setdefault(record[0], []).append(record)
    return found


def counted(key: Any, value: int | None, state: State) -> tuple[Any, int]:
    state.update((state.getOption() or 0) + (value or 0))
    return key, state.get()


# ------------------------------------------------------------------------------------------------ what it computes
@pytest.mark.parametrize("as_list", [False, True], ids=["atoms", "lists"])
@settings(max_examples=20)
@given(
    batches=BATCHES,
    timeout=st.one_of(st.none(), st.integers(1, 3)),
    initial=st.dictionaries(KEYS, st.just(2), max_size=3),
    partitions=st.integers(1, 3),
)
def test_records_and_snapshots_are_those_of_the_model(
    sc: SparkContext, as_list: bool, batches: Any, timeout: int | None, initial: dict[Any, Any], partitions: int
) -> None:
    pairs = [(key, [value] if as_list else value) for key, value in initial.items()]
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        spec = StateSpec.function(partial(stepped, as_list=as_list)).initialState(pairs).numPartitions(partitions)
        if timeout is not None:
            spec.timeout(timeout)
        stream = harness.stream(batches).mapWithState(spec)
        out = harness.collect(stream, by_key)
        snapshots = harness.collect(stream.stateSnapshots(), snapshot)
        harness.run(len(batches) + 4)
    model = Model(as_list=as_list, timeout=timeout, initial=pairs)
    for n, batch in enumerate([*batches, [], [], [], []]):
        assert out[n] == by_key(model.batch(n + 1, batch))
        assert snapshots[n] == model.snapshot()


@settings(max_examples=10)
@given(batches=BATCHES)
def test_function_of_four_gets_the_batch_time_and_leaves_out_its_none(sc: SparkContext, batches: Any) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        out = harness.collect(harness.stream(batches).mapWithState(StateSpec.function(timed_step)))
        infos = harness.run(len(batches))
    model = Model(as_list=False, timeout=None, initial=[])
    for n, batch in enumerate(batches):
        seen = [record for record in model.batch(n, batch) if record[1] != "look"]
        assert by_key([record for _, record in out[n]]) == by_key(seen)
        assert {time for time, _ in out[n]} <= {infos[n].batchTime().milliseconds() / 1000}


def test_none_is_a_record_when_the_function_has_three_arguments(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        spec = StateSpec.function(lambda key, value, state: None)
        out = harness.collect(harness.stream([[("a", 1), ("a", 2)]]).mapWithState(spec))
        harness.run(2)
    assert out == [[None, None], []]


def test_key_times_out_in_the_first_batch_after_more_than_its_timeout(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        spec = StateSpec.function(lambda key, value, state: (key, state.isTimingOut())).timeout(2)
        stream = harness.stream([[("a", 1)], [], [("b", 1)]])
        touched = stream.mapWithState(spec.initialState([("a", 0), ("b", 0), ("c", 0)]))
        out = harness.collect(touched, sorted)
        harness.run(7)
    assert out == [[("a", False)], [], [("b", False)], [("a", True), ("c", True)], [], [("b", True)], []]


def test_change_in_place_is_forgotten_without_an_update(sc: SparkContext) -> None:
    def change(key: Any, value: int, state: State) -> list[int]:
        if not state.exists():
            state.update([])
        state.get().append(value)
        return list(state.get())

    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        stream = harness.stream([[("a", 1)], [("a", 2)], [("a", 3)]])
        out = harness.collect(stream.mapWithState(StateSpec.function(change)))
        harness.run(3)
    assert out == [[[1]], [[1, 2]], [[1, 3]]]


def test_state_is_partitioned_as_the_spec_says(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        spec = StateSpec.function(counted).partitioner(Partitioner(3, lambda key: key))
        stream = harness.stream([[(n, n) for n in range(6)]]).mapWithState(spec)
        out = harness.collect(stream.glom(), lambda parts: [sorted(part) for part in parts])
        snapshots = harness.collect(stream.stateSnapshots().glom(), lambda parts: [sorted(part) for part in parts])
        harness.run()
    assert out == snapshots == [[[(0, 0), (3, 3)], [(1, 1), (4, 4)], [(2, 2), (5, 5)]]]


def test_windows_over_the_records_and_the_snapshots(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        stream = harness.stream([[("a", n)] for n in range(6)]).mapWithState(StateSpec.function(counted))
        out = harness.collect(stream.window(1, 2))
        snapshots = harness.collect(stream.stateSnapshots().window(2, 3))
        harness.run(6)
    assert out == [[("a", 1)], [("a", 6)], [("a", 15)]]
    assert snapshots == [[("a", 1), ("a", 3)], [("a", 10), ("a", 15)]]


# ------------------------------------------------------------------------------------------------ what it costs
@pytest.mark.parametrize("snapshots_first", [True, False])
def test_function_is_called_once_a_record_when_records_and_snapshots_are_read(
    sc: SparkContext, snapshots_first: bool
) -> None:
    calls = sc.accumulator(0)

    def count(key: Any, value: int | None, state: State) -> tuple[Any, int]:
        calls.add(1)
        return counted(key, value, state)

    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        pairs = harness.stream([[("a", 1), ("b", 2), ("a", 3)], [("b", 1)], []])
        stream = pairs.mapWithState(StateSpec.function(count))
        readers = [lambda: harness.collect(stream), lambda: harness.collect(stream.map(lambda pair: pair))]
        if snapshots_first:
            snapshots = harness.collect(stream.stateSnapshots(), dict)
        out, again = (read() for read in readers)
        if not snapshots_first:
            snapshots = harness.collect(stream.stateSnapshots(), dict)
        harness.run(3)
    assert snapshots == [{"a": 4, "b": 2}, {"a": 4, "b": 3}, {"a": 4, "b": 3}]
    assert sorted(out[0]) == sorted(again[0]) == [("a", 1), ("a", 4), ("b", 2)]
    assert calls.value == 4


# ------------------------------------------------------------------------------------------------ faults
def test_batch_whose_function_raises_is_left_out_whole(sc: SparkContext) -> None:
    def unlucky(key: Any, value: int | None, state: State) -> tuple[Any, int]:
        if value == 13:
            raise ValueError("unlucky")
        return counted(key, value, state)

    with Harness(sc) as harness:
        harness.checkpoint()
        batches = [[(0, 1), (1, 1)], [(0, 5), (1, 13)], [(1, 2)], [(0, 1)]]
        spec = StateSpec.function(unlucky).numPartitions(2).timeout(10)
        stream = harness.stream(batches).mapWithState(spec)
        out = harness.collect(stream, sorted)
        snapshots = harness.collect(stream.stateSnapshots(), dict)
        harness.run(4)
    assert out == [[(0, 1), (1, 1)], [(1, 3)], [(0, 2)]]
    assert snapshots == [{0: 1, 1: 1}, {0: 1, 1: 3}, {0: 2, 1: 3}]


@pytest.mark.parametrize("own", [("local[2]", {}), ("local-cluster[2,1,512]", {})], indirect=True)
@pytest.mark.parametrize("timeout", [None, 2])
def test_records_are_exact_when_the_worker_that_holds_the_state_is_killed(
    own: StreamHarness, timeout: int | None, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"

    def deadly(key: Any, value: str | None, state: State) -> Any:
        if value == "add" and state.getOption() == 3 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return stepped(key, value, state)

    batches = [[(key, "add" if key % 2 or n < 5 else "look") for key in range(n % 3, 6)] for n in range(8)]
    spec = StateSpec.function(deadly).numPartitions(4)
    if timeout is not None:
        spec.timeout(timeout)
    stream = own.stream(batches).mapWithState(spec)
    out = own.collect(stream, by_key)
    snapshots = own.collect(stream.stateSnapshots(), snapshot)
    own.run(12)
    assert killed.exists()
    model = Model(as_list=False, timeout=timeout, initial=[])
    for n, batch in enumerate([*batches, [], [], [], []]):
        assert out[n] == by_key(model.batch(n + 1, batch))
        assert snapshots[n] == model.snapshot()


@pytest.mark.parametrize("own", [("local[2]", {"headwater.streaming.state.memoryLimit": "1b"})], indirect=True)
def test_records_are_exact_when_the_state_is_larger_than_memory(own: StreamHarness) -> None:
    batches = [[(key, ("add", "look", "remove")[(key + n) % 3]) for key in range(n % 4, 30, 3)] for n in range(10)]
    stream = own.stream(batches).mapWithState(StateSpec.function(stepped).numPartitions(2).timeout(2))
    out = own.collect(stream, by_key)
    snapshots = own.collect(stream.stateSnapshots(), snapshot)
    own.run(14)
    model = Model(as_list=False, timeout=2, initial=[])
    for n, batch in enumerate([*batches, [], [], [], []]):
        assert out[n] == by_key(model.batch(n + 1, batch))
        assert snapshots[n] == model.snapshot()


@pytest.mark.parametrize("own", [("local[2]", {"spark.streaming.concurrentJobs": "2"})], indirect=True)
def test_records_are_exact_when_jobs_run_side_by_side(own: StreamHarness) -> None:
    seen: dict[Any, dict[Any, int]] = {}
    stream = own.stream([[(key, 1) for key in range(4)] for _ in range(30)]).mapWithState(StateSpec.function(counted))
    stream.foreachRDD(lambda time, rdd: seen.__setitem__(time, dict(rdd.collect())))
    snapshots = own.collect(stream.stateSnapshots(), dict)
    own.start()
    own.clock.advance(29_000)
    own.run(1)
    own.ssc.stop(stopSparkContext=False, stopGraceFully=True)
    expected = [dict.fromkeys(range(4), n) for n in range(1, 31)]
    assert [seen[time] for time in sorted(seen)] == expected
    assert sorted(snapshots, key=lambda pairs: pairs[0]) == expected


# ------------------------------------------------------------------------------------------------ what is refused
def test_start_without_a_checkpoint_directory_says_how_to_set_it(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 1)
    ssc.queueStream([[("a", 1)]]).mapWithState(StateSpec.function(counted)).pprint()
    with pytest.raises(IllegalArgumentException, match="The checkpoint directory has not been set. Please set it by"):
        ssc.start()
    ssc.stop(stopSparkContext=False)


@pytest.mark.parametrize(
    ("make", "kind", "text"),
    [
        (lambda: StateSpec.function(lambda a: a), AssertionError, "three or four arguments"),
        (lambda: StateSpec.function(counted).numPartitions(0), ValueError, "whole number of 1 or more, not 0"),
        (lambda: StateSpec.function(counted).numPartitions(True), ValueError, "not True"),
        (lambda: StateSpec.function(counted).partitioner(3), TypeError, "Partitioner, got int"),
        (lambda: StateSpec.function(counted).timeout(0), ValueError, "timeout"),
        (lambda: StateSpec.function(counted).timeout("2s"), (TypeError, ValueError), "timeout"),
    ],
)
def test_spec_refuses_what_makes_no_sense(make: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text):
        make()


def test_stream_refuses_what_is_no_spec(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 1)
    with pytest.raises(TypeError, match="expected a StateSpec, such as StateSpec.function\\(f\\), got function"):
        ssc.queueStream([]).mapWithState(stepped)
    ssc.stop(stopSparkContext=False)


def test_state_errors_have_sparks_words() -> None:
    with pytest.raises(NoSuchElementException, match="^State is not set$"):
        State().get()
    removed = State(1)
    removed.remove()
    assert not removed.exists()
    with pytest.raises(IllegalArgumentException, match="Cannot update the state after it has been removed"):
        removed.update(2)
    with pytest.raises(IllegalArgumentException, match="Cannot remove the state that has already been removed"):
        removed.remove()
    ending = State(1, timing_out=True)
    assert ending.isTimingOut() and ending.get() == 1
    with pytest.raises(IllegalArgumentException, match="Cannot update the state that is timing out"):
        ending.update(2)
    with pytest.raises(IllegalArgumentException, match="Cannot remove the state that is timing out"):
        ending.remove()


def test_state_error_of_a_record_fails_its_batch_with_it(sc: SparkContext) -> None:
    with StreamHarness(1.0, sc) as harness:
        harness.checkpoint()
        harness.collect(harness.stream([[("a", 1)]]).mapWithState(StateSpec.function(lambda k, v, s: s.get())))
        with pytest.raises((NoSuchElementException, SparkException), match="State is not set"):
            harness.run()
