"""Which segments of a state are kept."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headwater.engine.events import StoredVersion
from headwater.streaming.recovery.versions import StoredVersions


class Bed:
    """A state of some partitions in a directory; `store` does what a task does."""

    def __init__(self, root: Path, partitions: int) -> None:
        self.directory = root / f"state-{sum(1 for _ in root.iterdir())}"
        self.versions = StoredVersions(str(self.directory), partitions)
        self.versions.make("e")

    def store(self, version: int, partition: int, *names: str, wanted: bool = True) -> None:
        segments = tuple(f"e/{name}" for name in names)
        (self.directory / segments[-1]).touch()
        self.versions.add(StoredVersion(0, version, partition, segments), wanted)

    def files(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "e").iterdir())


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path, 2)


def test_version_is_complete_when_all_its_partitions_are_stored(bed: Bed) -> None:
    bed.store(1, 0, "a")
    assert not bed.versions.complete(1)
    assert bed.versions.versions() == []
    bed.store(1, 1, "b")
    assert bed.versions.complete(1)
    assert bed.versions.versions() == [1]
    assert bed.versions.segments(1) == [("e/a",), ("e/b",)]


def test_segment_stays_as_long_as_a_version_stands_on_it(bed: Bed) -> None:
    for partition, letter in enumerate("ab"):
        bed.store(1, partition, f"{letter}1")
        bed.store(2, partition, f"{letter}1", f"{letter}2")
        bed.store(3, partition, f"{letter}3")
    bed.versions.keep([2, 3])
    assert bed.files() == ["a1", "a2", "a3", "b1", "b2", "b3"]
    bed.versions.keep([3])
    assert bed.files() == ["a3", "b3"]
    assert bed.versions.versions() == [3]


def test_version_that_comes_after_those_that_are_kept_stays(bed: Bed) -> None:
    bed.store(1, 0, "a1")
    bed.store(2, 0, "a1", "a2")
    bed.versions.keep([1])
    assert bed.files() == ["a1", "a2"]


def test_segments_of_all_attempts_at_a_kept_version_stay(bed: Bed) -> None:
    bed.store(1, 0, "a1")
    bed.store(1, 0, "again")
    bed.store(1, 1, "b1")
    bed.store(2, 0, "again", "a2")
    assert bed.versions.segments(1)[0] == ("e/again",)
    bed.versions.keep([1])
    assert bed.files() == ["a1", "a2", "again", "b1"]


def test_segment_of_an_attempt_that_does_not_count_goes_unless_a_version_stands_on_it(bed: Bed) -> None:
    bed.store(1, 0, "old")
    bed.store(2, 0, "late", wanted=False)
    bed.store(2, 0, "base", wanted=False)
    bed.store(3, 0, "base", "a3")
    bed.versions.keep([3])
    assert bed.files() == ["a3", "base"]


def test_segment_that_cannot_be_removed_is_logged(bed: Bed, caplog: pytest.LogCaptureFixture) -> None:
    bed.store(1, 0, "a1")
    bed.store(2, 0, "a2")
    shutil.rmtree(bed.directory / "e")
    (bed.directory / "e").touch()  # a file where the directory was
    with caplog.at_level(logging.WARNING):
        bed.versions.keep([2])
    assert "e/a1 could not be removed" in caplog.text
    assert bed.versions.versions() == []


def bases(choices: Iterable[int]) -> list[tuple[str, ...]]:
    """Chains of segments, each upon some of the one before."""
    chains: list[tuple[str, ...]] = []
    for version, kept in enumerate(choices):
        below = chains[-1][:kept] if chains else ()
        chains.append((*below, f"s{version}"))
    return chains


@given(choices=st.lists(st.integers(0, 4), min_size=1, max_size=12), data=st.data())
def test_exactly_what_nothing_stands_on_is_removed(tmp_path: Path, choices: list[int], data: st.DataObject) -> None:
    bed = Bed(tmp_path, 1)
    chains = bases(choices)
    for version, names in enumerate(chains):
        bed.store(version, 0, *names)
    kept = data.draw(st.sets(st.integers(0, len(chains) - 1), min_size=1))
    bed.versions.keep(kept)
    stays = [names for version, names in enumerate(chains) if version in kept or version >= max(kept)]
    assert bed.files() == sorted({name for names in stays for name in names})
