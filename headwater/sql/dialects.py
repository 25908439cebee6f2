"""The databases that DataFrames are read from and written to: SQLite and PostgreSQL, by Python's DB-API.

- A database travels to tasks as how to connect to it. No text that it makes has its password.
- The types of columns are PySpark's as its JSON has them ("long", "decimal(10,2)"): workers don't import its client.
"""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import partial
from operator import index
from typing import Any, ClassVar, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from headwater.errors import IllegalArgumentException, SparkException, UnsupportedOperationException

__all__ = ["DIALECTS", "Column", "Database", "Kind", "PostgreSQL", "SQLite", "converted", "database_at", "quoted"]

Kind = Any  # a type as PySpark's JSON has it: a text, or a dict
Convert = Callable[[Any], Any]

_WAIT_SECONDS = 60.0  # of a task for the other ones' transactions in SQLite, which has one writer at a time
_SAMPLED = 100  # rows, for the type of a column that SQLite doesn't know
_FETCHED = 1000  # rows at once, unless the program says how many
_DECIMAL = re.compile(r"decimal\((\d+),(-?\d+)\)")
_JDBC_PARAMETERS = {"ApplicationName": "application_name", "connectTimeout": "connect_timeout", "sslMode": "sslmode"}


class Column(NamedTuple):
    """A column of what is read.

    Args:
        name: of the column.
        kind: its type.
        selected: what is selected to get it as that type, in SQL.
    """

    name: str
    kind: Kind
    selected: str


