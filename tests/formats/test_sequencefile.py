from __future__ import annotations

import io
import re
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import IllegalArgumentException, SparkException
from headwater.filesystem import CODEC_EXTENSIONS, CODEC_PACKAGE
from headwater.formats.sequencefile import Compression, Pair, SequenceFileReader, write_pairs
from headwater.formats.writables import encode_vint, writable

COMPRESSIONS: tuple[Compression, ...] = ("NONE", "RECORD", "BLOCK")
SYNC_MARK_BYTES = 20

_pairs = st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=200)), max_size=30)
_compression = st.sampled_from(COMPRESSIONS)
_codec = st.sampled_from([CODEC_PACKAGE + name for name in CODEC_EXTENSIONS])


def written(
    pairs: Iterable[Pair], compression: Compression = "NONE", codec: str = "DefaultCodec", **more: Any
) -> bytes:
    file = io.BytesIO()
    write_pairs(pairs, file, "K", "V", compression=compression, codec=codec, **more)
    return file.getvalue()


def read(content: bytes, start: int = 0, length: int | None = None) -> list[Pair]:
    return list(SequenceFileReader(io.BytesIO(content), "f.seq").pairs(start, length))


# ------------------------------------------------------------------------------------------------ written, then read
@given(_pairs, _compression, _codec)
def test_file_gives_back_what_was_written(pairs: list[Pair], compression: Compression, codec: str) -> None:
    assert read(written(iter(pairs), compression, codec)) == pairs


@given(st.dictionaries(st.text(), st.text()), _compression)
def test_header_gives_classes_compression_and_metadata(metadata: dict[str, str], compression: Compression) -> None:
    content = written([], compression, "GzipCodec", metadata=metadata)
    header = SequenceFileReader(io.BytesIO(content)).header
    assert header[:5] == ("K", "V", compression, "" if compression == "NONE" else f"{CODEC_PACKAGE}GzipCodec", metadata)
    assert header.length == len(content)


def test_unknown_codec_is_an_error_before_anything_is_written() -> None:
    file = io.BytesIO()
    with pytest.raises(IllegalArgumentException, match=r"codec 'LzoCodec' is unknown\. Use one of: .*GzipCodec"):
        write_pairs([], file, "K", "V", codec="LzoCodec")
    assert file.getvalue() == b""


def test_reader_can_be_asked_again() -> None:
    reader = SequenceFileReader(io.BytesIO(written([(b"k", b"v")])))
    assert list(reader.pairs()) == list(reader.pairs()) == [(b"k", b"v")]


# ------------------------------------------------------------------------------------------------ splits
# Values of 30 kB, which don't compress: a sync mark is due each 100 kB, a block is full after 1 MB.
_NOISE = [(bytes([number]), bytes((number * 7 + at * at) % 256 for at in range(30_000))) for number in range(80)]


@pytest.fixture(scope="module")
def noisy_files() -> dict[Compression, bytes]:
    return {compression: written(_NOISE, compression) for compression in COMPRESSIONS}


@settings(max_examples=30)
@given(st.sampled_from(COMPRESSIONS), st.lists(st.integers(0, 2_500_000), max_size=8))
def test_splits_together_are_the_whole(
    noisy_files: dict[Compression, bytes], compression: Compression, cuts: list[int]
) -> None:
    content = noisy_files[compression]
    bounds = sorted({0, len(content), *(cut for cut in cuts if cut < len(content))})
    parts = [read(content, start, end - start) for start, end in pairwise(bounds)]
    assert [pair for part in parts for pair in part] == _NOISE


@pytest.mark.parametrize(("compression", "sections"), [("NONE", 20), ("BLOCK", 3)])
def test_file_can_be_split_at_each_sync_mark(compression: Compression, sections: int) -> None:
    content = written(_NOISE, compression)
    header = SequenceFileReader(io.BytesIO(content)).header
    marks = [found.start() for found in re.finditer(re.escape(b"\xff\xff\xff\xff" + header.sync), content)]
    # Without compression the first section has no mark. Blocks have one each.
    bounds = [*([header.length] if compression == "NONE" else []), *marks, len(content)]
    parts = [read(content, start, end - start) for start, end in pairwise(bounds)]
    assert len(parts) == sections
    assert all(parts)
    assert [pair for part in parts for pair in part] == _NOISE


