"""What a session has told its engine: settings, functions, views, tables. Another engine is told the same.

So the truth is in the driver, and an engine may go at any time. What was told twice counts once, as last told; what was
dropped is forgotten. Tables stay where they are: they are registered again, from a catalogue of files if there is one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from headwater.sql.statements import Change, change_of, options_of, plain

__all__ = ["Entry", "SessionRecord", "change_in", "options_in", "sql_text"]

logger = logging.getLogger(__name__)

Key = tuple[str, str]  # a kind of change, and a name
_SAVE_AS_TABLE = 1  # WriteOperation.SaveTable.TABLE_SAVE_METHOD_SAVE_AS_TABLE


class Entry(NamedTuple):
    """A request that another engine is sent again, and what must live as long: files of the relations in it."""

    request: Any
    holds: object = None


class SessionRecord:
    """The requests that made a session what it is, in their order. Its owner's lock guards it."""

    def __init__(self) -> None:
        self._entries: dict[Key, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: Key, entry: Entry) -> None:
        """Remember a request, instead of what its key stood for; it comes last."""
        self._entries.pop(key, None)
        self._entries[key] = entry

    def get(self, key: Key) -> Entry | None:
        """What a key stands for."""
        return self._entries.get(key)

    def drop(self, key: Key) -> None:
        """Forget what a key stands for, if anything."""
        self._entries.pop(key, None)

    def replay(self, send: Callable[[Any], object]) -> None:
        """Send all to another engine. What needs something later (a view of a view that was replaced) comes after it.

        Raises:
            Exception: what `send` has raised for the first entry that can't be sent, whatever goes before.
        """
        waiting = list(self._entries.values())
        while waiting:
            failed, error = [], None
            for entry in waiting:
                try:
                    send(entry.request)
                except Exception as failure:
                    failed.append(entry)
                    error = error or failure
            if error is not None and len(failed) == len(waiting):
                raise error
            waiting = failed


# ------------------------------------------------------------------------------------- what a request changes
def change_in(request: Any) -> Change | None:
    """What an ExecutePlanRequest changes for those after it; None for a query or for what writes data only.

    The fields are those of Spark Connect's `commands.proto` and `catalog.proto`.
    """
    plan = request.plan
    if plan.WhichOneof("op_type") == "root":
        return _of_catalog(plan.root.catalog) if plan.root.WhichOneof("rel_type") == "catalog" else None
    return _of_command(plan.command)


def _of_command(command: Any) -> Change | None:
    kind = command.WhichOneof("command_type")
    if kind == "create_dataframe_view":
        return Change("view", command.create_dataframe_view.name)
    if kind == "sql_command":
        return change_of(sql_text(command.sql_command.input) or command.sql_command.sql)
    if kind in ("register_function", "register_table_function"):
        return Change("function", getattr(command, kind).function_name)
    if kind == "register_data_source":
        return Change("function", f"data source {command.register_data_source.name}")
    if kind == "write_operation" and command.write_operation.table.save_method == _SAVE_AS_TABLE:
        return Change("table", plain(command.write_operation.table.table_name), has_query=True)
    if kind == "write_operation_v2":
        return Change("table", plain(command.write_operation_v2.table_name), has_query=True)
    return None


def _of_catalog(catalog: Any) -> Change | None:
    kind = catalog.WhichOneof("cat_type")
    if kind in ("drop_temp_view", "drop_global_temp_view"):
        return Change("view", getattr(catalog, kind).view_name, drops=True)
    if kind in ("create_table", "create_external_table"):
        return Change("table", plain(getattr(catalog, kind).table_name))
    if kind == "drop_table":
        return Change("table", plain(catalog.drop_table.table_name), drops=True)
    if kind in ("create_database", "drop_database"):
        return Change("database", plain(getattr(catalog, kind).db_name), drops=kind == "drop_database")
    if kind == "set_current_database":
        return Change("use", plain(catalog.set_current_database.db_name))
    return None


def options_in(request: Any) -> dict[str, str]:
    """The options that a request gives to the format of a table that it makes."""
    command = request.plan.command
    kind = command.WhichOneof("command_type")
    if kind in ("write_operation", "write_operation_v2"):
        return dict(getattr(command, kind).options)
    return options_of(sql_text(command.sql_command.input)) if kind == "sql_command" else {}


def sql_text(relation: Any) -> str:
    """The statement that a relation holds; empty if it's none."""
    kind = relation.WhichOneof("rel_type")
    if kind == "with_relations":
        return sql_text(relation.with_relations.root)
    return str(relation.sql.query) if kind == "sql" else ""
