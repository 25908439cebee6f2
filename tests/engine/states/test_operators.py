"""Operators on states: what a step does when it fails, and what is read of a version."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.engine.lineage import Records
from headwater.engine.states import Entries, Evolve, LiveStates, Reach, StateDescription, StoredState, View


def test_partition_is_made_again_when_half_of_a_change_was_made(tmp_path: Path) -> None:
    class Torn(dict[Any, Any]):
        """Changes that can't be made to their end."""

        def items(self) -> Any:
            yield from list(super().items())[:1]
            raise OSError("no space left")

    live = LiveStates(1 << 30, str(tmp_path))
    tries = iter([Torn(a=1, b=1), {"a": 1, "b": 1}])
    state = StateDescription(0, str(tmp_path), "1")
    evolve = Evolve(state, None, 1, 0, lambda view, inputs: (next(tries), [len(list(view.items()))]), None, False)
    task: Any = SimpleNamespace(states=live)
    with pytest.raises(OSError, match="no space left"):
        evolve.compute(task, 0, [])
    assert list(evolve.compute(task, 0, [])) == [0]  # it began with an empty one
    held = live.find(0, 0, 1)
    assert held is not None and dict(held.view(1).items()) == {"a": 1, "b": 1}


def values(view: View) -> Records:
    return sorted(view.items())


def made(live: LiveStates, state: StateDescription, version: int, changes: dict[Any, Any]) -> Any:
    """A task with that version in its worker's heap."""
    task: Any = SimpleNamespace(states=live)
    list(Evolve(state, None, version, 0, lambda view, inputs: (changes, []), None, False).compute(task, 0, []))
    return task


def unexpected() -> Records:
    raise AssertionError("the version is here")


def test_entries_are_those_of_the_version_that_is_here(tmp_path: Path) -> None:
    task = made(LiveStates(1 << 30, str(tmp_path)), StateDescription(7, str(tmp_path), "1"), 1, {"b": 2, "a": 1})
    assert list(Entries(7, 1, 1, values).compute(task, 0, [unexpected])) == [("a", 1), ("b", 2)]
    assert list(Reach(7, 1).compute(task, 0, [unexpected])) == []


def test_version_that_is_not_here_is_made_by_the_parents(tmp_path: Path) -> None:
    live, state = LiveStates(1 << 30, str(tmp_path)), StateDescription(7, str(tmp_path), "1")
    task: Any = SimpleNamespace(states=live)

    def step() -> Records:
        made(live, state, 1, {"a": 1})
        return ()

    assert list(Reach(7, 1).compute(task, 0, [step])) == []
    live.forget(7)
    assert list(Entries(7, 1, 1, values).compute(task, 0, [step])) == [("a", 1)]


def test_stored_state_restores_its_version_unless_it_is_here(tmp_path: Path) -> None:
    live, state = LiveStates(1 << 30, str(tmp_path)), StateDescription(7, str(tmp_path), "1")
    task = made(live, state, 1, {"a": 1})
    held = live.find(7, 0, 1)
    assert held is not None
    names = held.store(str(tmp_path), "v1")
    (tmp_path / "v1").rename(tmp_path / "v2")
    assert list(StoredState(state, 1).read(task, (0, names))) == []  # without a look at the file
    live.forget(7)
    assert list(StoredState(state, 1).read(task, (0, ("v2",)))) == []
    assert list(Entries(7, 1, 0, values).compute(task, 0, [])) == [("a", 1)]
