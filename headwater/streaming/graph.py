"""The stream graph: inputs, outputs, and what a batch needs of them.

- Outputs are numbered in the order of definition. What no output needs is never computed.
- One lock guards the nodes: batches are generated on one thread, `slice` is called from any.
- An output whose generation fails fails alone; the others of the batch go on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from headwater.errors import IllegalArgumentException
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.operators.node import Node
from headwater.streaming.operators.output import Output
from headwater.streaming.runtime.batches import OutputJob

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger("headwater.streaming.graph")


class InputNode(Node):
    """A stream without parents.

    Args:
        stream_id: from 0, in the order of definition.
        batch_ms: the batch interval, which is its slide.
    """

    def __init__(self, stream_id: int, batch_ms: int) -> None:
        super().__init__((), batch_ms)
        self.stream_id = stream_id

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        """What the stream brought into a batch that was computed; None if there is nothing to say."""
        return None

    def released(self, until_ms: int) -> list[str]:
        """Ids of received blocks that nobody needs after `forget(until_ms)`; they are handed out once."""
        return []

    def stop(self) -> None:
        """The application ends: close what is open. Called once."""

    def describe(self) -> str:
        return f"{type(self).__name__} {self.stream_id}"


class ReceivingNode(InputNode):
    """An input stream whose blocks come from a receiver."""

    def allocate(self, time_ms: int, blocks: Any) -> None:
        """The blocks of a batch, before it is computed."""
        raise NotImplementedError


class Graph:
    """All streams of a StreamingContext.

    Args:
        batch_ms: the batch interval.
    """

    def __init__(self, batch_ms: int) -> None:
        self.batch_ms = batch_ms
        self.remember_ms: int | None = None  # what `StreamingContext.remember` asked for
        self.inputs: list[InputNode] = []  # position = stream id
        self.outputs: list[Output] = []  # position = output id
        self._nodes: list[Node] = []  # all that inputs and outputs reach; fixed by start
        self._lock = threading.RLock()

    # -------------------------------------------------------------------------------------------- construction
    def add_input(self, make: Callable[[int], InputNode]) -> InputNode:
        """Add the input stream that `make(stream id)` returns."""
        with self._lock:
            node = make(len(self.inputs))
            self.inputs.append(node)
            return node

    def add_output(self, output: Output) -> None:
        """Add an output operation."""
        with self._lock:
            self.outputs.append(output)

    def validate(self) -> None:
        """See to it that there is something to do.

        Raises:
            IllegalArgumentException: there is no output.
        """
        if not self.outputs:
            raise IllegalArgumentException(
                "requirement failed: No output operations registered, so nothing to execute. "
                "Call foreachRDD, pprint or another output operation on a stream before start()."
            )

    def start(self, zero_ms: int) -> None:
        """Fix the zero time and how long each stream remembers."""
        with self._lock:
            for node in [*(output.parent for output in self.outputs), *self.inputs]:
                node.start(zero_ms, 0)
            self._nodes = list(self._reachable())
            for node in self._nodes:
                node.remember_ms = max(node.remember_ms, self.remember_ms or 0)

    # -------------------------------------------------------------------------------------------- batches
    def generate(self, time_ms: int, blocks: Mapping[int, Any]) -> tuple[OutputJob, ...]:
        """The jobs of a batch, in order. `blocks`: what receivers brought, by stream id."""
        with self._lock:
            for node in self.inputs:
                if isinstance(node, ReceivingNode):
                    node.allocate(time_ms, blocks.get(node.stream_id))
            jobs = []
            for output_id, output in enumerate(self.outputs):
                try:
                    run = output.job(time_ms)
                except Exception as error:
                    logger.error("Error generating jobs for time %d ms: output %s", time_ms, output.name)
                    run = _raiser(error)
                if run is not None:
                    jobs.append(OutputJob(time_ms, output_id, output.name, output.description, run))
            return tuple(jobs)

    def brought(self, time_ms: int) -> dict[int, StreamInputInfo]:
        """What each input stream brought into a batch that was generated."""
        with self._lock:
            found = ((node.stream_id, node.brought(time_ms)) for node in self.inputs)
            return {stream_id: info for stream_id, info in found if info is not None}

    def forget(self, until_ms: int, *, unpersist: bool) -> list[str]:
        """All batches up to `until_ms` are done: drop what no stream remembers; returns the blocks to remove."""
        with self._lock:
            for node in self._nodes:
                node.forget(until_ms, unpersist=unpersist)
            return [block for node in self.inputs for block in node.released(until_ms - node.remember_ms)]

    def slice(self, node: Node, from_ms: int, to_ms: int) -> list[RDD[Any]]:
        """The RDDs of a stream in a closed interval of time that lies within the batches generated so far."""
        with self._lock:
            node.is_due(from_ms)  # says so if the context has not started
            zero, slide = node.zero_ms or 0, node.slide_ms
            first = max(from_ms - zero + slide - 1, slide) // slide
            rdds = (node.rdd(zero + k * slide) for k in range(first, (to_ms - zero) // slide + 1))
            return [rdd for rdd in rdds if rdd is not None]

    def stop(self) -> list[str]:
        """Close the inputs; returns all received blocks that are still held."""
        with self._lock:
            for node in self.inputs:
                node.stop()
            return [block for node in self.inputs for block in node.released(2**63)]

    def _reachable(self) -> Iterator[Node]:
        seen: set[int] = set()
        todo: list[Node] = [*(output.parent for output in self.outputs), *self.inputs]
        while todo:
            node = todo.pop()
            if id(node) not in seen:
                seen.add(id(node))
                todo.extend(node.parents)
                yield node


def _raiser(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail
