"""What a reader is told of each public method of streaming: its arguments, their units, and an example that runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from headwater.streaming import (
    ConnectionPool,
    ConstantInputDStream,
    DStream,
    Receiver,
    State,
    StateSpec,
    StreamingContext,
    StreamingListener,
)
from headwater.streaming.dstream import MapWithStateDStream
from headwater.testing import StreamHarness

#: A class whose constructor is called by programs says in its own docstring what that takes.
CONSTRUCTED = [ConnectionPool, ConstantInputDStream, StreamHarness, StreamingContext]
CLASSES = [DStream, MapWithStateDStream, State, StateSpec, *CONSTRUCTED]

_NO_PROGRAM = "for connectors and tools, which read more than an example"
#: Methods without an example, and why.
WITHOUT_EXAMPLE = {
    "DStream.node": _NO_PROGRAM,
    "StreamingContext.add_input": _NO_PROGRAM,
    "StreamingContext.add_output": _NO_PROGRAM,
    "StreamingContext.check_can_add": _NO_PROGRAM,
    "StreamingContext.clock": _NO_PROGRAM,
    "StreamingContext.graph": _NO_PROGRAM,
    "StreamingContext.has_started": _NO_PROGRAM,
}

SECTION = re.compile(r"^(Args|Returns|Raises):\n((?:(?: .*)?\n)*)", re.M)
ARGUMENT = re.compile(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", re.M)


class Method(NamedTuple):
    """A public method, or a class for its constructor, as `inspect` sees it."""

    name: str
    told: str
    parameters: dict[str, str]  # annotation by name

    @property
    def arguments(self) -> dict[str, str]:
        """What the docstring says of each argument."""
        sections = dict(SECTION.findall(self.told + "\n"))
        return dict(ARGUMENT.findall(sections.get("Args", "")))


def _method(name: str, told: Any, function: Callable[..., Any]) -> Method:
    parameters = inspect.signature(function).parameters.values()
    return Method(name, inspect.getdoc(told) or "", {p.name: str(p.annotation) for p in parameters if p.name != "self"})


def _methods() -> Iterator[Method]:
    for kind in CONSTRUCTED:
        yield _method(kind.__name__, kind, kind.__init__)
    seen: set[Any] = set()
    for kind in CLASSES:
        for name, found in inspect.getmembers(kind):
            function = found.fget if isinstance(found, property) else found
            if name.startswith("_") or not callable(function) or function in seen:
                continue
            seen.add(function)
            yield _method(f"{kind.__name__}.{name}", found, function)


METHODS = list(_methods())


def test_all_methods_are_looked_at() -> None:
    assert {"DStream.window", "DStream.saveAsTextFiles", "StreamingContext.fileStream"} <= {m.name for m in METHODS}
    assert len(METHODS) > 90


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_each_argument_is_told_in_the_order_of_the_signature(method: Method) -> None:
    told, parameters = list(method.arguments), list(method.parameters)
    if told and "all that follow" in method.arguments[told[-1]]:
        parameters = parameters[: len(told)]
    assert told == parameters


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_each_number_of_seconds_says_that_it_is_one(method: Method) -> None:
    durations = [name for name, annotation in method.parameters.items() if "float" in annotation]
    assert [name for name in durations if not re.search("seconds|likewise", method.arguments[name])] == []


@pytest.mark.parametrize("method", METHODS, ids=[method.name for method in METHODS])
def test_each_method_has_an_example(method: Method) -> None:
    assert (">>> " in method.told) != (method.name in WITHOUT_EXAMPLE)


@pytest.mark.parametrize("kind", [Receiver, StreamingListener])
def test_class_that_programs_extend_shows_how(kind: type) -> None:
    assert f"({kind.__name__}):\n" in (inspect.getdoc(kind) or "")
