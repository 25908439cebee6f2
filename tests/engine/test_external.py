from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.engine.external import MemoryBudget, Merger, SpillDirectory, external_sort, private_memory
from headwater.errors import SparkException

MIB = 1024 * 1024


class FullEvery(MemoryBudget):
    """Full whenever that many records are held (0: never)."""

    def __init__(self, count: int) -> None:
        super().__init__(limit=1 << 60)
        self.count = count

    def full(self, count: int) -> bool:
        return bool(self.count) and count >= self.count


class FullAtRandom(MemoryBudget):
    def __init__(self, seed: int) -> None:
        super().__init__(limit=1 << 60)
        self.random = random.Random(seed)

    def full(self, count: int) -> bool:
        return self.random.random() < 0.5


@pytest.fixture(scope="module")
def spill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpillDirectory]:
    with SpillDirectory(str(tmp_path_factory.mktemp("spill") / "task")) as directory:
        yield directory


def _append(values: list[Any], value: Any) -> list[Any]:
    values.append(value)
    return values


def _extend(values: list[Any], others: list[Any]) -> list[Any]:
    values.extend(others)
    return values


def _grouping(budget: MemoryBudget, spill: SpillDirectory) -> Merger[Any, Any, list[Any]]:
    return Merger(_extend, budget, spill, create=lambda value: [value], merge_value=_append)


_keys = st.integers(0, 40) | st.text(max_size=1) | st.none() | st.tuples(st.booleans(), st.sampled_from("ab"))
_pairs = st.lists(st.tuples(_keys, st.integers()), max_size=60).map(lambda some: [*some] * 8)


@settings(deadline=None)
@given(_pairs, st.integers(0, 100))
def test_merger_groups_like_a_dict_in_order_of_arrival(
    spill: SpillDirectory, pairs: list[tuple[Any, int]], seed: int
) -> None:
    expected = defaultdict(list)
    for key, value in pairs:
        expected[key].append(value)
    merger = _grouping(FullAtRandom(seed), spill)
    merger.merge_values(pairs)
    merged = list(merger.items())
    assert len(merged) == len(expected)
    assert dict(merged) == expected


@settings(deadline=None)
@given(_pairs, st.sampled_from([0, 1, 200]))
def test_merger_merges_combiners_of_several_feeds(
    spill: SpillDirectory, pairs: list[tuple[Any, int]], count: int
) -> None:
    merger: Merger[Any, int, str] = Merger(str.__add__, FullEvery(count), spill, create=str, merge_value=lambda a, v: a)
    combiners = [(key, str(value)) for key, value in pairs]
    merger.merge_combiners(combiners[::2])
    merger.merge_combiners(iter(combiners[1::2]))
    expected: dict[Any, str] = {}
    for key, text in combiners[::2] + combiners[1::2]:
        expected[key] = expected.get(key, "") + text
    assert dict(merger.items()) == expected


def test_merger_keeps_first_seen_order_when_nothing_spills(spill: SpillDirectory) -> None:
    merger: Merger[str, int, int] = Merger(int.__add__, FullEvery(0), spill)
    merger.merge_combiners([("c", 1), ("a", 2), ("c", 3), ("b", 4)])
    assert list(merger.items()) == [("c", 4), ("a", 2), ("b", 4)]


def test_merger_ends_when_one_key_outgrows_every_budget(tmp_path: Path) -> None:
    with SpillDirectory(str(tmp_path / "task")) as directory:
        merger = _grouping(FullEvery(1), directory)
        merger.merge_values(("the", number) for number in range(5000))
        assert list(merger.items()) == [("the", list(range(5000)))]


def test_merger_refuses_a_key_that_cannot_be_partitioned(tmp_path: Path) -> None:
    with SpillDirectory(str(tmp_path / "task")) as directory:
        merger: Merger[Any, int, int] = Merger(int.__add__, FullEvery(1), directory)
        with pytest.raises(TypeError, match="Define __eq__ and __hash__"):
            merger.merge_combiners([(object(), 1)])


def test_merger_reads_a_bucket_only_when_it_is_asked_for(tmp_path: Path) -> None:
    with SpillDirectory(str(tmp_path / "task")) as directory:
        merger: Merger[int, int, int] = Merger(int.__add__, FullEvery(1000), directory)
        merger.merge_combiners((number, 1) for number in range(5000))
        files = len(os.listdir(directory.path))
        next(merger.items())
        assert len(os.listdir(directory.path)) == files - 1 == 31


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9), max_size=40), st.booleans(), st.integers(0, 100))
def test_external_sort_is_sorted_s_equal_and_stable(
    spill: SpillDirectory, numbers: list[int], reverse: bool, seed: int
) -> None:
    records = [(number % 7, place) for place, number in enumerate(numbers * 20)]
    result = external_sort(records, lambda record: record[0], reverse, FullAtRandom(seed), spill)
    assert list(result) == sorted(records, key=lambda record: record[0], reverse=reverse)