def test_every_cut_of_a_small_file_gives_each_pair_once() -> None:
    pairs = [(b"%d" % number, b"v" * 60_000) for number in range(5)]
    content = written(pairs)
    header = SequenceFileReader(io.BytesIO(content)).header.length
    mark = content.index(b"\xff\xff\xff\xff", header)
    for cut in (*range(header + 2), *range(mark - 2, mark + SYNC_MARK_BYTES + 2), len(content) - 1):
        assert read(content, 0, cut) + read(content, cut, len(content) - cut) == pairs


# ------------------------------------------------------------------------------------------------ damage
@pytest.mark.parametrize("codec", CODEC_EXTENSIONS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_file_that_was_cut_is_an_error_or_ends_between_records(compression: Compression, codec: str) -> None:
    pairs = [(b"key", b"value %d" % number) for number in range(3)]
    content = written(pairs, compression, codec)
    whole_after = []
    for length in range(len(content)):
        try:
            assert read(content[:length]) == pairs[: len(whole_after)]
            whole_after.append(length)
        except SparkException as error:
            assert re.search(r"cut short|doesn't begin with SEQ|can't be decompressed", str(error))
    assert len(whole_after) == (1 if compression == "BLOCK" else 3)


@pytest.mark.parametrize("codec", CODEC_EXTENSIONS)
def test_flipped_bit_of_a_block_is_an_error_or_changes_nothing(codec: str) -> None:
    pairs = [(b"key %d" % number, b"value" * number) for number in range(20)]
    content = written(pairs, "BLOCK", codec)
    unnoticed = 0
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            assert read(bytes(flipped)) == pairs
            unnoticed += 1
        except SparkException:
            continue
    # Bits of class names, and of what codecs leave unused.
    assert unnoticed < len(content)


@pytest.mark.parametrize("compression", ["NONE", "RECORD"])
def test_flipped_bit_is_an_error_or_changes_one_record(compression: Compression) -> None:
    text = writable("Text")
    records = [(f"key {number}", f"value {number}") for number in range(20)]
    content = written([(text.encode(key), text.encode(value)) for key, value in records], compression)
    for bit in range(8 * SequenceFileReader(io.BytesIO(content)).header.length, 8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = [(text.load(key), text.load(value)) for key, value in read(bytes(flipped))]
        except SparkException:
            continue
        assert len(found) == len(records)
        assert sum(one != other for one, other in zip(found, records)) <= 1


def test_damaged_length_takes_no_memory_that_the_file_has_not() -> None:
    content = written([(b"key", b"value")])
    record = SequenceFileReader(io.BytesIO(content)).header.length
    with pytest.raises(SparkException, match="f.seq was cut short: 2147483639 bytes are missing"):
        read(content[:record] + b"\x7f\xff\xff\xff" + content[record + 4 :])


@settings(max_examples=50)
@given(st.binary(max_size=60))
@example(encode_vint(-1))
@example(b"\x7f" + b"\xff" * 40)
def test_garbage_after_a_header_is_an_error(garbage: bytes) -> None:
    for compression in COMPRESSIONS:
        content = written([], compression)
        if garbage:
            with pytest.raises(SparkException, match="f.seq (is damaged|was cut short)"):
                read(content + garbage)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (b"SEQ\x06", b"SEQ\x05", "version 6"),
        (b"SEQ\x06", b"OBJ\x01", "version 6"),
        (b"\1V\1\1", b"\1V\0\1", "compression 0, 1"),
        (b"\1V\1\1", b"\1V\2\1", "compression 2, 1"),
        (b"compress.GzipCodec", b"compress.LzoZCodec", r"compressed by .*LzoZCodec\. Those that can be read: .*Gzip"),
    ],
)
def test_header_of_something_else_is_refused(before: bytes, after: bytes, message: str) -> None:
    content = written([(b"k", b"v")], "BLOCK", "GzipCodec")
    assert before in content
    with pytest.raises(SparkException, match=f"f.seq .*{message}"):
        read(content.replace(before, after))


def test_lengths_that_do_not_fit_are_damage() -> None:
    content = written([(b"key", b"value")])
    record = SequenceFileReader(io.BytesIO(content)).header.length
    with pytest.raises(SparkException, match="a record of 8 bytes has a key of 9 bytes"):
        read(content[: record + 4] + b"\0\0\0\x09" + content[record + 8 :])
