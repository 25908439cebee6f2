from __future__ import annotations

import bz2
import gzip
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import IllegalArgumentException, SparkException
from headwater.formats import textfiles
from headwater.formats.textfiles import (
    TextSplit,
    binary_file,
    binary_record_splits,
    codec_extension,
    count_lines,
    create_file,
    file_groups,
    lines_of,
    read_binary_records,
    read_placed_lines,
    read_text_split,
    text_lines,
    text_splits,
    whole_text,
    write_text,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


def reference_lines(content: bytes) -> list[bytes]:
    lines = re.split(rb"\r\n|\n|\r", content.removeprefix(b"\xef\xbb\xbf"))
    return lines if lines[-1] else lines[:-1]


_content = st.lists(
    st.sampled_from([b"\n", b"\r", b"\r\n", b"a", b"line", "é".encode(), b"\xff", b"\xef\xbb\xbf"]), max_size=60
).map(b"".join)


@settings(deadline=None)
@given(_content, st.integers(1, 40))
@example(b"a\r\nb\r\n", 2)
@example(b"a\r\r\n\nb", 1)
@example(b"\xef\xbb\xbfa\nb", 1)
def test_text_splits_together_are_every_line_once(place: Path, content: bytes, size: int) -> None:
    path = place / "every"
    path.write_bytes(content)
    splits = text_splits(str(path), 1, size)
    expected = reference_lines(content)
    assert [line for split in splits for line in read_text_split(split, use_unicode=False)] == expected
    decoded = [line.decode("utf-8", "replace") for line in expected]
    assert [line for split in splits for line in read_text_split(split)] == decoded
    placed = [pair for split in splits for pair in read_placed_lines(split)]
    assert [line for _, line in placed] == decoded
    starts = [0, *(found.end() for found in re.finditer(rb"\r\n|\n|\r", content))]
    assert [start for start, _ in placed] == starts[: len(placed)]


@settings(deadline=None, max_examples=30)
@given(_content, st.integers(1, 40), st.integers(1, 7), st.integers(1, 7))
def test_text_split_is_read_alike_in_pieces_of_any_size(
    place: Path, content: bytes, size: int, piece: int, seek: int
) -> None:
    path = place / "pieces"
    path.write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(textfiles, "_PIECE_BYTES", piece)
        patch.setattr(textfiles, "_SEEK_BYTES", seek)
        splits = text_splits(str(path), 1, size)
        lines = [line for split in splits for line in read_text_split(split, use_unicode=False)]
    assert lines == reference_lines(content)


def test_text_split_owns_the_lines_that_start_in_it(place: Path) -> None:
    path = place / "owned"
    path.write_bytes(b"ab\ncd\nef\n")
    owned = [list(read_text_split(TextSplit(str(path), start, 1))) for start in range(9)]
    assert owned == [["ab"], [], [], ["cd"], [], [], ["ef"], [], []]


def test_text_split_reads_a_line_of_many_pieces(place: Path) -> None:
    path = place / "long"
    path.write_text("x" * 3_000_000 + "\n" + "y")
    assert [len(line) for line in read_text_split(TextSplit(str(path), 0, 4))] == [3_000_000]


@pytest.mark.parametrize(
    ("size", "partitions", "split_size", "lengths"),
    [
        (100, 2, 1000, [50, 50]),
        (100, 3, 1000, [33, 33, 34]),
        (100, 1, 40, [40, 40, 20]),
        (105, 1, 100, [105]),
        (111, 1, 100, [100, 11]),
        (2, 5, 100, [1, 1]),
        (0, 2, 100, []),
    ],
)
def test_text_splits_follow_hadoop_s_rule(
    tmp_path: Path, size: int, partitions: int, split_size: int, lengths: list[int]
) -> None:
    (tmp_path / "a").write_bytes(b"x" * size)
    splits = text_splits(str(tmp_path), partitions, split_size)
    assert [split.length for split in splits] == lengths
    assert [split.start for split in splits] == [sum(lengths[:number]) for number in range(len(lengths))]


@pytest.mark.parametrize("extension", ["", ".gz", ".bz2", ".zst", ".deflate"])
def test_text_that_was_written_is_read_back(tmp_path: Path, extension: str) -> None:
    path = str(tmp_path / f"part-00000{extension}")
    records: list[Any] = [f"line {number}" for number in range(2500)] + [None, 2.5, b"bytes", "é", ("a", 1), ""]
    with create_file(path) as file:
        write_text(records, file)
    splits = text_splits(path, 1 if extension else 4)
    assert len(splits) == (1 if extension else 4)
    assert [line for split in splits for line in read_text_split(split)] == [
        *records[:2500],
        *("None", "2.5", "bytes", "é", "('a', 1)", ""),
    ]


def test_text_without_records_is_an_empty_file(tmp_path: Path) -> None:
    with create_file(str(tmp_path / "part-00000")) as file:
        write_text([], file)
    assert (tmp_path / "part-00000").read_bytes() == b""


def test_compressed_text_is_one_split_however_large(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\n") + gzip.compress(b"b\r\nc"))
    (tmp_path / "b.deflate").write_bytes(zlib.compress(b"d\n") + zlib.compress(b"e" * 3_000_000))
    (tmp_path / "c.bz2").write_bytes(bz2.compress(b"f"))
    splits = text_splits(str(tmp_path), 10, 1)
    assert [line[:1] for split in splits for line in read_text_split(split)] == ["a", "b", "c", "d", "e", "f"]


@pytest.mark.parametrize("extension", [".gz", ".bz2", ".zst", ".deflate"])
def test_compressed_text_that_was_cut_short_is_an_error(tmp_path: Path, extension: str) -> None:
    path = tmp_path / f"a{extension}"
    with create_file(str(path)) as file:
        write_text(range(2000), file)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(SparkException, match=f"file:{path} can't be decompressed: .*ended before the end-of-stream"):
        list(read_text_split(text_splits(str(path), 1)[0]))


def test_compressed_text_that_is_something_else_is_an_error(tmp_path: Path) -> None:
    for extension in (".gz", ".bz2", ".zst", ".deflate"):
        path = tmp_path / f"a{extension}"
        path.write_text("plain text, of no compression that we know")
        with pytest.raises(SparkException, match=f"file:{path} can't be decompressed: "):
            whole_text(str(path))


@pytest.mark.parametrize(
    ("codec", "extension"),
    [
        (None, ""),
        ("org.apache.hadoop.io.compress.GzipCodec", ".gz"),
        ("BZip2Codec", ".bz2"),
        ("org.apache.hadoop.io.compress.ZStandardCodec", ".zst"),
        ("org.apache.hadoop.io.compress.DeflateCodec", ".deflate"),
        ("org.apache.hadoop.io.compress.DefaultCodec", ".deflate"),
    ],
)
def test_codec_is_known_by_its_class_name(codec: str | None, extension: str) -> None:
    assert codec_extension(codec) == extension


def test_codec_that_is_unknown_names_the_known() -> None:
    with pytest.raises(IllegalArgumentException, match=r"'org\.Lzo' is unknown.*GzipCodec, .*BZip2Codec"):
        codec_extension("org.Lzo")


def test_whole_text_is_decompressed_and_named_by_uri(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress("é\r\n".encode() + b"\xff"))
    assert whole_text(str(tmp_path / "a.gz")) == (f"file:{tmp_path}/a.gz", "é\r\n\ufffd")
    assert whole_text(str(tmp_path / "a.gz"), use_unicode=False)[1] == "é\r\n".encode() + b"\xff"


def test_binary_file_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b")
    assert binary_file(f"file://{tmp_path}/a.gz") == (f"file:{tmp_path}/a.gz", b"\x1f\x8b")


def test_file_groups_are_of_whole_files_in_order(tmp_path: Path) -> None:
    for name, size in [("a", 5), ("b", 5), ("c", 10), ("d", 1)]:
        (tmp_path / name).write_bytes(bytes(size))
    groups = file_groups(str(tmp_path), 2)
    assert [[file.path[-1] for file in group] for group in groups] == [["a", "b"], ["c", "d"]]


@given(st.integers(1, 7), st.integers(0, 30), st.integers(1, 40), st.integers(1, 5))
def test_binary_records_are_read_whole(place: Path, length: int, count: int, split_size: int, partitions: int) -> None:
    path = place / "records"
    content = bytes(range(256))[: length * count]
    path.write_bytes(content)
    splits = binary_record_splits(str(path), length, partitions, split_size)
    records = [record for split in splits for record in read_binary_records(split)]
    assert records == [content[at : at + length] for at in range(0, len(content), length)]


def test_binary_records_refuse_a_file_that_ends_within_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(23))
    with pytest.raises(
        SparkException, match=f"file:{tmp_path}/a ends within a record: its 23 bytes are 2 records of 10"
    ):
        binary_record_splits(str(tmp_path), 10)


def test_binary_records_refuse_a_file_that_was_cut_since_it_was_listed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(20))
    splits = binary_record_splits(str(tmp_path), 10)
    (tmp_path / "a").write_bytes(bytes(13))
    with pytest.raises(SparkException, match="ends within a record"):
        list(read_binary_records(splits[0]))


def test_binary_records_need_a_positive_length(tmp_path: Path) -> None:
    with pytest.raises(IllegalArgumentException, match="recordLength is 0"):
        binary_record_splits(str(tmp_path), 0)


# ------------------------------------------------------------------------------------------------ pieces
CUT = st.lists(st.sampled_from(["", "a", "bc", "\u00e9", "d\r", "\re"]))


@given(CUT, st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_lines_of_pieces_are_counted_as_they_are_cut(lines: list[str], end: str, is_ended: bool) -> None:
    piece = (end.join(lines) + (end if is_ended else "")).encode()
    assert count_lines(piece) == len(text_lines(piece))
    assert list(lines_of(iter([piece, piece]))) == 2 * text_lines(piece)
    assert list(lines_of(iter([piece])).pieces) == [piece]