@pytest.mark.parametrize("reverse", [False, True])
def test_external_sort_merges_many_runs_in_passes(tmp_path: Path, reverse: bool) -> None:
    numbers = [random.Random(5).randrange(3000) for _ in range(10)] + random.Random(6).sample(range(10000), 9000)
    with SpillDirectory(str(tmp_path / "task")) as directory:
        result = external_sort(numbers, None, reverse, FullEvery(1), directory)
        assert len(os.listdir(directory.path)) < 64 < len(numbers) // 64
        assert list(result) == sorted(numbers, reverse=reverse)
        assert os.listdir(directory.path) == []


class OnlyLess:
    """Compares by `<` alone, as `sorted` allows."""

    def __init__(self, rank: int, place: int) -> None:
        self.rank = rank
        self.place = place

    def __lt__(self, other: OnlyLess) -> bool:
        return self.rank < other.rank


def test_external_sort_is_stable_for_records_without_equality(spill: SpillDirectory) -> None:
    records = [OnlyLess(place * 7 % 3, place) for place in range(400)]
    result = external_sort(records, None, False, FullEvery(64), spill)
    assert [record.place for record in result] == [record.place for record in sorted(records)]


def test_external_sort_touches_no_disk_when_all_fits(tmp_path: Path) -> None:
    with SpillDirectory(str(tmp_path / "task")) as directory:
        assert list(external_sort([3, 1, 2], None, False, FullEvery(0), directory)) == [1, 2, 3]
        assert not os.path.exists(directory.path)
        assert directory.spilled_bytes == 0


def test_spill_directory_counts_its_bytes_and_removes_them(tmp_path: Path) -> None:
    directory = SpillDirectory(str(tmp_path / "task"))
    file = directory.create()
    file.append(list(range(1000)))
    file.append(["x"])
    assert directory.spilled_bytes == sum(path.stat().st_size for path in tmp_path.rglob("*.spill"))
    assert [record for batch in file.batches() for record in batch] == [*range(1000), "x"]
    directory.create().append([1])
    directory.close()
    directory.close()
    assert list(tmp_path.iterdir()) == []


def test_spill_file_keeps_frames_of_large_records_small(tmp_path: Path) -> None:
    with SpillDirectory(str(tmp_path / "task")) as directory:
        file = directory.create()
        file.append([bytes(100_000)] * 20)
        assert max(map(len, file.batches())) == 1


def _open_full_disk(_path: str) -> BinaryIO:
    return open("/dev/full", "ab")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_spill_to_a_full_disk_names_the_directory_and_the_setting(tmp_path: Path) -> None:
    directory = SpillDirectory(str(tmp_path / "task"), open_file=_open_full_disk)
    with pytest.raises(SparkException, match=rf"no space left on {directory.path} .*spark\.local\.dir") as raised:
        directory.create().append(list(range(100_000)))
    assert isinstance(raised.value.__cause__, OSError)


def test_spill_that_fails_leaves_no_half_written_file(tmp_path: Path) -> None:
    program = """
import os, resource, signal, sys
from headwater.engine.external import SpillDirectory
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
directory = SpillDirectory(sys.argv[1])
try:
    directory.create().append([os.urandom(1000) for _ in range(1000)])
except Exception as error:
    print(type(error).__name__, os.listdir(sys.argv[1]))
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", program, str(tmp_path / "task")]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert printed == "SparkException []\n"


def test_budget_is_not_full_below_its_limit() -> None:
    assert not MemoryBudget(1 << 60).full(10**9)


def test_budget_fills_again_at_the_count_of_its_first_fill() -> None:
    budget = MemoryBudget(private_memory() // 2)
    counts = [5000, 0, 4999, 5000, 1, 6000]
    assert [budget.full(count) for count in counts] == [True, False, False, True, False, True]


def test_budget_that_others_have_used_up_does_not_spill_every_record() -> None:
    budget = MemoryBudget(1)
    assert [budget.full(count) for count in (64, 64, 999, 1000)] == [True, False, False, True]


def test_budget_fills_when_memory_grows_further() -> None:
    budget = MemoryBudget(private_memory() // 2)
    assert budget.full(5000)
    ballast = bytearray(os.urandom(1)) * (private_memory() // 16 + 32 * MIB)
    assert budget.full(1200)
    assert not budget.full(1199)
    assert budget.full(1200)
    del ballast


def test_private_memory_follows_what_is_allocated() -> None:
    before = private_memory()
    ballast = bytearray(b"x") * (64 * MIB)
    assert 60 * MIB < private_memory() - before < 80 * MIB
    del ballast
