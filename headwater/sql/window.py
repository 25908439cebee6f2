"""Windows over columns: names for programs to import. They need an engine for SQL, which isn't there yet."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from headwater.errors import sql_needed

__all__ = ["Window", "WindowSpec"]


class WindowSpec:
    """How rows are grouped, ordered and bounded. There is none yet.

    Raises:
        UnsupportedOperationException: always.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise sql_needed("WindowSpec")


class Window:
    """Makes a `WindowSpec`; each of its methods raises `UnsupportedOperationException`."""

    unboundedPreceding = -sys.maxsize - 1
    unboundedFollowing = sys.maxsize
    currentRow = 0

    @staticmethod
    def partitionBy(*cols: Any) -> NoReturn:
        """Group rows. Not supported yet."""
        raise sql_needed("Window.partitionBy")

    @staticmethod
    def orderBy(*cols: Any) -> NoReturn:
        """Order rows. Not supported yet."""
        raise sql_needed("Window.orderBy")

    @staticmethod
    def rowsBetween(start: int, end: int) -> NoReturn:
        """Bound a window by rows. Not supported yet."""
        raise sql_needed("Window.rowsBetween")

    @staticmethod
    def rangeBetween(start: int, end: int) -> NoReturn:
        """Bound a window by values. Not supported yet."""
        raise sql_needed("Window.rangeBetween")
