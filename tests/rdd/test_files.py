"""Reading and saving files through RDDs."""

from __future__ import annotations

import gzip
import os
import pathlib
from typing import Any

import pytest

from headwater import SparkContext
from headwater.errors import SparkException
from headwater.filesystem import FileAlreadyExistsException, InvalidInputException


def test_text_lines_come_once_whatever_the_partitions(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    lines = [f"line {i} ü" * (i % 4) for i in range(200)]
    (tmp_path / "a.txt").write_text("\n".join(lines[:120]) + "\n", encoding="utf-8")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress("\r\n".join(lines[120:]).encode()))
    (tmp_path / "_hidden").write_text("no")
    for partitions in (None, 1, 7):
        assert sc.textFile(str(tmp_path), partitions).collect() == lines
    assert sc.textFile(f"{tmp_path}/a.txt", 5).getNumPartitions() >= 5
    assert sc.textFile(f"{tmp_path}/b*,{tmp_path}/a.txt").collect() == lines[120:] + lines[:120]
    assert sc.textFile(f"file://{tmp_path}/a.txt", use_unicode=False).first() == lines[0].encode()


def test_missing_input_is_an_error_of_the_action(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    rdd = sc.textFile(f"{tmp_path}/none.txt").map(str.upper)
    with pytest.raises(InvalidInputException, match=f"Input path does not exist: file:{tmp_path}/none.txt"):
        rdd.count()
    (tmp_path / "none.txt").write_text("now it\nis there\n")
    assert rdd.collect() == ["NOW IT", "IS THERE"]


def test_relative_paths_are_the_drivers(
    sc: SparkContext, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sc.parallelize(["x"], 1).saveAsTextFile("out")
    assert sc.textFile("out").collect() == ["x"]
    assert (tmp_path / "out" / "part-00000").read_text() == "x\n"


def test_whole_files_are_pairs_of_uri_and_content(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(f"{name}\n{name}".encode())
    texts = [(f"file:{tmp_path}/{name}", f"{name}\n{name}") for name in "abc"]
    assert sc.wholeTextFiles(str(tmp_path)).collect() == texts
    binary = [(uri, text.encode()) for uri, text in texts]
    assert sc.binaryFiles(str(tmp_path), 2).collect() == binary
    assert sc.wholeTextFiles(str(tmp_path), use_unicode=False).collect() == binary


def test_binary_records_are_of_the_length_that_is_given(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    (tmp_path / "records").write_bytes(bytes(range(40)))
    assert sc.binaryRecords(str(tmp_path), 4).map(sum).collect() == [sum(range(i, i + 4)) for i in range(0, 40, 4)]
    with pytest.raises(SparkException, match="ends within a record"):
        sc.binaryRecords(str(tmp_path), 7).collect()


def test_saved_text_has_a_part_for_each_partition_and_a_success_marker(
    sc: SparkContext, tmp_path: pathlib.Path
) -> None:
    sc.parallelize(["a", 1, None, b"raw", ("x", 2)], 2).saveAsTextFile(f"{tmp_path}/out")
    assert sorted(os.listdir(tmp_path / "out")) == ["_SUCCESS", "part-00000", "part-00001"]
    assert sc.textFile(f"{tmp_path}/out").collect() == ["a", "1", "None", "raw", "('x', 2)"]
    sc.emptyRDD().saveAsTextFile(f"{tmp_path}/empty")
    assert os.listdir(tmp_path / "empty") == ["_SUCCESS"]


@pytest.mark.parametrize(
    ("codec", "extension"), [("GzipCodec", "gz"), ("BZip2Codec", "bz2"), ("ZStandardCodec", "zst")]
)
def test_saved_text_can_be_compressed(sc: SparkContext, tmp_path: pathlib.Path, codec: str, extension: str) -> None:
    sc.parallelize(["a", "b"], 1).saveAsTextFile(f"{tmp_path}/out", f"org.apache.hadoop.io.compress.{codec}")
    assert (tmp_path / "out" / f"part-00000.{extension}").exists()
    assert sc.textFile(f"{tmp_path}/out").collect() == ["a", "b"]


def test_output_is_never_overwritten(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    rdd = sc.parallelize([1])
    rdd.saveAsTextFile(f"{tmp_path}/out")
    for save in (rdd.saveAsTextFile, rdd.saveAsPickleFile):
        with pytest.raises(FileAlreadyExistsException, match=f"Output directory file:{tmp_path}/out already exists"):
            save(f"{tmp_path}/out")


def test_a_failed_save_leaves_nothing(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    failing = sc.parallelize([1, 0], 2).map(lambda x: 1 // x)
    with pytest.raises(ZeroDivisionError):
        failing.saveAsTextFile(f"{tmp_path}/out")
    assert not (tmp_path / "out").exists()


def test_pickle_files_keep_types(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    records: list[Any] = [1, "two", (3.0, None), {"four": [5]}, b"six", *range(30)]
    sc.parallelize(records, 2).saveAsPickleFile(f"{tmp_path}/out", 3)
    read = sc.pickleFile(f"{tmp_path}/out")
    assert read.collect() == records
    assert read.getNumPartitions() == 2


@pytest.mark.parametrize("setting", ["spark.files.ignoreMissingFiles", "spark.files.ignoreCorruptFiles"])
def test_files_that_cannot_be_read_are_skipped_only_if_that_is_set(
    sc: SparkContext, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    (tmp_path / "a").write_text("a\n")
    (tmp_path / "b").write_text("b\n")
    lines = "".join(f"c{number * 7919}\n" for number in range(100_000))
    (tmp_path / "c.gz").write_bytes(gzip.compress(lines.encode())[:-20])
    missing = setting.endswith("MissingFiles")

    def read() -> list[str]:
        lines = sc.textFile(f"{tmp_path}/[ab]" if missing else str(tmp_path))
        if missing:
            (tmp_path / "b").unlink()
        return sorted({line[0] for line in lines.collect()})

    with pytest.raises(SparkException, match="Input path does not exist" if missing else "can't be decompressed"):
        read()
    (tmp_path / "b").write_text("b\n")
    monkeypatch.setitem(sc.conf._pairs, setting, "true")
    assert read() == (["a"] if missing else ["a", "b", "c"])
