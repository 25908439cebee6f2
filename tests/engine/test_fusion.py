from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine.fusion import combine, scatter, transform
from headwater.engine.lineage import PerRecord
from tests.effort import tries

# Each kind's function on pairs of integers; all give pairs, so that any order of steps makes sense.
FUNCTIONS: dict[str, Any] = {
    "map": lambda r: (r[1], r[0] + 1),
    "flatMap": lambda r: [r, (r[0] + r[1], 1)],
    "filter": lambda r: r[0] % 3 != 0,
    "mapValues": lambda v: v * 2,
    "flatMapValues": lambda v: [v, -v],
}
pairs = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=20)
chains = st.lists(st.sampled_from(sorted(FUNCTIONS)), max_size=7).map(
    lambda kinds: [PerRecord(kind, FUNCTIONS[kind]) for kind in kinds]
)


def plainly(steps: list[PerRecord], records: list[Any]) -> list[Any]:
    """The list version."""
    for step in steps:
        f: Any = step.function
        match step.kind:
            case "map":
                records = [f(r) for r in records]
            case "flatMap":
                records = [out for r in records for out in f(r)]
            case "filter":
                records = [r for r in records if f(r)]
            case "mapValues":
                records = [(k, f(v)) for k, v in records]
            case "flatMapValues":
                records = [(k, out) for k, v in records for out in f(v)]
    return records


def never(_keys: int) -> bool:
    return False


def always(_keys: int) -> bool:
    return True


@settings(deadline=None, max_examples=tries(30))
@given(chains, pairs)
def test_fused_chain_equals_its_list_version(steps: list[PerRecord], records: list[Any]) -> None:
    assert list(transform(steps, records)) == plainly(steps, records)


@settings(deadline=None, max_examples=tries(30))
@given(chains, pairs)
def test_combined_chain_equals_a_dict(steps: list[PerRecord], records: list[Any]) -> None:
    expected: dict[Any, int] = {}
    for key, value in plainly(steps, records):
        expected[key] = expected[key] - value if key in expected else value
    assert list(combine(steps, records, None, lambda a, v: a - v, never)) == [expected]


@settings(deadline=None, max_examples=tries(30))
@given(chains, pairs)
def test_combined_chain_creates_a_combiner_from_the_first_value(steps: list[PerRecord], records: list[Any]) -> None:
    expected: dict[Any, list[int]] = {}
    for key, value in plainly(steps, records):
        expected.setdefault(key, []).append(value)
    assert list(combine(steps, records, lambda v: [v], lambda a, v: [*a, v], never)) == [expected]


@settings(deadline=None, max_examples=tries(30))
@given(chains, pairs, st.integers(1, 4))
def test_scattered_chain_puts_each_pair_into_its_bucket_in_order(
    steps: list[PerRecord], records: list[Any], partitions: int
) -> None:
    expected: list[list[Any]] = [[] for _ in range(partitions)]
    for key, value in plainly(steps, records):
        expected[key % partitions].append((key, value))
    assert list(scatter(steps, records, lambda key: key % partitions, partitions, never)) == [expected]


def test_key_of_a_flat_mapped_value_survives_what_later_steps_make_of_the_key() -> None:
    pages = [("p1", "a b"), ("p2", "b")]
    steps = [PerRecord("flatMapValues", str.split), PerRecord("map", lambda r: (r[1], r[0]))]
    (index,) = combine(steps, pages, lambda page: [page], lambda pages, page: [*pages, page], never)
    assert index == {"a": ["p1"], "b": ["p1", "p2"]}


def test_chain_without_steps_gives_the_records_themselves() -> None:
    records = [1, 2]
    assert transform([], records) is records


@pytest.mark.parametrize("kinds", [["map"], ["filter"], ["map", "filter"], ["flatMap"], ["mapValues"]])
def test_chain_is_lazy(kinds: list[str]) -> None:
    taken = []

    def records() -> Iterator[tuple[int, int]]:
        for i in range(100):
            taken.append(i)
            yield (1, i + 1)

    next(iter(transform([PerRecord(kind, FUNCTIONS[kind]) for kind in kinds], records())))  # type: ignore[arg-type]
    assert taken == [0]


def test_combine_gives_what_it_holds_away_when_memory_is_full() -> None:
    records = [(i % 5000, 1) for i in range(20_000)]
    asked = []

    def full(keys: int) -> bool:
        asked.append(keys)
        return len(asked) == 2

    first, second = combine([], iter(records), None, lambda a, b: a + b, full)
    assert len(first) == 5000
    assert sum(first.values()) + sum(second.values()) == 20_000


def test_scatter_gives_what_it_holds_away_when_memory_is_full() -> None:
    records = [(i, i) for i in range(10_000)]
    flushed = list(scatter([], iter(records), lambda key: key % 2, 2, always))
    assert len(flushed) > 1
    assert [pair for buckets in flushed for pair in buckets[0]] == records[::2]
    assert [pair for buckets in flushed for pair in buckets[1]] == records[1::2]


@pytest.mark.parametrize("create", [None, lambda v: v])
def test_key_error_of_the_merge_function_is_not_taken_for_a_missing_key(create: Any) -> None:
    def merge(a: int, b: int) -> int:
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        list(combine([], [("a", 1), ("a", 2)], create, merge, never))


def test_key_error_of_the_create_function_reaches_the_caller() -> None:
    def create(v: int) -> int:
        raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        list(combine([], [("a", 1)], create, max, never))


def test_error_in_a_step_reaches_the_caller_as_it_is() -> None:
    steps = [PerRecord("map", lambda r: r), PerRecord("map", lambda r: 1 / r)]
    with pytest.raises(ZeroDivisionError):
        list(transform(steps, [1, 0]))


@pytest.mark.parametrize("kinds", [["map"], ["filter"], ["flatMap"], ["map", "map"], ["mapValues"]])
def test_stop_iteration_in_a_step_is_an_error_and_not_the_end_of_the_records(kinds: list[str]) -> None:
    def exhausted(_r: Any) -> Any:
        return next(iter([]))

    steps = [PerRecord(kind, exhausted) for kind in kinds]  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(transform(steps, [(1, 1), (2, 2)]))


def test_stop_iteration_in_a_merge_function_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(combine([], [("a", 1), ("a", 2)], None, lambda a, b: next(iter([])), never))


@pytest.mark.parametrize("kind", sorted(FUNCTIONS))
@pytest.mark.parametrize("length", [30, 1000])
def test_chain_may_be_long(kind: str, length: int) -> None:
    """Python nests twenty loops and a hundred levels of indentation at most; chains are cut where it's needed."""
    identity: dict[str, Any] = {
        "map": lambda r: r,
        "flatMap": lambda r: [r],
        "filter": lambda r: True,
        "mapValues": lambda v: v,
        "flatMapValues": lambda v: [v],
    }
    steps = [PerRecord(kind, identity[kind])] * length  # type: ignore[arg-type]
    assert list(transform(steps, [(1, 2)])) == [(1, 2)]
    assert list(combine(steps, [(1, 2)], None, max, never)) == [{1: 2}]
    assert list(scatter(steps, [(1, 2)], lambda key: 0, 1, never)) == [[[(1, 2)]]]
