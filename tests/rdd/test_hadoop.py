"""Saving pairs by Hadoop's output formats. That Hadoop reads them is in tests/hadoop/test_interoperation.py."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import FileAlreadyExistsException
from headwater.formats.sequencefile import Header, SequenceFileReader
from headwater.formats.writables import PACKAGE

OLD, NEW = "org.apache.hadoop.mapred.", "org.apache.hadoop.mapreduce.lib.output."
CODECS = "org.apache.hadoop.io.compress."


def header(path: Path) -> Header:
    with path.open("rb") as file:
        return SequenceFileReader(file).header


def classes(path: Path) -> tuple[str, str]:
    found = header(path)
    return found.key_class.removeprefix(PACKAGE), found.value_class.removeprefix(PACKAGE)


# ------------------------------------------------------------------------------------------------ SequenceFiles
@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        ((1, "a"), ("IntWritable", "Text")),
        ((2**40, 0.5), ("LongWritable", "DoubleWritable")),
        ((None, bytearray(b"a")), ("NullWritable", "BytesWritable")),
        ((True, {"a": {"b": 1}}), ("BooleanWritable", "MapWritable")),
        (("a", (1, 2)), ("Text", "ArrayWritable")),
        (((("a",),), None), ("ArrayWritable", "NullWritable")),
    ],
)
def test_classes_are_those_of_the_first_pair(
    sc: SparkContext, tmp_path: Path, pair: tuple[Any, Any], expected: tuple[str, str]
) -> None:
    sc.parallelize([pair], 2).saveAsSequenceFile(f"{tmp_path}/out")
    assert sorted(os.listdir(tmp_path / "out")) == ["_SUCCESS", "part-00000", "part-00001"]
    assert classes(tmp_path / "out" / "part-00000") == classes(tmp_path / "out" / "part-00001") == expected
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == [pair]


def test_classes_may_be_chosen(sc: SparkContext, tmp_path: Path) -> None:
    pairs = [(1, [0.5, 1]), (2, [])]
    name, values = f"{OLD}SequenceFileOutputFormat", f"{PACKAGE}ArrayWritable<{PACKAGE}DoubleWritable>"
    sc.parallelize(pairs, 1).saveAsHadoopFile(f"{tmp_path}/out", name, f"{PACKAGE}LongWritable", values)
    assert classes(tmp_path / "out" / "part-00000") == ("LongWritable", "ArrayWritable")
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == [(1, (0.5, 1.0)), (2, ())]


def test_empty_rdd_is_saved_without_classes(sc: SparkContext, tmp_path: Path) -> None:
    sc.parallelize([], 1).saveAsSequenceFile(f"{tmp_path}/out")
    assert classes(tmp_path / "out" / "part-00000") == ("NullWritable", "NullWritable")
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == []


@pytest.mark.parametrize("codec", ["DefaultCodec", "GzipCodec", "BZip2Codec", "ZStandardCodec"])
def test_sequence_file_is_compressed_by_block_when_a_codec_is_given(
    sc: SparkContext, tmp_path: Path, codec: str
) -> None:
    pairs = [(number, "x" * 100) for number in range(100)]
    sc.parallelize(pairs, 2).saveAsSequenceFile(f"{tmp_path}/out", CODECS + codec)
    found = header(tmp_path / "out" / "part-00000")
    assert (found.compression, found.codec) == ("BLOCK", CODECS + codec)
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == pairs


@pytest.mark.parametrize(
    ("settings", "compression", "codec"),
    [
        ({}, "NONE", ""),
        ({"mapred.output.compress": "true"}, "RECORD", "DefaultCodec"),
        (
            {
                "mapreduce.output.fileoutputformat.compress": "true",
                "mapreduce.output.fileoutputformat.compress.type": "BLOCK",
                "mapreduce.output.fileoutputformat.compress.codec": f"{CODECS}BZip2Codec",
            },
            "BLOCK",
            "BZip2Codec",
        ),
        ({"mapred.output.compress": "true", "mapred.output.compression.type": "NONE"}, "NONE", ""),
        ({"mapred.output.compression.codec": f"{CODECS}GzipCodec"}, "NONE", ""),
    ],
)
def test_sequence_file_is_compressed_as_the_settings_say(
    sc: SparkContext, tmp_path: Path, settings: dict[str, str], compression: str, codec: str
) -> None:
    rdd = sc.parallelize([("a", 1), ("b", 2)], 1)
    rdd.saveAsNewAPIHadoopFile(f"{tmp_path}/out", f"{NEW}SequenceFileOutputFormat", conf=settings)
    found = header(tmp_path / "out" / "part-r-00000")
    assert (found.compression, found.codec.removeprefix(CODECS)) == (compression, codec)
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == [("a", 1), ("b", 2)]


# ------------------------------------------------------------------------------------------------ text
PAIRS: list[tuple[Any, Any]] = [
    ("a", 1),
    (None, "only"),
    (2.5e7, None),
    (None, None),
    (True, b"\x01\xff"),
    (1, {"x": 0.5}),
]
LINES = "a\t1\nonly\n2.5E7\ntrue\t01 ff\n1\t{x=0.5}\n"


@pytest.mark.parametrize("kind", ["old", "new"])
def test_text_is_key_separator_value_except_for_none(sc: SparkContext, tmp_path: Path, kind: str) -> None:
    rdd = sc.parallelize(PAIRS, 1)
    if kind == "old":
        rdd.saveAsHadoopFile(f"{tmp_path}/out", f"{OLD}TextOutputFormat")
        assert (tmp_path / "out" / "part-00000").read_text() == LINES
    else:
        rdd.saveAsNewAPIHadoopFile(f"{tmp_path}/out", f"{NEW}TextOutputFormat")
        assert (tmp_path / "out" / "part-r-00000").read_text() == LINES
    assert "_SUCCESS" in os.listdir(tmp_path / "out")


@pytest.mark.parametrize("key", ["mapred.textoutputformat.separator", "mapreduce.output.textoutputformat.separator"])
def test_separator_of_text_is_a_setting(sc: SparkContext, tmp_path: Path, key: str) -> None:
    rdd = sc.parallelize([("a", 1)], 1)
    rdd.saveAsNewAPIHadoopFile(f"{tmp_path}/out", f"{NEW}TextOutputFormat", conf={key: "::"})
    assert (tmp_path / "out" / "part-r-00000").read_text() == "a::1\n"


def test_text_is_compressed_as_the_settings_or_the_argument_say(sc: SparkContext, tmp_path: Path) -> None:
    rdd = sc.parallelize([("a", 1)], 1)
    name, conf = f"{OLD}TextOutputFormat", {"mapred.output.compress": "true"}
    rdd.saveAsHadoopFile(f"{tmp_path}/settings", name, conf=conf)
    assert gzip.decompress((tmp_path / "settings" / "part-00000.gz").read_bytes()) == b"a\t1\n"
    rdd.saveAsHadoopFile(f"{tmp_path}/argument", name, conf=conf, compressionCodecClass=f"{CODECS}DefaultCodec")
    assert zlib.decompress((tmp_path / "argument" / "part-00000.deflate").read_bytes()) == b"a\t1\n"


# ------------------------------------------------------------------------------------------------ data sets
def test_dataset_is_described_by_settings(sc: SparkContext, tmp_path: Path) -> None:
    rdd = sc.parallelize([(1, "a"), (2, "b")], 1)
    conf = {
        "mapred.output.format.class": f"{OLD}SequenceFileOutputFormat",
        "mapreduce.job.output.key.class": f"{PACKAGE}LongWritable",
        "mapred.output.value.class": f"{PACKAGE}Text",
        "mapred.output.dir": f"{tmp_path}/old",
    }
    rdd.saveAsHadoopDataset(conf)
    assert classes(tmp_path / "old" / "part-00000") == ("LongWritable", "Text")
    rdd.saveAsNewAPIHadoopDataset(
        {
            "mapreduce.job.outputformat.class": f"{NEW}SequenceFileOutputFormat",
            "mapreduce.output.fileoutputformat.outputdir": f"{tmp_path}/new",
        }
    )
    assert classes(tmp_path / "new" / "part-r-00000") == ("IntWritable", "Text")
    rdd.saveAsNewAPIHadoopDataset({"mapreduce.output.fileoutputformat.outputdir": f"{tmp_path}/text"})
    assert (tmp_path / "text" / "part-r-00000").read_text() == "1\ta\n2\tb\n"


def test_dataset_must_say_where_and_by_which_api(sc: SparkContext, tmp_path: Path) -> None:
    rdd = sc.parallelize([(1, 2)])
    with pytest.raises(IllegalArgumentException, match="where to write: set .*outputdir or mapred.output.dir"):
        rdd.saveAsHadoopDataset({})
    conf = {"mapreduce.job.outputformat.class": f"{NEW}TextOutputFormat", "mapred.output.dir": f"{tmp_path}/out"}
    with pytest.raises(IllegalArgumentException, match="other API. Set mapred.output.format.class"):
        rdd.saveAsHadoopDataset(conf)
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize("record", [1, "ab", ["a", 1], (1,), (1, 2, 3), None])
@pytest.mark.parametrize("name", ["TextOutputFormat", "SequenceFileOutputFormat"])
def test_records_must_be_pairs(sc: SparkContext, tmp_path: Path, record: Any, name: str) -> None:
    with pytest.raises(SparkException, match="is no pair: Hadoop's formats hold tuples"):
        sc.parallelize([record], 1).saveAsHadoopFile(f"{tmp_path}/out", OLD + name)
    assert not (tmp_path / "out").exists()


def test_records_must_be_of_the_class_of_the_first(sc: SparkContext, tmp_path: Path) -> None:
    with pytest.raises(IllegalArgumentException, match="2147483648 of type int can't be written as .*IntWritable"):
        sc.parallelize([(1, "a"), (2**31, "b")], 2).saveAsSequenceFile(f"{tmp_path}/out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("NotValidOutputFormat", {}, r"NotValidOutputFormat is not supported here. Those that are: .*TextOutputFormat"),
        ("SequenceFileOutputFormat", {"keyClass": "org.acme.K"}, "org.acme.K is not supported"),
        ("SequenceFileOutputFormat", {"valueConverter": "org.acme.C"}, "converters are classes of Java"),
        ("SequenceFileOutputFormat", {"compressionCodecClass": "Lzo"}, "codec 'Lzo' is unknown"),
        (
            "SequenceFileOutputFormat",
            {"conf": {"mapred.output.compress": "true", "mapred.output.compression.type": "block"}},
            "'block', but must be one of",
        ),
        ("TextOutputFormat", {"conf": {"mapred.output.compress": "maybe"}}, "'maybe', but must be true or false"),
    ],
)
def test_what_is_not_supported_is_refused_before_anything_is_written(
    sc: SparkContext, tmp_path: Path, name: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        sc.parallelize([(1, 2)]).saveAsHadoopFile(f"{tmp_path}/out", OLD + name, **more)
    assert not (tmp_path / "out").exists()


def test_formats_of_the_other_api_are_refused(sc: SparkContext, tmp_path: Path) -> None:
    rdd = sc.parallelize([(1, 2)])
    with pytest.raises(IllegalArgumentException, match="belongs to Hadoop's other API"):
        rdd.saveAsHadoopFile(f"{tmp_path}/out", f"{NEW}SequenceFileOutputFormat")
    with pytest.raises(IllegalArgumentException, match="belongs to Hadoop's other API"):
        rdd.saveAsNewAPIHadoopFile(f"{tmp_path}/out", f"{OLD}SequenceFileOutputFormat")


def test_output_is_never_overwritten(sc: SparkContext, tmp_path: Path) -> None:
    rdd = sc.parallelize([(1, 2)])
    rdd.saveAsSequenceFile(f"{tmp_path}/out")
    with pytest.raises(FileAlreadyExistsException, match="Output directory .* already exists"):
        rdd.saveAsSequenceFile(f"{tmp_path}/out")
    assert sc.sequenceFile(f"{tmp_path}/out").collect() == [(1, 2)]
