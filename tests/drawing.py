"""Pictures of lives in the documentation: `python -m tests.drawing` draws each anew from its table.

A page asks for a picture by a comment, `<!-- life: MODULE.LIFE -->`, above a Mermaid block.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from headwater.base.lives import Table

DOCS = Path(__file__).resolve().parent.parent / "docs"
PICTURE = re.compile(r"(?P<asked><!-- life: (?P<module>[\w.]+)\.(?P<name>\w+) -->\n)```mermaid\n.*?^```$", re.M | re.S)


def drawn(page: str) -> str:
    """A page with its pictures as the tables have them."""
    return PICTURE.sub(lambda found: f"{found['asked']}```mermaid\n{table(found).diagram()}\n```", page)


def table(found: re.Match[str]) -> Table[Any, Any]:
    """The table that a picture is of."""
    of: Table[Any, Any] = getattr(import_module(found["module"]), found["name"])
    return of


def pages() -> list[Path]:
    """The pages that have pictures."""
    return [path for path in sorted(DOCS.rglob("*.md")) if PICTURE.search(path.read_text())]


if __name__ == "__main__":
    for path in pages():
        path.write_text(drawn(path.read_text()))
