"""Outputs that print and save: names, contents, and what a batch that died half-way leaves."""

from __future__ import annotations

import gzip
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import FileAlreadyExistsException
from headwater.streaming.durations import instant_ms, local_datetime
from headwater.streaming.outputs.saving import batch_path
from headwater.testing import StreamHarness

FIRST_MS = 1_000_000_000


@pytest.fixture
def two_workers(no_context: None) -> Iterator[SparkContext]:
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("outputs")) as sc:
        yield sc


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def lines(directory: Path) -> list[str]:
    """The lines of a complete directory."""
    assert (directory / "_SUCCESS").read_bytes() == b""
    return [line for part in sorted(directory.glob("part-*")) for line in part.read_text().splitlines()]


# ------------------------------------------------------------------------------------------------ printing
def test_print_is_pprint(harness: Any, capsys: pytest.CaptureFixture[str]) -> None:
    stream = harness.stream([[1, 2, 3]])
    stream.print(2)
    stream.pprint(2)
    harness.run(1)
    printed = capsys.readouterr().out
    half = len(printed) // 2
    assert printed[:half] == printed[half:]
    assert printed[:half].split("\n")[3:] == ["1", "2", "...", "", ""]


# ------------------------------------------------------------------------------------------------ names
def test_each_batch_has_a_directory_named_by_its_time(harness: Any, tmp_path: Path) -> None:
    harness.stream([["a"], ["b"]]).saveAsTextFiles(f"{tmp_path}/words")
    harness.run(2)
    assert names(tmp_path) == [f"words-{FIRST_MS}", f"words-{FIRST_MS + 1000}"]
    assert lines(tmp_path / f"words-{FIRST_MS}") == ["a"]


@pytest.mark.parametrize(
    ("prefix", "suffix", "expected"),
    [("out", None, "out-1500"), ("out", "txt", "out-1500.txt"), ("out", "", "out-1500."), ("", None, "-1500")],
)
def test_directories_are_named_as_pysparks(prefix: str, suffix: str | None, expected: str) -> None:
    assert batch_path(prefix, suffix, 1500) == expected


def test_prefix_and_suffix_must_be_strings(harness: Any) -> None:
    with pytest.raises(TypeError, match="prefix should be a str, got None"):
        harness.stream().saveAsTextFiles(None)
    with pytest.raises(TypeError, match="suffix should be a str or None, got 1"):
        harness.stream().saveAsTextFiles("out", 1)


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_name_has_the_exact_time_in_the_hour_that_comes_twice(berlin: None) -> None:
    hour_ms = 3_600_000
    first_ms = 1_698_537_600_001  # 2023-10-29 02:00 summer time; an hour later it is 02:00 again
    assert local_datetime(first_ms).replace(fold=0) == local_datetime(first_ms + hour_ms).replace(fold=0)
    for time_ms in (first_ms, first_ms + hour_ms, first_ms + hour_ms + 998):
        assert instant_ms(local_datetime(time_ms)) == time_ms


# ------------------------------------------------------------------------------------------------ contents
def test_empty_batch_has_a_directory_too(harness: Any, tmp_path: Path) -> None:
    harness.stream().saveAsTextFiles(f"{tmp_path}/words")
    harness.run(1)
    assert lines(tmp_path / f"words-{FIRST_MS}") == []


def test_empty_batches_are_left_out_when_asked_for(tmp_path: Path, no_context: None) -> None:
    conf = SparkConf(loadDefaults=False).set("headwater.streaming.output.skipEmpty", "true")
    with StreamHarness(conf=conf) as harness:
        harness.stream([["a"], [], ["b"]]).saveAsTextFiles(f"{tmp_path}/words")
        harness.run(3)
    assert names(tmp_path) == [f"words-{FIRST_MS}", f"words-{FIRST_MS + 2000}"]


@pytest.mark.parametrize("method", ["saveAsPickleFiles", "saveAsObjectFiles"])
def test_pickled_records_are_read_back(harness: Any, tmp_path: Path, method: str) -> None:
    records = [("a", 1), None, [2.5]]
    getattr(harness.stream([records]), method)(f"{tmp_path}/records", "bin")
    harness.run(1)
    assert harness.sc.pickleFile(f"{tmp_path}/records-{FIRST_MS}.bin").collect() == records


