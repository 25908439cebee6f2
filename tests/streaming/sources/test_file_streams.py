"""Streams of files, batch by batch: records, selection, counts, and what goes wrong with one file."""

from __future__ import annotations

import gzip
import os
import uuid

import fsspec
import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import SparkException
from headwater.formats import textfiles
from tests.streaming.conftest import Harness

# The harness's clock begins here, 500 ms before the first batch.
FIRST_MS = 1_000_000_000 - 500
BATCH_MS = [FIRST_MS + 500 + 1000 * n for n in range(10)]


def put(directory, name, content, modified_ms):
    """A file with a modification time."""
    path = directory / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, ns=(modified_ms * 1_000_000,) * 2)
    return str(path)


def records(info):
    return info.streamIdToInputInfo()[0].numRecords()


def metadata(info):
    return info.streamIdToInputInfo()[0].metadata()


@pytest.fixture
def by_identity(sc, monkeypatch):
    """Selection by identity, for streams that the test makes."""
    monkeypatch.setitem(sc.conf._pairs, "headwater.streaming.fileStream.selection", "identity")


# ------------------------------------------------------------------------------------------------ records
def test_new_files_of_a_directory_are_lines_and_input_metadata(harness, tmp_path) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    harness.run(1)
    path = put(tmp_path, "words [1] {2}, 3.txt", "one\ntwo\n", BATCH_MS[0] + 1)
    infos = harness.run(2)
    assert out == [[], ["one", "two"], []]
    info = infos[0].streamIdToInputInfo()[0]
    assert (info.metadata()["files"], info.metadataDescription(), info.numRecords()) == ([path], path, 2)
    assert records(infos[1]) == 0


def test_files_of_all_directories_of_a_glob_are_taken_in_order_of_their_paths(harness, tmp_path) -> None:
    out = harness.collected(harness.ssc.textFileStream(f"{tmp_path}/day-*"))
    harness.ssc.start()
    harness.run(1)
    for day in ("day-2", "day-1"):
        (tmp_path / day).mkdir()
        put(tmp_path / day, "part", f"{day} first\n{day} last\n", BATCH_MS[1])
    harness.run(1)
    assert out == [[], ["day-1 first", "day-1 last", "day-2 first", "day-2 last"]]


