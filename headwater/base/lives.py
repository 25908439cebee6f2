"""Lives as tables: which states a thing has, and which event leads from one to which other.

- A move that the table doesn't list is a bug of ours: it raises, and changes nothing. Where an event may rightly come
  too late, `Life.may` says so before.
- What lives a great many times, as tasks do, keeps its state and its story itself, and asks the table (`Table.after`).
- docs/lives.md draws each table; `python -m tests.drawing` draws them anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=str | type)

# Moves that a life remembers, to be told by an error.
STORY_MAX = 20


class IllegalMove(RuntimeError):
    """An event came in a state from which it leads nowhere: a bug of ours. The text tells the story up to it."""


class Table(Generic[S, E]):
    """All moves of a kind of thing.

    Args:
        of: the thing, for errors: "the batch generator".
        first: the state in which a life begins.
        moves: (state, event) -> the state that follows. An event is a word, or the class of a core's events.
    """

    def __init__(self, of: str, first: S, moves: Mapping[tuple[S, E], S]) -> None:
        self.of = of
        self.first = first
        self.moves = moves
        # By name, as an Enum's hash is a call.
        self._after = {(state._name_, event): after for (state, event), after in moves.items()}

    def after(self, state: S, event: E) -> S | None:
        """The state that follows; None if the event leads nowhere from there."""
        return self._after.get((state._name_, event))

    def begin(self, name: str = "") -> Life[S, E]:
        """A life in its first state; `name` tells it from others of the table, for errors."""
        return Life(self, name)

    def diagram(self) -> str:
        """A state diagram, as Mermaid reads it; events that lead from one state to the same other share an arrow."""
        arrows: dict[tuple[S, S], list[str]] = {}
        for (state, event), after in self.moves.items():
            arrows.setdefault((state, after), []).append(_text(event))
        states = dict.fromkeys((self.first, *(state for arrow in arrows for state in arrow)))
        left = {state for state, _ in self.moves}
        return "\n".join(
            (
                "stateDiagram-v2",
                *(f'    state "{state.value}" as {_id(state)}' for state in states if state.value != _id(state)),
                f"    [*] --> {_id(self.first)}",
                *(f"    {_id(a)} --> {_id(b)} : {', '.join(events)}" for (a, b), events in arrows.items()),
                *(f"    {_id(state)} --> [*]" for state in states if state not in left),
            )
        )


class Life(Generic[S, E]):
    """One thing's way along a table. Its owner moves it; other threads may read `state`.

    >>> class Door(Enum):
    ...     OPEN = "open"
    ...     SHUT = "shut"
    >>> life = Table("the door", Door.OPEN, {(Door.OPEN, "shut"): Door.SHUT}).begin()
    >>> life.move("shut")
    >>> life.state
    <Door.SHUT: 'shut'>
    >>> life.move("shut")
    Traceback (most recent call last):
    headwater.base.lives.IllegalMove: the door is shut, from where 'shut' leads nowhere. Its story: open, shut -> shut
    """

    def __init__(self, table: Table[S, E], name: str = "") -> None:
        self.state = table.first
        self._table = table
        self._name = name
        self._story: deque[str] = deque([table.first.value], maxlen=STORY_MAX + 1)

    def may(self, event: E) -> bool:
        """Whether the event leads anywhere from here."""
        return self._table.after(self.state, event) is not None

    def move(self, event: E) -> None:
        """Take the event.

        Raises:
            IllegalMove: it leads nowhere from here; nothing has changed.
        """
        after = self._table.after(self.state, event)
        if after is None:
            who = " ".join(filter(None, (self._table.of, self._name)))
            story = ", ".join(self._story)
            where = f"{who} is {self.state.value}, from where {_text(event)!r} leads nowhere"
            raise IllegalMove(f"{where}. Its story: {story}")
        self.state = after
        self._story.append(f"{_text(event)} -> {after.value}")

    def __repr__(self) -> str:
        return f"<{self.state.value}>"


def _id(state: Enum) -> str:
    return state.name.lower()


def _text(event: str | type) -> str:
    return event if isinstance(event, str) else event.__name__
