"""Entries: what values become, and which are the same."""

from __future__ import annotations

from typing import Any

import pytest

from headwater.engine.states import freeze, same, thaw


@pytest.mark.parametrize("value", [1, "a", None, 1.5, b"x", True, (1, "a"), (), [1, [2]], {"a": {1}}, ([],)])
def test_value_comes_back_from_its_entry(value: Any) -> None:
    assert thaw(freeze(value)) == value
    assert same(freeze(value), freeze(value)) or type(value) is tuple


def test_change_of_a_value_does_not_change_its_entry() -> None:
    value = [1]
    entry = freeze(value)
    value.append(2)
    thaw(entry).append(3)
    assert thaw(entry) == [1]


@pytest.mark.parametrize(
    ("entry", "other"), [(0.0, -0.0), (1, True), (1, 1.0), (float("nan"), float("nan")), ("a", "b")]
)
def test_entries_that_may_differ_are_not_the_same(entry: Any, other: Any) -> None:
    assert not same(entry, other)
