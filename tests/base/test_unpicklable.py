from __future__ import annotations

import functools
import re
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from headwater import SparkContext
from headwater.base.pickling import dumps
from headwater.base.unpicklable import culprit
from headwater.errors import SerializationError

LOCK = threading.Lock()


def uses_a_broadcast(rdd: Any) -> Any:
    table = rdd.context.broadcast({"lock": LOCK})
    return rdd.map(lambda record: table.value).collect()


class Job:
    def __init__(self) -> None:
        self.clients = {"main": LOCK}

    def run(self, record: Any) -> Any:
        return record


class Narrow:
    """Gives away only what can be pickled, and one thing that can't."""

    def __init__(self) -> None:
        self.lock = LOCK
        self.kept = [1, LOCK]

    def __getstate__(self) -> dict[str, Any]:
        return {"kept": self.kept}


def of_this_script(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as if it stood in the main script: what stands in a module is pickled by its name."""
    function.__module__ = "__main__"
    return function


def local(lock: Any) -> Callable[[], Any]:
    return lambda: lock


@pytest.mark.parametrize(
    ("obj", "named"),
    [
        (local(LOCK), r"local\.<locals>\.<lambda> \(test_unpicklable\.py:\d+\), whose variable 'lock' holds a lock"),
        ([1, local(LOCK)], r"local\.<locals>\.<lambda> \(.*\), whose variable 'lock' holds a lock"),
        (lambda: [LOCK for _ in range(1)], "<lambda> .* whose variable 'LOCK' holds a lock"),
        (lambda x=LOCK: x, "<lambda> .* whose variable 'x' holds a lock"),
        (lambda *, x=LOCK: x, "<lambda> .* whose variable 'x' holds a lock"),
        (functools.partial(lambda x, y: x, LOCK), r"<lambda> .* whose variable 'args\[0\]' holds a lock"),
        (functools.partial(max, key=LOCK), "^its part 'key', a lock$"),
        (Job().run, r"Job\.run \(.*\), whose variable \"self\.clients\['main'\]\" holds a lock"),
        (Narrow(), r"its part 'kept\[1\]', a lock"),
        ([0] * 5000 + [LOCK] + [0] * 5000, r"its part '\[5000\]', a lock"),
    ],
)
def test_culprit_names_the_function_and_the_variable(obj: Any, named: str) -> None:
    assert re.search(named, str(culprit(obj, dumps)))


def test_culprit_is_the_innermost_function() -> None:
    inner = local(LOCK)
    outer = of_this_script(lambda: inner())
    assert str(culprit(outer, dumps)).startswith("local.<locals>.<lambda> (")


def test_culprit_of_what_can_be_pickled_is_none() -> None:
    assert culprit([1, lambda: 2], dumps) is None


def test_culprit_is_found_in_what_refers_to_itself() -> None:
    node: dict[str, Any] = {}
    node.update(back=node, lock=LOCK)
    assert str(culprit(node, dumps)) == "its part \"['lock']\", a lock"


@pytest.mark.parametrize(
    ("run", "matter"),
    [
        (lambda rdd: rdd.map(lambda record: (LOCK, record)).collect(), "'LOCK' holds a lock. Make such an object in"),
        (lambda rdd: rdd.foreachPartition(lambda records: LOCK.acquire()), "'LOCK' holds a lock"),
        (lambda rdd: rdd.map(lambda r: (r, 1)).reduceByKey(lambda a, b: LOCK).count(), "'LOCK' holds a lock"),
        (lambda rdd: rdd.map(Job().run).count(), r"Job\.run .*self\.clients\['main'\]"),
        (uses_a_broadcast, r"cannot pickle '_thread\.lock' object\. The cause is its part \"\['lock'\]\", a lock"),
        (lambda rdd: rdd.map(lambda record: rdd.count()).collect(), "reference an RDD .* 'rdd' holds an RDD"),
    ],
)
def test_job_that_takes_along_what_cannot_be_pickled_says_which_variable(
    sc: SparkContext, run: Callable[[Any], Any], matter: str
) -> None:
    with pytest.raises(SerializationError, match=matter):
        run(sc.parallelize([1, 2], 2))


def test_context_in_a_function_is_refused_in_sparks_words_with_the_variable(sc: SparkContext) -> None:
    words = "^It appears that you are attempting to reference SparkContext from a broadcast variable, action, or tran"
    with pytest.raises(SerializationError, match=f"{words}.* whose variable 'sc' holds a SparkContext") as caught:
        sc.parallelize([1]).map(lambda record: sc.parallelize([record]).count()).collect()
    assert "Make such an object" not in str(caught.value)


def test_open_socket_in_a_function_is_named(sc: SparkContext) -> None:
    with socket.socket() as connection, pytest.raises(SerializationError, match="variable 'connection' holds a socket"):
        sc.parallelize([b"1"]).foreach(lambda record: connection.send(record))
