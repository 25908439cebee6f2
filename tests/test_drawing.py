"""Pictures of lives show what the code does."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

import headwater
from headwater.base.lives import Table
from tests.drawing import PICTURE, drawn, pages, table


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_pictures_of_a_page_are_those_of_the_tables(page: Path) -> None:
    assert page.read_text() == drawn(page.read_text()), "python -m tests.drawing draws them anew"


def test_every_life_has_its_picture() -> None:
    shown = {id(table(found)) for page in pages() for found in PICTURE.finditer(page.read_text())}
    root = Path(headwater.__path__[0])
    files = [path for path in root.rglob("*.py") if "from headwater.base.lives import" in path.read_text()]
    names = [".".join(path.relative_to(root.parent).with_suffix("").parts) for path in files]
    tables = {
        id(value): f"{name}.{key}"
        for name in names
        for key, value in vars(import_module(name)).items()
        if isinstance(value, Table)
    }
    assert len(tables) >= 5
    assert sorted(tables[each] for each in tables.keys() - shown) == []


def test_picture_that_is_out_of_date_is_drawn_anew_and_the_rest_of_the_page_stays() -> None:
    asked = "<!-- life: headwater.streaming.lifecycle.LIFE -->\n"
    page = f"# Lives\n{asked}```mermaid\nold\n```\ntext\n```mermaid\nother\n```\n"
    now = drawn(page)
    assert now != page
    assert now == page.replace("old", import_module("headwater.streaming.lifecycle").LIFE.diagram())
    assert drawn(now) == now
