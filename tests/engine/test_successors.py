"""Successors: what an earlier driver has pickled is loaded as objects of the program's own classes."""

from __future__ import annotations

import sys
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

from headwater.base.pickling import dump_records, dumps
from headwater.engine.successors import Successors, class_table


def script_class(name: str = "Letter", **members: Any) -> Any:
    """A class as a script defines it: no module has it, so it is pickled by value."""

    def begin(self: Any, value: str) -> None:
        self.value = value

    return type(name, (), {"__module__": "__main__", "__qualname__": name, "__init__": begin, **members})


def successors(*classes: type, script: bool = False, upgraded: bool = True) -> Successors:
    table: Any = SimpleNamespace(value=class_table(classes, script=script))
    return Successors(table, upgraded)


def test_object_of_an_earlier_class_is_loaded_as_one_of_its_successor() -> None:
    earlier, later = script_class(), script_class(shown=lambda self: f"<{self.value}>")
    loaded = successors(later).load(dumps(earlier("a")))
    assert type(loaded) is later
    assert loaded.shown() == "<a>"


def test_successor_is_left_as_the_program_defines_it() -> None:
    earlier, later = script_class(old=1), script_class(new=1)
    successors(later).load(dumps(earlier("a")))
    assert not hasattr(later, "old")


def test_object_without_a_class_of_a_script_is_loaded_as_it_is() -> None:
    assert successors().load(dump_records([1, ("a", None)])) == [1, ("a", None)]


def test_object_of_a_class_without_a_successor_comes_back_as_it_was() -> None:
    loaded = successors(script_class("Other")).load(dumps(script_class()("a")))
    assert (type(loaded).__qualname__, loaded.value) == ("Letter", "a")


def test_keys_of_a_class_without_a_successor_are_refused_by_another_program_only() -> None:
    keys = dump_records([script_class()("a")])
    assert len(successors(upgraded=False).load_keys(keys)) == 1
    with pytest.raises(ValueError, match="keys are of the class Letter, which the new script doesn't have"):
        successors(upgraded=True).load_keys(keys)


def test_keys_that_equal_by_content_need_no_successor() -> None:
    named: Any = namedtuple("Named", "name", module="__main__")
    assert successors().load_keys(dump_records([named("a")])) == [("a",)]


def test_class_may_be_renamed_if_the_script_has_its_old_name(monkeypatch: pytest.MonkeyPatch) -> None:
    renamed = script_class("Sign")
    monkeypatch.setattr(sys.modules["__main__"], "Letter", renamed, raising=False)
    assert type(successors(script=True).load(dumps(script_class()("a")))) is renamed


def test_pickle_is_renewed_with_the_programs_classes() -> None:
    later = script_class()
    renewed = successors(later).renew(dumps(script_class()("a")))
    assert type(successors(later).load(renewed)) is later
    plain = dumps({"a": 1})
    assert successors(later).renew(plain) is plain