class Database(ABC):
    """A database, and what its SQL has of its own."""

    placeholder: ClassVar[str]  # of a value in a statement

    @abstractmethod
    def connect(self) -> Any:
        """A connection whose transaction ends with a commit, or with the connection."""

    @abstractmethod
    def has(self, connection: Any, table: str) -> bool:
        """Whether there is a table, or a view, of that name."""

    @abstractmethod
    def columns(self, connection: Any, source: str) -> list[Column]:
        """The columns of a table, or of a query in parentheses with a name."""

    @abstractmethod
    def rows(self, connection: Any, query: str, fetch_size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        """The rows of a query, so many at once; 0 leaves their number to us."""

    @classmethod
    @abstractmethod
    def type_of(cls, kind: Kind) -> str | None:
        """The type of a column that holds a type; None if there is none."""

    @classmethod
    @abstractmethod
    def reading(cls, kind: Kind) -> Convert | None:
        """What makes a value of a type of what the driver gives; None: it needs nothing."""

    @classmethod
    @abstractmethod
    def writing(cls, kind: Kind) -> Convert | None:
        """What makes a value of a type into what the driver takes; None: it takes it as it is."""

    @abstractmethod
    def emptying(self, table: str) -> str:
        """The statement that removes all rows of a table."""


def database_at(url: str, parameters: Mapping[str, str], *, must_exist: bool) -> Database:
    """The database of a URL, such as `jdbc:sqlite:/a/path` or `jdbc:postgresql://host/name`.

    Args:
        url: with or without `jdbc:`.
        parameters: of the connection; they go before those of the URL.
        must_exist: whether a file that isn't there is an error; else it is made.

    Raises:
        UnsupportedOperationException: it's another kind of database.
        IllegalArgumentException: it's no such URL, or a parameter isn't known.
    """
    scheme, _, rest = url.removeprefix("jdbc:").partition(":")
    if scheme == "sqlite":
        return SQLite.at(rest, parameters, must_exist=must_exist)
    if scheme in ("postgresql", "postgres"):
        return PostgreSQL.at(rest, parameters)
    raise UnsupportedOperationException(
        f"Databases of kind {scheme!r} can't be reached by a URL: SQLite (jdbc:sqlite:/path) and PostgreSQL "
        "(jdbc:postgresql://host:port/name) can. There is no JVM, and so no JDBC driver. With the DB-API driver of the "
        "database write by df.foreachPartition(function), where the function connects and inserts its rows, and read "
        "by sc.parallelize(ranges).flatMap(function) and spark.createDataFrame(rdd, schema)."
    )


def quoted(name: str) -> str:
    """A name as an identifier of SQL.

    >>> print(quoted('a "b"'))
    "a ""b\"""
    """
    return '"{}"'.format(name.replace('"', '""'))


def converted(
    rows: Sequence[Sequence[Any]], names: Sequence[str], converts: Sequence[Convert | None]
) -> Iterable[Sequence[Any]]:
    """Rows whose values were converted, column by column.

    Raises:
        ValueError: a value can't be; the message has its column and the value.

    >>> list(converted([(1, "2"), (3, None)], ["a", "b"], [None, int]))
    [(1, 2), (3, None)]
    """
    if not any(converts):
        return rows
    columns = zip(names, zip(*rows), converts)
    return zip(*(values if to is None else _converted_column(name, values, to) for name, values, to in columns))


def _converted_column(name: str, values: Iterable[Any], convert: Convert) -> list[Any]:
    made = []
    for value in values:
        try:
            made.append(None if value is None else convert(value))
        except (ValueError, TypeError, ArithmeticError) as error:
            raise ValueError(f"column {name}: {value!r} of type {type(value).__name__}: {error}") from error
    return made


# ------------------------------------------------------------------------------------------------ SQLite
@dataclass(frozen=True)
class SQLite(Database):
    """A file.

    Args:
        path: absolute, on each machine where tasks run.
    """

    path: str
    placeholder = "?"

    _TYPES: ClassVar[dict[str, str]] = {
        "boolean": "BOOLEAN",
        "byte": "TINYINT",
        "short": "SMALLINT",
        "integer": "INTEGER",
        "long": "BIGINT",
        "float": "REAL",
        "double": "DOUBLE",
        "string": "TEXT",
        "binary": "BLOB",
        "date": "DATE",
        "timestamp": "TIMESTAMP",
        "timestamp_ntz": "TIMESTAMP",
    }
    # What a declared type holds if a word is in it, the first that is.
    _DECLARED: ClassVar[dict[str, str]] = {
        "BOOL": "boolean",
        "TIMESTAMP": "timestamp",
        "DATETIME": "timestamp",
        "DATE": "date",
        "INT": "long",  # whatever the size that it says, it takes 64 bits
        "CHAR": "string",
        "CLOB": "string",
        "TEXT": "string",
        "BLOB": "binary",
        "REAL": "double",
        "FLOA": "double",
        "DOUB": "double",
    }
    _DECLARED_DECIMAL: ClassVar[re.Pattern[str]] = re.compile(
        r"(?:DECIMAL|DECIMAL_TEXT|NUMERIC)\s*\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\)"
    )
    _EXACT_DIGITS = 15  # that a number has as SQLite keeps it

    @classmethod
    def at(cls, path: str, parameters: Mapping[str, str], *, must_exist: bool) -> SQLite:
        if parameters:
            raise IllegalArgumentException(f"SQLite takes no such option: {', '.join(sorted(parameters))}")
        if not path or path.startswith(":") or "?" in path:
            raise IllegalArgumentException(
                f"jdbc:sqlite:{path}: a path of a file has to stand there, without parameters. A database in memory "
                "would be another one in each task."
            )
        path = os.path.abspath(path)
        if must_exist and not os.path.exists(path):
            raise IllegalArgumentException(f"jdbc:sqlite:{path}: there is no such file")
        return cls(path)

    def connect(self) -> Any:
        import sqlite3

        try:
            return sqlite3.connect(f"file:{quote(self.path)}", uri=True, timeout=_WAIT_SECONDS)
        except sqlite3.OperationalError as error:
            raise SparkException(f"jdbc:sqlite:{self.path}: {error}") from error

    def has(self, connection: Any, table: str) -> bool:
        import sqlite3

        try:
            connection.execute(f"SELECT 1 FROM {table} WHERE 1 = 0")
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return False
        return True

    def columns(self, connection: Any, source: str) -> list[Column]:
        # Of a view the declared types are known, as far as its columns are those of tables.
        connection.execute(f"CREATE TEMP VIEW headwater_read AS SELECT * FROM {source}")
        described = connection.execute("PRAGMA table_info(headwater_read)").fetchall()
        kinds = [self._kind_of_declared(declared or "") for _, _, declared, *_ in described]
        if None in kinds:
            sample = connection.execute(f"SELECT * FROM headwater_read LIMIT {_SAMPLED}").fetchall()
            values = zip(*sample) if sample else [()] * len(kinds)
            kinds = [kind or _kind_of_values(column) for kind, column in zip(kinds, values)]
        connection.execute("DROP VIEW headwater_read")
        return [Column(name, kind, quoted(name)) for (_, name, *_), kind in zip(described, kinds)]

    def rows(self, connection: Any, query: str, fetch_size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        cursor = connection.execute(query)
        yield from iter(partial(cursor.fetchmany, fetch_size or _FETCHED), [])

    @classmethod
    def type_of(cls, kind: Kind) -> str | None:
        if not isinstance(kind, str):
            return None
        exact = _DECIMAL.fullmatch(kind)
        if exact is None:
            return cls._TYPES.get(kind)
        # A name with TEXT in it has it kept as text: as a number it would lose digits.
        name = "DECIMAL" if int(exact[1]) <= cls._EXACT_DIGITS else "DECIMAL_TEXT"
        return f"{name}({exact[1]},{exact[2]})"

    @classmethod
    def _kind_of_declared(cls, declared: str) -> str | None:
        exact = cls._DECLARED_DECIMAL.fullmatch(declared.upper().strip())
        if exact is not None and int(exact[1]) <= 38:
            return f"decimal({exact[1]},{exact[2] or 0})"
        return next((kind for word, kind in cls._DECLARED.items() if word in declared.upper()), None)

    @classmethod
    def reading(cls, kind: Kind) -> Convert | None:
        converts: dict[Kind, Convert] = {
            "boolean": _boolean,
            "long": index,
            "double": float,
            "string": _text,
            "binary": _bytes,
            "date": _date,
            "timestamp": _datetime,
        }
        return _decimal if _DECIMAL.fullmatch(kind) else converts.get(kind)

    @classmethod
    def writing(cls, kind: Kind) -> Convert | None:
        if not isinstance(kind, str):
            return None
        converts: dict[str, Convert] = {
            "date": date.isoformat,
            "timestamp": partial(datetime.isoformat, sep=" "),
            "timestamp_ntz": partial(datetime.isoformat, sep=" "),
        }
        return str if _DECIMAL.fullmatch(kind) else converts.get(kind)

    def emptying(self, table: str) -> str:
        return f"DELETE FROM {table}"

    def __str__(self) -> str:
        return f"jdbc:sqlite:{self.path}"


def _kind_of_values(values: Sequence[Any]) -> str:
    """The type of a column of which nothing is known but some values."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int}:
        return "long"
    if kinds and kinds <= {int, float}:
        return "double"
    return "binary" if kinds == {bytes} else "string"


def _boolean(value: Any) -> bool:
    if value not in (0, 1):
        raise ValueError("neither 0 nor 1")
    return bool(value)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _decimal(value: Any) -> Decimal:
    return Decimal(str(value))


def _date(value: Any) -> date:
    return date.fromisoformat(value[:10])


def _datetime(value: Any) -> datetime:
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


# ------------------------------------------------------------------------------------------------ PostgreSQL
@dataclass(frozen=True, repr=False)
class PostgreSQL(Database):
    """A database of a server.

    Args:
        parameters: of the connection, by libpq's names.
    """

    parameters: Mapping[str, str]
    placeholder = "%s"

    _TYPES: ClassVar[dict[str, str]] = {
        "boolean": "BOOLEAN",
        "byte": "SMALLINT",
        "short": "SMALLINT",
        "integer": "INTEGER",
        "long": "BIGINT",
        "float": "FLOAT4",
        "double": "FLOAT8",
        "string": "TEXT",
        "binary": "BYTEA",
        "date": "DATE",
        "timestamp": "TIMESTAMP WITH TIME ZONE",
        "timestamp_ntz": "TIMESTAMP",
    }
    # What is read as it is; all else is read as text.
    _KINDS: ClassVar[dict[str, str]] = {
        "bool": "boolean",
        "int2": "short",
        "int4": "integer",
        "int8": "long",
        "oid": "long",
        "float4": "float",
        "float8": "double",
        "bytea": "binary",
        "date": "date",
        "timestamp": "timestamp",
        "timestamptz": "timestamp",
    }
    _ANY_DECIMAL = "decimal(38,18)"  # what a numeric without a precision is to Spark

    @classmethod
    def at(cls, rest: str, parameters: Mapping[str, str]) -> PostgreSQL:
        """That of a URL's part behind `postgresql:`, which may be a name, or `//user:password@host:port/name?...`."""
        place, _, query = rest.partition("?")
        given = dict(parse_qsl(query, keep_blank_values=True))
        if place.startswith("//"):
            authority, _, name = place[2:].partition("/")
            credentials, _, hosts = authority.rpartition("@")
            user, _, password = credentials.partition(":")
            found = [re.fullmatch(r"(\[[^\]]*\]|[^:]*)(?::(\d*))?", host) for host in hosts.split(",")]
            if None in found:
                raise IllegalArgumentException("jdbc:postgresql: hosts stand as host:port, with commas between them")
            given["host"] = given.get("host") or ",".join(unquote(each[1].strip("[]")) for each in found if each)
            given["port"] = ",".join(each[2] or "" for each in found if each)
            given = {"user": unquote(user), "password": unquote(password), **given}
        else:
            name = place
        given = {_JDBC_PARAMETERS.get(key, key): value for key, value in {**given, **parameters}.items()}
        return cls({key: value for key, value in {"dbname": unquote(name), **given}.items() if value.strip(",")})

    def connect(self) -> Any:
        psycopg = _psycopg()
        try:
            return psycopg.connect(**self.parameters)
        except psycopg.ProgrammingError as error:  # a parameter that there isn't
            raise IllegalArgumentException(self._without_password(f"{self}: {error}".strip())) from None
        except psycopg.OperationalError as error:
            raise type(error)(self._without_password(f"{self}: {error}".strip())) from None

    def _without_password(self, text: str) -> str:
        password = self.parameters.get("password")
        return text.replace(password, "***") if password else text

    def has(self, connection: Any, table: str) -> bool:
        found = connection.execute("SELECT to_regclass(%s)", (table,)).fetchone()
        return found[0] is not None

    def columns(self, connection: Any, source: str) -> list[Column]:
        described = connection.execute(f"SELECT * FROM {source} WHERE 1 = 0").description
        return [self._column(connection, column) for column in described]

    def _column(self, connection: Any, column: Any) -> Column:
        name = quoted(column.name)
        found = connection.adapters.types.get(column.type_code)
        if found is None:  # of an extension, or a program's own
            return Column(column.name, "string", f"CAST({name} AS text)")
        if found.name == "numeric" and column.precision is not None:
            precision = min(column.precision, 38)
            kind = f"decimal({precision},{min(column.scale, precision)})"
        elif found.name == "numeric":
            kind = self._ANY_DECIMAL
        else:
            kind = self._KINDS.get(found.name, "string")
        of_array = column.type_code == found.array_oid
        text = kind == "string" and found.name not in ("text", "varchar", "bpchar")
        selected = f"CAST({name} AS text{'[]' if of_array else ''})" if text else name
        array = {"type": "array", "elementType": kind, "containsNull": True}
        return Column(column.name, array if of_array else kind, selected)

    def rows(self, connection: Any, query: str, fetch_size: int) -> Iterator[Sequence[tuple[Any, ...]]]:
        with connection.cursor(name="headwater_read") as cursor:  # on the server: the rows don't come all at once
            cursor.execute(query)
            yield from iter(partial(cursor.fetchmany, fetch_size or _FETCHED), [])

    @classmethod
    def type_of(cls, kind: Kind) -> str | None:
        if isinstance(kind, str):
            exact = _DECIMAL.fullmatch(kind)
            return f"NUMERIC({exact[1]},{exact[2]})" if exact else cls._TYPES.get(kind)
        if kind["type"] == "array" and isinstance(kind["elementType"], str):
            element = cls.type_of(kind["elementType"])
            return element and f"{element}[]"
        return None

    @classmethod
    def reading(cls, kind: Kind) -> Convert | None:
        return None

    @classmethod
    def writing(cls, kind: Kind) -> Convert | None:
        if kind == "timestamp":
            return datetime.astimezone  # without a zone it is of this machine's
        if isinstance(kind, dict) and kind.get("elementType") == "timestamp":
            return _with_zones
        return None

    def emptying(self, table: str) -> str:
        return f"TRUNCATE TABLE ONLY {table}"

    def __str__(self) -> str:
        host, port, name = (self.parameters.get(key, "") for key in ("host", "port", "dbname"))
        return f"jdbc:postgresql://{host}{port and ':'}{port}/{name}"

    __repr__ = __str__


#: By the DB-API module of a connection.
DIALECTS: dict[str, type[Database]] = {"sqlite3": SQLite, "psycopg": PostgreSQL}


def _with_zones(moments: Iterable[datetime | None]) -> list[datetime | None]:
    return [moment and moment.astimezone() for moment in moments]


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError as error:
        raise SparkException("PostgreSQL needs the package psycopg: pip install 'headwater[postgres]'") from error
    return psycopg
