"""Changing a program's imports of `pyspark` to `headwater`: names move, nothing else does.

Python's parser says where the names stand; so text, comments and layout stay as they are, and strings aren't touched.
"""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Iterator
from itertools import accumulate

OLD, NEW = "pyspark", "headwater"

_FROM = re.compile(rb"from(?:[ \t\f]|\\\r?\n)+")


def rewritten(source: str) -> str:
    """The program with its imports changed.

    Raises:
        SyntaxError: it's no program of Python 3.

    >>> rewritten("import pyspark.sql.functions as F\\nfrom pyspark import SparkContext")
    'import headwater.sql.functions as F\\nfrom headwater import SparkContext'
    """
    text = source.encode()
    starts = [0, *accumulate(len(line.encode()) for line in io.StringIO(source, newline=""))]
    offsets = set()
    for node in _places(ast.parse(source)):
        offset = starts[node.lineno - 1] + node.col_offset
        if isinstance(node, ast.ImportFrom):
            match = _FROM.match(text, offset)
            assert match is not None
            offset = match.end()
        offsets.add(offset)
    for offset in sorted(offsets, reverse=True):  # from the end: what comes before stays in place
        assert text.startswith(OLD.encode(), offset)
        text = text[:offset] + NEW.encode() + text[offset + len(OLD) :]
    return text.decode()


def is_of_pyspark(module: str | None) -> bool:
    """Whether a module is PySpark's."""
    return module is not None and module.partition(".")[0] == OLD


def _places(tree: ast.Module) -> Iterator[ast.alias | ast.ImportFrom | ast.Name]:
    """What has the name in it: first or, in a `from`, as its module."""
    nodes = list(ast.walk(tree))
    bound = False  # whether the program knows PySpark as `pyspark`
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_of_pyspark(alias.name):
                    bound = bound or alias.asname is None
                    yield alias
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and is_of_pyspark(node.module):
            yield node
    if bound:
        yield from (node for node in nodes if isinstance(node, ast.Name) and node.id == OLD)
