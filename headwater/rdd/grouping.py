"""Grouping and joining of pairs inside one task: in a dict while it fits the task's memory, else on disk.

Each side of a join or cogroup comes partitioned by key. The dict is the fast path: plain loops, no call per record.
What is in it when the budget is full goes, with all that follows, to a `Merger` of (key, (side, value)).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, islice
from typing import Any

from headwater.engine import task as tasks
from headwater.engine.external import Merger
from headwater.engine.lineage import Combiner
from headwater.resultiterable import ResultIterable

# Records between two looks at the memory budget.
_PORTION = 4096

Pairs = Iterable[tuple[Any, Any]]
Groups = Iterator[tuple[Any, list[list[Any]]]]  # key and, for each side, its values


def combined(aggregator: Combiner, _partition: int, pairs: Iterator[tuple[Any, Any]]) -> Iterator[tuple[Any, Any]]:
    """The keys with their combiners, of pairs that lie in the right partition already."""
    task = _task()
    if aggregator.create is None:
        merger: Merger[Any, Any, Any] = Merger(aggregator.merge_value, task.budget, task.spill)
        merger.merge_combiners(pairs)
        return merger.items()
    merger = Merger(
        aggregator.merge_combiners,
        task.budget,
        task.spill,
        create=aggregator.create,
        merge_value=aggregator.merge_value,
    )
    merger.merge_values(pairs)
    return merger.items()


def cogrouped(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, tuple[ResultIterable[Any], ...]]]:
    """Each key of any side with its values on each side."""
    for key, values in _groups(sides):
        yield key, tuple(map(ResultIterable, values))


def in_both(_partition: int, sides: list[Iterator[Any]]) -> Iterator[Any]:
    """The keys that both sides have, once each."""
    return (key for key, (left, right) in _groups(sides) if left and right)


def without_keys_of_other(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, Any]]:
    """The left side's pairs whose key the right side doesn't have."""
    left, right = sides
    budget = _task().budget
    excluded: set[Any] = set()
    while portion := list(islice(right, _PORTION)):
        excluded.update(key for key, _ in portion)
        if len(portion) == _PORTION and budget.full(len(excluded)):
            rest = chain(_emptied(excluded), right)
            groups = _external([left, rest], ())
            return ((key, value) for key, (values, others) in groups if not others for value in values)
    return (pair for pair in left if pair[0] not in excluded)


# ------------------------------------------------------------------------------------------------ joins
def inner_join(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    return _join(_inner, _inner_of_group, sides, table_side=0)


def left_join(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    return _join(_left, _left_of_group, sides, table_side=1)


def right_join(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    return _join(_right, _right_of_group, sides, table_side=0)


def full_join(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    return _join(_full, _full_of_group, sides, table_side=0)


def _join(
    by_table: Callable[[dict[Any, list[Any]], Pairs], Iterator[Any]],
    of_group: Callable[[Any, list[Any], list[Any]], Iterable[Any]],
    sides: list[Iterator[Any]],
    *,
    table_side: int,
) -> Iterator[Any]:
    """One side becomes a table of lists, the other streams past it; if the table is too large, group both on disk."""
    table: dict[Any, list[Any]] = {}
    if _fill(table, sides[table_side], _task().budget.full):
        return by_table(table, sides[1 - table_side])
    held = ((key, (table_side, value)) for key, values in _emptied_items(table) for value in values)
    groups = _external(sides, held)
    return (pair for key, (left, right) in groups for pair in of_group(key, left, right))


def _fill(table: dict[Any, list[Any]], pairs: Iterator[Any], full: Callable[[int], bool]) -> bool:
    """False when memory ran out before the pairs did."""
    held = 0
    while portion := list(islice(pairs, _PORTION)):
        for key, value in portion:
            try:
                values = table[key]
            except KeyError:
                table[key] = [value]
            else:
                values.append(value)
        held += len(portion)
        if len(portion) == _PORTION and full(held):
            return False
    return True


def _inner(lefts: dict[Any, list[Any]], rights: Pairs) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    get = lefts.get
    for key, right in rights:
        values = get(key)
        if values is not None:
            for left in values:
                yield key, (left, right)


def _left(rights: dict[Any, list[Any]], lefts: Pairs) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    get = rights.get
    for key, left in lefts:
        for right in get(key, _NONE):
            yield key, (left, right)


def _right(lefts: dict[Any, list[Any]], rights: Pairs) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    get = lefts.get
    for key, right in rights:
        for left in get(key, _NONE):
            yield key, (left, right)


def _full(lefts: dict[Any, list[Any]], rights: Pairs) -> Iterator[tuple[Any, tuple[Any, Any]]]:
    get = lefts.get
    met = set()
    for key, right in rights:
        met.add(key)
        for left in get(key, _NONE):
            yield key, (left, right)
    for key, values in lefts.items():
        if key not in met:
            for left in values:
                yield key, (left, None)


_NONE = (None,)  # the values of a key that an outer join does not find


def _inner_of_group(key: Any, lefts: list[Any], rights: list[Any]) -> Iterable[Any]:
    return ((key, (left, right)) for left in lefts for right in rights)


def _left_of_group(key: Any, lefts: list[Any], rights: list[Any]) -> Iterable[Any]:
    return ((key, (left, right)) for left in lefts for right in rights or _NONE)


def _right_of_group(key: Any, lefts: list[Any], rights: list[Any]) -> Iterable[Any]:
    return ((key, (left, right)) for left in lefts or _NONE for right in rights)


def _full_of_group(key: Any, lefts: list[Any], rights: list[Any]) -> Iterable[Any]:
    return ((key, (left, right)) for left in lefts or _NONE for right in rights or _NONE)


# ------------------------------------------------------------------------------------------------ grouping
def _groups(sides: list[Iterator[Any]]) -> Groups:
    """Each key with a list of values for each side."""
    full = _task().budget.full
    groups: dict[Any, list[list[Any]]] = {}
    width, held = len(sides), 0
    for number, side in enumerate(sides):
        while portion := list(islice(side, _PORTION)):
            for key, value in portion:
                try:
                    group = groups[key]
                except KeyError:
                    group = groups[key] = [[] for _ in range(width)]
                group[number].append(value)
            held += len(portion)
            if len(portion) == _PORTION and full(held):
                return _external(sides, _flattened(_emptied_items(groups)))
    return iter(groups.items())


def _external(sides: list[Iterator[Any]], held: Iterable[tuple[Any, tuple[int, Any]]]) -> Groups:
    """Group what was held in memory, then what is left of the sides, on disk where needed."""
    task = _task()
    merger: Merger[Any, tuple[int, Any], list[list[Any]]] = Merger(
        _extend_group, task.budget, task.spill, create=partial(_new_group, len(sides)), merge_value=_add_to_group
    )
    merger.merge_values(held)
    for number, side in enumerate(sides):
        merger.merge_values((key, (number, value)) for key, value in side)
    return merger.items()


def _new_group(width: int, numbered: tuple[int, Any]) -> list[list[Any]]:
    group: list[list[Any]] = [[] for _ in range(width)]
    group[numbered[0]].append(numbered[1])
    return group


def _add_to_group(group: list[list[Any]], numbered: tuple[int, Any]) -> list[list[Any]]:
    group[numbered[0]].append(numbered[1])
    return group


def _extend_group(group: list[list[Any]], other: list[list[Any]]) -> list[list[Any]]:
    for values, more in zip(group, other, strict=True):
        values += more
    return group


def _flattened(groups: Iterable[tuple[Any, list[list[Any]]]]) -> Iterator[tuple[Any, tuple[int, Any]]]:
    return ((key, (number, value)) for key, group in groups for number, values in enumerate(group) for value in values)


def _emptied_items(mapping: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    """The items, each forgotten by the dict as it is taken: the two must not be in memory twice."""
    while mapping:
        yield mapping.popitem()


def _emptied(keys: set[Any]) -> Iterator[tuple[Any, None]]:
    while keys:
        yield keys.pop(), None


def _task() -> tasks.Task:
    task = tasks.current()
    assert task is not None, "runs in tasks only"
    return task
