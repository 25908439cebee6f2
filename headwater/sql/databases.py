"""DataFrames of tables in databases, and into them: what Spark does by JDBC, by Python's DB-API.

- Rows are read and written by tasks, which connect by themselves. What is read is read once, when it is first needed.
- A task writes its partition in one transaction. One that fails leaves nothing; what others have written stays.
- Options have Spark's names, in any case. Those that aren't Spark's are parameters of the connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import date, datetime
from fractions import Fraction
from functools import partial
from itertools import islice, pairwise
from typing import TYPE_CHECKING, Any

from headwater.errors import IllegalArgumentException, UnsupportedOperationException
from headwater.sql.dialects import Column, Database, Kind, converted, database_at, quoted

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

    from headwater.rdd import RDD
    from headwater.sql.sessionview import SessionView

__all__ = ["check_table", "conditions", "read", "write"]

_BATCH_SIZE = 1000
_RANGE = ("partitioncolumn", "lowerbound", "upperbound", "numpartitions")
_ALL_NAMES = frozenset(
    {*_RANGE, "url", "dbtable", "query", "fetchsize", "customschema"}
    | {"batchsize", "truncate", "createtablecolumntypes", "createtableoptions"}
)
# The JDBC driver, and what Spark lets the database do of a query.
_WITHOUT_EFFECT = re.compile(r"driver|pushdown\w+")
_NOT_SUPPORTED = frozenset(
    {"cascadetruncate", "connectionprovider", "hint", "isolationlevel", "keytab", "prefertimestampntz", "preparequery"}
    | {"principal", "querytimeout", "refreshkrb5config", "sessioninitstatement"}
)
_MODES = ("append", "overwrite", "ignore", "error", "errorifexists", "default")
_TABLE = re.compile(r'([^\W\d]\w*|"([^"]|"")+")(\.([^\W\d]\w*|"([^"]|"")+"))*')
_TYPE_OF_COLUMN = re.compile(r'\s*(?:([^\W\d]\w*)|`([^`]+)`|"([^"]+)")\s+([^\W\d][\w ]*(?:\([\d\s,]+\))?[\w ]*)\s*')
_COMMA = re.compile(r",(?![^(]*\))")  # outside of parentheses
_INTEGERS = ("byte", "short", "integer", "long", "decimal", "float", "double")


class Options:
    """The options of a reader or a writer.

    Args:
        given: by name, in any case.

    Raises:
        UnsupportedOperationException: one of them can't be honoured.
        IllegalArgumentException: there is no URL.
    """

    def __init__(self, given: Mapping[str, str]) -> None:
        self._values = {key.lower(): value for key, value in given.items()}
        for name in sorted(_NOT_SUPPORTED & self._values.keys()):
            raise UnsupportedOperationException(f"The option {name} of databases isn't supported: leave it out")
        self.parameters = {
            key: value
            for key, value in given.items()
            if key.lower() not in _ALL_NAMES and not _WITHOUT_EFFECT.fullmatch(key.lower())
        }
        if "url" not in self._values:
            raise IllegalArgumentException("Option 'url' is required, such as jdbc:postgresql://host:port/name")

    def database(self, *, must_exist: bool) -> Database:
        return database_at(self._values["url"], self.parameters, must_exist=must_exist)

    def text(self, name: str) -> str | None:
        return self._values.get(name)

    def flag(self, name: str) -> bool:
        text = self._values.get(name, "false").lower()
        if text not in ("true", "false"):
            raise IllegalArgumentException(f"Option {name!r} is true or false, got {text!r}")
        return text == "true"

    def number(self, name: str, default: int, *, minimum: int) -> int:
        text = self._values.get(name, str(default))
        if not re.fullmatch(r"\d+", text) or int(text) < minimum:
            raise IllegalArgumentException(f"Option {name!r} is a number, at least {minimum}, got {text!r}")
        return int(text)


# ------------------------------------------------------------------------------------------------ reading
def read(session: SessionView, options: Mapping[str, str], predicates: Sequence[str] | None = None) -> DataFrame:
    """A table, or the result of a query, as a DataFrame.

    Its rows are read by one task; by `numPartitions` ones if `partitionColumn`, `lowerBound` and `upperBound` tell how
    to share them out; or by one for each predicate. Each of them sees what the database holds when it runs.

    Args:
        session: the DataFrame's.
        options: Spark's for JDBC.
        predicates: conditions of SQL, a task each.

    Raises:
        IllegalArgumentException: an option is missing, or two contradict each other.
        UnsupportedOperationException: the database is of a kind that can't be reached, or an option isn't supported.
    """
    from pyspark.sql.types import StructType

    wanted = Options(options)
    source = _source(wanted)
    fetch_size = wanted.number("fetchsize", 0, minimum=0)
    _check_range(wanted, predicates)
    database = wanted.database(must_exist=True)
    with closing(database.connect()) as connection:
        columns = database.columns(connection, source)
    shares = list(predicates) if predicates is not None else _ranges(wanted, columns)
    select = f"SELECT {', '.join(f'{each.selected} AS {quoted(each.name)}' for each in columns)} FROM {source}"
    queries = [select if not condition else f"{select} WHERE {condition}" for condition in shares]
    fields = [{"name": each.name, "type": each.kind, "nullable": True, "metadata": {}} for each in columns]
    rows = session.facade.sparkContext.parallelize(queries, len(queries)).flatMap(
        partial(_read, database, [(each.name, each.kind) for each in columns], fetch_size)
    )
    frame = session.createDataFrame(rows, StructType.fromJson({"fields": fields}))
    custom = wanted.text("customschema")
    return frame if custom is None else _cast(session, frame, custom)


def _source(options: Options) -> str:
    """What is read, as it stands behind FROM."""
    table, query = options.text("dbtable"), options.text("query")
    if table and query:
        raise IllegalArgumentException("Both 'dbtable' and 'query' can not be specified at the same time.")
    if query and options.text("partitioncolumn"):
        raise IllegalArgumentException(
            "Options 'query' and 'partitionColumn' can not be specified together. Give the query as "
            "dbtable: (SELECT ...) AS name"
        )
    if not table and not query:
        raise IllegalArgumentException("Option 'dbtable' or 'query' is required.")
    return table or f"({query}) AS headwater_query"


def _read(
    database: Database, columns: Sequence[tuple[str, Kind]], fetch_size: int, query: str
) -> Iterator[Sequence[Any]]:
    """The rows of a query; in a task."""
    names = [name for name, _ in columns]
    converts = [database.reading(kind) for _, kind in columns]
    with closing(database.connect()) as connection:
        for rows in database.rows(connection, query, fetch_size):
            yield from converted(rows, names, converts)


def _cast(session: SessionView, frame: DataFrame, custom: str) -> DataFrame:
    """A DataFrame with other types for the columns that a text of DDL names."""
    from pyspark.sql.types import StructField, StructType

    wanted = session.client._analyze(method="ddl_parse", ddl_string=custom).parsed
    if not isinstance(wanted, StructType):
        raise IllegalArgumentException(
            f"Option 'customSchema': {custom!r} names no columns: id DECIMAL(38,0), name STRING"
        )
    names = {name.lower(): name for name in frame.columns}
    unknown = [field.name for field in wanted if field.name.lower() not in names]
    if unknown:
        raise IllegalArgumentException(f"Option 'customSchema' names columns that aren't there: {', '.join(unknown)}")
    types = {names[field.name.lower()]: field.dataType for field in wanted}
    fields = [StructField(field.name, types.get(field.name, field.dataType)) for field in frame.schema]
    return frame.to(StructType(fields))


# ------------------------------------------------------------------------------------------------ sharing out
def _check_range(options: Options, predicates: Sequence[str] | None) -> None:
    given = [name for name in _RANGE[:3] if options.text(name) is not None]
    if predicates is not None and (given or not predicates):
        raise IllegalArgumentException("predicates: one at least, and neither partitionColumn nor bounds beside them")
    if given and (len(given) < 3 or options.text("numpartitions") is None):
        raise IllegalArgumentException(
            "When reading JDBC data sources, users need to specify all or none for the following options: "
            "'partitionColumn', 'lowerBound', 'upperBound', and 'numPartitions'"
        )


def _ranges(options: Options, columns: Sequence[Column]) -> list[str]:
    """A condition for each partition; one that is empty takes all."""
    name = options.text("partitioncolumn")
    if name is None:
        return [""]
    bare = name.strip('"`').lower()
    column = next((each for each in columns if each.name.lower() == bare), None)
    if column is None:
        raise IllegalArgumentException(
            f"User-defined partition column {name} not found in the JDBC relation: {[each.name for each in columns]}"
        )
    lower, upper = options.text("lowerbound") or "", options.text("upperbound") or ""
    return conditions(column, lower, upper, options.number("numpartitions", 1, minimum=1))


def conditions(column: Column, lower: str, upper: str, partitions: int) -> list[str]:
    """The conditions of the partitions that share the rows of a range of a column, as in Spark.

    The bounds say where a range is cut. They leave no row out: what lies beyond them is of the first partition, and so
    are nulls, or of the last.

    Args:
        column: of numbers, dates or timestamps.
        lower, upper: bounds, as texts.
        partitions: how many there are at most.

    Raises:
        IllegalArgumentException: the column is of another type, or a bound is none, or they are in the wrong order.

    >>> conditions(Column("n", "long", "n"), "0", "10", 3)
    ['"n" < 4 OR "n" IS NULL', '"n" >= 4 AND "n" < 7', '"n" >= 7']
    """
    first, last = _bound(column, lower), _bound(column, upper)
    if first > last:
        raise IllegalArgumentException(
            "Operation not allowed: the lower bound of partitioning column is larger than the upper bound. "
            f"Lower bound: {lower}; Upper bound: {upper}"
        )
    name = quoted(column.name)
    steps = [_literal(column.kind, at) for at in _steps(first, last, min(partitions, last - first))]
    if not steps:
        return [""]
    between = [f"{name} >= {low} AND {name} < {high}" for low, high in pairwise(steps)]
    return [f"{name} < {steps[0]} OR {name} IS NULL", *between, f"{name} >= {steps[-1]}"]


def _bound(column: Column, text: str) -> int:
    """A bound as a number: for a date that of its day, for a timestamp that of its microsecond."""
    text = text.strip()
    try:
        if column.kind == "date":
            return date.fromisoformat(text).toordinal()
        if column.kind == "timestamp":
            return (datetime.fromisoformat(text) - datetime.min) // datetime.resolution
        if isinstance(column.kind, str) and column.kind.startswith(_INTEGERS):
            return int(text)
    except (TypeError, ValueError):
        raise IllegalArgumentException(f"lowerBound and upperBound: {text!r} is no bound of {column.name}") from None
    raise IllegalArgumentException(
        f"Partition column type should be numeric, date, or timestamp, but {column.kind} found: {column.name}"
    )


def _steps(lower: int, upper: int, number: int) -> list[int]:
    """Where a range is cut into so many parts; what doesn't divide evenly is shared by the first part and the last.

    >>> _steps(0, 100, 4), _steps(0, 10, 3), _steps(0, 0, 0)
    ([25, 50, 75], [4, 7], [])
    """
    if number < 2:
        return []
    width = Fraction(upper - lower, number)
    stride = int(width)
    first = lower + int((width - stride) * number / 2 + Fraction(1, 2))
    return [first + stride * i for i in range(1, number)]


def _literal(kind: Kind, value: int) -> str:
    if kind == "date":
        return f"'{date.fromordinal(value).isoformat()}'"
    if kind == "timestamp":
        return f"'{(datetime.min + value * datetime.resolution).isoformat(' ')}'"
    return str(value)


# ------------------------------------------------------------------------------------------------ writing
def write(frame: DataFrame, mode: str, options: Mapping[str, str]) -> None:
    """Write a DataFrame into a table.

    A task that runs again after its transaction was committed writes its rows twice, as in Spark. Each row once is what
    streams can have, see `headwater.sql.outputs`.

    Args:
        frame: what is written. Its rows are computed before a table is dropped or emptied.
        mode: what becomes of a table that is there: "append" adds to it; "overwrite" drops it, or empties it if the
            option `truncate` is true; "ignore" writes nothing; "error" and "errorifexists" raise.
        options: Spark's for JDBC.

    Raises:
        AnalysisException: the table is there, and the mode is "error"; or a column isn't in it.
        IllegalArgumentException: an option is missing or wrong, or a column's type is none of the database.
        UnsupportedOperationException: the database is of a kind that can't be reached, or an option isn't supported.

    >>> from headwater.sql import SparkSession
    >>> spark = SparkSession(sc)
    >>> words = spark.createDataFrame([("to", 2), ("be", 2), ("or", 1)], "word STRING, n INT")
    >>> options = {"url": f"jdbc:sqlite:{directory}/words.db", "dbtable": "words"}
    >>> write(words, "overwrite", options)
    >>> read(spark.connected, options).where("n > 1").orderBy("word").collect()
    [Row(word='be', n=2), Row(word='to', n=2)]
    """
    wanted = Options(options)
    mode = mode.lower()
    if mode not in _MODES:
        raise IllegalArgumentException(f"mode is one of {', '.join(_MODES[:-1])}; got {mode!r}")
    if wanted.text("query") is not None or not wanted.text("dbtable"):
        raise IllegalArgumentException("Option 'dbtable' is required, and 'query' is for reading alone.")
    table = check_table(wanted.text("dbtable") or "")
    batch_size = wanted.number("batchsize", _BATCH_SIZE, minimum=1)
    partitions = wanted.number("numpartitions", 0, minimum=1) if wanted.text("numpartitions") else 0
    truncate = wanted.flag("truncate")
    kinds = {field.name: field.dataType.jsonValue() for field in frame.schema}
    database = wanted.database(must_exist=False)
    create = _create_statement(database, table, frame, kinds, wanted)
    names = list(kinds)
    rows: RDD[Any] = frame.rdd
    with closing(database.connect()) as connection:
        there = database.has(connection, table)
        if there and mode == "ignore":
            return
        if there and mode not in ("append", "overwrite"):
            raise _already_there(table)
        if there and (mode == "append" or truncate):
            names = _names_there(database.columns(connection, table), table, names)
        if there and mode == "overwrite":
            _compute(rows)
            connection.cursor().execute(database.emptying(table) if truncate else f"DROP TABLE {table}")
        if not there or (mode == "overwrite" and not truncate):
            connection.cursor().execute(create)
        connection.commit()
    if partitions:
        rows = rows.coalesce(partitions)
    marks = ", ".join([database.placeholder] * len(names))
    columns = ", ".join(map(quoted, names))
    if database.placeholder.startswith("%"):
        columns = columns.replace("%", "%%")
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"
    rows.foreachPartition(partial(_insert, database, statement, list(kinds.items()), batch_size))


def check_table(name: str) -> str:
    """The name of a table, as it stands in statements.

    Raises:
        IllegalArgumentException: it is none.
    """
    if not _TABLE.fullmatch(name):
        raise IllegalArgumentException(
            f"{name!r} is no name of a table: a word, or anything in double quotes; a schema's may stand before it"
        )
    return name


def _create_statement(
    database: Database, table: str, frame: DataFrame, kinds: Mapping[str, Kind], options: Options
) -> str:
    if not kinds or len({name.lower() for name in kinds}) < len(frame.columns):
        raise IllegalArgumentException(f"A table has columns, each of another name; got {frame.columns}")
    types = {name: database.type_of(kind) for name, kind in kinds.items()}
    types |= _given_types(options.text("createtablecolumntypes") or "", kinds)
    for field in frame.schema:
        if types[field.name] is None:
            raise IllegalArgumentException(
                f"Can't get JDBC type for {field.dataType.simpleString()}: column {field.name}. Leave it out, or make "
                "it a string, as by to_json."
            )
    columns = ", ".join(
        f"{quoted(field.name)} {types[field.name]}{'' if field.nullable else ' NOT NULL'}" for field in frame.schema
    )
    return f"CREATE TABLE {table} ({columns}) {options.text('createtableoptions') or ''}".rstrip()


def _given_types(text: str, kinds: Mapping[str, Kind]) -> dict[str, str]:
    """The types that a program gives for columns, such as `name VARCHAR(64), at TIMESTAMP`."""
    names = {name.lower(): name for name in kinds}
    given = {}
    for part in _COMMA.split(text) if text.strip() else []:
        found = _TYPE_OF_COLUMN.fullmatch(part)
        name = names.get((found[1] or found[2] or found[3]).lower()) if found else None
        if found is None or name is None:
            raise IllegalArgumentException(
                f"Option 'createTableColumnTypes': {part.strip()!r} is no column and its type, as name VARCHAR(64); "
                f"columns are {', '.join(kinds)}"
            )
        given[name] = found[4].strip()
    return given


def _names_there(columns: Iterable[Column], table: str, names: Sequence[str]) -> list[str]:
    """The names as the table has them, which may be written otherwise."""
    from pyspark.errors import AnalysisException

    exact = {column.name for column in columns}
    there = {name.lower(): name for name in exact}
    missing = [name for name in names if name.lower() not in there]
    if missing:
        raise AnalysisException(
            f"Column {missing[0]!r} not found in the table {table}, which has the columns {', '.join(sorted(exact))}"
        )
    return [name if name in exact else there[name.lower()] for name in names]


def _already_there(table: str) -> Exception:
    from pyspark.errors import AnalysisException

    name = ".".join(f"`{part}`" for part in table.replace('"', "").split("."))
    return AnalysisException(
        f"Cannot create table or view {name} because it already exists.\n"
        "Choose a different name, drop or replace the existing object, or write with the mode append, overwrite or "
        "ignore. SQLSTATE: 42P07",
        errorClass="TABLE_OR_VIEW_ALREADY_EXISTS",
        messageParameters={"relationName": name},
    )


def _compute(rows: RDD[Any]) -> None:
    """Have the engine compute a DataFrame's rows now; they are kept for the job that writes them."""
    payloads = rows.origin.payloads
    assert payloads is not None
    payloads[0]


def _insert(
    database: Database, statement: str, columns: Sequence[tuple[str, Kind]], batch_size: int, rows: Iterable[Any]
) -> None:
    """Write a partition in one transaction; in a task."""
    names = [name for name, _ in columns]
    converts = [database.writing(kind) for _, kind in columns]
    rest = iter(rows)
    batch = list(islice(rest, batch_size))
    if not batch:
        return
    with closing(database.connect()) as connection:
        cursor = connection.cursor()
        while batch:
            cursor.executemany(statement, list(converted(batch, names, converts)))
            batch = list(islice(rest, batch_size))
        connection.commit()
