"""What tasks run on whole partitions, for transformations and actions alike.

Module functions, bound to their arguments by `partial`: they pickle by name. Those that read a partition take its
number first, as the engine calls them.
"""

from __future__ import annotations

import copy
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import chain, count, islice
from operator import itemgetter
from typing import Any

from headwater.errors import SparkException

first = itemgetter(0)
second = itemgetter(1)
_DEAL_SHARE = 8  # a turn of `deal_round_robin` is at most this part of what a target has got already,
_DEAL_MAX = 256  # and at most this many records
_ABSENT: Any = object()


# ------------------------------------------------------------------------------------------------ of one record
def as_is(record: Any) -> Any:
    return record


def with_key(f: Callable[[Any], Any], record: Any) -> tuple[Any, Any]:
    return f(record), record


def with_none(record: Any) -> tuple[Any, None]:
    return record, None


def keep_first(a: Any, _b: Any) -> Any:
    return a


# ------------------------------------------------------------------------------------------------ transformations
def without_index(f: Callable[[Iterator[Any]], Iterable[Any]], _partition: int, records: Iterator[Any]) -> Any:
    return f(records)


def as_one_list(_partition: int, records: Iterator[Any]) -> list[list[Any]]:
    return [list(records)]


def one_after_the_other(_partition: int, sides: list[Iterator[Any]]) -> Iterator[Any]:
    return chain.from_iterable(sides)


def zip_exactly(_partition: int, sides: list[Iterator[Any]]) -> Iterator[tuple[Any, Any]]:
    left, right = sides
    for record in left:
        other = next(right, _ABSENT)
        if other is _ABSENT:
            raise ValueError("Can only zip RDDs with same number of elements in each partition")
        yield record, other
    if next(right, _ABSENT) is not _ABSENT:
        raise ValueError("Can only zip RDDs with same number of elements in each partition")


def with_position(starts: Sequence[int], partition: int, records: Iterator[Any]) -> Iterator[tuple[Any, int]]:
    return zip(records, count(starts[partition]))


def with_unique_id(partitions: int, partition: int, records: Iterator[Any]) -> Iterator[tuple[Any, int]]:
    return zip(records, count(partition, partitions))


def deal_round_robin(targets: int, partition: int, records: Iterator[Any]) -> Iterator[tuple[int, list[Any]]]:
    """Pairs (target, some records). The more a target has got, the more it gets in a turn; so parts stay even."""
    turns = count(partition)  # neighbours begin with other targets, or the first ones would get every odd record
    dealt_to_each, size = 0, 1
    while True:
        for _ in range(targets):
            dealt = list(islice(records, size))
            if not dealt:
                return
            yield next(turns) % targets, dealt
        dealt_to_each += size
        size = min(max(1, dealt_to_each // _DEAL_SHARE), _DEAL_MAX)


def pipe(
    command: list[str], env: dict[str, str], check_code: bool, _partition: int, records: Iterator[Any]
) -> Iterator[str]:
    """The lines that the command prints, as it prints them; a thread feeds it meanwhile."""
    from subprocess import PIPE, Popen

    from headwater.base.threads import WatchedThread

    process = Popen(command, env=env or None, stdin=PIPE, stdout=PIPE)
    assert process.stdin is not None and process.stdout is not None
    stdin = process.stdin
    failures: list[BaseException] = []

    def feed() -> None:
        try:
            with stdin:
                for record in records:
                    stdin.write(f"{record}\n".encode())
        except BrokenPipeError:
            pass  # the command has read as much as it wanted, like `head`
        except BaseException as error:
            failures.append(error)

    feeder = WatchedThread(feed, name="pipe-feeder", on_failure=failures.append)
    feeder.start()
    try:
        with process.stdout as lines:
            for line in lines:
                yield line.decode().rstrip("\n")
        feeder.join()
        if failures:
            raise failures[0]
        code = process.wait()
        if check_code and code:
            raise SparkException(f"Pipe function `{' '.join(command)}' exited with error code {code}")
    finally:
        if process.poll() is None:  # the reader stopped early, as `take` does, or the records failed
            process.kill()
            process.wait()


# ------------------------------------------------------------------------------------------------ actions
def as_list(_partition: int, records: Iterator[Any]) -> list[Any]:
    return list(records)


def first_records(n: int, _partition: int, records: Iterator[Any]) -> list[Any]:
    return list(islice(records, n))


def call_each(f: Callable[[Any], Any], _partition: int, records: Iterator[Any]) -> None:
    for record in records:
        f(record)


def call_with_all(f: Callable[[Iterator[Any]], Any], _partition: int, records: Iterator[Any]) -> None:
    result = f(records)
    # A generator function runs only as it is iterated.
    if isinstance(result, Iterator):
        deque(result, maxlen=0)


def as_list_of(f: Callable[[Iterator[Any]], Iterable[Any]], _partition: int, records: Iterator[Any]) -> list[Any]:
    return list(f(records))


def count_records(_partition: int, records: Iterator[Any]) -> int:
    counter = count()
    deque(zip(records, counter), maxlen=0)
    return next(counter)


def count_values(_partition: int, records: Iterator[Any]) -> dict[Any, int]:
    return dict(Counter(records))


def sum_records(_partition: int, records: Iterator[Any]) -> Any:
    return sum(records)


def reduced(f: Callable[[Any, Any], Any], _partition: int, records: Iterator[Any]) -> list[Any]:
    """No record, or the one that all were reduced to."""
    for start in records:
        return [reduce(f, records, start)]
    return []


def extreme(choose: Callable[..., Any], key: Callable[[Any], Any] | None, _partition: int, records: Any) -> list[Any]:
    best = choose(records, key=key, default=_ABSENT)
    return [] if best is _ABSENT else [best]


def aggregated(zero: Any, add: Callable[[Any, Any], Any], _partition: int, records: Iterator[Any]) -> Any:
    # Tasks of one worker share the program, and `add` may change its first argument.
    return reduce(add, records, copy.deepcopy(zero))


def aggregated_as_record(zero: Any, add: Callable[[Any, Any], Any], partition: int, records: Any) -> list[Any]:
    return [aggregated(zero, add, partition, records)]


def for_parent(parents: int, partition: int, records: Iterator[Any]) -> Iterator[tuple[int, Any]]:
    """One level of a tree: partition i's records go to node i % parents."""
    return ((partition % parents, record) for record in records)


def smallest(n: int, key: Callable[[Any], Any] | None, _partition: int, records: Iterator[Any]) -> list[Any]:
    import heapq

    return heapq.nsmallest(n, records, key)


def largest(n: int, key: Callable[[Any], Any] | None, _partition: int, records: Iterator[Any]) -> list[Any]:
    import heapq

    return heapq.nlargest(n, records, key)


def reduced_by_key(f: Callable[[Any, Any], Any], _partition: int, records: Iterator[Any]) -> dict[Any, Any]:
    reduced: dict[Any, Any] = {}
    merge_pairs(reduced, records, f)
    return reduced


def merge_pairs(into: dict[Any, Any], pairs: Iterable[tuple[Any, Any]], f: Callable[[Any, Any], Any]) -> None:
    """Merge each pair's value into that of its key."""
    for key, value in pairs:
        try:
            merged = into[key]
        except KeyError:
            into[key] = value
        else:
            into[key] = f(merged, value)


def values_of(key: Any, _partition: int, records: Iterator[Any]) -> list[Any]:
    return [value for k, value in records if k == key]
