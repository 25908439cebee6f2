"""What readers, writers and commands ask of their session: of `connected.Session`, which stands above them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from pyspark.sql.connect.dataframe import DataFrame
    from pyspark.sql.dataframe import DataFrame as ParentDataFrame
    from pyspark.sql.types import StructType

    from headwater.context import SparkContext
    from headwater.rdd import RDD

__all__ = ["Entry", "SessionView"]


class Entry(Protocol):
    """What a program holds of a session: `session.SparkSession`."""

    @property
    def sparkContext(self) -> SparkContext:
        """The context on which it stands."""

    @property
    def conf(self) -> Any:
        """Its settings, a `RuntimeConfig`."""


class SessionView(Protocol):
    """A session as its engine has it. Any thread may use it."""

    @property
    def facade(self) -> Entry:
        """What the program holds of it."""

    @property
    def client(self) -> Any:
        """Its client of Spark Connect."""

    @property
    def catalog(self) -> Any:
        """Its tables and views."""

    @property
    def sql(self) -> Callable[..., ParentDataFrame]:
        """What a statement gives."""

    @property
    def createDataFrame(self) -> Callable[..., ParentDataFrame]:
        """A DataFrame of rows."""

    def of_text(self, rdd: RDD[Any]) -> DataFrame:
        """Lines as a column `value`."""

    def of_json(
        self, rdd: RDD[Any], schema: str | StructType | None = None, mode: str = ..., corrupt_column: str = ...
    ) -> DataFrame:
        """Lines of JSON as columns."""
