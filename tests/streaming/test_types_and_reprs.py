"""What an editor and a prompt show of a streaming program: the types of its streams, what objects are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import headwater.streaming
from headwater import SparkConf, SparkContext
from headwater.streaming import ConstantInputDStream, DStream, StateSpec, StreamingContext
from headwater.streaming.context import StreamingContextState

ROOT = Path(__file__).parent.parent.parent

PROGRAM = """
from headwater import SparkContext
from headwater.streaming import DStream, StreamingContext

sc = SparkContext("local[2]", "types")
ssc = StreamingContext(sc, 1)
lines = ssc.socketTextStream("localhost", 9999)
pairs = lines.flatMap(str.split).map(lambda word: (word, 1))

def total(new: list[int], before: float | None) -> float | None:
    return sum(new) + (before or 0.0)

def shortest(stream: DStream[str]) -> DStream[str]:
    return stream.reduce(min)

reveal_type(lines)
reveal_type(pairs)
reveal_type(pairs.reduceByKey(lambda a, b: a + b))
reveal_type(pairs.reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, 30, 10))
reveal_type(pairs.mapValues(str))
reveal_type(pairs.join(pairs.mapValues(str)))
reveal_type(pairs.leftOuterJoin(pairs))
reveal_type(pairs.cogroup(pairs))
reveal_type(pairs.groupByKey())
reveal_type(pairs.updateStateByKey(total))
reveal_type(lines.window(30, 10).count())
reveal_type(lines.countByValue())
reveal_type(lines.union(pairs))
reveal_type(lines.glom())
reveal_type(shortest(lines).transform(lambda rdd: rdd))
reveal_type(ssc.queueStream([[1], [2, 3]]))
reveal_type(ssc.queueStream([sc.parallelize([1.5])]))
reveal_type(ssc.iteratorStream(["a"]))
reveal_type(ssc.textFileStream("in"))
reveal_type(ssc.fileStream("in", reader=lambda sc, path: sc.parallelize([1])))
reveal_type(ssc.binaryRecordsStream("in", 4))
lines.map(len).filter(str.isalpha)
"""

TYPES = """
DStream[str]
DStream[tuple[str, int]]
DStream[tuple[str, int]]
DStream[tuple[str, int]]
DStream[tuple[str, str]]
DStream[tuple[str, tuple[int, str]]]
DStream[tuple[str, tuple[int, int | None]]]
DStream[tuple[str, tuple[ResultIterable[int], ResultIterable[int]]]]
DStream[tuple[str, ResultIterable[int]]]
DStream[tuple[str, float]]
DStream[int]
DStream[tuple[str, int]]
DStream[str | tuple[str, int]]
DStream[list[str]]
DStream[Any]
DStream[int]
DStream[float]
DStream[str]
DStream[str]
DStream[int]
DStream[bytes]
"""


def test_types_of_records_are_known_through_every_operation(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", str(program)], cwd=ROOT, capture_output=True, text=True, timeout=110
    )
    revealed = re.findall(r'Revealed type is "(.*)"', checked.stdout)
    assert [re.sub(r"[a-z_]+\.[a-z_.]*", "", text) for text in revealed] == TYPES.split("\n")[1:-1]
    errors = [line.split("error: ")[1] for line in checked.stdout.splitlines() if "error: " in line]
    assert len(errors) == 1 and 'expected "Callable[[int], Any]"' in errors[0]  # the last line, and no other


def test_streams_can_be_annotated_with_the_type_of_their_records_at_run_time(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 1)
    stream: DStream[int] = ConstantInputDStream[int](ssc, sc.parallelize([1]))
    assert isinstance(stream, DStream)
    assert DStream[str].__origin__ is DStream  # type: ignore[attr-defined]


def test_reprs_say_what_a_context_a_stream_and_a_spec_are(sc: SparkContext) -> None:
    ssc = StreamingContext(sc, 0.5)
    lines = ssc.socketTextStream("localhost", 9999)

    def total(key: str, value: int, state: object) -> int:
        return value

    assert repr(ssc) == f"<StreamingContext: batches of 0.5 s, initialized, on {sc!r}>"
    assert repr(lines.countByValue()) == "<DStream: stream of reduceByKey, every 0.5 s>"
    assert repr(lines.window(2, 1)) == "<DStream: stream of windows of 2000 ms, every 1 s>"
    assert repr(lines.count()) == "<DStream: stream of count, every 0.5 s>"
    assert repr(StateSpec.function(total).timeout(30)) == "StateSpec.function(total).timeout(30)"


def test_repr_of_settings_shows_no_secret() -> None:
    conf = SparkConf(loadDefaults=False).set("spark.app.name", "counts").set("spark.hadoop.fs.s3a.secret.key", "xyz")
    assert repr(conf) == "<SparkConf: spark.app.name=counts, spark.hadoop.fs.s3a.secret.key=*********(redacted)>"
    assert repr(SparkConf(loadDefaults=False)) == "<SparkConf: no settings>"


def test_names_of_the_package_can_be_listed() -> None:
    assert set(headwater.streaming.__all__) <= set(dir(headwater.streaming))


def test_a_with_statement_stops_the_streams_and_leaves_the_spark_context(sc: SparkContext) -> None:
    with StreamingContext(sc, 0.1) as ssc:
        ssc.queueStream([]).foreachRDD(lambda rdd: None)
        ssc.start()
    assert ssc.getState() is StreamingContextState.STOPPED
    assert sc.parallelize([1]).count() == 1


def test_a_with_statement_stops_the_streams_when_its_body_raises(sc: SparkContext) -> None:
    with pytest.raises(KeyError), StreamingContext(sc, 0.1) as ssc:
        raise KeyError("body")
    assert ssc.getState() is StreamingContextState.STOPPED
