"""What texts the kinds of settings take, and what they make of them."""

from __future__ import annotations

import re

import pytest

from headwater.settings.kinds import Boolean, Duration, Integer, Kind, Number, Pattern, Size, Text


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("250", 250),
        ("250ms", 250),
        ("1500us", 1),
        ("3s", 3000),
        ("2m", 120_000),
        ("2min", 120_000),
        ("1h", 3_600_000),
        ("1d", 86_400_000),
        ("3 S", 3000),
    ],
)
def test_duration_is_in_milliseconds(text: str, ms: int) -> None:
    assert Duration().parse(text) == ms


@pytest.mark.parametrize(
    ("text", "size"),
    [("9", 9), ("9b", 9), ("2k", 2048), ("2kb", 2048), ("3M", 3 * 2**20), ("1gb", 2**30), ("1t", 2**40), ("1p", 2**50)],
)
def test_size_is_in_bytes(text: str, size: int) -> None:
    assert Size().parse(text) == size


def test_quantity_without_unit_counts_its_own() -> None:
    assert (Duration("s").parse("5"), Size("m").parse("5")) == (5000, 5 * 2**20)


def test_choice_is_as_the_table_writes_it() -> None:
    assert Text(("FIFO", "FAIR")).parse("fair") == "FAIR"


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (Text(), "any Text", "any Text"),
        (Boolean(), "TRUE", True),
        (Boolean(), "false", False),
        (Integer(), "+7", 7),
        (Integer(least=-1), "-1", -1),
        (Number(), "1e3", 1000.0),
        (Pattern(), "a+", re.compile("a+")),
    ],
)
def test_value_of_a_text_has_the_kinds_type(kind: Kind, text: str, value: object) -> None:
    parsed = kind.parse(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Text(("a", "b")), "c"),
        (Boolean(), "yes"),
        (Boolean(), "1"),
        (Integer(), "-1"),
        (Integer(), "4.0"),
        (Integer(), ""),
        (Number(), "nan"),
        (Number(), "inf"),
        (Number(least=1), "0.5"),
        (Duration(), "0.5s"),
        (Duration(), "-1s"),
        (Duration(), "3 weeks"),
        (Duration(least=100), "99"),
        (Size(), "1 gig"),
        (Size(least=1), "0"),
        (Pattern(), "("),
    ],
)
def test_text_that_is_no_such_value_is_none(kind: Kind, text: str) -> None:
    assert kind.parse(text) is None


@pytest.mark.parametrize(
    ("kind", "accepts", "described"),
    [
        (Text(), None, "string"),
        (Text(("a", "b")), "one of a, b", "`a`, `b`"),
        (Boolean(), "a boolean: true or false", "boolean"),
        (Integer(least=2), "an integer of at least 2", "integer"),
        (Number(least=0.5), "a number of at least 0.5", "number"),
        (
            Duration("s"),
            "a duration: a whole number of us, ms, s, m, min, h or d (alone it counts s), such as 30s",
            "duration (s)",
        ),
        (
            Size("m"),
            "a size: a whole number of b, k, m, g, t or p (alone it counts m), such as 512m",
            "size (m)",
        ),
        (Pattern(), "a regular expression", "regular expression"),
    ],
)
def test_kind_says_what_it_accepts(kind: Kind, accepts: str | None, described: str) -> None:
    assert accepts is None or kind.accepts() == accepts  # any text is one
    assert kind.described() == described
