"""Functions that stand in a fused loop as expressions do just what calling them does."""

from __future__ import annotations

import operator
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headwater.engine.fusion import combine, transform
from headwater.engine.inlining import Inlined, inlined, recognised
from headwater.engine.lineage import PerRecord

CONSTANT = 1


@pytest.fixture
def untraced() -> Iterator[None]:
    """As in a worker: coverage traces this process, and then nothing is inlined."""
    tracing = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracing)


def value(expression: Inlined, *arguments: Any) -> Any:
    names = [f"a{i}" for i in range(len(arguments))]
    text = expression.text.format(*names, f="f")
    return eval(text, {}, {**dict(zip(names, arguments, strict=True)), "f": expression.constant})


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (lambda x: (x, 1), ("a",)),
        (lambda x: ("k", x), ("a",)),
        (lambda x: x[1], (("a", "b"),)),
        (lambda x: x["k"], ({"k": 7},)),
        (lambda x: x.split(), ("a b",)),
        (lambda x: x.split(","), ("a,b",)),
        (lambda x: x.upper(), ("a",)),
        (lambda a, b: a + b, (1, 2)),
        (operator.add, ("a", "b")),
    ],
)
def test_recognised_function_is_its_expression(function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    expression = recognised(function)
    assert expression is not None
    assert value(expression, *arguments) == function(*arguments)


def test_function_with_def_is_recognised_as_a_lambda_is() -> None:
    def pair(word: str) -> Any:
        return word, 1

    assert recognised(pair) == recognised(lambda word: (word, 1))


def closure(n: int) -> Callable[[Any], Any]:
    return lambda x: (x, n)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x, CONSTANT),
        closure(1),
        lambda x, y=1: (x, 1),
        lambda *x: (x, 1),
        lambda x: (x, 1, 2),
        lambda x: x.split(",", 1),
        lambda x: x.a,
        lambda a, b: b + a,
        lambda a, b: a * b,
        str.split,
        str,
        len,
    ],
)
def test_any_other_function_is_called(function: Callable[..., Any]) -> None:
    assert recognised(function) is None


def test_nothing_is_inlined_while_calls_are_traced(untraced: None) -> None:
    function = lambda x: (x, 1)  # noqa: E731
    assert inlined(function) is not None
    sys.settrace(lambda *_: None)
    assert inlined(function) is None


def test_word_count_is_right_with_all_of_it_inlined(untraced: None) -> None:
    steps = [PerRecord("flatMap", lambda line: line.split(" ")), PerRecord("map", lambda word: (word, 1))]
    assert list(combine(steps, ["a b", "b"], None, lambda a, b: a + b, lambda _n: False)) == [{"a": 1, "b": 2}]


@pytest.mark.parametrize(
    ("step", "record"),
    [
        (PerRecord("map", lambda record: record[0]), 5),
        (PerRecord("flatMap", lambda record: record.split(" ")), 5),
        (PerRecord("filter", lambda record: record.strip()), 5),
        (PerRecord("mapValues", lambda value: value.strip()), ("k", 5)),
        (PerRecord("flatMapValues", lambda value: value.split(",")), ("k", 5)),
    ],
)
def test_error_in_an_inlined_function_shows_its_own_line(untraced: None, step: PerRecord, record: Any) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        list(transform([PerRecord("map", lambda r: (r, 1)), PerRecord("map", lambda r: r[0]), step], [record]))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].filename == __file__


def test_error_in_an_inlined_merge_shows_the_functions_own_line(untraced: None) -> None:
    with pytest.raises(TypeError) as caught:
        list(combine([], [("a", 1), ("a", "x")], None, lambda a, b: a + b, lambda _n: False))
    assert traceback.extract_tb(caught.value.__traceback__)[-1].filename == __file__
