"""Whether the code of a program has changed since its checkpoints were begun.

A checkpoint holds the functions of then. So that a restart can say that they aren't those of the script any more, it
also holds a digest of the script, and of the file of the function that is passed to `getOrCreate`. Comments and layout
don't count.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from typing import Any

#: By role in the program: the file's name, its digest, the version of Python, whose syntax trees it is of.
Code = Mapping[str, list[str]]


def fingerprint(setup: Callable[..., Any] | None) -> Code:
    """The code of this process's script, and of the function that makes its streams (None: there is none)."""
    while isinstance(setup, partial):
        setup = setup.func
    modules = {"script": "__main__", "setup": getattr(setup, "__module__", None)}
    files = {role: getattr(sys.modules.get(name or ""), "__file__", None) for role, name in modules.items()}
    digests = {role: _digest(path) for role, path in files.items() if path}
    return {role: found for role, found in digests.items() if found}


def changed_files(before: Code, now: Code) -> list[str]:
    """The names of the files that have changed, as far as they can be compared."""
    both = {role: (before[role], now[role]) for role in before if role in now}
    return sorted({new[0] for old, new in both.values() if old[2] == new[2] and old[1] != new[1]})


def _digest(path: str) -> list[str] | None:
    try:
        with open(path, "rb") as file:
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):  # not a file of Python's, or gone
        return None
    version = "{}.{}".format(*sys.version_info)
    return [os.path.basename(path), sha256(ast.dump(tree).encode()).hexdigest(), version]
