from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from fractions import Fraction
from ipaddress import ip_address
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.base.hashing import portable_hash


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 1


class Name(str, Enum):
    BOB = "bob"


class Point(NamedTuple):
    x: int
    label: str


@dataclass(frozen=True)
class User:
    name: str
    age: int
    note: str = field(default="", compare=False)


class Word:
    """Equality that ignores case, as users write it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Word) and self.text.lower() == other.text.lower()

    def __hash__(self) -> int:
        return hash((type(self), self.text.lower()))


class Remembering:
    """Keeps its hash, which therefore must stay Python's own."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.kept: int | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Remembering) and self.text == other.text

    def __hash__(self) -> int:
        if self.kept is None:
            self.kept = hash(self.text)
        return self.kept


class Folded(str):
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.lower() == other.lower()

    def __hash__(self) -> int:
        return hash(self.lower())


class Identity:
    pass


def one_of_each_kind() -> list[Any]:
    numbers = [True, 0, -1, 2**70, 1.5, float("nan"), float("inf"), 1j, Decimal("1.10"), Decimal("nan"), Fraction(1, 3)]
    texts = ["", "a", "é中", "\ud800", b"", b"ab", memoryview(b"ab"), Folded("AbC")]
    nested = [(), ("a", 1, ("b", None)), frozenset({"a", "b", 3}), Point(1, "p"), User("ann", 3), Word("Hi"), range(3)]
    dates = [date(2024, 2, 29), datetime(2024, 2, 29, 1, 2, 3, 4), datetime(2024, 2, 29, tzinfo=timezone.utc)]
    times = [time(1, 2), timedelta(days=-1, microseconds=3)]
    names = [UUID(int=7), Colour.RED, Level.LOW, Name.BOB, PurePosixPath("/a/b"), PureWindowsPath("C:/A"), User]
    return [None, *numbers, *texts, *nested, *dates, *times, *names, ip_address("10.0.0.1")]


def _hashes_in_another_process(seed: str) -> list[int]:
    program = (
        "import json, tests.base.test_hashing as t; print(json.dumps(list(map(t.portable_hash, t.one_of_each_kind()))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return list(json.loads(printed))


def test_portable_hash_is_the_same_in_every_process() -> None:
    here = [portable_hash(key) for key in one_of_each_kind()]
    assert _hashes_in_another_process("1") == here
    assert _hashes_in_another_process("4242") == here


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, Decimal(1)),
        (1, Level.LOW),
        (Fraction(1, 2), 0.5),
        ((1, "a"), (1.0, "a")),
        ((1, "p"), Point(1, "p")),
        ("bob", Name.BOB),
        (frozenset({1, 2}), frozenset({2.0, 1.0})),
        (Word("Hi"), Word("hI")),
        (Folded("AbC"), Folded("aBc")),
        (User("ann", 3, "x"), User("ann", 3, "y")),
        (datetime(2024, 1, 1, 12, tzinfo=timezone.utc), datetime(2024, 1, 1, 13, tzinfo=timezone(timedelta(hours=1)))),
        (time(12, tzinfo=timezone.utc), time(13, tzinfo=timezone(timedelta(hours=1)))),
        (PureWindowsPath("C:/A"), PureWindowsPath("c:/a")),
        (b"ab", memoryview(b"ab")),
    ],
)
def test_portable_hash_of_equal_keys_is_equal(one: Any, other: Any) -> None:
    assert one == other
    assert portable_hash(one) == portable_hash(other)


def test_portable_hash_of_numpy_scalars_is_their_value_s() -> None:
    numpy = pytest.importorskip("numpy")
    assert portable_hash(numpy.int64(5)) == portable_hash(5)
    assert portable_hash(numpy.float32(0.5)) == portable_hash(0.5)
    assert portable_hash(numpy.bool_(True)) == portable_hash(True)
    assert portable_hash(numpy.str_("a")) == portable_hash("a")
    assert portable_hash(numpy.bytes_(b"a")) == portable_hash(b"a")


def test_portable_hash_leaves_alone_a_hash_that_is_kept_in_the_object() -> None:
    key = Remembering("a")
    assert portable_hash(key) == hash("a")
    assert hash(key) == hash(Remembering("a"))


def test_portable_hash_depends_on_the_order_of_a_tuple() -> None:
    assert portable_hash((1, 2)) != portable_hash((2, 1))
    assert portable_hash((0,)) != portable_hash((0, 0))


def test_portable_hash_refuses_a_key_that_hashes_by_identity() -> None:
    with pytest.raises(TypeError, match=r"Identity' can't be partitioned.*Define __eq__ and __hash__"):
        portable_hash(("a", Identity()))


@pytest.mark.parametrize(("key", "name"), [([1], "list"), ({}, "dict"), (("a", {1}), "set")])
def test_portable_hash_of_an_unhashable_key_names_its_type(key: Any, name: str) -> None:
    with pytest.raises(TypeError, match=f"unhashable type: '{name}'"):
        portable_hash(key)


def test_portable_hash_of_ever_new_classes_stays_right() -> None:
    for _ in range(1100):
        assert portable_hash(type("Name", (str,), {})("a")) == portable_hash("a")


_atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.datetimes()
_keys = st.recursive(_atoms, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.frozensets(inner, max_size=4))


@given(_keys)
def test_portable_hash_is_an_int_of_64_bits(key: Any) -> None:
    assert isinstance(portable_hash(key), int)
    assert -(2**63) <= portable_hash(key) < 2**64


@given(st.lists(st.text(min_size=1), min_size=200, max_size=200, unique=True))
def test_portable_hash_fills_every_partition(keys: list[str]) -> None:
    for of in (keys, [(key, 1) for key in keys]):
        assert {portable_hash(key) % 4 for key in of} == {0, 1, 2, 3}
