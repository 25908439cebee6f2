"""DataFrame: a name for programs to import; data frames come from an engine for SQL, which isn't there yet."""

from __future__ import annotations

from typing import Any

from headwater.errors import sql_needed

__all__ = ["DataFrame"]


class DataFrame:
    """Rows with a schema. There is none yet.

    Raises:
        UnsupportedOperationException: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise sql_needed("DataFrame")