def test_large_file_is_split_among_tasks_and_counted_once(harness, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(textfiles.text_splits_of, "__defaults__", (1000,))
    partitions = []
    stream = harness.ssc.textFileStream(str(tmp_path))
    stream.foreachRDD(lambda rdd: partitions.append(rdd.getNumPartitions()))
    out = harness.collected(stream)
    harness.collected(stream.map(len))  # a second output reads the file again
    harness.ssc.start()
    lines = [f"line {number}" for number in range(1000)]
    put(tmp_path, "large", "\n".join(lines), BATCH_MS[0])
    infos = harness.run(1)
    assert (out, partitions[0] > 5, records(infos[0])) == ([lines], True, 1000)


def test_compressed_file_is_lines_and_undecodable_ones_are_counted(harness, tmp_path) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    put(tmp_path, "a.gz", gzip.compress(b"fine\nb\xe4d\n\xff\n"), BATCH_MS[0])
    infos = harness.run(1)
    assert (out, records(infos[0])) == ([["fine", "b\ufffdd", "\ufffd"]], 3)
    assert metadata(infos[0])["undecodableLines"] == 2


def test_records_that_no_output_reads_are_not_counted(harness, tmp_path) -> None:
    harness.ssc.textFileStream(str(tmp_path)).foreachRDD(lambda rdd: None)
    harness.ssc.start()
    path = put(tmp_path, "a", "one\n", BATCH_MS[0])
    infos = harness.run(1)
    assert (metadata(infos[0])["files"], records(infos[0])) == ([path], 0)


def test_binary_records_are_bytes_of_the_given_length(harness, tmp_path) -> None:
    out = harness.collected(harness.ssc.binaryRecordsStream(str(tmp_path), 3))
    harness.ssc.start()
    put(tmp_path, "a", b"abcdef\n\0\xff", BATCH_MS[0])
    infos = harness.run(1)
    assert (out, records(infos[0])) == ([[b"abc", b"def", b"\n\0\xff"]], 3)


def test_reader_of_the_program_makes_the_records_and_the_filter_chooses_files(harness, tmp_path) -> None:
    stream = harness.ssc.fileStream(
        str(tmp_path),
        filter=lambda path: path.endswith(".bin"),
        reader=lambda sc, path: sc.binaryFiles(path).mapValues(len),
    )
    out = harness.collected(stream)
    harness.ssc.start()
    first, second = put(tmp_path, "a.bin", "aaa", BATCH_MS[0]), put(tmp_path, "b.bin", "bb", BATCH_MS[0])
    put(tmp_path, "c.txt", "c", BATCH_MS[0])
    infos = harness.run(1)
    assert (out, records(infos[0])) == ([[(f"file:{first}", 3), (f"file:{second}", 2)]], 2)


def test_url_of_a_directory_is_watched(no_context) -> None:
    root = f"memory://{uuid.uuid4().hex}"
    memory = fsspec.filesystem("memory")
    taken = []
    with SparkContext(conf=SparkConf(loadDefaults=False).setMaster("local").setAppName("tests")) as sc:
        harness = Harness(sc)
        # memory:// lives in one process: the workers have another one. Its times are the machine's, as its clock.
        stream = harness.ssc.fileStream(
            f"{root}/d*", newFilesOnly=False, reader=lambda sc, path: sc.parallelize(memory.cat(path).split())
        )
        stream.foreachRDD(lambda rdd: taken.extend(rdd.collect()))
        memory.pipe(f"{root}/d1/a", b"x y")
        created_ms = int(memory.created(f"{root}/d1/a").timestamp() * 1000)
        harness.clock.advance(created_ms // 1000 * 1000 - FIRST_MS + 500)
        harness.ssc.start()
        harness.run(2)
        harness.ssc.stop(stopSparkContext=False)
    assert taken == [b"x", b"y"]


# ------------------------------------------------------------------------------------------------ which files
def test_files_from_before_the_stream_are_left_alone_unless_asked_for(harness, tmp_path) -> None:
    put(tmp_path, "old", "old\n", FIRST_MS)  # in the very millisecond of the streams' construction
    new_only = harness.collected(harness.ssc.fileStream(str(tmp_path)))
    every = harness.collected(harness.ssc.fileStream(str(tmp_path), newFilesOnly=False))
    harness.ssc.start()
    harness.run(2)
    assert (new_only, every) == ([[], []], [["old"], []])


def test_file_of_the_past_is_taken_by_identity_and_an_old_one_is_not(harness, by_identity, tmp_path) -> None:
    put(tmp_path, "old", "old\n", 1000)
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    every = harness.collected(harness.ssc.fileStream(str(tmp_path), newFilesOnly=False))
    harness.ssc.start()
    harness.run(1)
    put(tmp_path, "late", "late\n", 2000)
    put(tmp_path, "unfinished.tmp", "half a li", 2000)
    harness.run(2)
    os.rename(tmp_path / "unfinished.tmp", tmp_path / "finished")
    harness.run(1)
    assert out == [[], ["late"], [], ["half a li"]]
    assert every == [["old"], ["late"], [], ["half a li"]]


def test_replaced_file_is_taken_again_by_identity_and_a_touched_one_is_not(harness, by_identity, tmp_path) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    put(tmp_path, "a", "one\n", 1000)
    harness.run(1)
    os.utime(tmp_path / "a", ns=(2000 * 1_000_000,) * 2)
    harness.run(1)
    os.replace(put(tmp_path, "_a", "two\n", 2000), tmp_path / "a")
    harness.run(1)
    assert out == [["one"], [], ["two"]]


def test_taken_files_are_known_by_batch_time_as_long_as_batches_are_remembered(harness, tmp_path) -> None:
    stream = harness.ssc.textFileStream(str(tmp_path))
    harness.collected(stream)
    harness.ssc.start()
    path = put(tmp_path, "a", "one\n", BATCH_MS[1])
    harness.run(2)
    node = stream._node
    assert [node.brought(time_ms).metadata()["files"] for time_ms in BATCH_MS[:2]] == [[], [path]]
    harness.run(65)
    assert [node.brought(time_ms) for time_ms in BATCH_MS[:5]] == [None] * 5


def said(caplog, text):
    return [(record.levelname, record.getMessage()) for record in caplog.records if text in record.getMessage()]


def test_files_that_come_too_old_or_from_the_future_are_named_once_with_a_remedy(harness, tmp_path, caplog) -> None:
    put(tmp_path, "before", "before\n", FIRST_MS - 5000)
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    harness.run(1)
    old = [put(tmp_path, f"old-{number}", "old\n", FIRST_MS - 1000) for number in range(7)]
    future = put(tmp_path, "future", "future\n", FIRST_MS + 60_000)
    harness.run(3)
    assert out == [[]] * 4
    ((level, message),) = said(caplog, "modified before the stream began")
    assert level == "WARNING"
    assert message.startswith(f"file stream 0 of file:{tmp_path}: not read at time {BATCH_MS[1]} ms")
    assert f"{old[0]} (modified at {FIRST_MS - 1000} ms)" in message
    assert "and 2 more" in message
    assert "headwater.streaming.fileStream.selection=identity" in message
    ((level, message),) = said(caplog, "in the future")
    assert (level, f"{future} (modified at {FIRST_MS + 60_000} ms)" in message) == ("WARNING", True)
    assert not said(caplog, f"{tmp_path}/before")


@pytest.mark.parametrize("selection", ["modificationTime", "identity"])
def test_files_that_were_there_before_are_counted_once(harness, tmp_path, caplog, monkeypatch, selection) -> None:
    caplog.set_level("INFO")
    monkeypatch.setitem(harness.ssc.sparkContext.conf._pairs, "headwater.streaming.fileStream.selection", selection)
    for name in ("a", "b"):
        put(tmp_path, name, "old\n", FIRST_MS - 5000)
    harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    harness.run(2)
    ((level, message),) = said(caplog, "there before the stream")
    assert level == "INFO"
    assert message.startswith(f"file stream 0 of file:{tmp_path}: 2 files that were there before the stream are not")
    assert "newFilesOnly=False" in message


def test_file_that_was_read_is_not_called_too_old_when_its_time_is_over(harness, tmp_path, caplog) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    put(tmp_path, "a", "one\n", BATCH_MS[0])
    harness.run(65)
    assert [records for records in out if records] == [["one"]]
    assert not said(caplog, "not read at time")


# ------------------------------------------------------------------------------------------------ what goes wrong
def test_directory_that_is_made_later_is_picked_up(harness, tmp_path, caplog) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path / "later")))
    harness.ssc.start()
    harness.run(2)
    (tmp_path / "later").mkdir()
    put(tmp_path / "later", "a", "one\n", BATCH_MS[2])
    harness.run(1)
    assert out == [[], [], ["one"]]
    assert [message for message in caplog.messages if "No directory" in message] == [
        f"No directory file:{tmp_path}/later: there are no files until there is one"
    ]


