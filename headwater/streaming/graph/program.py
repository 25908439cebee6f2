"""The program of a streaming application as a checkpoint holds it: the stream graph with its functions, pickled.

Objects of the driver that say by `kept_as` what they are (contexts, for example) are left out and put in again when it
is loaded, and so are secrets; broadcasts go along with their values and are sent anew; accumulators begin from zero.
All else that can't be pickled is named, with the stream and the variable, at the start.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from headwater.accumulators import Accumulator
from headwater.base import pickling
from headwater.base.unpicklable import culprit
from headwater.broadcast import Broadcast
from headwater.engine.successors import class_table
from headwater.errors import SerializationError
from headwater.streaming.graph.graph import Graph
from headwater.streaming.graph.node import Node
from headwater.streaming.recovery.secrets import Secrets

if TYPE_CHECKING:
    from headwater.context import SparkContext

# What may be left out: the `kept_as` of the classes of such objects.
PLACED = frozenset({"SparkContext", "StreamingContext", "Waiter"})


def dump_graph(graph: Graph, *, upgraded: bool = False) -> bytes:
    """The graph, pickled. One that the script made gets its `classes`; one of a checkpoint has them.

    Args:
        graph: of a context that is about to start.
        upgraded: whether the script goes on from another one's checkpoint.

    Raises:
        SerializationError: a function of a stream refers to something that can't be pickled; the text names both.
    """
    classes: list[type] = []
    try:
        dumped = _dumps(graph, classes)
    except Exception as error:
        found = next(_culprits(graph), None) or f"{type(error).__name__}: {error}"
        raise SerializationError(
            "DStream checkpointing has been enabled but the DStreams with their functions are not serializable: "
            f"{found}. Make such objects inside the function, or don't set a checkpoint directory."
        ) from error
    if graph.classes:
        return dumped
    graph.classes = class_table(classes, script=upgraded)
    return _dumps(graph)


def load_graph(data: bytes, sc: SparkContext, placed: Mapping[str, Any]) -> Graph:
    """The graph that `dump_graph` wrote.

    Args:
        data: what it returned.
        sc: has the settings of secrets, and makes broadcasts and accumulators anew.
        placed: by their `kept_as`, the objects that take the places of those that were left out.

    Raises:
        Exception: of any kind, where code that the program needs has gone or changed.
    """
    graph: Graph = _GraphUnpickler(io.BytesIO(data), sc, placed).load()
    return graph


# ------------------------------------------------------------------------------------------------ pickling
def _dumps(obj: Any, classes: list[type] | None = None) -> bytes:
    """An object, pickled; the classes that go by value are added to `classes`."""
    buffer = io.BytesIO()
    _pickler()(buffer, [] if classes is None else classes).dump(obj)
    return buffer.getvalue()


@cache
def _pickler() -> Any:
    class Pickler(pickling._pickler()):  # type: ignore[misc]
        def __init__(self, file: io.BytesIO, classes: list[type]) -> None:
            super().__init__(file, pickling.PROTOCOL)
            self._classes = classes

        def reducer_override(self, obj: Any) -> Any:
            reduced = super().reducer_override(obj)
            if isinstance(obj, type) and reduced is not NotImplemented:
                self._classes.append(obj)
            return reduced

        def persistent_id(self, obj: Any) -> Any:
            kept_as = getattr(type(obj), "kept_as", None)
            if kept_as in PLACED:
                return (kept_as,)
            if isinstance(obj, Secrets):
                return "Secrets", type(obj), tuple(obj)
            if isinstance(obj, Broadcast):
                return "Broadcast", obj.id, _dumps(obj.value, self._classes)
            if isinstance(obj, Accumulator):
                return "Accumulator", obj.aid, _dumps((obj.accum_param.zero(obj.value), obj.accum_param), self._classes)
            return None

    return Pickler


class _GraphUnpickler(pickle.Unpickler):
    """Puts the driver's objects in, and makes each shared variable once."""

    def __init__(self, file: io.BytesIO, sc: SparkContext, placed: Mapping[str, Any]) -> None:
        super().__init__(file)
        self._sc = sc
        self._placed = placed
        self._made: dict[tuple[str, int], Any] = {}

    def persistent_load(self, pid: Any) -> Any:
        sc, kind = self._sc, pid[0]
        if kind in PLACED:
            return self._placed[kind]
        if kind == "Secrets":
            return pid[1].found(pid[2], sc.conf)
        key = kind, pid[1]
        if key not in self._made:
            value = _GraphUnpickler(io.BytesIO(pid[2]), sc, self._placed).load()
            self._made[key] = sc.broadcast(value) if kind == "Broadcast" else sc.accumulator(*value)
        return self._made[key]


# ------------------------------------------------------------------------------------------------ what is wrong
def _culprits(graph: Graph) -> Iterator[str]:
    """Functions of the streams that can't be pickled, each with the variable that is why."""
    for output in graph.outputs:
        yield from _blamed(f"the output {output.name}", output.sink)
    for node in graph.nodes():
        for function in _functions(node):
            yield from _blamed(f"the {node.describe()}", function)


def _functions(node: Node) -> Iterator[Callable[..., Any]]:
    for value in vars(node).values():
        for candidate in value if isinstance(value, tuple) else (value,):
            if callable(candidate):
                yield candidate


def _blamed(where: str, function: object) -> Iterator[str]:
    found = culprit(function, _dumps)
    if found is not None:
        yield f"{where} uses {found}: {type(found.error).__name__}: {found.error}"
