"""A row of the table: the texts that it takes, by its standing."""

from __future__ import annotations

import pytest

from headwater.errors import IllegalArgumentException
from headwater.settings.kinds import Duration, Integer, Text
from headwater.settings.setting import Setting, Standing


def test_text_is_parsed_without_the_space_around_it() -> None:
    assert Setting("a", Duration(), "1s", "How long.").parse(" 3 s ") == 3000


def test_empty_text_is_no_value_where_nothing_is_set_by_default() -> None:
    assert Setting("a", Integer(), "", "How many.").parse(" ") is None
    assert Setting("a", Text(), "", "Which.").parse(" ") == ""


@pytest.mark.parametrize(
    "setting", [Setting("a.b", Integer(), "1", "How many."), Setting("a.b", Text(("x", "y")), "", "Which.")]
)
def test_empty_text_is_an_error_where_something_is_expected(setting: Setting) -> None:
    with pytest.raises(IllegalArgumentException, match=r"^a\.b: '' is not (an integer of at least 0|one of x, y)\.$"):
        setting.parse("")


def test_invalid_text_is_an_error_that_names_key_value_and_remedy() -> None:
    with pytest.raises(IllegalArgumentException, match=r"^a\.b: 'two' is not an integer of at least 1\.$"):
        Setting("a.b", Integer(least=1), "1", "How many.").check("a.b", "two")


def test_refused_setting_takes_harmless_values_only_and_does_not_repeat_others() -> None:
    setting = Setting("a.*", Text(), "", "There is none.", harmless=("", "*"), standing=Standing.REFUSED)
    setting.check("a.b", "*")
    with pytest.raises(IllegalArgumentException, match=r"^a\.b is refused: There is none\.$"):
        setting.check("a.b", "hunter2")
