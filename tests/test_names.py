"""PySpark's names, where programs import them from, and the small things among them."""

from __future__ import annotations

import importlib
import inspect
from datetime import datetime

import pytest

import headwater
from headwater import InheritableThread, SparkContext, inheritable_thread_target, keyword_only, since
from headwater.shuffle import Aggregator, ExternalMerger
from headwater.streaming.util import rddToFileName
from headwater.util import fail_on_stopiteration


@pytest.mark.parametrize(
    ("module", "names"),
    [
        (
            "",
            "HiveContext InheritableThread MarshalSerializer Row SQLContext keyword_only since",
        ),
        ("accumulators", "Accumulator AccumulatorParam"),
        ("conf", "SparkConf"),
        (
            "context",
            "Accumulator Broadcast RDD SparkConf SparkContext SparkFiles StatusTracker StorageLevel TaskContext",
        ),
        ("files", "SparkFiles"),
        ("profiler", "BasicProfiler Profiler ProfilerCollector"),
        ("rdd", "PipelinedRDD RDD ResultIterable StatCounter portable_hash"),
        ("resultiterable", "ResultIterable"),
        ("serializers", "BatchedSerializer CPickleSerializer NoOpSerializer PairDeserializer UTF8Deserializer"),
        ("shuffle", "Aggregator ExternalMerger SimpleAggregator"),
        ("sql", "DataFrame HiveContext Row SQLContext SparkSession Window functions types"),
        ("sql.context", "HiveContext SQLContext"),
        ("sql.session", "SparkSession"),
        ("sql.types", "Row StructType"),
        ("sql.utils", "AnalysisException IllegalArgumentException ParseException StreamingQueryException"),
        ("sql.window", "Window"),
        ("statcounter", "StatCounter"),
        ("storagelevel", "StorageLevel"),
        ("streaming", "DStream StreamingContext StreamingListener"),
        ("streaming.context", "DStream RDD SparkConf SparkContext StreamingContext StreamingListener"),
        ("streaming.dstream", "DStream RDD ResultIterable StorageLevel rddToFileName"),
        ("streaming.flume", "FlumeUtils"),
        ("streaming.kafka", "Broker KafkaUtils OffsetRange TopicAndPartition"),
        ("streaming.kinesis", "InitialPositionInStream KinesisUtils MetricsLevel"),
        ("streaming.listener", "StreamingListener"),
        ("streaming.mqtt", "MQTTUtils"),
        ("streaming.util", "rddToFileName"),
        ("taskcontext", "TaskContext"),
        ("util", "InheritableThread fail_on_stopiteration"),
        ("version", "__version__"),
    ],
)
def test_names_are_where_pyspark_has_them(module: str, names: str) -> None:
    package = f"headwater.{module}".rstrip(".")
    for name in names.split():
        scope: dict[str, object] = {}
        exec(f"from {package} import {name}", scope)
        assert scope[name] is not None


def test_what_pyspark_s_later_libraries_hold_is_not_there_yet() -> None:
    for name in ("mllib", "ml", "graphx", "pandas"):
        with pytest.raises(ModuleNotFoundError, match=f"No module named 'headwater.{name}'"):
            importlib.import_module(f"headwater.{name}")
        with pytest.raises(AttributeError, match=f"module 'headwater' has no attribute '{name}'"):
            getattr(headwater, name)


def test_keyword_only_keeps_the_latest_arguments() -> None:
    class Model:
        @keyword_only
        def __init__(self, *, depth: int = 1, rate: float = 0.5) -> None:
            self.depth = depth

    model = Model(depth=3)
    assert (model.depth, model._input_kwargs) == (3, {"depth": 3})  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match="Method __init__ forces keyword arguments"):
        Model(3)  # type: ignore[misc]


def test_since_notes_the_version_in_the_docstring() -> None:
    @since("2.1")
    def documented() -> None:
        """What it does.

        More of it.
        """

    @since(3)
    def silent() -> None: ...

    assert documented.__doc__ is not None
    assert inspect.cleandoc(documented.__doc__) == "What it does.\n\nMore of it.\n\n.. versionadded:: 2.1"
    assert silent.__doc__ == "\n\n.. versionadded:: 3"


def test_a_stop_iteration_is_a_runtime_error_if_asked_for() -> None:
    with pytest.raises(RuntimeError, match="StopIteration was raised by next"):
        fail_on_stopiteration(next)(iter(()))
    assert fail_on_stopiteration(next)(iter([1])) == 1


@pytest.mark.parametrize("suffix", [None, "txt"])
def test_a_batch_s_path_is_that_of_the_files_outputs(suffix: str | None) -> None:
    time = datetime.fromtimestamp(1500.25)
    assert rddToFileName("out/a", suffix, time) == rddToFileName("out/a", suffix, 1_500_250)
    assert rddToFileName("out/a", suffix, 1_500_250) == "out/a-1500250" + (".txt" if suffix else "")


def test_an_inheritable_thread_has_its_starter_s_properties(sc: SparkContext) -> None:
    seen: list[object] = []
    sc.setLocalProperty("colour", "red")
    thread = InheritableThread(target=lambda: seen.append(sc.getLocalProperty("colour")))
    sc.setLocalProperty("colour", "blue")  # those at the start count
    thread.start()
    thread.join()
    look = inheritable_thread_target(lambda: sc.getLocalProperty("colour"))
    sc.setLocalProperty("colour", None)
    assert [*seen, look()] == ["blue", "blue"]


def test_an_external_merger_combines_values_and_combiners() -> None:
    lists = Aggregator(lambda value: [value], lambda values, value: [*values, value], lambda one, other: one + other)
    merger = ExternalMerger(lists, memoryLimit=1)  # less than the process has: whatever can be spilled is
    merger.mergeValues((n % 1000, n) for n in range(5000))
    merger.mergeCombiners([(0, [-1])])
    merged = dict(merger.items())
    assert merged[0] == [0, 1000, 2000, 3000, 4000, -1]
    assert sum(map(len, merged.values())) == 5001
