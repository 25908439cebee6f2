"""Contexts, RDDs and streams have public doors: a private one is opened in its own file only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import headwater

PACKAGE = Path(headwater.__file__).parent
#: What the house calls a context or a stream. In the files that define them they may be opened.
OWNERS = {
    "sc": "context.py",
    "ctx": "context.py",
    "sparkContext": "context.py",
    "ssc": "streaming/context.py",
    "stream": "",
}


def private_uses(code: str) -> Iterator[tuple[int, str, str]]:
    """(line, owner, name) of each private attribute that is taken of a context or a stream.

    >>> list(private_uses("ssc._graph; self._sc._conf; sc.conf; rdd.ctx._application; self._graph; sc._jvm"))
    [(1, 'ssc', '_graph'), (1, 'sc', '_conf'), (1, 'ctx', '_application')]
    """
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and node.attr not in ("_jvm", "_jsc"):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner.lstrip("_") in OWNERS:
                yield node.lineno, owner.lstrip("_"), node.attr


def test_private_door_of_a_context_or_stream_is_opened_in_its_own_file_only() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line}: {owner}.{name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for line, owner, name in private_uses(path.read_text())
        if path != PACKAGE / OWNERS[owner]
    ]
    assert wrong == []
