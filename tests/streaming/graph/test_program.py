"""The pickled program: what it brings along, what it makes anew, and what it can't hold, by name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import SerializationError
from headwater.streaming import DStream, StreamingContext
from headwater.streaming.graph.program import dump_graph, load_graph


@pytest.fixture
def sc(no_context: None) -> Iterator[SparkContext]:
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("program")) as made:
        yield made


@pytest.fixture
def ssc(sc: SparkContext) -> StreamingContext:
    return StreamingContext(sc, 1)


@pytest.fixture
def lines(ssc: StreamingContext) -> DStream:
    return ssc.socketTextStream("localhost", 9999)


def loaded(ssc: StreamingContext) -> Any:
    """The graph as another context gets it."""
    other = StreamingContext(ssc.sparkContext, 1)
    placed = {each.kept_as: each for each in (ssc.sparkContext, other, other._waiter)}
    return load_graph(dump_graph(ssc.graph), ssc.sparkContext, placed)


def nothing(rdd: Any) -> None:
    pass


def output_function(graph: Any) -> Callable[..., Any]:
    function: Callable[..., Any] = graph.outputs[0].sink.function
    return function


def test_contexts_are_those_of_whoever_loads_it(ssc: StreamingContext, lines: DStream) -> None:
    lines.foreachRDD(lambda rdd: (ssc, ssc.sparkContext))
    graph = loaded(ssc)
    other, sc = output_function(graph)(None)
    assert other is not ssc and isinstance(other, StreamingContext)
    assert sc is ssc.sparkContext
    assert graph.inputs[0]._sc is sc


def test_broadcast_goes_along_with_its_value_and_is_made_once(ssc: StreamingContext, lines: DStream) -> None:
    table = ssc.sparkContext.broadcast({"a": 1})
    lines.foreachRDD(lambda rdd: table)
    lines.map(lambda line: table.value[line]).foreachRDD(lambda rdd: table)
    graph = loaded(ssc)
    first, second = (output.sink.function(None) for output in graph.outputs)
    assert first is second and first.id != table.id
    assert first.value == {"a": 1}
    assert ssc.sparkContext.parallelize([0]).map(lambda _: first.value["a"]).collect() == [1]


def test_accumulator_begins_from_zero(ssc: StreamingContext, lines: DStream) -> None:
    counted = ssc.sparkContext.accumulator(0)
    counted.add(5)
    lines.foreachRDD(lambda rdd: counted)
    again = output_function(loaded(ssc))(None)
    assert again is not counted and again.value == 0
    ssc.sparkContext.parallelize([1, 2]).foreach(lambda number: again.add(number))
    assert again.value == 3


def test_streams_are_as_before_their_start_with_all_that_was_set(ssc: StreamingContext, lines: DStream) -> None:
    pairs = lines.map(lambda line: (line, 1))
    counts = pairs.updateStateByKey(lambda new, old: (old or 0) + len(new), 3).uid("counts")
    counts.foreachRDD(nothing)
    lines.uid("lines")
    ssc.remember(60)
    graph = loaded(ssc)
    assert graph.remember_ms == 60_000
    assert [node.uid for node in (*graph.inputs, *graph.states())] == ["lines", "counts"]
    assert graph.states()[0].partitions == 3
    assert graph.inputs[0].zero_ms is None


class Connection:
    """Can't be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def save(self, rdd: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("define", "where"),
    [
        (
            lambda lines, lock: lines.map(lambda line: (line, lock)).foreachRDD(nothing),
            ["the stream of map", "whose variable 'lock' holds a lock: TypeError: cannot pickle '_thread.lock' object"],
        ),
        (
            lambda lines, lock: lines.foreachRDD(lambda rdd: lock),
            ["the output foreachRDD", "whose variable 'lock' holds a lock"],
        ),
        (
            lambda lines, lock: lines.foreachRDD(Connection().save),
            ["the output foreachRDD", "Connection.save (test_program.py:", "whose variable 'self.lock' holds a lock"],
        ),
    ],
)
def test_error_names_stream_function_and_variable_when_something_cannot_be_pickled(
    ssc: StreamingContext, lines: DStream, define: Callable[[DStream, Any], None], where: list[str]
) -> None:
    define(lines, threading.Lock())
    with pytest.raises(SerializationError, match="DStream checkpointing has been enabled but") as caught:
        dump_graph(ssc.graph)
    for part in where:
        assert part in str(caught.value)


def test_error_comes_at_the_start_when_there_is_a_checkpoint_directory(
    ssc: StreamingContext, lines: DStream, tmp_path: Any
) -> None:
    lock = threading.Lock()
    lines.foreachRDD(lambda rdd: lock)
    ssc.checkpoint(str(tmp_path))
    with pytest.raises(SerializationError, match="variable 'lock'"):
        ssc.start()
