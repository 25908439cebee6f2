"""How the batches of a stream become DataFrames: what is kept with the program, and done in the driver for each batch.

It holds texts and the program's own functions, no DataFrame and no session: so it is pickled with the stream graph, and
a driver that goes on from a checkpoint makes the same of its batches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from headwater.sql.session import SparkSession

if TYPE_CHECKING:
    from pyspark.sql.dataframe import DataFrame

    from headwater.context import SparkContext
    from headwater.rdd import RDD

__all__ = ["FORMATS", "BatchFrames", "Query", "schema_text", "session_of"]

Format = Literal["rows", "json", "text"]
FORMATS = ("rows", "json", "text")


@dataclass(frozen=True)
class Query:
    """A step: a query over the batch and other tables.

    Args:
        statement: of SQL.
        name: of the batch in it.
        tables: makes the DataFrame of another name in it, once a driver: `function(spark)`.
    """

    statement: str
    name: str
    tables: Mapping[str, Callable[[SparkSession], DataFrame]] = field(default_factory=dict)
    _made: dict[str, DataFrame] = field(default_factory=dict, compare=False)

    def __call__(self, frame: DataFrame) -> DataFrame:
        session: SparkSession = cast("Any", frame.sparkSession)
        for name, make in self.tables.items():
            if name not in self._made or cast("Any", self._made[name].sparkSession) is not session:
                self._made[name] = make(session)
        return session.connected.sql_over(self.statement, {self.name: frame, **self._made})

    def __reduce__(self) -> tuple[Any, ...]:
        return Query, (self.statement, self.name, self.tables)  # DataFrames are this driver's


@dataclass(frozen=True)
class BatchFrames:
    """Makes a batch's DataFrame, by `of`.

    Args:
        schema: a text of `schema_text`; empty: inferred from each batch.
        format: what the records are: rows, lines of JSON, or lines of text.
        mode: what becomes of lines that aren't JSON: see `DStream.toDF`.
        steps: functions from DataFrame to DataFrame, in their order.
    """

    schema: str = ""
    format: Format = "rows"
    mode: str = "PERMISSIVE"
    steps: tuple[Callable[[DataFrame], DataFrame], ...] = ()
    _latest: dict[str, Any] = field(default_factory=dict, compare=False)  # the last schema that was inferred

    def then(self, step: Callable[[DataFrame], DataFrame]) -> BatchFrames:
        """With one step more."""
        return replace(self, steps=(*self.steps, step))

    def of(self, rdd: RDD[Any]) -> DataFrame | None:
        """A batch's DataFrame; None if it has no records, and there is no schema, given or from a batch before.

        Raises:
            TypeError, ValueError: a schema is to be inferred, and can't be.
        """
        frame = self._read(session_of(rdd.context), rdd)
        for step in self.steps:
            if frame is None:
                break
            frame = step(frame)
        return frame

    def _read(self, session: SparkSession, rdd: RDD[Any]) -> DataFrame | None:
        connected = session.connected
        if self.format == "text":
            return connected.of_text(rdd)
        from headwater.sql.relations import NoRows

        def read(schema: Any) -> DataFrame:
            if self.format == "json":
                return connected.of_json(rdd, schema, self.mode)
            return connected.createDataFrame(rdd, schema)

        schema = _schema(self.schema)
        if schema is not None and not isinstance(schema, list):
            return read(schema)
        frame: DataFrame | None
        try:
            frame = read(schema)
        except NoRows:
            frame = None
        if frame is None or (self.format == "json" and not frame.columns):  # no records
            latest = self._latest.get("schema")
            return None if latest is None else read(latest)
        self._latest["schema"] = frame.schema
        return frame

    def __reduce__(self) -> tuple[Any, ...]:
        return BatchFrames, (self.schema, self.format, self.mode, self.steps)


def schema_text(schema: Any) -> str:
    """A schema as a text: DDL as it is, a type or a list of names as JSON; empty for none.

    >>> schema_text("word STRING"), schema_text(["word", "count"]), schema_text(None)
    ('word STRING', '["word", "count"]', '')
    """
    if schema is None or isinstance(schema, str):
        return schema or ""
    return json.dumps(list(schema)) if isinstance(schema, (list, tuple)) else str(schema.json())


def _schema(text: str) -> Any:
    if text.startswith("["):
        return json.loads(text)
    if text.startswith("{"):
        from pyspark.sql.types import StructType

        return StructType.fromJson(json.loads(text))
    return text or None


def session_of(sc: SparkContext) -> SparkSession:
    """The session of a context that programs share, made if there is none."""
    session = SparkSession.getActiveSession()
    return session if session is not None and session.sparkContext is sc else SparkSession(sc)
