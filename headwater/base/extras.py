"""Packages that only some programs need: each belongs to an extra of ours, and is imported where it is used."""

from __future__ import annotations

import importlib
from typing import Any

from headwater.errors import SparkException


def require(package: str, extra: str, purpose: str) -> Any:
    """A package of an extra, as a module.

    Args:
        package: the module's name.
        extra: which of our extras brings it.
        purpose: what needs it, as the beginning of a sentence.

    Raises:
        SparkException: it isn't installed; the message says what to install.

    >>> require("json", "flume", "Flume streams").dumps([1])
    '[1]'
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != package.partition(".")[0]:
            raise  # it's there, but misses something of its own
        name = package.partition(".")[0]
        raise SparkException(f"{purpose} need the package {name}: pip install 'headwater[{extra}]'") from error