def test_text_is_compressed_when_asked_for(harness: Any, tmp_path: Path) -> None:
    stream = harness.stream([["a"]]).repartition(1)
    stream.saveAsTextFiles(f"{tmp_path}/words", None, "org.apache.hadoop.io.compress.GzipCodec")
    with pytest.raises(IllegalArgumentException, match="compression codec 'Zip' is unknown"):
        stream.saveAsTextFiles(f"{tmp_path}/words", compressionCodecClass="Zip")
    harness.run(1)
    with gzip.open(tmp_path / f"words-{FIRST_MS}" / "part-00000.gz", "rt") as file:
        assert file.read() == "a\n"


def test_pairs_are_saved_by_hadoops_formats(harness: Any, tmp_path: Path) -> None:
    pairs = harness.stream([[("a", 1)], [], [("b", 2)]]).repartition(1)
    pairs.saveAsHadoopFiles(f"{tmp_path}/old", "seq", "org.apache.hadoop.mapred.SequenceFileOutputFormat")
    pairs.saveAsNewAPIHadoopFiles(
        f"{tmp_path}/new",
        None,
        "org.apache.hadoop.mapreduce.lib.output.TextOutputFormat",
        conf={"mapreduce.output.textoutputformat.separator": "="},
    )
    harness.run(3)
    saved = [tmp_path / f"old-{FIRST_MS + 1000 * number}.seq" for number in range(3)]
    assert [harness.sc.sequenceFile(str(path)).collect() for path in saved] == [[("a", 1)], [], [("b", 2)]]
    assert [lines(tmp_path / f"new-{FIRST_MS + 1000 * number}") for number in range(3)] == [["a=1"], [], ["b=2"]]
    assert names(tmp_path / f"new-{FIRST_MS}") == ["_SUCCESS", "part-r-00000"]


def test_half_written_directory_of_hadoops_formats_is_replaced(harness: Any, tmp_path: Path) -> None:
    half = tmp_path / f"out-{FIRST_MS}"
    half.mkdir()
    (half / "part-r-00009").write_bytes(b"left by an attempt that died")
    name = "org.apache.hadoop.mapreduce.lib.output.SequenceFileOutputFormat"
    harness.stream([[("a", 1)]]).repartition(1).saveAsNewAPIHadoopFiles(f"{tmp_path}/out", None, name)
    harness.run(1)
    assert harness.sc.sequenceFile(str(half)).collect() == [("a", 1)]


def test_what_hadoops_formats_do_not_know_is_refused_before_the_first_batch(harness: Any) -> None:
    stream = harness.stream()
    known = "org.apache.hadoop.mapred.SequenceFileOutputFormat"
    with pytest.raises(IllegalArgumentException, match="belongs to Hadoop's other API"):
        stream.saveAsNewAPIHadoopFiles("out", None, known)
    with pytest.raises(IllegalArgumentException, match="org.acme.K is not supported"):
        stream.saveAsHadoopFiles("out", None, known, "org.acme.K")
    with pytest.raises(IllegalArgumentException, match="valueConverter='org.acme.C'"):
        stream.saveAsHadoopFiles("out", None, known, valueConverter="org.acme.C")
    with pytest.raises(IllegalArgumentException, match="compression codec 'Zip' is unknown"):
        stream.saveAsHadoopFiles("out", None, known, compressionCodecClass="Zip")


def test_urls_are_taken(no_context: None) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    with StreamHarness(conf=SparkConf(loadDefaults=False).setMaster("local")) as harness:
        memory.pipe(f"/urls/out-{FIRST_MS}/part-00007", b"left by an attempt that died")
        harness.stream([["a"]]).repartition(1).saveAsTextFiles("memory://urls/out")
        harness.run(1)
    found = {path: memory.cat(path) for path in memory.find("/urls")}
    memory.rm("/urls", recursive=True)
    assert found == {f"/urls/out-{FIRST_MS}/_SUCCESS": b"", f"/urls/out-{FIRST_MS}/part-00000": b"a\n"}


# ------------------------------------------------------------------------------------------------ complete or absent
def saved(sc: SparkContext, prefix: str, batches: list[list[Any]], function: Callable[[Any], Any] = str) -> None:
    """A program that saves one batch; each call is the program started again, at the same batch time."""
    with StreamHarness(1.0, sc) as harness:
        harness.stream(batches).repartition(1).map(function).saveAsTextFiles(prefix)
        harness.run()


