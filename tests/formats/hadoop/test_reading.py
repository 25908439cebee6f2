"""What a SparkContext reads by Hadoop's input formats. That the formats are Hadoop's is in test_interoperation.py."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import InvalidInputException
from headwater.formats.sequencefile import write_pairs
from headwater.formats.writables import PACKAGE, writable

OLD, NEW = "org.apache.hadoop.mapred.", "org.apache.hadoop.mapreduce.lib.input."
LONG, TEXT = f"{PACKAGE}LongWritable", f"{PACKAGE}Text"

# (context, path, format without its package, settings) -> RDD
Read = Callable[[SparkContext, Path, str, dict[str, str]], Any]


def _by_file(old: bool) -> Read:
    def read(sc: SparkContext, path: Path, name: str, conf: dict[str, str]) -> Any:
        method = sc.hadoopFile if old else sc.newAPIHadoopFile
        return method(str(path), (OLD if old else NEW) + name, LONG, TEXT, conf=conf)

    return read


def _by_setting(old: bool) -> Read:
    def read(sc: SparkContext, path: Path, name: str, conf: dict[str, str]) -> Any:
        method = sc.hadoopRDD if old else sc.newAPIHadoopRDD
        key = "mapred.input.dir" if old else "mapreduce.input.fileinputformat.inputdir"
        return method((OLD if old else NEW) + name, LONG, TEXT, conf={**conf, key: str(path)})

    return read


@pytest.fixture(
    params=[_by_file(True), _by_setting(True), _by_file(False), _by_setting(False)],
    ids=["hadoopFile", "hadoopRDD", "newAPIHadoopFile", "newAPIHadoopRDD"],
)
def read(request: pytest.FixtureRequest) -> Read:
    found: Read = request.param
    return found


def sequence_file(path: Path, key: str, value: str, pairs: list[tuple[Any, Any]], **names: str) -> None:
    """A file of which Java says that it holds classes of some names."""
    kinds = writable(key), writable(value)
    with path.open("wb") as file:
        content = [(kinds[0].encode(one), kinds[1].encode(other)) for one, other in pairs]
        write_pairs(
            content, file, names.get("key_class", kinds[0].java_class), names.get("value_class", kinds[1].java_class)
        )


# ------------------------------------------------------------------------------------------------ text
def test_text_has_the_place_of_each_line(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_bytes("über\r\nline\n\nlast".encode())
    assert read(sc, tmp_path, "TextInputFormat", {}).collect() == [(0, "über"), (7, "line"), (12, ""), (13, "last")]


def test_text_that_is_compressed_has_the_places_in_what_was_compressed(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    found = sc.newAPIHadoopFile(f"{tmp_path}/a.gz", f"{NEW}TextInputFormat", LONG, TEXT)
    assert found.collect() == [(0, "one"), (4, "two")]


def test_records_may_end_by_a_delimiter_of_ones_own(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_text("one\nand\n\ntwo\n\n")
    conf = {"textinputformat.record.delimiter": "\n\n"}
    assert read(sc, tmp_path, "TextInputFormat", conf).collect() == [(0, "one\nand"), (9, "two")]


def test_key_ends_at_the_first_separator(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.txt").write_text("a\t1\t2\nno separator\n\tx\n")
    pairs = [("a", "1\t2"), ("no separator", ""), ("", "x")]
    assert read(sc, tmp_path, "KeyValueTextInputFormat", {}).collect() == pairs


@pytest.mark.parametrize(
    "key",
    ["key.value.separator.in.input.line", "mapreduce.input.keyvaluelinerecordreader.key.value.separator"],
)
def test_separator_is_the_first_character_of_its_setting(
    sc: SparkContext, tmp_path: Path, read: Read, key: str
) -> None:
    (tmp_path / "a.txt").write_text("a=>1\n")
    assert read(sc, tmp_path, "KeyValueTextInputFormat", {key: "=>"}).collect() == [("a", ">1")]


def test_partitions_are_as_large_as_the_settings_allow(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    lines = [f"line {number}" for number in range(1000)]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    size = (tmp_path / "a.txt").stat().st_size
    found = read(sc, tmp_path, "TextInputFormat", {"mapreduce.input.fileinputformat.split.maxsize": str(size // 5)})
    assert 5 <= found.getNumPartitions() <= 6
    assert found.values().collect() == lines
    found = read(sc, tmp_path, "TextInputFormat", {"mapred.min.split.size": str(size)})
    assert found.getNumPartitions() == 1


def test_new_api_makes_a_partition_a_block_and_the_old_one_two_at_least(sc: SparkContext, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("line\n" * 100)
    old = sc.hadoopFile(str(tmp_path), f"{OLD}TextInputFormat", LONG, TEXT)
    new = sc.newAPIHadoopFile(str(tmp_path), f"{NEW}TextInputFormat", LONG, TEXT)
    assert (old.getNumPartitions(), new.getNumPartitions()) == (sc.defaultMinPartitions, 1)


def test_trees_are_read_when_asked_for(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    for name in ("a/b/one", "a/two", "zero", "a/_hidden/no", "a/.no"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    conf = {"mapreduce.input.fileinputformat.input.dir.recursive": "true"}
    assert read(sc, tmp_path, "TextInputFormat", conf).values().collect() == ["a/b/one", "a/two", "zero"]
    with pytest.raises(InvalidInputException, match="Not a file"):
        read(sc, tmp_path, "TextInputFormat", {}).collect()


# ------------------------------------------------------------------------------------------------ SequenceFiles
def test_sequence_file_is_what_it_says_whatever_is_asked_for(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    sequence_file(tmp_path / "a", "IntWritable", "DoubleWritable", [(1, 0.5), (2, 1.5)])
    sequence_file(tmp_path / "b", "Text", "NullWritable", [("x", None)])
    assert read(sc, tmp_path, "SequenceFileInputFormat", {}).collect() == [(1, 0.5), (2, 1.5), ("x", None)]
    assert sc.sequenceFile(str(tmp_path), TEXT, TEXT).collect() == [(1, 0.5), (2, 1.5), ("x", None)]


def test_sequence_file_is_read_as_text_when_asked_for(sc: SparkContext, tmp_path: Path, read: Read) -> None:
    sequence_file(tmp_path / "a", "FloatWritable", "BytesWritable", [(0.1, b"\x01\xff"), (1e10, b"")])
    found = read(sc, tmp_path, "SequenceFileAsTextInputFormat", {})
    assert found.collect() == [("0.1", "01 ff"), ("1.0E10", "")]


def test_large_sequence_file_is_split(sc: SparkContext, tmp_path: Path) -> None:
    pairs = [(number, "x" * 10_000) for number in range(100)]
    sequence_file(tmp_path / "a", "IntWritable", "Text", pairs)
    found = sc.sequenceFile(str(tmp_path), minSplits=4)
    assert found.glom().map(len).filter(bool).count() == 4
    assert found.collect() == pairs


def test_class_of_its_own_is_read_as_the_one_given(sc: SparkContext, tmp_path: Path) -> None:
    pairs = [(1, (2, 3)), (4, ())]
    sequence_file(tmp_path / "a", "IntWritable", "ArrayWritable<IntWritable>", pairs, value_class="org.acme.Ints")
    given = {"valueClass": f"{PACKAGE}ArrayWritable<{PACKAGE}IntWritable>"}
    assert sc.sequenceFile(str(tmp_path), **given).collect() == pairs
    with pytest.raises(SparkException, match=r"a: the class org\.acme\.Ints is not supported.*giving that one"):
        sc.sequenceFile(str(tmp_path)).collect()


def test_damaged_sequence_file_is_an_error_that_names_it(sc: SparkContext, tmp_path: Path) -> None:
    sequence_file(tmp_path / "a", "Text", "Text", [("a", "b")])
    content = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(content[:-1])
    with pytest.raises(SparkException, match=f"file:{tmp_path}/a was cut short"):
        sc.sequenceFile(str(tmp_path)).collect()
    (tmp_path / "a").write_bytes(content[:-2] + b"\x05b")
    with pytest.raises(SparkException, match=f"file:{tmp_path}/a: a value is damaged"):
        sc.sequenceFile(str(tmp_path)).collect()
    (tmp_path / "a").write_bytes(b"no SequenceFile")
    with pytest.raises(SparkException, match=f"file:{tmp_path}/a doesn't begin with SEQ"):
        sc.sequenceFile(str(tmp_path)).collect()


def test_missing_input_is_an_error_of_the_action(sc: SparkContext, tmp_path: Path) -> None:
    found = sc.sequenceFile(f"{tmp_path}/later")
    with pytest.raises(InvalidInputException, match="Input path does not exist"):
        found.collect()
    sequence_file(tmp_path / "later", "Text", "Text", [("a", "b")])
    assert found.collect() == [("a", "b")]


def test_files_elsewhere_are_written_read_and_split(no_context: None) -> None:
    fsspec = pytest.importorskip("fsspec")
    pairs = [(number, "x" * 10_000) for number in range(100)]
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("elsewhere")) as sc:
        sc.parallelize(pairs, 1).saveAsSequenceFile("memory://hadoop/out")
        found = sc.sequenceFile("memory://hadoop/out", minSplits=4)
        assert found.glom().filter(len).count() == 4
        assert found.collect() == pairs
    fsspec.filesystem("memory").rm("/hadoop", recursive=True)


# ------------------------------------------------------------------------------------------------ what is refused
@pytest.mark.parametrize(
    ("name", "conf", "message"),
    [
        ("NLineInputFormat", {}, "NLineInputFormat is not supported here. Those that are: .*KeyValueTextInputFormat"),
        ("TextInputFormat", {"mapred.input.dir.recursive": "yes"}, "recursive is 'yes', but must be true or false"),
        ("TextInputFormat", {"mapred.max.split.size": "1k"}, "maxsize or mapred.max.split.size is '1k', but must be"),
        ("TextInputFormat", {"mapred.max.split.size": "0"}, "must be a number of bytes, from 1"),
        ("KeyValueTextInputFormat", {"key.value.separator.in.input.line": ""}, "begin with an ASCII character"),
    ],
)
def test_what_is_not_supported_is_refused_at_once(
    sc: SparkContext, tmp_path: Path, read: Read, name: str, conf: dict[str, str], message: str
) -> None:
    with pytest.raises(IllegalArgumentException, match=message):
        read(sc, tmp_path, name, conf)


def test_formats_of_the_other_api_are_refused(sc: SparkContext) -> None:
    with pytest.raises(IllegalArgumentException, match="belongs to Hadoop's other API"):
        sc.hadoopFile("x", f"{NEW}SequenceFileInputFormat", LONG, TEXT)
    with pytest.raises(IllegalArgumentException, match="belongs to Hadoop's other API"):
        sc.newAPIHadoopFile("x", f"{OLD}SequenceFileInputFormat", LONG, TEXT)


def test_classes_and_converters_that_are_not_there_are_refused(sc: SparkContext) -> None:
    with pytest.raises(IllegalArgumentException, match="NotValidWritable is not supported"):
        sc.sequenceFile("x", f"{PACKAGE}NotValidWritable", TEXT)
    with pytest.raises(IllegalArgumentException, match="valueConverter='org.acme.C': converters are classes of Java"):
        sc.sequenceFile("x", valueConverter="org.acme.C")
    with pytest.raises(IllegalArgumentException, match="keyConverter='org.acme.C'"):
        sc.newAPIHadoopRDD(f"{NEW}TextInputFormat", LONG, TEXT, "org.acme.C", conf={})


def test_input_must_be_named(sc: SparkContext) -> None:
    with pytest.raises(IllegalArgumentException, match="which files to read: set .*inputdir or mapred.input.dir"):
        sc.hadoopRDD(f"{OLD}TextInputFormat", LONG, TEXT)


@pytest.mark.parametrize("conf", [["a"], {"a": 1}, {1: "a"}])
def test_settings_must_be_strings(sc: SparkContext, conf: Any) -> None:
    with pytest.raises(TypeError, match="conf"):
        sc.newAPIHadoopFile("x", f"{NEW}TextInputFormat", LONG, TEXT, conf=conf)


def test_names_must_be_strings(sc: SparkContext) -> None:
    with pytest.raises(TypeError, match="the name of a format's class should be a str, got None"):
        sc.newAPIHadoopFile("x", None, LONG, TEXT)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a path should be a str, got 1"):
        sc.sequenceFile(1)  # type: ignore[arg-type]


def test_settings_of_the_application_are_those_of_its_jobs(no_context: None, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a;b|c")
    conf = SparkConf(loadDefaults=False).setMaster("local").setAppName("settings")
    conf.set("spark.hadoop.textinputformat.record.delimiter", ";")
    with SparkContext(conf=conf) as sc:
        name = f"{NEW}TextInputFormat"
        assert sc.newAPIHadoopFile(str(tmp_path), name, LONG, TEXT).values().collect() == ["a", "b|c"]
        own = {"textinputformat.record.delimiter": "|"}
        assert sc.newAPIHadoopFile(str(tmp_path), name, LONG, TEXT, conf=own).values().collect() == ["a;b", "c"]
