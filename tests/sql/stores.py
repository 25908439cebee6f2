"""Databases for tests of SQL: empty ones of SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest


class Store(NamedTuple):
    """A database.

    Args:
        kind: "sqlite" or "postgres".
        place: a path, or connection parameters.
    """

    kind: str
    place: str

    @property
    def url(self) -> str:
        """As readers and writers take it."""
        if self.kind == "sqlite":
            return f"jdbc:sqlite:{self.place}"
        parameters = dict(part.split("=") for part in self.place.split())
        return f"jdbc:postgresql:///{parameters['dbname']}?host={parameters['host']}&user={parameters['user']}"

    def connect(self) -> Any:
        """A connection; any thread may close it."""
        if self.kind == "sqlite":
            return sqlite3.connect(self.place, timeout=60, check_same_thread=False)
        import psycopg

        return psycopg.connect(self.place)

    def rows(self, sql: str) -> list[Any]:
        with closing(self.connect()) as connection:
            return list(connection.cursor().execute(sql).fetchall())

    def execute(self, *statements: str) -> None:
        with closing(self.connect()) as connection:
            for sql in statements:
                connection.cursor().execute(sql)
            connection.commit()


def new_store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty database of a kind."""
    if kind == "sqlite":
        return Store(kind, str(tmp_path / "a store.db"))
    return Store(kind, request.getfixturevalue("postgres").new_database())