def test_complete_batch_is_left_as_it_is_when_it_runs_again(
    two_workers: SparkContext, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(two_workers, f"{tmp_path}/out", [["first"]])
    with caplog.at_level(logging.INFO, "headwater.streaming"):
        saved(two_workers, f"{tmp_path}/out", [["second"]])
    assert lines(tmp_path / f"out-{FIRST_MS}") == ["first"]
    assert f"{tmp_path}/out-{FIRST_MS} is complete already" in caplog.text


def test_half_written_batch_is_replaced(two_workers: SparkContext, tmp_path: Path) -> None:
    left = tmp_path / f"out-{FIRST_MS}"
    (left / "_temporary" / "0").mkdir(parents=True)
    (left / "part-00004").write_text("half of a l")
    (left / ".part-00004.crc").write_bytes(b"crc")
    saved(two_workers, f"{tmp_path}/out", [["whole"]])
    assert lines(left) == ["whole"]
    assert names(left) == ["_SUCCESS", "part-00000"]


def test_directory_that_holds_other_things_is_not_touched(two_workers: SparkContext, tmp_path: Path) -> None:
    theirs = tmp_path / f"out-{FIRST_MS}"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("precious")
    with pytest.raises(FileAlreadyExistsException, match="already exists"):
        saved(two_workers, f"{tmp_path}/out", [["a"]])
    assert names(theirs) == ["thesis.tex"]


def test_file_in_the_way_is_not_touched(two_workers: SparkContext, tmp_path: Path) -> None:
    (tmp_path / f"out-{FIRST_MS}").write_text("precious")
    with pytest.raises(FileAlreadyExistsException, match="already exists"):
        saved(two_workers, f"{tmp_path}/out", [["a"]])
    assert (tmp_path / f"out-{FIRST_MS}").read_text() == "precious"


def test_failing_record_leaves_nothing_and_later_batches_are_saved(two_workers: SparkContext, tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        saved(two_workers, f"{tmp_path}/out", [[1, 0]], function=lambda n: 1 // n)
    assert names(tmp_path) == []
    saved(two_workers, f"{tmp_path}/out", [[1, 1]], function=lambda n: 1 // n)
    assert lines(tmp_path / f"out-{FIRST_MS}") == ["1", "1"]


def test_task_that_dies_half_way_leaves_nothing_that_looks_complete(two_workers: SparkContext, tmp_path: Path) -> None:
    records = list(range(100_000))  # enough that some are written before the end

    def die(n: int) -> int:
        if n == records[-1]:
            os._exit(7)
        return n

    with pytest.raises(SparkException, match="7"):
        saved(two_workers, f"{tmp_path}/out", [records], function=die)
    assert list(tmp_path.glob("*/_SUCCESS")) == []
    saved(two_workers, f"{tmp_path}/out", [records])
    assert lines(tmp_path / f"out-{FIRST_MS}") == [str(n) for n in records]


KILLED = """
import os, signal, sys
from headwater import SparkConf
from headwater.testing import StreamHarness

driver = os.getpid()

def kill_driver(n):
    if n == 1:
        os.kill(driver, signal.SIGKILL)
    return n

with StreamHarness(conf=SparkConf().setMaster("local[1]")) as harness:
    harness.ssc.queueStream([harness.sc.parallelize([0, 1], 2)]).map(kill_driver).saveAsTextFiles(sys.argv[1])
    harness.run()
"""


def test_batch_of_a_killed_driver_is_replaced_by_the_next_run(two_workers: SparkContext, tmp_path: Path) -> None:
    prefix, directory = f"{tmp_path}/out", tmp_path / f"out-{FIRST_MS}"
    # One worker runs the tasks in order, so the first part is there when the second one's task kills.
    ended = subprocess.run([sys.executable, "-c", KILLED, prefix], capture_output=True, timeout=60)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    assert "part-00000" in names(directory) and "_SUCCESS" not in names(directory)
    saved(two_workers, prefix, [["again"]])
    assert lines(directory) == ["again"]
    assert names(directory) == ["_SUCCESS", "part-00000"]
