from __future__ import annotations

import collections
import decimal
import pickle
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import headwater
from headwater.base.pickling import dump_records, dumps, load_records, loads
from headwater.errors import SerializationError
from tests.effort import tries

ROOT = Path(headwater.__file__).parents[1]

atoms = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
values = st.recursive(
    atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=2), inner, max_size=2)
        | st.frozensets(st.integers(), max_size=2)
    ),
    max_leaves=8,
)


class Point:
    def __init__(self, x: int) -> None:
        self.x = x

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Point) and other.x == self.x


@settings(deadline=None, max_examples=tries(30))
@given(st.lists(values, max_size=6))
def test_records_come_back_as_they_were(records: list[Any]) -> None:
    back = load_records(dump_records(records))
    assert back == records
    assert [type(record) for record in back] == [type(record) for record in records]


@pytest.mark.parametrize(
    "record",
    [
        Point(1),
        ("key", Point(1)),
        ("key", [Point(1)]),
        [[[Point(1)]]],
        {"a": Point(1)},
        decimal.Decimal("1.10"),
        1 + 2j,
        bytearray(b"x"),
        collections.namedtuple("Pair", "a b")(1, 2),
        range(3),
    ],
    ids=lambda record: type(record).__name__,
)
def test_record_of_any_class_comes_back(record: Any) -> None:
    (back,) = load_records(dump_records([record]))
    assert back == record
    assert type(back).__name__ == type(record).__name__


@pytest.mark.parametrize("depth", [0, 1, 2, 3, 4])
def test_cyclic_record_comes_back(depth: int) -> None:
    record: Any = []
    record.append(record)
    for _ in range(depth):
        record = [record]
    (back,) = load_records(dump_records([record]))
    for _ in range(depth):
        (back,) = back
    assert back[0] is back


def test_record_that_occurs_twice_in_another_is_one_object_still() -> None:
    shared = Point(1)
    ((a, b),) = load_records(dump_records([(shared, shared)]))
    assert a is b


def test_records_may_be_deeply_nested() -> None:
    record: Any = 1
    for _ in range(200):
        record = (record,)
    assert load_records(dump_records([record])) == [record]


def test_records_are_read_from_a_view_without_a_copy_of_it() -> None:
    assert load_records(memoryview(b"--" + dump_records([1, "a"]))[2:]) == [1, "a"]


def test_no_records_come_back_as_none() -> None:
    assert load_records(dump_records([])) == []


@pytest.mark.parametrize("make", [dumps, lambda obj: dump_records([obj]), lambda obj: dump_records([(1, obj)])])
def test_object_that_cannot_be_pickled_is_refused_with_what_is_the_matter(make: Any) -> None:
    matter = "Could not serialize object: TypeError: .*socket"
    with socket.socket() as sock, pytest.raises(SerializationError, match=matter):
        make(sock)


def test_error_of_an_object_that_refuses_to_be_pickled_is_kept() -> None:
    class Picky:
        def __reduce__(self) -> Any:
            raise SerializationError("not me")

    with pytest.raises(SerializationError, match="^not me$"):
        dumps(Picky())


def test_serialization_error_is_a_pickling_error() -> None:
    assert issubclass(SerializationError, pickle.PicklingError)


def test_lambda_comes_back_with_what_it_captured() -> None:
    n = 3
    assert loads(dumps(lambda x: x + n))(4) == 7


def test_class_of_a_script_travels_by_value() -> None:
    """A worker never imports the user's script, where the class is `__main__`'s."""
    script = """
        import subprocess, sys
        from headwater.base.pickling import dump_records
        class Reading:
            def __init__(self, value): self.value = value
        load = "load_records(sys.stdin.buffer.read())[0].value"
        other = f"import sys; from headwater.base.pickling import *; print({load})"
        data = dump_records([Reading(7)])
        print(subprocess.run([sys.executable, "-c", other], input=data, capture_output=True, check=True).stdout)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == r"b'7\n'"


def test_function_that_is_pickled_twice_gives_the_same_bytes() -> None:
    """Programs are known by their bytes; those of two batches are one."""

    def made(n: int) -> Any:
        return lambda x: x + n

    assert dumps(made(3)) == dumps(made(3))


def test_function_keeps_the_name_of_its_file() -> None:
    assert loads(dumps(lambda x: (y for y in x))).__code__.co_filename == __file__
