"""What the sessions of a context share: engines, and tables. It is made when the first session needs it."""

from __future__ import annotations

import os
import threading
import weakref
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from headwater.sql.catalogue import Catalogue
from headwater.sql.engine import SailEngine
from headwater.sql.engines import Engines

if TYPE_CHECKING:
    from headwater.context import SparkContext

__all__ = ["Application"]


class Application:
    """Engines and tables of a context; they end with it."""

    _all: ClassVar[weakref.WeakKeyDictionary[SparkContext, Application]] = weakref.WeakKeyDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()  # guards the field above

    def __init__(self, sc: SparkContext) -> None:
        conf = sc.conf
        start = partial(SailEngine, sc.application.directory, unprotected=conf.read("headwater.sql.engine.unprotected"))
        self.engines = Engines(start, memory_max=conf.read("headwater.sql.engine.memoryLimit"))
        self.catalogue = Catalogue(os.path.abspath(conf.read("spark.sql.warehouse.dir") or "spark-warehouse"))
        sc.at_stop(self.engines.stop)

    @classmethod
    def of(cls, sc: SparkContext) -> Application:
        """That of a context that runs.

        Raises:
            IllegalStateException: it has stopped.
        """
        with cls._lock:
            if sc not in cls._all:
                cls._all[sc] = cls(sc)
            return cls._all[sc]
