"""Change fragments: each is named and written so that the next changelog can be made of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FRAGMENTS = sorted(path for path in (ROOT / "changes").iterdir() if path.name not in ("README.md", "template.md.jinja"))
KINDS = ("added", "changed", "fixed", "removed")
NAME = re.compile(rf"[a-z0-9]+(-[a-z0-9]+)*\.({'|'.join(KINDS)})(\.[0-9]+)?\.md")
WIDTH = 120
LINK = re.compile(r"\[[^\]]*\]\((?!https?:)([^)\s#]*)")


@pytest.mark.parametrize("name", ["kafka-headers.added.md", "wal.fixed.2.md", "python-3-15.changed.md"])
def test_good_names_are_accepted(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize(
    "name", ["added.md", "Kafka.added.md", "kafka.new.md", "kafka.added", "kafka_headers.fixed.md"]
)
def test_other_names_are_refused(name: str) -> None:
    assert not NAME.fullmatch(name)


def test_fragments_are_well_formed() -> None:
    for path in FRAGMENTS:
        text = path.read_text()
        assert NAME.fullmatch(path.name), f"{path.name} should be TOPIC.KIND.md, see changes/README.md"
        assert text.strip() and text.endswith("\n"), f"{path.name} has no entry"
        assert not text.startswith(("-", "*", "#", " ")), f"{path.name}: an entry has no bullet and no heading"
        assert all(len(line) <= WIDTH for line in text.splitlines()), f"{path.name} has lines of more than {WIDTH}"
        assert [link for link in LINK.findall(text) if not (ROOT / link).exists()] == [], path.name


def test_kinds_are_those_that_the_changelog_is_made_of() -> None:
    settings = (ROOT / "pyproject.toml").read_text().partition("[tool.towncrier]")[2]
    assert tuple(re.findall(r'^directory = "(\w+)"$', settings, re.M))[1:] == KINDS
    for kind in KINDS:
        assert f"`{kind}`" in (ROOT / "changes/README.md").read_text()


def test_changelog_has_the_place_where_sections_are_put() -> None:
    assert (ROOT / "CHANGELOG.md").read_text().count("\n<!-- towncrier release notes start -->\n") == 1
