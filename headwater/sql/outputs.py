"""Outputs of streams whose batches are DataFrames: into files, and into a table of a database, each row once.

- The engine gives rows in no order that is sure to come again. So a batch is written as a whole or not at all: a note
  of the batch, which is of one piece, decides that it is written, and is never taken back.
- What makes the DataFrame of a batch is called in the driver, and again if the batch runs again.
"""

from __future__ import annotations

import json
import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from hashlib import blake2b
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from headwater import filesystem
from headwater.errors import IllegalArgumentException, UnsupportedOperationException
from headwater.rdd.checks import check_function
from headwater.sql.databases import check_table
from headwater.sql.dialects import DIALECTS, Kind, converted, quoted
from headwater.sql.directories import with_names_of_directories
from headwater.streaming.outputs import transactions
from headwater.streaming.outputs.batchoutput import BatchOutput, OutputBatch

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

    from headwater.rdd import RDD
    from headwater.streaming.pool import ConnectionPool

__all__ = ["FilesOutput", "FrameOutput", "TableOutput"]

logger = logging.getLogger(__name__)

# What readers of a directory pass over begins with "_".
_STAGING = "_staging"
_NOTES = "_batches"
_OWN = re.compile(r"(?P<tag>[0-9a-f]{8})-(?P<time_ms>\d+)(-[0-9a-f]{32})?")  # a note, or a directory of an attempt
_FORMATS = ("csv", "json", "parquet", "text")
_INSERTED = 1000  # rows at once


class FrameOutput(BatchOutput):
    """Writes the batches of a stream as DataFrames.

    Args:
        frame_of: makes a batch's DataFrame of its RDD, or None if there is nothing to write; called in the driver. It
            is pickled with the program.
        name: the output's, see `BatchOutput.unique_name`.

    Raises:
        TypeError: `frame_of` is no function, or the name no string.
        IllegalArgumentException: the name is empty.
    """

    def __init__(self, frame_of: Callable[[RDD[Any]], DataFrame | None], name: str) -> None:
        check_function("frame_of", frame_of)
        if not isinstance(name, str):
            raise TypeError(f"name should be a str, got {name!r} of type {type(name).__name__}")
        if not name:
            raise IllegalArgumentException(
                "name must have 1 character or more: it tells the output's batches from others"
            )
        self.frame_of = frame_of
        self.unique_name = name