def test_listing_that_fails_makes_an_empty_batch_and_loses_nothing(harness, tmp_path, monkeypatch, caplog) -> None:
    out = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    put(tmp_path, "a", "one\n", BATCH_MS[0])
    with monkeypatch.context() as broken:
        broken.setattr("headwater.filesystem.LocalFileSystem.scan", refuse)
        infos = harness.run(2)
    infos += harness.run(1)
    assert out == [[], [], ["one"]]
    assert [list(info.streamIdToInputInfo()) for info in infos] == [[], [], [0]]
    warnings = [message for message in caplog.messages if "error finding new files" in message]
    assert len(warnings) == 1
    assert f"file stream 0 of file:{tmp_path}: error finding new files at time {BATCH_MS[0]} ms: " in warnings[0]


def refuse(*args, **more):
    raise PermissionError("not yours")


def test_file_that_cannot_be_read_is_left_out_alone_and_taken_once_it_can(harness, tmp_path) -> None:
    out = harness.collected(harness.ssc.binaryRecordsStream(str(tmp_path), 2))
    harness.ssc.start()
    bad, good = put(tmp_path, "bad", "abc", BATCH_MS[0]), put(tmp_path, "good", "ab", BATCH_MS[0])
    harness.run(1)
    with pytest.raises(SparkException, match=f"file stream 0 of file:{tmp_path}: {bad} could not be read at time"):
        harness.ssc.awaitTermination(0)
    put(tmp_path, "bad", "abcd", BATCH_MS[1])
    infos = harness.run(2)
    assert out == [[b"ab"], [b"ab", b"cd"], []]
    assert metadata(infos[0])["files"] == [bad]
    assert good != bad


