"""A context that is never started: its program ends, or waits, and says nothing. So that's said here.

It knows the graph, and not the context, so that it can tell that the context is gone.
"""

from __future__ import annotations

import logging
import sys
import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headwater.streaming.graph.graph import Graph

logger = logging.getLogger("headwater.streaming.context")

# Another thread may be about to start it: how long awaitTermination waits before it says that none has.
START_SECONDS_MAX = 2.0


def watch(context: Any, graph: Graph, created_at: str) -> weakref.finalize[Any, Any]:
    """Have it said if a context with outputs is collected, or the program ends, before the result is detached."""
    return weakref.finalize(context, _say_it_is_gone, graph, created_at)


def _say_it_is_gone(graph: Graph, created_at: str) -> None:
    if graph.outputs and not hasattr(sys, "last_value"):  # else the program ends by an error, which says more
        names = ", ".join(output.name for output in graph.outputs)
        logger.warning(
            "The StreamingContext made at %s was never started, so nothing was received or processed for its outputs "
            "(%s). Call start() and then awaitTermination().",
            created_at,
            names,
        )


def say_it_waits() -> None:
    """A thread waits for the end of a context that has not begun."""
    logger.warning(
        "awaitTermination() waits for a StreamingContext that has not been started: nothing is received or processed "
        "until start() is called."
    )
