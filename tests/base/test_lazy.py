"""Packages whose names are imported when a program first uses them."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

from headwater.base.lazy import lazy_names


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A package of one module, `words.verbs`, which has `run`."""
    package, module = ModuleType("words"), ModuleType("words.verbs")
    module.__dict__["run"] = "ran"
    monkeypatch.setitem(sys.modules, "words", package)
    monkeypatch.setitem(sys.modules, "words.verbs", module)
    return package


def test_a_name_is_taken_from_its_module_and_kept(package: ModuleType) -> None:
    get, _ = lazy_names("words", {"run": "verbs"})
    assert get("run") == "ran"
    assert vars(package)["run"] == "ran"


def test_an_unknown_name_is_an_attribute_error_as_of_any_module(package: ModuleType) -> None:
    get, _ = lazy_names("words", {"run": "verbs"})
    with pytest.raises(AttributeError, match="module 'words' has no attribute 'walk'"):
        get("walk")


def test_names_that_were_not_imported_yet_are_listed(package: ModuleType) -> None:
    _, names = lazy_names("words", {"run": "verbs"})
    assert "run" in names()