def test_file_that_has_vanished_is_warned_of_and_left_out_alone(harness, tmp_path, caplog) -> None:
    def read(sc, path):
        if path.endswith("bad"):
            raise FileNotFoundError(path)
        return sc.textFile(path)

    out = harness.collected(harness.ssc.fileStream(str(tmp_path), reader=read))
    harness.ssc.start()
    for name in ("bad", "good"):
        put(tmp_path, name, name, BATCH_MS[0])
    harness.run(3)
    assert out == [["good"], [], []]
    assert not harness.ssc.awaitTerminationOrTimeout(0)
    assert len([message for message in caplog.messages if "/bad could not be read at time" in message]) == 1


def test_reader_that_returns_no_rdd_is_told_by_name(harness, tmp_path) -> None:
    harness.collected(harness.ssc.fileStream(str(tmp_path), reader=lambda sc, path: [path]))
    harness.ssc.start()
    put(tmp_path, "a", "one\n", BATCH_MS[0])
    harness.run(1)
    with pytest.raises(SparkException, match=r"reader\(sc, path\) must return an RDD, not list"):
        harness.ssc.awaitTermination(0)


def test_filter_that_fails_fails_its_streams_batch_and_no_other(harness, tmp_path) -> None:
    calls = []

    def choose(path):
        calls.append(path)
        if len(calls) == 1:
            raise LookupError("no index yet")
        return True

    out = harness.collected(harness.ssc.fileStream(str(tmp_path), filter=choose))
    other = harness.collected(harness.ssc.textFileStream(str(tmp_path)))
    harness.ssc.start()
    put(tmp_path, "a", "one\n", BATCH_MS[0])
    harness.run(2)
    assert (out, other) == ([["one"]], [["one"], []])
    with pytest.raises(LookupError, match="no index yet"):
        harness.ssc.awaitTermination(0)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"filter": "*.txt"}, TypeError, r"filter should be a function, got '\*.txt'"),
        ({"reader": 1}, TypeError, "reader should be a function, got 1"),
        ({"directory": "nosuch://bucket"}, ValueError, "nosuch"),
        ({"directory": None}, TypeError, "directory must be a str, not None"),
    ],
)
def test_arguments_that_make_no_sense_are_refused_at_once(harness, tmp_path, arguments, error, text) -> None:
    with pytest.raises(error, match=text):
        harness.ssc.fileStream(**{"directory": str(tmp_path), **arguments})


@pytest.mark.parametrize("length", [0, -1, 2.5, True, None])
def test_record_length_is_at_least_a_byte(harness, tmp_path, length) -> None:
    with pytest.raises(ValueError, match="recordLength must be an int of at least 1 byte"):
        harness.ssc.binaryRecordsStream(str(tmp_path), length)
