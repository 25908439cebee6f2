"""The documentation's site: its configuration names every page, once. `make docs` builds it, with what that needs."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
SUFFIXES = (".md", ".rst")


def configured(name: str) -> object:
    """A constant of the site's configuration, which imports nothing that isn't installed here."""
    for node in ast.parse((ROOT / "docs/conf.py").read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return ast.literal_eval(node.value)
    raise AssertionError(f"docs/conf.py has no {name}")


def named_pages() -> list[str]:
    navigation, home = configured("NAVIGATION"), configured("HOME")
    assert isinstance(navigation, dict)
    assert isinstance(home, str)
    return [home, *(page for pages in navigation.values() for page in pages)]


def test_navigation_names_every_page_of_the_docs_once() -> None:
    in_docs = sorted(page for page in named_pages() if page.startswith("docs/"))
    files = [path for suffix in SUFFIXES for path in (ROOT / "docs").glob(f"**/*{suffix}")]
    assert in_docs == sorted(str(path.relative_to(ROOT).with_suffix("")) for path in files)


def test_navigation_names_pages_that_exist() -> None:
    missing = [page for page in named_pages() if not any((ROOT / f"{page}{suffix}").exists() for suffix in SUFFIXES)]
    assert missing == []


def test_reference_has_a_page_for_each_public_module() -> None:
    reference = ROOT / "docs/reference"
    pages = {path.stem for path in (reference / "api").glob("*.rst")}
    assert {"headwater", "headwater.errors", "headwater.sql", "headwater.streaming", "headwater.testing"} <= pages
    for module in pages:
        assert f"\n.. automodule:: {module}\n" in (reference / f"api/{module}.rst").read_text()
        assert f"(api/{module}.rst)" in (reference / "api.md").read_text()
        assert f"`{module}`" in (ROOT / "docs/compatibility.md").read_text()
