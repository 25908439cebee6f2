"""ConnectionPool: what is borrowed, kept, closed, and how it travels."""

from __future__ import annotations

import os
import pickle
import queue
import sqlite3
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.base import pickling
from headwater.clock import ManualClock
from headwater.errors import IllegalArgumentException, SerializationError
from headwater.streaming import ConnectionPool


class Connections:
    """Numbers its connections and notes which were closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed: queue.SimpleQueue[int] = queue.SimpleQueue()

    def connect(self) -> int:
        self.made += 1
        return self.made

    def pool(self, **bounds: Any) -> ConnectionPool[int]:
        return ConnectionPool(self.connect, self.closed.put, **bounds)


def test_pool_connects_only_when_no_connection_is_free() -> None:
    connections = Connections()
    pool = connections.pool()
    assert connections.made == 0
    with pool.connection() as first:
        with pool.connection() as second:
            assert (first, second) == (1, 2)
        with pool.connection() as again:
            assert again == 2
    with pool.connection() as latest:
        assert latest == 1
    assert connections.closed.empty()


def test_connection_is_closed_and_not_returned_when_its_use_raised() -> None:
    connections = Connections()
    pool = connections.pool()
    with pytest.raises(ZeroDivisionError), pool.connection():
        1 // 0  # noqa: B018
    assert connections.closed.get_nowait() == 1
    with pool.connection() as fresh:
        assert fresh == 2


def test_pool_goes_on_when_connecting_has_failed() -> None:
    answers: list[Any] = [ConnectionRefusedError("down"), "up"]

    def connect() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    pool = ConnectionPool(connect, lambda connection: None, maxSize=1, waitTimeout=0)
    with pytest.raises(ConnectionRefusedError), pool.connection():
        pass
    with pool.connection() as connection:
        assert connection == "up"


def test_borrowing_more_than_there_may_be_says_so() -> None:
    pool = Connections().pool(maxSize=2, waitTimeout=0)
    with (
        pool.connection(),
        pool.connection(),
        pytest.raises(TimeoutError, match="all 2 connections of the pool were in use for 0 s"),
        pool.connection(),
    ):
        pass


def test_borrower_waits_until_a_connection_is_free(patience: float) -> None:
    connections = Connections()
    pool = connections.pool(maxSize=1, waitTimeout=patience)
    borrowed: list[int] = []

    def borrow() -> None:
        with pool.connection() as connection:
            borrowed.append(connection)

    with pool.connection():
        waiting = threading.Thread(target=borrow, daemon=True)
        waiting.start()
        assert borrowed == []
    waiting.join(patience)
    assert (borrowed, connections.made) == ([1], 1)


def test_idle_connections_are_closed_after_the_closing_of_one_has_left(patience: float) -> None:
    closed: queue.SimpleQueue[int] = queue.SimpleQueue()
    numbers, clock, others = iter(range(1, 3)), ManualClock(), threading.enumerate()

    def close(number: int) -> None:
        closed.put(number)
        raise SystemExit("from close")

    pool = ConnectionPool(lambda: next(numbers), close, idleTimeout=10, clock=clock)
    for number in (1, 2):
        with pool.connection() as connection:
            assert connection == number
        (watching,) = set(threading.enumerate()) - set(others)
        while closed.empty():
            clock.advance(10_000)
        assert closed.get(timeout=patience) == number
        watching.join(patience)
        assert not watching.is_alive()


def test_idle_connections_are_closed_each_at_its_time(patience: float) -> None:
    connections, clock = Connections(), ManualClock()
    pool = connections.pool(idleTimeout=10, clock=clock)
    with pool.connection(), pool.connection():
        pass  # the second is returned first
    clock.advance(9_999)
    with pool.connection() as used:  # the latest that was returned
        assert used == 1
    clock.advance(1)
    assert connections.closed.get(timeout=patience) == 2
    clock.advance(9_998)
    with pool.connection() as kept:
        assert kept == 1
    clock.advance(10_000)
    assert connections.closed.get(timeout=patience) == 1
    with pool.connection() as fresh:
        assert fresh == 3


def test_connection_that_cannot_be_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    pool = ConnectionPool(object)  # an object has no close()
    with pool.connection():
        pass
    pool.close()
    assert "A connection of the pool could not be closed" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"connect": None}, TypeError, "connect should be a function"),
        ({"close": 1}, TypeError, "close should be a function"),
        ({"maxSize": 0}, IllegalArgumentException, "maxSize must be positive"),
        ({"idleTimeout": -1}, IllegalArgumentException, "idleTimeout must not be negative"),
        ({"waitTimeout": "1"}, TypeError, "waitTimeout should be a number"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], error: type, text: str) -> None:
    with pytest.raises(error, match=text):
        ConnectionPool(**{"connect": object, **arguments})


# ------------------------------------------------------------------------------------------------ travelling
def test_equal_recipes_are_one_pool_where_they_arrive_and_others_are_not() -> None:
    def arrived(**bounds: Any) -> ConnectionPool[Any]:
        pool: ConnectionPool[Any] = pickle.loads(pickling.dumps(ConnectionPool(lambda: object(), **bounds)))
        return pool

    assert arrived() is arrived()
    assert arrived() is not arrived(maxSize=3)


def test_recipe_that_cannot_travel_is_refused_when_it_should() -> None:
    database = sqlite3.connect(":memory:")
    with pytest.raises(SerializationError):
        pickling.dumps(ConnectionPool(lambda: database))


def test_worker_keeps_its_connection_from_batch_to_batch(harness: Any) -> None:
    pool = ConnectionPool(lambda: [os.getpid()], lambda connection: None)

    def borrow(records: Any) -> Any:
        with pool.connection() as connection:
            yield id(connection), connection[0], os.getpid()

    out = harness.collected(harness.stream([[1]] * 4).repartition(1).mapPartitions(borrow))
    harness.run(4)
    used = [record for batch in out for record in batch]
    assert len(used) == 4
    assert all(made_in == borrowed_in for _, made_in, borrowed_in in used)
    assert len({record[0] for record in used}) == len({record[2] for record in used})


def test_connections_are_closed_when_a_worker_ends(tmp_path: Path, no_context: None) -> None:
    def closed(connection: int) -> None:
        (tmp_path / f"closed-{connection}").touch()

    pool = ConnectionPool(os.getpid, closed)

    def borrow(_: Any) -> int:
        with pool.connection() as connection:
            return connection

    sc = SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("pool"))
    used = set(sc.parallelize(range(8), 8).map(borrow).collect())
    assert not list(tmp_path.iterdir())
    sc.stop()
    assert {path.name for path in tmp_path.iterdir()} == {f"closed-{pid}" for pid in used}


def test_connections_are_closed_when_the_program_ends(tmp_path: Path) -> None:
    program = """
        from headwater.streaming import ConnectionPool
        pool = ConnectionPool(lambda: "it", lambda connection: print("closed", connection))
        with pool.connection():
            pass
    """
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed it\n", "")
