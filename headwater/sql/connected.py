"""A session as PySpark's client has it, over an application's engine, and what it makes of Headwater's RDDs."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
from pyspark.errors import PySparkTypeError, PySparkValueError
from pyspark.sql.connect import session as connect
from pyspark.sql.connect.dataframe import DataFrame
from pyspark.sql.connect.plan import SQL, SubqueryAlias
from pyspark.sql.dataframe import DataFrame as ParentDataFrame
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema
from pyspark.sql.types import DataType, StructField, StructType

from headwater.errors import UnsupportedOperationException
from headwater.rdd import RDD
from headwater.sql import commands, inference, relations
from headwater.sql import frames as _frames  # noqa: F401 - adds methods to DataFrame
from headwater.sql.application import Application
from headwater.sql.catalog import Catalog
from headwater.sql.client import Client
from headwater.sql.connection import SessionConnection
from headwater.sql.parts import Lines, Rows, renamed_to
from headwater.sql.readwriter import Reader
from headwater.sql.relations import Relation

if TYPE_CHECKING:
    from headwater.sql.sessionview import Entry

__all__ = ["Session"]


class Session(connect.SparkSession):
    """A session of an engine, behind a `SparkSession`.

    Args:
        facade: what programs hold.
        settings: of SQL, by key.
    """

    def __init__(self, facade: Entry, settings: dict[str, str]) -> None:
        self.facade = facade
        self._session_id = str(uuid.uuid4())
        application = Application.of(facade.sparkContext)
        self._engines = application.engines
        connection = SessionConnection(
            application.engines, self._session_id, application.catalogue, relations.directories_in
        )
        self._connection = connection
        self._client = Client(connection, self._session_id)
        self.release_session_on_close = False
        running = facade.sparkContext.application
        self._directory = running.directory if running.key is None else ""  # of relations' files, which have no seal
        self.conf._set_all(
            configs={"spark.sql.warehouse.dir": application.catalogue.warehouse, **settings}, silent=True
        )
        connect.SparkSession._default_session = self

    @property
    def is_stopped(self) -> bool:
        """Whether its application has ended: then PySpark's client looks for another session, or does without."""
        return self._engines.has_stopped

    def __reduce__(self) -> Any:
        return self.facade.__reduce__()  # which says what to do instead

    # -------------------------------------------------------------------------------------------- DataFrames
    def createDataFrame(
        self,
        data: Any,
        schema: Any = None,
        samplingRatio: float | None = None,
        verifySchema: bool | None = True,
    ) -> ParentDataFrame:
        if isinstance(data, DataFrame):
            raise PySparkTypeError(
                errorClass="INVALID_TYPE", messageParameters={"arg_name": "data", "arg_type": "DataFrame"}
            )
        if isinstance(data, (pd.DataFrame, np.ndarray, pa.Table)):
            return super().createDataFrame(data, schema)
        shape, given = self._shape(schema, verifySchema is not False)
        if isinstance(data, RDD):
            return self._of_rdd(data, shape, given, samplingRatio)
        return self._of_rows(list(data), shape, given)

    def sql(self, sqlQuery: str, args: Any = None, **kwargs: Any) -> ParentDataFrame:
        if args or kwargs or not isinstance(sqlQuery, str):
            return super().sql(sqlQuery, args, **kwargs)
        done = commands.done_here(self, sqlQuery)
        if done is not None:
            return cast("ParentDataFrame", done)
        frame = super().sql(commands.in_the_engines_words(sqlQuery))
        if re.match(r"\s*show\s+tables\b", sqlQuery, re.IGNORECASE):
            return frame.withColumnRenamed("database", "namespace")
        return frame

    @cached_property
    def catalog(self) -> Catalog:
        return Catalog(self, self._connection)

    @property
    def read(self) -> Reader:
        return Reader(self)

    def sql_over(self, statement: str, frames: Mapping[str, ParentDataFrame]) -> ParentDataFrame:
        """What a query gives over DataFrames that only it knows, by name."""
        views = [SubqueryAlias(cast("DataFrame", frame)._plan, name) for name, frame in frames.items()]
        return DataFrame(SQL(statement, views=views), self)

    def _shape(self, schema: Any, verify: bool) -> tuple[Rows, StructType | None]:
        """How rows become columns, and the types of these if they are given."""
        if schema is None:
            return Rows(), None
        if isinstance(schema, str):
            schema = self.client._analyze(method="ddl_parse", ddl_string=schema).parsed
        if isinstance(schema, (list, tuple)) and all(isinstance(name, str) for name in schema):
            return Rows(names=tuple(schema)), None
        if not isinstance(schema, DataType):
            raise _no_schema(schema, "StructType, a DDL text, or a list of names")
        atomic = not isinstance(schema, StructType)
        struct = StructType([StructField("value", schema)]) if atomic else cast("StructType", schema)
        return Rows(to_arrow_schema(struct, timezone="UTC"), verify=verify, atomic=atomic), struct

    def _of_rows(self, rows: list[Any], shape: Rows, given: StructType | None) -> DataFrame:
        if not rows and given is None:
            raise PySparkValueError(errorClass="CANNOT_INFER_EMPTY_SCHEMA", messageParameters={})
        try:
            schema, content = relations.of_rows(rows, shape, self._directory)
        except TypeError as error:
            raise PySparkTypeError(str(error)) from error
        except ValueError as error:
            raise PySparkValueError(str(error)) from error
        return self._frame(lambda: content, given or _types(schema))

    def _of_rdd(self, rdd: RDD[Any], shape: Rows, given: StructType | None, sampling_ratio: float | None) -> DataFrame:
        if given is None and sampling_ratio is not None:
            sample = rdd.sample(False, float(sampling_ratio)) if sampling_ratio < 0.99 else rdd
            schema, keys = renamed_to(relations.merged_schema(sample), shape.names)
            shape = shape._replace(schema=schema, keys=keys, verify=False)
        if given is not None:
            return self._frame(partial(self._computed, rdd, shape), given)
        try:
            schema, content = relations.of_rdd(rdd, shape, self._directory)
        except TypeError as error:
            raise PySparkTypeError(str(error)) from error
        if schema is None or content is None:
            raise relations.NoRows
        return self._frame(lambda: content, _types(schema))

    def of_text(self, rdd: RDD[Any]) -> DataFrame:
        """Lines, str or bytes, as a column `value`."""
        schema = pa.schema([("value", pa.string())])
        return self._frame(partial(self._computed, rdd, Lines(schema)), from_arrow_schema(schema))

    def of_json(
        self, rdd: RDD[Any], schema: Any = None, mode: str = "PERMISSIVE", corrupt_column: str = "_corrupt_record"
    ) -> DataFrame:
        """Lines of JSON, str or bytes, as columns.

        Args:
            schema: a `StructType` or a DDL text; None infers it from all lines, now.
            mode, corrupt_column: see `jsonlines.batches`.
        """
        if schema is None:
            schema = from_arrow_schema(relations.json_schema(rdd, mode, corrupt_column))
        types = self._types_of(schema)
        zone = self.conf.get("spark.sql.session.timeZone") or "UTC"
        shape = Lines(to_arrow_schema(types, timezone="UTC"), True, mode, corrupt_column, zone)
        return self._frame(partial(self._computed, rdd, shape), types)

    def _types_of(self, schema: Any) -> StructType:
        if isinstance(schema, str):
            schema = self.client._analyze(method="ddl_parse", ddl_string=schema).parsed
        if not isinstance(schema, StructType):
            raise _no_schema(schema, "StructType or a DDL text")
        return schema

    def _computed(self, rdd: RDD[Any], shape: Rows | Lines) -> relations.Content:
        _, content = relations.of_rdd(rdd, shape, self._directory)
        if content is None:
            assert shape.schema is not None
            content = relations.of_table(shape.schema.empty_table(), self._directory)
        return content

    def _frame(self, load: Callable[[], relations.Content], schema: StructType) -> DataFrame:
        frame = DataFrame(Relation(load, schema.json), self)
        frame._cached_schema = schema
        return frame

    def directory(self) -> relations.Directory:
        if not self._directory:
            raise UnsupportedOperationException(
                "csv(rdd) writes a file for the SQL engine, which reads none that are encrypted, and encryption is on "
                "(headwater.encryption.keyFile). Split the lines in a map, and give the rows to createDataFrame."
            )
        return relations.Directory(self._directory)

    def kept(self, table: pa.Table) -> relations.Content:
        """A table as what a relation holds."""
        return relations.of_table(table, self._directory)


def _no_schema(schema: object, expected: str) -> PySparkTypeError:
    given = {"arg_name": "schema", "expected_type": expected, "arg_type": type(schema).__name__}
    return PySparkTypeError(errorClass="NOT_EXPECTED_TYPE", messageParameters=given)


def _types(schema: pa.Schema) -> StructType:
    """The columns' types.

    Raises:
        ValueError: of one of them only None was seen.
    """
    if inference.is_undetermined(schema):
        raise PySparkValueError(errorClass="CANNOT_DETERMINE_TYPE", messageParameters={})
    return from_arrow_schema(schema)
