"""Arguments that can't be right are refused where they are given, and not in a task or a batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headwater import RDD, SparkContext
from headwater.errors import IllegalArgumentException
from headwater.streaming import DStream, StreamingContext

#: Arguments that an operation needs besides the one that is tried.
OTHERS: dict[str, Any] = {
    "num": 1,
    "zeroValue": 0,
    "windowDuration": 2,
    "slideDuration": 1,
    "numPartitions": 2,
    "name": "output",
    "query": "SELECT 1",
    "topic": "topic",
    "kafkaParams": {"bootstrap.servers": "localhost:1"},
}


def takes_function(parameter: inspect.Parameter) -> bool:
    return any(word in str(parameter.annotation) for word in ("Callable", "Hash"))


def functions_of(kind: type) -> list[tuple[str, str]]:
    """(operation, argument) of all functions that the public methods of a class take."""
    return [
        (name, parameter.name)
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_")
        for parameter in inspect.signature(method).parameters.values()
        if takes_function(parameter)
    ]


def called_with(target: Any, operation: str, argument: str, value: Any) -> Any:
    """Call an operation with a value for one argument, and with what is right for all others that it needs."""
    method = getattr(target, operation)
    arguments = {}
    for name, parameter in inspect.signature(method).parameters.items():
        if name == argument:
            arguments[name] = value
        elif name == "other":
            arguments[name] = target
        elif parameter.default is parameter.empty:
            arguments[name] = (lambda a, b: a) if takes_function(parameter) else OTHERS[name]
    return method(**arguments)


@pytest.fixture
def ssc(sc: SparkContext) -> Iterator[StreamingContext]:
    made = StreamingContext(sc, 1)
    yield made
    made.stop(stopSparkContext=False)


@pytest.mark.parametrize(("operation", "argument"), functions_of(RDD))
def test_rdd_refuses_what_is_no_function(sc: SparkContext, operation: str, argument: str) -> None:
    with pytest.raises(TypeError, match=f"{argument} should be a function, got 30 of type int"):
        called_with(sc.parallelize([(1, 2)]), operation, argument, 30)


@pytest.mark.parametrize(("operation", "argument"), functions_of(DStream))
def test_stream_refuses_what_is_no_function(ssc: StreamingContext, operation: str, argument: str) -> None:
    with pytest.raises(TypeError, match="function.*30"):
        called_with(ssc.queueStream([]), operation, argument, 30)


def test_all_operations_that_take_functions_are_tried() -> None:
    assert len(functions_of(RDD)) > 40 and len(functions_of(DStream)) > 25


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [((30, 10), "func, None, 30, 10"), ((30, 10, 5), "func, None, 30, 10, 5"), ((2.5, 10), "func, None, 2.5, 10")],
)
def test_window_in_the_place_of_the_inverse_function_is_pointed_out(
    ssc: StreamingContext, arguments: tuple[float, ...], meant: str
) -> None:
    pairs = ssc.queueStream([]).map(lambda word: (word, 1))
    text = rf"the second argument, invFunc, .*; got {arguments[0]}. Did you mean reduceByKeyAndWindow\({meant}\)\?"
    with pytest.raises(TypeError, match=text):
        pairs.reduceByKeyAndWindow(lambda a, b: a + b, *arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "use",
    [
        lambda ssc, stream: ssc.transform([stream], 30),
        lambda ssc, stream: ssc.socketStream("localhost", 1, 30),
        lambda ssc, stream: StreamingContext.getOrCreate("/nowhere", 30),  # type: ignore[arg-type]
        lambda ssc, stream: StreamingContext.getActiveOrCreate("/nowhere", 30),  # type: ignore[arg-type]
    ],
)
def test_context_refuses_what_is_no_function(ssc: StreamingContext, use: Callable[[Any, Any], Any]) -> None:
    with pytest.raises(TypeError, match="should be a function, got 30 of type int"):
        use(ssc, ssc.queueStream([]))


@pytest.mark.parametrize(
    "use",
    [
        lambda ssc, stream, rdd: stream.join(rdd),
        lambda ssc, stream, rdd: stream.cogroup(rdd),
        lambda ssc, stream, rdd: stream.union(rdd),
        lambda ssc, stream, rdd: stream.transformWith(lambda a, b: a, rdd),
        lambda ssc, stream, rdd: ssc.union(stream, rdd),
        lambda ssc, stream, rdd: ssc.transform([stream, rdd], lambda rdds: rdds[0]),
    ],
)
def test_rdd_in_the_place_of_a_stream_is_refused(ssc: StreamingContext, use: Callable[[Any, Any, Any], Any]) -> None:
    with pytest.raises(TypeError, match="expected (a DStream|DStreams), got .* of type RDD"):
        use(ssc, ssc.queueStream([]), ssc.sparkContext.parallelize([(1, 2)]))


@pytest.mark.parametrize(
    "use",
    [
        lambda stream, n: stream.reduceByKey(max, n),
        lambda stream, n: stream.groupByKey(n),
        lambda stream, n: stream.partitionBy(n),
        lambda stream, n: stream.repartition(n),
        lambda stream, n: stream.join(stream, n),
        lambda stream, n: stream.updateStateByKey(max, n),
        lambda stream, n: stream.reduceByKeyAndWindow(max, None, 2, 1, n),
        lambda stream, n: stream.groupByKeyAndWindow(2, 1, n),
    ],
)
def test_stream_refuses_a_number_of_partitions_that_is_none(
    ssc: StreamingContext, use: Callable[[Any, Any], Any]
) -> None:
    with pytest.raises(TypeError, match="numPartitions should be an int, got '4'"):
        use(ssc.queueStream([]), "4")
    with pytest.raises(IllegalArgumentException, match="numPartitions must be positive, got 0"):
        use(ssc.queueStream([]), 0)


@pytest.mark.parametrize(
    "use",
    [
        lambda ssc, seconds: ssc.remember(seconds),
        lambda ssc, seconds: ssc.queueStream([]).window(seconds),
        lambda ssc, seconds: ssc.queueStream([]).window(2, seconds),
        lambda ssc, seconds: ssc.queueStream([]).countByWindow(seconds, 1),
        lambda ssc, seconds: ssc.queueStream([]).reduceByWindow(max, None, 2, seconds),
        lambda ssc, seconds: ssc.queueStream([]).reduceByKeyAndWindow(max, None, seconds),
        lambda ssc, seconds: ssc.queueStream([]).checkpoint(seconds),
        lambda ssc, seconds: ssc.awaitTermination(seconds),
        lambda ssc, seconds: ssc.awaitTerminationOrTimeout(seconds),
    ],
)
def test_duration_that_is_no_number_is_refused(ssc: StreamingContext, use: Callable[[Any, Any], Any]) -> None:
    with pytest.raises((TypeError, ValueError), match="number of seconds.*'30'"):
        use(ssc, "30")
