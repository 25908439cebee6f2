"""Hadoop itself reads what we write, and writes what we read. It runs in one JVM for all of these tests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.formats.sequencefile import Compression
from headwater.formats.writables import PACKAGE, java_text
from tests.conftest import stop_active_context
from tests.servers import jars
from tests.servers.hadoop import HadoopFormats

OLD, NEW_IN, NEW_OUT = (
    "org.apache.hadoop." + package for package in ("mapred.", "mapreduce.lib.input.", "mapreduce.lib.output.")
)
CODECS = "org.apache.hadoop.io.compress."
COMPRESSIONS: tuple[Compression, ...] = ("NONE", "RECORD", "BLOCK")
# Hadoop needs native libraries to write by GzipCodec and for ZStandardCodec.
HADOOP_WRITES, HADOOP_READS = (
    ("DefaultCodec", "BZip2Codec"),
    ("DefaultCodec", "DeflateCodec", "GzipCodec", "BZip2Codec"),
)
# The kinds of HadoopFormats.java -> key class, value class.
KINDS = {
    "text": ("Text", "Text"),
    "numbers": ("IntWritable", "DoubleWritable"),
    "long": ("LongWritable", "FloatWritable"),
    "bytes": ("NullWritable", "BytesWritable"),
    "flags": ("BooleanWritable", "NullWritable"),
    "short": ("ShortWritable", "ByteWritable"),
    "variable": ("VIntWritable", "VLongWritable"),
    "map": ("IntWritable", "MapWritable"),
    "noise": ("IntWritable", "Text"),
}


def pair(kind: str, number: int) -> tuple[Any, Any]:
    """The same as `pair` in HadoopFormats.java."""
    return {
        "text": (f"key {number}", "wert ü " + "x" * (number % 200)),
        "numbers": (number - 2, number / 4),
        "long": (number * 10_000_000_000, number / 8),
        "bytes": (None, bytearray([number % 256, 0, 255])),
        "flags": (number % 2 == 1, None),
        "short": (-number, (-number + 128) % 256 - 128),
        "variable": (number**3 - 300, -(1 << (number % 63))),
        "map": (
            number,
            {"number": number, number: None, "inner": {"half": number / 2}, "bytes": bytearray([number % 256])},
        ),
        "noise": (number, hashlib.sha512(b"%d" % number).hexdigest()),
    }[kind]


def pairs(kind: str, count: int) -> list[tuple[Any, Any]]:
    return [pair(kind, number) for number in range(count)]


def compress(compression: Compression, codec: str) -> dict[str, str]:
    """Settings of the old API, which the new one knows too."""
    if compression == "NONE":
        return {}
    return {
        "mapred.output.compress": "true",
        "mapred.output.compression.type": compression,
        "mapred.output.compression.codec": CODECS + codec,
    }


@pytest.fixture(scope="module")
def hadoop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HadoopFormats]:
    with HadoopFormats(jars("Hadoop", "hadoop"), tmp_path_factory.mktemp("hadoop") / "log") as formats:
        yield formats


@pytest.fixture(scope="module")
def sc() -> Iterator[SparkContext]:
    """One context without processes: what differs between masters is tested elsewhere."""
    stop_active_context()
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("hadoop")) as context:
        yield context


# ------------------------------------------------------------------------------------------------ Hadoop wrote it
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_sequence_file_of_hadoop_is_read(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, kind: str, compression: Compression
) -> None:
    settings = compress(compression, "DefaultCodec")
    hadoop.write(f"{NEW_OUT}SequenceFileOutputFormat", tmp_path / "out", kind, 100, settings)
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == pairs(kind, 100)


@pytest.mark.parametrize("codec", HADOOP_WRITES)
@pytest.mark.parametrize("compression", ["RECORD", "BLOCK"])
def test_sequence_file_of_hadoop_is_read_whatever_compressed_it(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, compression: Compression, codec: str
) -> None:
    for kind in ("text", "flags"):
        out = tmp_path / kind
        hadoop.write(f"{OLD}SequenceFileOutputFormat", out, kind, 50, compress(compression, codec))
        assert hadoop.describe(out / "part-00000")[2] == compression
        assert sc.sequenceFile(str(out)).collect() == pairs(kind, 50)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_large_sequence_file_of_hadoop_is_split(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, compression: Compression
) -> None:
    settings = compress(compression, "DefaultCodec")
    hadoop.write(f"{NEW_OUT}SequenceFileOutputFormat", tmp_path / "out", "noise", 30_000, settings)
    found = sc.sequenceFile(f"{tmp_path}/out", minSplits=8)
    assert found.collect() == pairs("noise", 30_000)
    assert found.glom().filter(len).count() >= 3


def test_arrays_of_hadoop_are_read_by_saying_what_they_hold(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path
) -> None:
    hadoop.write(f"{NEW_OUT}SequenceFileOutputFormat", tmp_path / "out", "ints", 5)
    found = sc.sequenceFile(f"{tmp_path}/out", valueClass=f"{PACKAGE}ArrayWritable<{PACKAGE}IntWritable>")
    assert found.collect() == [(number, (number, number**2)) for number in range(5)]


@pytest.mark.parametrize("kind", ["text", "numbers", "long", "bytes", "variable"])
def test_sequence_file_is_the_same_text_to_both(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, kind: str
) -> None:
    hadoop.write(f"{NEW_OUT}SequenceFileOutputFormat", tmp_path / "out", kind, 100)
    name = f"{NEW_IN}SequenceFileAsTextInputFormat"
    found = sc.newAPIHadoopFile(f"{tmp_path}/out", name, "Text", "Text").collect()
    assert found == hadoop.read(name, tmp_path / "out")


# ------------------------------------------------------------------------------------------------ we wrote it
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_hadoop_reads_our_sequence_file(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, kind: str, compression: Compression
) -> None:
    key, value = (PACKAGE + name for name in KINDS[kind])
    rdd = sc.parallelize(pairs(kind, 40), 2)
    settings = compress(compression, "DefaultCodec")
    rdd.saveAsNewAPIHadoopFile(f"{tmp_path}/out", f"{NEW_OUT}SequenceFileOutputFormat", key, value, conf=settings)
    assert hadoop.describe(tmp_path / "out" / "part-r-00000") == [key, value, compression]
    found = hadoop.read(f"{NEW_IN}SequenceFileInputFormat", tmp_path / "out")
    if kind == "map":  # the order within is Java's
        found = [(key, "".join(sorted(value))) for key, value in found]
        assert found == [(java_text(one), "".join(sorted(java_text(other)))) for one, other in pairs(kind, 40)]
    else:
        assert found == [(java_text(one), java_text(other)) for one, other in pairs(kind, 40)]


@pytest.mark.parametrize("codec", HADOOP_READS)
@pytest.mark.parametrize("compression", ["RECORD", "BLOCK"])
def test_hadoop_reads_our_sequence_file_whatever_compressed_it(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, compression: Compression, codec: str
) -> None:
    for kind in ("text", "flags"):
        out = tmp_path / kind
        name, settings = f"{OLD}SequenceFileOutputFormat", compress(compression, codec)
        sc.parallelize(pairs(kind, 50), 1).saveAsHadoopFile(str(out), name, conf=settings)
        found = hadoop.read(f"{OLD}SequenceFileInputFormat", out)
        assert found == [(java_text(one), java_text(other)) for one, other in pairs(kind, 50)]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_hadoop_splits_our_sequence_file(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, compression: Compression
) -> None:
    name, settings = f"{NEW_OUT}SequenceFileOutputFormat", compress(compression, "DefaultCodec")
    sc.parallelize(pairs("noise", 30_000), 1).saveAsNewAPIHadoopFile(f"{tmp_path}/out", name, conf=settings)
    size = (tmp_path / "out" / "part-r-00000").stat().st_size
    limit = {"mapreduce.input.fileinputformat.split.maxsize": str(size // 8)}
    splits = hadoop.read_splits(f"{NEW_IN}SequenceFileInputFormat", tmp_path / "out", limit)
    assert len([split for split in splits if split]) >= 3
    assert [(int(key), value) for split in splits for key, value in split] == pairs("noise", 30_000)


def test_hadoop_sees_our_array_as_its_own(hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path) -> None:
    sc.parallelize([(1, (2, 3))], 1).saveAsSequenceFile(f"{tmp_path}/out")
    found = hadoop.describe(tmp_path / "out" / "part-00000")
    assert found == [f"{PACKAGE}IntWritable", f"{PACKAGE}ArrayWritable", "NONE"]


# ------------------------------------------------------------------------------------------------ text
@pytest.mark.parametrize("kind", ["text", "numbers", "flags", "bytes"])
def test_text_is_written_byte_for_byte_as_by_hadoop(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, kind: str
) -> None:
    separator = {"mapreduce.output.textoutputformat.separator": "; "}
    for settings in ({}, separator):
        theirs, ours = tmp_path / f"theirs{len(settings)}", tmp_path / f"ours{len(settings)}"
        hadoop.write(f"{NEW_OUT}TextOutputFormat", theirs, kind, 100, settings)
        rdd = sc.parallelize(pairs(kind, 100), 1)
        rdd.saveAsNewAPIHadoopFile(str(ours), f"{NEW_OUT}TextOutputFormat", conf=settings)
        assert (ours / "part-r-00000").read_bytes() == (theirs / "part-r-00000").read_bytes()


@pytest.mark.parametrize("codec", ["DefaultCodec", "GzipCodec", "BZip2Codec"])
def test_compressed_text_goes_both_ways(hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, codec: str) -> None:
    settings = compress("RECORD", codec)
    sc.parallelize([("a", 1), ("b", 2)], 1).saveAsHadoopFile(
        f"{tmp_path}/ours", f"{OLD}TextOutputFormat", conf=settings
    )
    name = f"{OLD}KeyValueTextInputFormat"
    assert hadoop.read(name, tmp_path / "ours") == [("a", "1"), ("b", "2")]
    hadoop.write(f"{OLD}TextOutputFormat", tmp_path / "theirs", "text", 10, settings)
    assert sc.hadoopFile(f"{tmp_path}/theirs", name, "Text", "Text").collect() == pairs("text", 10)


TEXTS = {
    "lines": "über\tfirst\r\n\ntwo\tof\tthem\rand\n\n\nlast".encode(),
    "with a mark": b"\xef\xbb\xbfa\t1\nb\n",
    "broken": b"\xffa\t\xc3\n\xe2\x82\n",
}


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("TextInputFormat", {}),
        ("TextInputFormat", {"textinputformat.record.delimiter": "\n\n"}),
        ("TextInputFormat", {"mapreduce.input.fileinputformat.split.maxsize": "5"}),
        ("KeyValueTextInputFormat", {}),
        ("KeyValueTextInputFormat", {"mapreduce.input.keyvaluelinerecordreader.key.value.separator": "t"}),
    ],
)
def test_text_is_read_as_by_hadoop(
    hadoop: HadoopFormats, sc: SparkContext, tmp_path: Path, content: bytes, name: str, settings: dict[str, str]
) -> None:
    (tmp_path / "text").write_bytes(content)
    found = sc.newAPIHadoopFile(f"{tmp_path}/text", NEW_IN + name, "LongWritable", "Text", conf=settings).collect()
    assert [(str(key), value) for key, value in found] == hadoop.read(NEW_IN + name, tmp_path / "text", settings)
    if not any("split" in key for key in settings):  # the old API has another one
        found = sc.hadoopFile(f"{tmp_path}/text", OLD + name, "LongWritable", "Text", conf=settings).collect()
        assert [(str(key), value) for key, value in found] == hadoop.read(OLD + name, tmp_path / "text", settings)
