"""The part of Spark Streaming's surface that isn't there yet, so that using it says so instead of 'no attribute'."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

OF_DSTREAM: Mapping[str, str] = {
    **dict.fromkeys(
        ("saveAsHadoopFiles", "saveAsNewAPIHadoopFiles"),
        "Hadoop's output formats; saveAsTextFiles and saveAsPickleFiles are there",
    ),
}


def refuse(owner: object, name: str, not_yet: Mapping[str, str]) -> NoReturn:
    """Answer for an attribute that `owner` doesn't have.

    Raises:
        AttributeError: always, so that `hasattr` stays right; the text says whether it's to come.
    """
    kind = type(owner).__name__
    if name in not_yet:
        raise AttributeError(f"{kind}.{name} is not there yet: it comes with {not_yet[name]}")
    raise AttributeError(f"'{kind}' object has no attribute '{name}'")
