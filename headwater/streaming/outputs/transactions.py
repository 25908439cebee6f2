"""Exactly-once output to databases: a partition's records, and the note that they were written, in one transaction.

- A note's key is (output, batch time, partition). It is unique, so that of several attempts one commits.
- The note comes first, as begun: a second attempt waits for the first one or fails before it has written anything.
  It is changed to written at the end; one that is committed as begun shows that the transaction was none.
- Notes go by batch time: all of an output below its mark are forgotten, and a batch below it is refused.
- SQL is that of any database; exceptions and the style of parameters are those of the connection's DB-API module.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.errors import IllegalArgumentException, SparkException
from headwater.rdd.checks import check_function
from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch
from headwater.streaming.pool import ConnectionPool
from headwater.taskcontext import TaskContext

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger(__name__)

TABLE = "headwater_commits"
NAME_CHARACTERS_MAX = 200
# Old notes are removed each time that so much of the retention has passed.
_CLEANED_EACH = 1 / 24
# The partition of the note that is an output's mark.
_MARK = -1
# What a note has for the number of partitions until they are written.
_BEGUN = 0

# All values stand in the order in which they are bound, for the styles that go by position.
_CREATE = """CREATE TABLE {table} (
    output_name VARCHAR(200) NOT NULL, batch_ms BIGINT NOT NULL, partition_id INTEGER NOT NULL,
    num_partitions INTEGER NOT NULL, PRIMARY KEY (output_name, batch_ms, partition_id))"""
_LOOK = "SELECT 1 FROM {table} WHERE 1 = 0"
_INSERT = """INSERT INTO {table} (output_name, batch_ms, partition_id, num_partitions)
    VALUES ({output}, {batch_ms}, {partition}, {partitions})"""
_FIND = """SELECT num_partitions FROM {table}
    WHERE output_name = {output} AND batch_ms = {batch_ms} AND partition_id = {partition}"""
_FINISH = """UPDATE {table} SET num_partitions = {partitions}
    WHERE output_name = {output} AND batch_ms = {batch_ms} AND partition_id = {partition}"""
_CONTRADICTING = """SELECT batch_ms, partition_id, num_partitions FROM {table}
    WHERE output_name = {output} AND batch_ms >= {batch_ms}
    AND (partition_id = {mark} OR num_partitions <> {partitions})"""
_MARKED = """SELECT 1 FROM {table}
    WHERE output_name = {output} AND batch_ms >= {until_ms} AND partition_id = {mark}"""
_FORGET = "DELETE FROM {table} WHERE output_name = {output} AND batch_ms < {until_ms}"

_PLACEHOLDERS = {
    "qmark": "?",
    "format": "%s",
    "numeric": ":{position}",
    "named": ":{name}",
    "pyformat": "%({name})s",
}


def bind(paramstyle: str, sql: str, values: Mapping[str, Any]) -> tuple[str, Any]:
    """(SQL, parameters) as a DB-API module of this style wants them; `sql` has each of the names in braces, in order.

    >>> bind("numeric", "SELECT {a}, {b}", {"a": 1, "b": 2}), bind("pyformat", "SELECT {a}", {"a": 1})
    (('SELECT :1, :2', (1, 2)), ('SELECT %(a)s', {'a': 1}))
    """
    placeholder = _PLACEHOLDERS[paramstyle]
    places = {name: placeholder.format(name=name, position=position) for position, name in enumerate(values, start=1)}
    by_name = paramstyle in ("named", "pyformat")
    return sql.format(**places), dict(values) if by_name else tuple(values.values())


def dbapi_module(connection: Any) -> Any:
    """The DB-API module that a connection, or the class that it derives from, belongs to.

    Raises:
        IllegalArgumentException: there is none, so it isn't a connection, or one in a wrapper.
    """
    for kind in type(connection).__mro__:
        name = kind.__module__
        while name:
            try:
                # In a worker that unpickled `sqlite3.connect` only `_sqlite3` is there.
                module = import_module(name)
            except ImportError:  # a class that was pickled by value
                break
            if getattr(module, "paramstyle", None) in _PLACEHOLDERS:
                return module
            name = name.rpartition(".")[0]
    raise IllegalArgumentException(
        f"foreachTransaction: connect returned {type(connection).__module__}.{type(connection).__qualname__}, which "
        "belongs to no DB-API 2.0 module. Return the connection itself, such as that of sqlite3.connect(...) or "
        "psycopg.connect(...)."
    )


class Note(NamedTuple):
    """Says that a partition of a batch was written by an output."""

    output: str
    batch_ms: int
    partition: int
    partitions: int  # of the batch

    def __str__(self) -> str:
        return f"output {self.output!r}, batch {self.batch_ms} ms, partition {self.partition} of {self.partitions}"

    def key(self) -> dict[str, Any]:
        return {"output": self.output, "batch_ms": self.batch_ms, "partition": self.partition}


class Notes:
    """The table of notes, through one connection without a transaction under way.

    Args:
        connection: DB-API 2.0.
        table: its name; it is made when it is missing.

    Raises:
        IllegalArgumentException: it is no such connection.
    """

    def __init__(self, connection: Any, table: str) -> None:
        self._connection = connection
        self._module = dbapi_module(connection)
        self._table = table
        self._cursor = connection.cursor()

    def claim(self, note: Note) -> bool:
        """Begin a transaction with a note; False if it is committed already, and then there is no transaction.

        Waits for an attempt that has claimed it and not ended yet, as long as the database does.

        Raises:
            IllegalArgumentException: the connection commits each statement by itself.
            SparkException: what was written can't be known: a transaction was ended half-way, the batch was partitioned
                otherwise, or its notes are forgotten.
        """
        if _commits_by_itself(self._connection):
            raise IllegalArgumentException(
                f"foreachTransaction, {note}: the connection commits each statement by itself. Have connect switch "
                "autocommit off."
            )
        try:
            self._begin(note)
        except self._module.IntegrityError:
            self._connection.rollback()
            found = self._rows(_FIND, **note.key())
            self._check_trusted(note)
            self._connection.rollback()
            if not found:
                raise  # of something else in that table
            if found == [(_BEGUN,)]:
                raise SparkException(
                    f"foreachTransaction, {note}: an earlier attempt was committed before it had ended, as write or "
                    "the connection commits. Some of its records may be there. Have neither commit; then remove these "
                    f"records, and the note from {self._table}."
                ) from None
            return False
        self._check_trusted(note)
        return True

    def finish(self, note: Note) -> None:
        """Say in the transaction that all is written.

        Raises:
            IllegalArgumentException: it isn't the one of `claim` any more, as far as that can be told.
        """
        ended = _in_transaction(self._connection) is False
        if not ended:
            self._execute(_FINISH, partitions=note.partitions, **note.key())
            ended = self._cursor.rowcount != 1
        if ended:
            raise IllegalArgumentException(
                f"foreachTransaction, {note}: write has ended the transaction itself. Leave out what does: commit(), "
                "rollback(), executescript(), `with connection`."
            )

    def forget(self, output: str, until_ms: int) -> None:
        """Remove an output's notes of the batches before a time, and put its mark there."""
        if not self._rows(_MARKED, output=output, until_ms=until_ms, mark=_MARK):
            self._execute(_FORGET, output=output, until_ms=until_ms)
            self._execute(_INSERT, **Note(output, until_ms, _MARK, _BEGUN)._asdict())

    def _begin(self, note: Note) -> None:
        begun = note._replace(partitions=_BEGUN)._asdict()
        try:
            self._execute(_INSERT, **begun)
        except self._module.IntegrityError:
            raise
        except self._module.Error:
            self._connection.rollback()
            if not self._is_there():
                self._create()
            # It may be there because another attempt has just made it; any other trouble shows again.
            self._execute(_INSERT, **begun)

    def _create(self) -> None:
        try:
            self._execute(_CREATE)
            self._connection.commit()
        except self._module.Error:
            self._connection.rollback()
            if not self._is_there():  # another one hasn't made it at the same time
                raise

    def _is_there(self) -> bool:
        try:
            self._rows(_LOOK)
        except self._module.Error:
            return False  # whatever it was: making the table fails with the same
        finally:
            self._connection.rollback()
        return True

    def _check_trusted(self, note: Note) -> None:
        found = self._rows(
            _CONTRADICTING, output=note.output, batch_ms=note.batch_ms, mark=_MARK, partitions=note.partitions
        )
        for batch_ms, partition, partitions in found:
            if partition == _MARK and batch_ms > note.batch_ms:
                raise SparkException(
                    f"{note}: whether it was written is not known any more, as {self._table} remembers this output's "
                    f"batches from {batch_ms} ms on. Raise headwater.streaming.output.commitRetention; see to this "
                    "batch by hand."
                )
            if partitions != _BEGUN and batch_ms == note.batch_ms:
                raise SparkException(
                    f"{note}: an earlier run has committed this batch in {partitions} partitions, so which of its "
                    "records are written is not known. Run it with as many partitions as before (numPartitions, "
                    "spark.default.parallelism, the number of cores), or write under another name."
                )

    def _rows(self, sql: str, **values: Any) -> list[tuple[Any, ...]]:
        self._execute(sql, **values)
        # The program may have its connections return rows as it likes them.
        return [tuple(row.values()) if isinstance(row, Mapping) else tuple(row) for row in self._cursor.fetchall()]

    def _execute(self, sql: str, **values: Any) -> None:
        text, parameters = bind(self._module.paramstyle, sql.replace("{table}", self._table), values)
        self._cursor.execute(text, parameters)


