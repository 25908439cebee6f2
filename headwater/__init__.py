"""Headwater: Spark Streaming in Python, without a JVM.

The names are PySpark's. They are imported when they are first used, so that `import headwater` costs next to nothing.
"""

from __future__ import annotations

from headwater.base.lazy import lazy_names
from headwater.version import __version__ as __version__

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

TYPE_CHECKING = False  # see base/lazy.py
if TYPE_CHECKING:
    from headwater.accumulators import Accumulator, AccumulatorParam
    from headwater.broadcast import Broadcast
    from headwater.conf import SparkConf
    from headwater.context import SparkContext
    from headwater.files import SparkFiles
    from headwater.profiler import BasicProfiler, Profiler
    from headwater.rdd import RDD
    from headwater.serializers import CPickleSerializer, MarshalSerializer, PickleSerializer
    from headwater.sql import HiveContext, Row, SQLContext
    from headwater.status import SparkJobInfo, SparkStageInfo, StatusTracker
    from headwater.storagelevel import StorageLevel
    from headwater.taskcontext import TaskContext
    from headwater.util import InheritableThread, inheritable_thread_target, keyword_only, since

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Accumulator": "accumulators",
        "AccumulatorParam": "accumulators",
        "BasicProfiler": "profiler",
        "Broadcast": "broadcast",
        "CPickleSerializer": "serializers",
        "HiveContext": "sql",
        "inheritable_thread_target": "util",
        "InheritableThread": "util",
        "keyword_only": "util",
        "MarshalSerializer": "serializers",
        "PickleSerializer": "serializers",
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
    },
)
