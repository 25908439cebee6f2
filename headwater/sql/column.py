"""Column: a name for programs to import; columns come from an engine for SQL, which isn't there yet."""

from __future__ import annotations

from typing import Any

from headwater.errors import sql_needed

__all__ = ["Column"]


class Column:
    """An expression over the columns of a DataFrame. There is none yet.

    Raises:
        UnsupportedOperationException: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise sql_needed("Column")
