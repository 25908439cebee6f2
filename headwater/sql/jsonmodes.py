"""What becomes of a malformed line of JSON: Spark's three modes, by name."""

from __future__ import annotations

from typing import Any

from headwater.errors import IllegalArgumentException

__all__ = ["MODES", "check_mode"]

MODES = ("PERMISSIVE", "DROPMALFORMED", "FAILFAST")


def check_mode(mode: Any) -> str:
    """The mode in capitals.

    Raises:
        IllegalArgumentException: there is none of that name.

    >>> check_mode("failfast")
    'FAILFAST'
    """
    name = mode.upper() if isinstance(mode, str) else mode
    if name not in MODES:
        raise IllegalArgumentException(f"mode must be one of {', '.join(MODES)}, not {mode!r}")
    return str(name)
