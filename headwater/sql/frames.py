"""What DataFrames have beyond PySpark's client: RDDs, caching, rows of our own. Added to its class once, on import.

The client builds its DataFrames by that class's name wherever it needs one, so that a subclass would be lost at the
first transformation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial, wraps
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.plan import LogicalPlan
from pyspark.sql.dataframe import DataFrame as ParentDataFrame
from pyspark.sql.pandas.types import from_arrow_schema

from headwater.engine.lineage import Deferred
from headwater.rdd import RDD
from headwater.rdd.functions import first
from headwater.rdd.sources import Reading
from headwater.sql import arrowrows
from headwater.sql.parts import rows_of_stream
from headwater.sql.readwriter import Writer
from headwater.sql.relations import Content, Relation
from headwater.storagelevel import StorageLevel

if TYPE_CHECKING:
    from headwater.sql.rows import Row
    from headwater.sql.sessionview import Entry

__all__ = ["streams_of"]


def _spark_session(self: DataFrame) -> Entry:
    """The session that made this DataFrame."""
    facade: Entry = self._session.facade
    return facade


def _write(self: DataFrame) -> Writer:
    """Writes it to files, tables and databases: `df.write.parquet(path)`, `.mode("append")`, `.saveAsTable(name)`."""
    return Writer(self, lambda information: setattr(self, "_execution_info", information))


# ------------------------------------------------------------------------------------------------ rows
def _collect(self: DataFrame) -> list[Row]:
    """All rows, in the driver."""
    table, _ = self._to_table()
    return [row for batch in table.to_batches() for row in arrowrows.rows_of(batch)]


def _to_local_iterator(self: DataFrame, prefetchPartitions: bool = False) -> Iterator[Row]:
    """All rows, one after the other, as they come from the engine."""
    query = self._plan.to_proto(self._session.client)
    for table in self._session.client.to_table_as_iterator(query, self._plan.observations):
        if hasattr(table, "to_batches"):  # a schema comes first
            for batch in table.to_batches():
                yield from arrowrows.rows_of(batch)


# ------------------------------------------------------------------------------------------------ RDDs
def _rdd(self: DataFrame) -> RDD[Row]:
    """The rows as an RDD, of as many partitions as there are cores. The query runs when the first job needs it."""
    sc = self._session.facade.sparkContext
    partitions = sc.defaultParallelism
    return RDD(
        sc,
        Reading(rows_of_stream),
        (),
        partitions,
        payloads=Deferred(partial(streams_of, self, partitions), partitions),
    )


def streams_of(frame: DataFrame, partitions: int) -> list[bytes]:
    """A DataFrame's rows as streams of Arrow, in order, in `partitions` parts as equal as can be. Runs its query."""
    table, _ = frame._to_table()
    bounds = [table.num_rows * i // partitions for i in range(partitions + 1)]
    parts = (table.slice(start, end - start) for start, end in pairwise(bounds))
    return [arrowrows.to_stream(part.to_batches(), table.schema) for part in parts]


def _to_json(self: DataFrame, use_unicode: bool = True) -> RDD[str]:
    """Each row as a JSON object, without the fields that are null."""
    from pyspark.sql.connect import functions as F

    lines: RDD[str] = self.select(F.to_json(F.struct(*self.columns)).alias("value")).rdd.map(first)
    return lines


def _foreach(self: DataFrame, f: Callable[[Row], object]) -> None:
    """Call a function with each row, in tasks."""
    self.rdd.foreach(f)


def _foreach_partition(self: DataFrame, f: Callable[[Iterator[Row]], Iterable[Any] | None]) -> None:
    """Call a function with the rows of each partition, in tasks."""
    self.rdd.foreachPartition(f)


# ------------------------------------------------------------------------------------------------ keeping rows
class Cached(Relation):
    """A plan whose rows are kept once they were computed; it stands where the plan stood.

    Args:
        plan: the plan that is kept. Columns that name it by its number go on to.
    """

    def __init__(self, plan: LogicalPlan, session: Any, level: StorageLevel) -> None:
        super().__init__(self._compute, lambda: self._schema.json())
        self.child = plan
        self.level = level
        self._session = session
        self._root_plan_id = plan._plan_id

    def _compute(self) -> Content:
        query = self.child.to_proto(self._session.client)
        table, schema, _ = self._session.client.to_table(query, self.child.observations)
        self._schema = schema if schema is not None else from_arrow_schema(table.schema)
        content: Content = self._session.kept(table)
        return content


def _persist(self: DataFrame, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK) -> DataFrame:
    """Keep the rows once they were computed. The level is what `storageLevel` says; it makes no other difference."""
    if not isinstance(self._plan, Cached):
        self._plan = Cached(self._plan, self._session, storageLevel)
    return self


def _unpersist(self: DataFrame, blocking: bool = False) -> DataFrame:
    """Compute the rows anew each time."""
    if isinstance(self._plan, Cached):
        self._plan = self._plan.child
    return self


def _storage_level(self: DataFrame) -> StorageLevel:
    """The level that `persist` has set."""
    return self._plan.level if isinstance(self._plan, Cached) else StorageLevel.NONE


def _checkpoint(self: DataFrame, eager: bool = True) -> DataFrame:
    """A DataFrame of the same rows that doesn't know how they came about."""
    kept = Cached(self._plan, self._session, StorageLevel.MEMORY_AND_DISK)
    if eager:
        kept.content()
    frame = DataFrame(kept, self._session)
    frame._cached_schema = self._cached_schema
    return frame


# ------------------------------------------------------------------------------------------------ looking at rows
_show_string = DataFrame._show_string


def _shown(self: DataFrame, n: int = 20, truncate: bool | int = True, vertical: bool = False) -> str:
    """The rows as `show` prints them; the engine ends those that are cut with a line too many."""
    text: str = _show_string(self, n, truncate, vertical)
    return text.removesuffix("\n") if "\nonly showing top " in text else text


def _show(self: DataFrame, n: int = 20, truncate: bool | int = True, vertical: bool = False) -> None:
    """Print the rows, at once also where output goes to a pipe."""
    print(self._show_string(n, truncate, vertical), flush=True)


def _in_order(statistics: Callable[..., ParentDataFrame]) -> Callable[..., ParentDataFrame]:
    """A method that gives statistics, in the order in which Spark has them."""

    @wraps(statistics)
    def ordered(self: DataFrame, *arguments: Any) -> ParentDataFrame:
        from pyspark.sql.connect import functions as F

        names = [*(arguments if statistics.__name__ == "summary" else ()), *_STATISTICS]
        place = F.array_position(F.array(*map(F.lit, names)), F.col("summary"))
        return statistics(self, *arguments).orderBy(place)

    return ordered


_STATISTICS = ("count", "mean", "stddev", "min", "25%", "50%", "75%", "max")

_METHODS: dict[str, Any] = {
    "_show_string": _shown,
    "cache": _persist,
    "checkpoint": _checkpoint,
    "collect": _collect,
    "describe": _in_order(DataFrame.describe),
    "foreach": _foreach,
    "foreachPartition": _foreach_partition,
    "is_cached": property(lambda self: isinstance(self._plan, Cached)),
    "localCheckpoint": _checkpoint,
    "persist": _persist,
    "rdd": property(_rdd),
    "sparkSession": property(_spark_session),
    "show": _show,
    "storageLevel": property(_storage_level),
    "summary": _in_order(DataFrame.summary),
    "toJSON": _to_json,
    "toLocalIterator": _to_local_iterator,
    "unpersist": _unpersist,
    "write": property(_write),
}

for _name, _method in _METHODS.items():
    setattr(DataFrame, _name, _method)
