"""Tests read what programs can read: which private fields of the package they reach for, why, and how often at most."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parent
# Attributes with a leading underscore that are a public interface: Python's, and PySpark's.
PUBLIC = {"_asdict", "_exit", "_fields", "_replace", "_jsc", "_jvm", "_active_spark_context"}
# What is left: field -> how many places read it at most. Lower a number when a place goes; none comes in.
DRIVERS = "a restart's checkpoint is found by the context, and no method gives it out"
CORES = "what no program sees is checked or called: a core, a node, its blocks, what a stop waits for"
SETTINGS = "a context that runs has its settings changed for a test"
SECRETS = "a secret must not be where it could be seen"
ORACLE = "PySpark's own rules, by which ours are checked"
LEFT = {
    DRIVERS: {"_found": 2},
    CORES: {
        "_ask": 1,
        "_backend": 1,
        "_driver": 2,
        "_handshake": 1,
        "_input_kwargs": 1,
        "_jobs": 1,
        "_limiter": 2,
        "_name": 1,
        "_nodes": 1,
        "_reached": 1,
        "_receivers_ended": 2,
        "_restore": 2,
        "_running": 9,
        "_sc": 1,
        "_scheduler": 1,
        "_stopping": 1,
        "_store": 1,
        "_stored": 3,
        "_thread": 1,
        "_waiter": 1,
    },
    ORACLE: {"_infer_schema": 3, "_make_type_verifier": 1, "_merge_type": 1},
    SETTINGS: {"_pairs": 1},
    SECRETS: {"_reveal": 1, "_secrets": 4, "_settings": 5},
}


def private_fields(source: str) -> Counter[str]:
    """The private names that are read of objects which the file doesn't define itself.

    >>> sorted(private_fields("class Mine:\\n def f(self): self._own = 1\\nmine._own, ssc._graph, row._replace()"))
    ['_graph']
    """
    tree = ast.parse(source)
    attributes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    own = defined | {node.attr for node in attributes if isinstance(node.value, ast.Name) and node.value.id == "self"}
    private = (node.attr for node in attributes if node.attr.startswith("_") and not node.attr.startswith("__"))
    return Counter(name for name in private if name not in own | PUBLIC)


def test_tests_reach_for_no_private_field_but_those_that_are_left() -> None:
    found = Counter[str]()
    for path in TESTS.rglob("*.py"):
        if "programs" not in path.relative_to(TESTS).parts:  # as their authors wrote them
            found += private_fields(path.read_text())
    left = Counter({name: number for names in LEFT.values() for name, number in names.items()})
    assert found - left == Counter(), "use a public way, or give the package one"