def _commits_by_itself(connection: Any) -> bool:
    """Whether a connection commits each statement, as far as it tells: as most drivers do, or as sqlite3 does."""
    autocommit = getattr(connection, "autocommit", None)
    if isinstance(autocommit, bool):
        return autocommit
    return hasattr(connection, "in_transaction") and getattr(connection, "isolation_level", "") is None


def _in_transaction(connection: Any) -> bool | None:
    """Whether a transaction is under way; None: the connection doesn't tell."""
    info = getattr(connection, "info", None)
    status = getattr(info, "transaction_status", None)  # of libpq: 0 is idle
    if status is not None:
        return bool(status != 0)
    in_transaction = getattr(connection, "in_transaction", None)  # of sqlite3
    return in_transaction if isinstance(in_transaction, bool) else None


class TransactionalOutput(BatchOutput):
    """The output of `foreachTransaction`: writes each batch of a stream once.

    Args:
        connect: makes a connection, or is a pool of them.
        write: called with a cursor and a partition's records.
        with_time: whether it wants the batch time before them.
        name: the output's.
        table: for the notes.
        retention_ms: how long notes are kept at least, by batch time.

    Raises:
        TypeError: `connect` is no function, or a name no string.
        IllegalArgumentException: a name is empty or too long, or is none of a table.
    """

    def __init__(
        self,
        connect: Callable[[], Any] | ConnectionPool[Any],
        write: Callable[..., Any],
        *,
        with_time: bool,
        name: str,
        table: str,
        retention_ms: int,
    ) -> None:
        if not isinstance(connect, ConnectionPool):
            check_function("connect", connect)
        for argument, value in (("name", name), ("table", table)):
            if not isinstance(value, str):
                raise TypeError(f"{argument} should be a str, got {value!r} of type {type(value).__name__}")
        if not 1 <= len(name) <= NAME_CHARACTERS_MAX:
            raise IllegalArgumentException(f"name must have 1 to {NAME_CHARACTERS_MAX} characters, got {len(name)}")
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)?", table):
            raise IllegalArgumentException(f"table must be a name, or a schema's and a name, got {table!r}")
        self.unique_name = name
        self._pool = connect if isinstance(connect, ConnectionPool) else ConnectionPool(connect)
        self._write = write
        self._with_time = with_time
        self._table = table
        self._retention_ms = retention_ms
        self._cleaned_ms = 0  # no batch before that has a note, as far as this driver knows

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        write = partial(self._write, batch.time) if self._with_time else self._write
        of_partition = partial(Note, *batch.identity, partitions=rdd.getNumPartitions())
        rdd.foreachPartition(
            partial(_write_once, self._pool, write, self._table, of_partition, self._forgotten_until_ms(batch))
        )

    def _forgotten_until_ms(self, batch: OutputBatch) -> int | None:
        """Before when notes may be removed; None if it isn't time for that."""
        until_ms = min(batch.time_ms - self._retention_ms, batch.oldest_pending_ms)
        if until_ms - self._cleaned_ms <= self._retention_ms * _CLEANED_EACH:
            return None
        self._cleaned_ms = until_ms
        return until_ms


def _write_once(
    pool: ConnectionPool[Any],
    write: Callable[[Any, Iterable[Any]], Any],
    table: str,
    of_partition: Callable[[int], Note],
    forgotten_until_ms: int | None,
    records: Iterable[Any],
) -> None:
    """Write a partition unless that was done; in a worker. A connection that anything has failed on is closed."""
    task = TaskContext.get()
    assert task is not None
    note = of_partition(task.partitionId())
    with pool.connection() as connection:
        notes = Notes(connection, table)
        if not notes.claim(note):
            logger.info("%s: committed already, by an earlier attempt", note)
            return
        write(connection.cursor(), records)
        notes.finish(note)
        if note.partition == 0 and forgotten_until_ms is not None:
            notes.forget(note.output, forgotten_until_ms)
        connection.commit()
