from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headwater.errors import SparkException
from headwater.formats.hadoop.delimited import read_delimited
from headwater.formats.textfiles import TextSplit, text_splits
from tests.effort import tries


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("delimited")


def reference(content: bytes, delimiter: bytes) -> list[tuple[int, str]]:
    """Each record and its place, found from the start of the file."""
    found, at = [], 0
    records = content.split(delimiter)
    for record in records if records[-1] else records[:-1]:
        found.append((at, record.decode("utf-8", "replace")))
        at += len(record) + len(delimiter)
    return found


@settings(max_examples=tries(50), deadline=None)
@given(
    st.lists(st.sampled_from([b"\n", b"\n\n", b"|", b"||", b"a", b"ab", "é".encode()]), max_size=30).map(b"".join),
    st.sampled_from([b"\n", b"\n\n", b"||", b"aba", b"a|b", "é".encode()]),
    st.integers(1, 12),
)
@example(b"x\n\n\n\n\ny", b"\n\n", 3)
@example(b"\n\n\n", b"\n\n", 1)
def test_splits_together_are_every_record_once(place: Path, content: bytes, delimiter: bytes, size: int) -> None:
    path = place / "every"
    path.write_bytes(content)
    splits = text_splits(str(path), 1, size)
    found = [record for split in splits for record in read_delimited(split, delimiter)]
    assert found == reference(content, delimiter)


@pytest.mark.parametrize("size", [1000, 65_536, 200_000, 2_000_000])
def test_records_longer_than_what_is_read_at_once_are_whole(place: Path, size: int) -> None:
    content = b"--".join(bytes([97 + number]) * (number * 50_000) for number in range(8))
    (place / "long").write_bytes(content)
    splits = text_splits(str(place / "long"), 1, size)
    assert [record for split in splits for record in read_delimited(split, b"--")] == reference(content, b"--")


def test_compressed_file_is_one_split(place: Path) -> None:
    path = place / "text.gz"
    path.write_bytes(gzip.compress(b"a;b;"))
    (split,) = text_splits(str(path), 5, 1)
    assert list(read_delimited(split, b";")) == [(0, "a"), (2, "b")]
    path.write_bytes(gzip.compress(b"a;b;")[:-3])
    with pytest.raises(SparkException, match=r"text\.gz can't be decompressed"):
        list(read_delimited(TextSplit(str(path), 0, 20), b";"))
