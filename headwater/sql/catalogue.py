"""The tables that there are: a file for each beside the warehouse's data, so that the next application has them too.

An engine knows tables only while it lives. What it has to be told of one is a statement, which is kept here; the data
stay where they are. A table that was made without a location is *managed*: its data go when it is dropped.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import quote

from headwater.sql.statements import literal, quoted, quoted_part

__all__ = ["Catalogue", "Table", "described_table"]

logger = logging.getLogger(__name__)

_DIRECTORY = ".catalogue"


@dataclass(frozen=True)
class Table:
    """A table, or a database: the statement that makes an engine know it.

    Args:
        name: with its database's, if it's a table.
        location: where its data are; empty for a database.
        managed: whether the data go with it.
    """

    name: str
    statement: str
    location: str = ""
    managed: bool = False

    @property
    def is_database(self) -> bool:
        """Whether it's no table but a database."""
        return not self.location


class Catalogue:
    """The tables of a warehouse. Any thread may use it; another application's changes are seen at the next start.

    Args:
        warehouse: a directory, which is made when there is a table.
    """

    def __init__(self, warehouse: str) -> None:
        self.warehouse = warehouse
        self._directory = os.path.join(warehouse, _DIRECTORY)
        self._lock = threading.Lock()  # guards both below
        self._changes: dict[str, tuple[int, Table | None]] = {}  # the last one of each name; None: it was dropped
        self._last = 0  # changes so far
        for table in sorted(self._stored(), key=lambda table: not table.is_database):
            self._note(table.name, table)

    def _stored(self) -> Iterator[Table]:
        if not os.path.isdir(self._directory):
            return
        for entry in sorted(os.scandir(self._directory), key=lambda entry: entry.name):
            if entry.name.endswith(".json"):
                with open(entry.path, encoding="utf-8") as file:
                    yield Table(**json.load(file))

    def _note(self, name: str, table: Table | None) -> None:
        self._last += 1
        self._changes.pop(name, None)
        self._changes[name] = (self._last, table)

    @property
    def last(self) -> int:
        """How many changes there were so far."""
        return self._last

    def add(self, table: Table) -> int:
        """Keep a table, in place of another of its name; returns how many changes there were so far.

        Raises:
            OSError: its file can't be written.
        """
        os.makedirs(self._directory, exist_ok=True)
        path = self._path(table.name)
        with open(f"{path}.{os.getpid()}", "w", encoding="utf-8") as file:
            json.dump(asdict(table), file)
        os.replace(file.name, path)
        with self._lock:
            self._note(table.name, table)
            return self._last

    def drop(self, name: str) -> int:
        """Forget a table, and remove its data if it is managed; returns how many changes there were so far."""
        with self._lock:
            _, table = self._changes.get(name, (0, None))
            inside = [known for known in self._changes if known.startswith(f"{name}.")]
            if table is not None and table.is_database:
                for each in inside:
                    self._note(each, None)
                    self._remove(each)
            self._note(name, None)
            self._remove(name)
            last = self._last
        if table is not None and table.managed:
            shutil.rmtree(table.location, ignore_errors=True)
        return last

    def _remove(self, name: str) -> None:
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:  # another application has dropped it
            pass

    def statements_since(self, change: int) -> tuple[int, list[str]]:
        """How many changes there were so far, and what tells an engine of those after the first `change` of them."""
        statements = []
        with self._lock:
            for name, (number, table) in self._changes.items():
                if number <= change or (table is None and change == 0):
                    continue
                if table is None or not table.is_database:
                    statements.append(f"DROP TABLE IF EXISTS {quoted(name)}")
                if table is not None:
                    statements.append(table.statement)
            return self._last, statements

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, f"{quote(name, safe='')}.json")


def described_table(name: str, described: Iterable[Mapping[str, Any]], options: Mapping[str, str]) -> Table:
    """A table of which `DESCRIBE TABLE EXTENDED` has told: columns, partition columns, details.

    Args:
        options: those of its format, which aren't told.
    """
    columns: list[str] = []
    partitioned: list[str] = []
    details: dict[str, str] = {}
    section = "columns"
    for row in described:
        first, second = row["col_name"], row["data_type"]
        if first.startswith("# "):
            section = {"# Partition Information": "partitions", "# col_name": section}.get(first, "details")
        elif not first:
            continue
        elif section == "columns":
            columns.append(f"{quoted_part(first)} {second}")
        elif section == "partitions":
            partitioned.append(quoted_part(first))
        else:
            details[first] = second
    statement = f"CREATE TABLE IF NOT EXISTS {quoted(name)} ({', '.join(columns)}) USING {details['Provider']}"
    if options:
        statement += f" OPTIONS ({', '.join(f'{literal(key)} {literal(value)}' for key, value in options.items())})"
    if partitioned:
        statement += f" PARTITIONED BY ({', '.join(partitioned)})"
    location = details["Location"]
    return Table(name, f"{statement} LOCATION {literal(location)}", location, managed=details["Type"] == "MANAGED")
