"""Lives as tables: what is listed happens, all else raises, and the picture shows what is listed."""

from __future__ import annotations

from enum import Enum
from typing import Literal

import pytest

from headwater.base.lives import STORY_MAX, IllegalMove, Life, Table


class Lamp(Enum):
    OFF = "off"
    ON = "on"
    BROKEN = "broken for good"


Step = Literal["press", "drop", "kick"]
LAMP: Table[Lamp, Step] = Table(
    "the lamp",
    Lamp.OFF,
    {
        (Lamp.OFF, "press"): Lamp.ON,
        (Lamp.ON, "press"): Lamp.OFF,
        (Lamp.OFF, "drop"): Lamp.BROKEN,
        (Lamp.OFF, "kick"): Lamp.BROKEN,
    },
)


def test_life_follows_its_table() -> None:
    life = LAMP.begin()
    seen = [life.state]
    for step in ("press", "press", "kick"):
        assert life.may(step)
        life.move(step)
        seen.append(life.state)
    assert seen == [Lamp.OFF, Lamp.ON, Lamp.OFF, Lamp.BROKEN]


def test_move_that_is_not_listed_names_state_event_and_story_and_changes_nothing() -> None:
    life = LAMP.begin("in the hall")
    life.move("press")
    life.move("press")
    life.move("press")
    assert not life.may("drop")
    with pytest.raises(IllegalMove) as raised:
        life.move("drop")
    assert str(raised.value) == (
        "the lamp in the hall is on, from where 'drop' leads nowhere. "
        "Its story: off, press -> on, press -> off, press -> on"
    )
    assert life.state is Lamp.ON


def test_story_is_that_of_the_last_moves() -> None:
    life: Life[Lamp, Step] = LAMP.begin()
    for _ in range(2 * STORY_MAX + 1):
        life.move("press")
    with pytest.raises(IllegalMove) as raised:
        life.move("kick")
    assert str(raised.value).count("press") == STORY_MAX + 1


def test_diagram_has_an_arrow_for_each_pair_of_states_and_ends_where_nothing_follows() -> None:
    assert LAMP.diagram().splitlines() == [
        "stateDiagram-v2",
        '    state "broken for good" as broken',
        "    [*] --> off",
        "    off --> on : press",
        "    on --> off : press",
        "    off --> broken : drop, kick",
        "    broken --> [*]",
    ]


def test_events_may_be_classes() -> None:
    class Pressed:
        pass

    table: Table[Lamp, type] = Table("the lamp", Lamp.OFF, {(Lamp.OFF, Pressed): Lamp.ON})
    life = table.begin()
    life.move(Pressed)
    with pytest.raises(IllegalMove, match="'Pressed' leads nowhere"):
        life.move(Pressed)
    assert "off --> on : Pressed" in table.diagram()
