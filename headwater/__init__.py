"""Headwater: Spark Streaming in Python, without a JVM.

The names are PySpark's. They are imported when they are first used, so that `import headwater` costs next to nothing.
"""

from __future__ import annotations

__version__ = "0.1.0"

__all__ = [
    "RDD",
    "Accumulator",
    "AccumulatorParam",
    "BasicProfiler",
    "Broadcast",
    "CPickleSerializer",
    "HiveContext",
    "InheritableThread",
    "MarshalSerializer",
    "PickleSerializer",
    "Profiler",
    "Row",
    "SQLContext",
    "SparkConf",
    "SparkContext",
    "SparkFiles",
    "SparkJobInfo",
    "SparkStageInfo",
    "StatusTracker",
    "StorageLevel",
    "TaskContext",
    "__version__",
    "inheritable_thread_target",
    "keyword_only",
    "since",
]

TYPE_CHECKING = False  # type checkers know the name; importing typing would double the cost of this module
if TYPE_CHECKING:
    from typing import Any

    from headwater.accumulators import Accumulator, AccumulatorParam
    from headwater.broadcast import Broadcast
    from headwater.conf import SparkConf
    from headwater.context import SparkContext
    from headwater.files import SparkFiles
    from headwater.framing import CPickleSerializer, MarshalSerializer, PickleSerializer
    from headwater.profiler import BasicProfiler, Profiler
    from headwater.rdd import RDD
    from headwater.sql import HiveContext, Row, SQLContext
    from headwater.status import SparkJobInfo, SparkStageInfo, StatusTracker
    from headwater.storagelevel import StorageLevel
    from headwater.taskcontext import TaskContext
    from headwater.util import InheritableThread, inheritable_thread_target, keyword_only, since

_MODULES = {
    "Accumulator": "accumulators",
    "AccumulatorParam": "accumulators",
    "BasicProfiler": "profiler",
    "Broadcast": "broadcast",
    "CPickleSerializer": "framing",
    "HiveContext": "sql",
    "inheritable_thread_target": "util",
    "InheritableThread": "util",
    "keyword_only": "util",
    "MarshalSerializer": "framing",
    "PickleSerializer": "framing",
    "Profiler": "profiler",
    "RDD": "rdd",
    "Row": "sql",
    "since": "util",
    "SparkConf": "conf",
    "SparkContext": "context",
    "SparkFiles": "files",
    "SparkJobInfo": "status",
    "SparkStageInfo": "status",
    "SQLContext": "sql",
    "StatusTracker": "status",
    "StorageLevel": "storagelevel",
    "TaskContext": "taskcontext",
}


def __getattr__(name: str) -> Any:
    module = _MODULES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
