"""The catalog of a session: PySpark's client's, with what the engine lacks: rows that are kept, drops of nothing.

A view whose rows are kept is replaced by one that has them. What it was before is told to the engine again when they
needn't be kept any more, unless the program has made another view of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pyspark.errors import AnalysisException
from pyspark.sql.connect.catalog import Catalog as ClientsCatalog

from headwater.sql.connection import SessionConnection

__all__ = ["Catalog"]


class _Kept(NamedTuple):
    before: Any  # the request that made the view; None if there was none, but a table
    since: Any  # the request that made the one with the rows


class Catalog(ClientsCatalog):
    """What `SparkSession.catalog` gives.

    Args:
        session: whose it is, a `connected.Session`.
        connection: the session's; it knows what views there are.
    """

    def __init__(self, session: Any, connection: SessionConnection) -> None:
        super().__init__(session)
        self._connection = connection
        self._kept: dict[str, _Kept] = {}

    # -------------------------------------------------------------------------------------------- dropping
    def dropTempView(self, viewName: str) -> bool:
        return _was_there(super().dropTempView, viewName)

    def dropGlobalTempView(self, viewName: str) -> bool:
        return _was_there(super().dropGlobalTempView, viewName)

    # -------------------------------------------------------------------------------------------- keeping rows
    def isCached(self, tableName: str) -> bool:
        kept = self._kept.get(tableName.lower())
        return kept is not None and self._connection.view(tableName) is kept.since

    def cacheTable(self, tableName: str, storageLevel: Any = None) -> None:
        if not self.isCached(tableName):
            before = self._connection.view(tableName)
            self._sparkSession.table(tableName).cache().createOrReplaceTempView(tableName)
            self._kept[tableName.lower()] = _Kept(before, self._connection.view(tableName))

    def uncacheTable(self, tableName: str) -> None:
        is_cached, kept = self.isCached(tableName), self._kept.pop(tableName.lower(), None)
        if kept is None or not is_cached:
            return
        if kept.before is None:
            self.dropTempView(tableName)
        else:
            self._connection.define(kept.before)

    def clearCache(self) -> None:
        for name in list(self._kept):
            self.uncacheTable(name)

    def refreshTable(self, tableName: str) -> None:
        """Nothing: the engine looks at files anew with each query."""

    def refreshByPath(self, path: str) -> None:
        """Nothing: as `refreshTable`."""


def _was_there(drop: Callable[[str], bool], name: str) -> bool:
    try:
        return drop(name) is not False
    except AnalysisException as error:
        if "not found" not in str(error):
            raise
        return False
