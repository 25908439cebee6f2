"""Secrets of receivers: environment variables of the executor hold them, no pickle and no checkpoint does."""

from __future__ import annotations

import os

from headwater.errors import IllegalArgumentException


def secret(variable: str | None, argument: str) -> str | None:
    """What an environment variable holds; None of None.

    Args:
        variable: its name.
        argument: of the receiver, by which the program named it.

    Raises:
        IllegalArgumentException: there is no such variable.
    """
    if variable is None:
        return None
    if variable not in os.environ:
        raise IllegalArgumentException(
            f"{argument}: there is no environment variable {variable} here. Set it where executors start."
        )
    return os.environ[variable]
