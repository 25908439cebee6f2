"""Versions of states for tests, and what is seen of them."""

from __future__ import annotations

from typing import Any

from headwater.engine.states import GONE, StatePartition, freeze, thaw


def changes_of(values: dict[Any, Any], *, time_ms: int | None = None) -> dict[Any, Any]:
    """The changes that give keys these values; None removes one."""
    frozen = {key: GONE if value is None else freeze(value) for key, value in values.items()}
    if time_ms is None:
        return frozen
    return {key: entry if entry is GONE else (entry, time_ms) for key, entry in frozen.items()}


def applied(state: dict[Any, Any], values: dict[Any, Any]) -> dict[Any, Any]:
    state = dict(state)
    for key, value in values.items():
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
    return state


def seen(partition: StatePartition, version: int | None) -> dict[Any, Any]:
    return {key: thaw(entry) for key, entry in partition.view(version).items()}
