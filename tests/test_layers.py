"""The house's order: every import points down, the lazy ones and those for type checkers included.

A room is a folder of the package, or the files of a folder that stand on another floor than the rest of it.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "headwater"

#: From top to bottom. Rooms of one line stand side by side: none imports another.
FLOORS = [
    ["headwater: the doors"],
    ["deploy"],
    ["headwater: the names"],
    ["migrate"],
    ["testing"],
    ["sql"],
    ["streaming.kafka", "streaming.kinesis", "streaming.flume", "streaming.mqtt"],
    # What programs import: it names what is below, and nothing below names it.
    ["streaming: the context"],
    ["streaming.sources", "streaming.receivers"],
    ["streaming.graph"],
    # What writes batches: they are RDDs to it, and it knows no streams.
    ["streaming.outputs"],
    ["streaming.runtime"],
    ["streaming.recovery"],
    ["streaming: words"],
    ["headwater: the context"],
    ["rdd"],
    ["engine.backends", "ui"],
    ["engine"],
    ["formats"],
    ["filesystem"],
    ["headwater: shared variables and files"],
    ["base"],
    ["headwater: the ground"],
    ["settings"],
    ["headwater: errors"],
]

#: Files that stand on another floor than the rest of their folder; PySpark's names say where they are.
ROOMS = {
    "headwater: the doors": ["__main__", "migrate.__main__"],
    "headwater: the names": [""],
    "streaming: the context": [
        "streaming",
        "streaming.context",
        "streaming.dstream",
        "streaming.dstream.*",
        "streaming.inputs",
        "streaming.lifecycle",
        "streaming.receiving",
        "streaming.running",
        "streaming.termination",
        "streaming.unstarted",
        "streaming.waiter",
        "streaming.util",
    ],
    "streaming: words": [
        "streaming.decoding",
        "streaming.durations",
        "streaming.listener",
        "streaming.pool",
        "streaming.state",
    ],
    "headwater: the context": ["context", "shuffle", "status", "util"],
    "headwater: shared variables and files": [
        "accumulators",
        "broadcast",
        "files",
        "profiler",
        "serializers",
        "taskcontext",
    ],
    "headwater: the ground": ["clock", "conf", "exhaustive", "resultiterable", "statcounter", "storagelevel"],
    "headwater: errors": ["errors", "version"],
}

#: Imports that point up, or sideways, and why they may.
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("rdd.core", "context"): "RDD.context is a SparkContext to the type checkers of programs, in types only",
    ("streaming.dstream.core", "streaming.context"): "a DStream names its context, in types only",
    ("streaming.dstream", "streaming.context"): "likewise",
    ("streaming.dstream.transformations", "sql.streams"): "toDF and sql: methods, so that they are found; lazy",
    ("streaming.dstream.transformations", "sql.session"): "likewise, in types only",
    ("errors", "sql.requirements"): "SQL's exceptions by PySpark's path, pyspark.errors; lazy",
    ("rdd.core", "sql.session"): "toDF: a method, so that it's found; lazy",
    ("streaming.dstream.outputs", "streaming.kafka.stream"): "saveToKafka: a method, so that it's found; lazy",
}


class Import(NamedTuple):
    """A module that another one imports; names are relative to the package."""

    importer: str
    imported: str
    line: int

    def __str__(self) -> str:
        return f"{self.importer or PACKAGE} imports {self.imported or PACKAGE} (line {self.line})"


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT / PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    """All of the package, by name."""
    return {_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def _imports_of(name: str, path: Path) -> Iterator[Import]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
            modules_found = [each if _relative(each) in modules() else node.module for each in found]
        elif isinstance(node, ast.Import):
            modules_found = [alias.name for alias in node.names]
        else:
            continue
        for each in dict.fromkeys(modules_found):
            if each.split(".")[0] == PACKAGE:
                yield Import(name, _relative(each), node.lineno)


def _relative(module: str) -> str:
    return module.removeprefix(PACKAGE).removeprefix(".")


@cache
def imports() -> tuple[Import, ...]:
    """Each import within the package: at the top of a file, in a function, for type checkers."""
    return tuple(each for name, path in modules().items() for each in _imports_of(name, path))


@cache
def room(module: str) -> str:
    """The room of a module."""
    for named, files in ROOMS.items():
        if module in files or f"{module.rpartition('.')[0]}.*" in files:
            return named
    rooms = [room for floor in FLOORS for room in floor]
    inside = [each for each in rooms if module == each or module.startswith(each + ".")]
    assert inside, f"{module} is in no room: name its folder in FLOORS"
    return max(inside, key=len)


def floor(module: str) -> int:
    """Its number, from the top."""
    return next(number for number, rooms in enumerate(FLOORS) if room(module) in rooms)


def test_every_import_points_down() -> None:
    wrong = [
        str(each)
        for each in imports()
        if room(each.importer) != room(each.imported)
        and floor(each.importer) >= floor(each.imported)
        and (each.importer, each.imported) not in EXCEPTIONS
    ]
    assert wrong == []


def test_no_circle_within_a_room() -> None:
    """So files, too, can be read from the bottom up. A package's own file may name its modules, and they it."""
    below: dict[str, set[str]] = defaultdict(set)
    for each in imports():
        inside = each.importer.startswith(f"{each.imported}.")
        if not inside and (each.importer, each.imported) not in EXCEPTIONS:
            below[each.importer].add(each.imported)
    assert [sorted(circle) for circle in _circles(below)] == []


def test_exceptions_are_still_needed() -> None:
    there = {(each.importer, each.imported) for each in imports()}
    assert sorted(EXCEPTIONS.keys() - there) == []


@pytest.mark.parametrize("name", sorted(name for name in modules() if name))
def test_every_module_says_what_it_holds(name: str) -> None:
    if modules()[name].name != "__init__.py" or modules()[name].read_text():
        docstring = ast.get_docstring(ast.parse(modules()[name].read_text()))
        assert docstring and docstring.splitlines()[0].endswith((".", ":")), modules()[name]


def _circles(below: dict[str, set[str]]) -> list[set[str]]:
    """The strongly connected components of more than one module (Tarjan, 1972)."""
    number: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = low[module] = len(number)
        stack.append(module)
        for each in sorted(below.get(module, ())):
            if each not in number:
                visit(each)
                low[module] = min(low[module], low[each])
            elif each in stack:
                low[module] = min(low[module], number[each])
        if low[module] == number[module]:
            circle: set[str] = set()
            while module not in circle:
                circle.add(stack.pop())
            if len(circle) > 1:
                found.append(circle)

    for module in sorted(below):
        if module not in number:
            visit(module)
    return found