# ------------------------------------------------------------------------------------------------ files
class FilesOutput(FrameOutput):
    """Adds the rows of each batch to a directory of files, each row once.

    The engine writes a batch's files into `_staging`, below the directory. Then a note in `_batches` says which they
    are and what they will be called: with it the batch is written. Last they are moved to where readers see them. A
    batch that runs again does what of that isn't done; before the note, all of it. So readers see no row twice and none
    that goes away again; but while files are moved, which takes no computing, a part of a batch.

    Several outputs, also of several programs, may share a directory if their names differ.

    Args:
        frame_of: makes a batch's DataFrame of its RDD.
        path: of the directory, on this machine or mounted on it. It is made when it's missing.
        format: "parquet", "json", "csv" or "text".
        partition_by: columns whose values are in the names of directories instead of in files: `day=2024-05-01`.
        name: the output's. Under another name all batches count as not written; None makes one of the path.
        options: of the format, as for `DataFrameWriter.options`.

    Raises:
        TypeError: an argument is of another type.
        IllegalArgumentException: the format isn't known, or a column stands twice in `partition_by`.
        UnsupportedOperationException: the path is that of a file system over a network.

    >>> from headwater.sql import SparkSession
    >>> spark = SparkSession(sc)
    >>> def sales(rdd):
    ...     return spark.createDataFrame(rdd, "item STRING, n INT")
    >>> stream = harness.stream([[("apple", 3), ("pear", 1)], [("apple", 2)]])
    >>> stream.output(FilesOutput(sales, f"{directory}/sales", partition_by=["item"]))
    >>> _ = harness.run(2)
    >>> spark.read.parquet(f"{directory}/sales").groupBy("item").sum("n").orderBy("item").collect()
    [Row(item='apple', sum(n)=5), Row(item='pear', sum(n)=1)]
    """

    def __init__(
        self,
        frame_of: Callable[[RDD[Any]], DataFrame | None],
        path: str,
        format: str = "parquet",
        partition_by: Sequence[str] = (),
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(path, str):
            raise TypeError(f"path should be a str, got {path!r} of type {type(path).__name__}")
        if not filesystem.is_local(path):
            raise UnsupportedOperationException(
                f"{path}: files of streams' DataFrames can't be written over a network yet, where no file is moved in "
                "one step. Write to a directory that is mounted, or with foreachRDD to a directory for each batch."
            )
        super().__init__(frame_of, f"files in {filesystem.resolve(path)[1]}" if name is None else name)
        if not isinstance(format, str) or format.lower() not in _FORMATS:
            raise IllegalArgumentException(f"format is one of {', '.join(_FORMATS)}; got {format!r}")
        if isinstance(partition_by, str) or not all(isinstance(column, str) for column in partition_by):
            raise TypeError(f"partition_by should be a list of names of columns, got {partition_by!r}")
        if len({column.lower() for column in partition_by}) < len(partition_by):
            raise IllegalArgumentException(f"partition_by names a column twice: {', '.join(partition_by)}")
        self._path = path
        self._format = format.lower()
        self._partition_by = tuple(partition_by)
        self._options = dict(options or {})
        self._tag = blake2b(self.unique_name.encode(), digest_size=4).hexdigest()  # in what is this output's

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        if filesystem.exists(self._note(batch.time_ms)):
            logger.info("%s has batch %d ms already: an earlier attempt has written it", self._path, batch.time_ms)
        else:
            self._discard_staged(lambda time_ms: time_ms == batch.time_ms)
            self._stage(batch.time_ms, rdd)
        self._publish(batch.time_ms)
        self._forget(batch.oldest_pending_ms)

    def _stage(self, time_ms: int, rdd: RDD[Any]) -> None:
        """Write a batch's files and then its note; no note if there are no rows.

        The directory is this attempt's own: the engine of a driver that was killed may still write to another one.
        """
        staging = f"{_STAGING}/{self._tag}-{time_ms}-{uuid.uuid4().hex}"
        _, directory = filesystem.resolve(f"{self._path}/{staging}")
        frame = self.frame_of(rdd)
        if frame is None:
            return
        columns = _columns(frame, self._partition_by)
        if columns:
            frame = with_names_of_directories(frame, columns)
        frame.write.format(self._format).options(**self._options).partitionBy(*columns).save(directory)
        files = [file for file in sorted(_files_below(directory)) if self._has_rows(f"{directory}/{file}")]
        for file in files:
            with filesystem.open_raw(f"{directory}/{file}") as written:
                filesystem.sync(written)
        if files:
            moves = [(file, self._target(time_ms, number, file)) for number, file in enumerate(files)]
            note = {"output": self.unique_name, "staging": staging, "moves": moves}
            _make_directory(f"{self._path}/{_NOTES}")
            filesystem.write_whole(self._note(time_ms), json.dumps(note).encode())

    def _has_rows(self, path: str) -> bool:
        """Whether a file that the engine has written is more than a beginning: it leaves one for each empty part."""
        if self._format == "parquet":
            from pyarrow import parquet

            return bool(parquet.read_metadata(path).num_rows)
        with filesystem.open_read(path) as file:
            if self._format == "csv" and str(self._options.get("header", "")).lower() == "true":
                file.readline()
            return bool(file.read(1))

    def _target(self, time_ms: int, number: int, file: str) -> str:
        """Where a file goes; which it is of its batch tells it from the others, whatever the engine has called it."""
        directory, slash, name = file.rpartition("/")
        return f"{directory}{slash}part-{time_ms}-{self._tag}-{number:05d}.{name.partition('.')[2]}"

    def _publish(self, time_ms: int) -> None:
        """Move the files of a batch to where its note says, as far as they haven't been."""
        note = self._note(time_ms)
        if not filesystem.exists(note):
            return
        with filesystem.open_raw(note) as file:
            written = json.loads(file.read())
        staging = f"{self._path}/{written['staging']}"
        if not filesystem.exists(staging):
            return
        for source, target in written["moves"]:
            if filesystem.exists(f"{staging}/{source}"):
                _make_directory(f"{self._path}/{target}".rpartition("/")[0])
                files, resolved = filesystem.resolve(f"{staging}/{source}")
                files.rename(resolved, filesystem.resolve(f"{self._path}/{target}")[1])
        filesystem.remove(staging)

    def _forget(self, until_ms: int) -> None:
        """Remove the notes of the batches before a time, and what attempts have left of these."""
        for name, time_ms in self._own(_NOTES):
            if time_ms < until_ms:
                self._publish(time_ms)  # it may have failed half-way, and not been run again
                filesystem.remove(f"{self._path}/{_NOTES}/{name}")
        self._discard_staged(lambda time_ms: time_ms < until_ms)

    def _discard_staged(self, old: Callable[[int], bool]) -> None:
        for name, time_ms in self._own(_STAGING):
            if old(time_ms):
                filesystem.remove(f"{self._path}/{_STAGING}/{name}")

    def _own(self, directory: str) -> list[tuple[str, int]]:
        """What of a directory is this output's, with the batch times."""
        found = map(_OWN.fullmatch, filesystem.names_in(f"{self._path}/{directory}"))
        return [(each[0], int(each["time_ms"])) for each in found if each is not None and each["tag"] == self._tag]

    def _note(self, time_ms: int) -> str:
        return f"{self._path}/{_NOTES}/{self._tag}-{time_ms}"


def _columns(frame: DataFrame, wanted: Sequence[str]) -> list[str]:
    """Some columns' names as the DataFrame has them.

    Raises:
        IllegalArgumentException: one isn't there, or all are wanted.
    """
    names = {name.lower(): name for name in frame.columns}
    missing = [name for name in wanted if name.lower() not in names]
    if missing:
        raise IllegalArgumentException(
            f"partition_by: there is no column {missing[0]!r}, but {', '.join(names.values())}"
        )
    if len(wanted) == len(names):
        raise IllegalArgumentException("partition_by names all columns: one has to be left for the files")
    return [names[name.lower()] for name in wanted]


def _files_below(directory: str, within: str = "") -> Iterator[str]:
    """The files of a directory and of those in it, by relative path; none if there is no directory."""
    files, resolved = filesystem.resolve(f"{directory}/{within}")
    if not files.is_directory(resolved):
        return
    for entry in files.entries(resolved):
        name = filesystem.name_of(entry.file.path)
        if entry.is_directory:
            yield from _files_below(directory, f"{within}{name}/")
        elif not name.startswith(("_", ".")):
            yield f"{within}{name}"


def _make_directory(path: str) -> None:
    files, resolved = filesystem.resolve(path)
    with suppress(FileExistsError):
        files.make_directory(resolved)


# ------------------------------------------------------------------------------------------------ tables
class TableOutput(FrameOutput):
    """Inserts the rows of each batch into a table of a database, each row once.

    A batch's rows are one transaction, by one task, together with the note that they are written; see
    `foreachTransaction` for what of that is common to both: what `connect` must see to, and the table of notes.

    Args:
        frame_of: makes a batch's DataFrame of its RDD. Its columns are the table's, by name.
        connect: makes a DB-API connection, such as `partial(psycopg.connect, ...)`; or is a pool of them.
        table: the table's name, which must be there; a schema's may stand before it.
        name: the output's, at most 200 characters. Under another name all batches count as not written.
        upsert_on: columns with a unique index; a row whose values there are in the table already takes the other one's
            place. Of rows of a batch that are alike one stays, whichever. None: rows are only added.
        notes: the name of the table of notes.
        retention_ms: how long notes are kept at least, by batch time.

    Raises:
        TypeError: an argument is of another type.
        IllegalArgumentException: a name is empty or too long, or is none of a table.

    >>> import sqlite3
    >>> from functools import partial
    >>> from headwater.sql import SparkSession
    >>> spark = SparkSession(sc)
    >>> connect = partial(sqlite3.connect, f"{directory}/shop.db", check_same_thread=False)
    >>> _ = connect().execute("CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER)")
    >>> def stock(rdd):
    ...     return spark.createDataFrame(rdd, "item STRING, n INT")
    >>> stream = harness.stream([[("apple", 3), ("pear", 1)], [("apple", 2)]])
    >>> stream.output(TableOutput(stock, connect, "stock", name="stock", upsert_on=["item"], retention_ms=86_400_000))
    >>> _ = harness.run(2)
    >>> connect().execute("SELECT * FROM stock ORDER BY item").fetchall()
    [('apple', 2), ('pear', 1)]
    """

    def __init__(
        self,
        frame_of: Callable[[RDD[Any]], DataFrame | None],
        connect: Callable[[], Any] | ConnectionPool[Any],
        table: str,
        *,
        name: str,
        upsert_on: Sequence[str] | None = None,
        notes: str = transactions.TABLE,
        retention_ms: int,
    ) -> None:
        super().__init__(frame_of, name)
        if not isinstance(table, str):
            raise TypeError(f"table should be a str, got {table!r} of type {type(table).__name__}")
        if isinstance(upsert_on, str) or not all(isinstance(column, str) for column in upsert_on or ()):
            raise TypeError(f"upsert_on should be a list of names of columns, got {upsert_on!r}")
        self._upsert_on = tuple(upsert_on or ())
        self._transactions = transactions.TransactionalOutput(
            connect,
            partial(_insert, check_table(table), self._upsert_on),
            with_time=False,
            name=name,
            table=notes,
            retention_ms=retention_ms,
        )

    def write(self, batch: OutputBatch, rdd: RDD[Any]) -> None:
        frame = self.frame_of(rdd)
        if frame is None:
            return
        columns = [(field.name, field.dataType.jsonValue()) for field in frame.schema]
        names = [name for name, _ in columns]
        missing = [name for name in self._upsert_on if name not in names]
        if missing:
            raise IllegalArgumentException(f"upsert_on: there is no column {missing[0]!r}, but {', '.join(names)}")
        self._transactions.write(batch, frame.rdd.coalesce(1).mapPartitions(partial(_with_head, columns)))


def _with_head(columns: Sequence[tuple[str, Kind]], rows: Iterable[Any]) -> Iterator[Any]:
    """Rows, and before them the names and the types of their columns."""
    return chain([columns], rows)


def _insert(table: str, keys: Sequence[str], cursor: Any, records: Iterable[Any]) -> None:
    """Insert rows, which come with their columns, within the transaction of a cursor; in a task."""
    rows = iter(records)
    columns: Sequence[tuple[str, Kind]] = next(rows)
    names = [name for name, _ in columns]
    module = transactions.dbapi_module(cursor)
    dialect = DIALECTS.get(module.__name__)
    if dialect is not None:
        for name, kind in columns:
            if dialect.type_of(kind) is None:
                raise IllegalArgumentException(
                    f"column {name}: {kind} is no type of {module.__name__}. Leave it out, or make it a string, as by "
                    "to_json."
                )
    converts = [dialect and dialect.writing(kind) for _, kind in columns]
    places = [f"c{number}" for number in range(len(names))]
    statement, values = transactions.bind(
        module.paramstyle, _statement(table, names, keys, places, module.paramstyle), dict.fromkeys(places)
    )
    while batch := list(islice(rows, _INSERTED)):
        made = converted(batch, names, converts)
        cursor.executemany(
            statement, [dict(zip(places, row)) for row in made] if isinstance(values, dict) else list(made)
        )


def _statement(table: str, names: Sequence[str], keys: Sequence[str], places: Sequence[str], paramstyle: str) -> str:
    """The statement that inserts a row, with its values' places in braces.

    >>> print(_statement("t", ["a", "b"], ["a"], ["c0", "c1"], "qmark"))
    INSERT INTO t ("a", "b") VALUES ({c0}, {c1}) ON CONFLICT ("a") DO UPDATE SET "b" = excluded."b"
    """
    doubled = "{}%" if paramstyle in ("format", "pyformat") else "{}"
    marks = {ord(mark): 2 * mark for mark in doubled}

    def identifier(name: str) -> str:
        return quoted(name).translate(marks)

    columns = ", ".join(map(identifier, names))
    values = ", ".join(f"{{{place}}}" for place in places)
    statement = f"INSERT INTO {table.translate(marks)} ({columns}) VALUES ({values})"
    if not keys:
        return statement
    others = ", ".join(f"{identifier(name)} = excluded.{identifier(name)}" for name in names if name not in keys)
    return (
        f"{statement} ON CONFLICT ({', '.join(map(identifier, keys))}) DO "
        f"{f'UPDATE SET {others}' if others else 'NOTHING'}"
    )
