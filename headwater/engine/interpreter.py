"""How Headwater starts Python processes of its own.

They import what the driver can import, and nothing from the working directory, where others may have put a module.
"""

from __future__ import annotations

import os
import sys

# `python -m` would look for modules in the working directory first, those of the standard library included.
_RUN = "import sys; sys.path[:] = filter(None, sys.path); import runpy; runpy.run_module({!r}, None, '__main__', True)"


def command(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module as a program."""
    return [sys.executable, "-c", _RUN.format(module), *arguments]


def environment() -> dict[str, str]:
    """Our environment, with the directories from which the driver imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
