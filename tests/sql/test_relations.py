"""Data of the driver's and of RDDs on its way to the engine: as files, or in its messages where there is a key."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import SparkConf, SparkContext
from headwater.errors import UnsupportedOperationException
from headwater.sql import SparkSession
from headwater.sql.relations import INLINE_MAX, SECRET_MAX

WORD = "confidential-" * 10
MANY = 4 * INLINE_MAX // len(WORD)


@pytest.fixture(params=[False, True], ids=["plain", "encrypted"])
def session(request: pytest.FixtureRequest, tmp_path: Path, no_context: None) -> Iterator[SparkSession]:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName("relations")
    conf.set("spark.local.dir", str(tmp_path)).set("spark.io.encryption.enabled", str(request.param).lower())
    with SparkContext(conf=conf) as sc:
        yield SparkSession(sc)


encrypted = pytest.mark.parametrize("session", [True], indirect=True, ids=["encrypted"])


def files_with_the_word(root: Path) -> int:
    return sum(WORD.encode() in path.read_bytes() for path in root.rglob("*") if path.is_file())


def test_a_large_relation_is_in_a_file_only_where_there_is_no_key(session: SparkSession, tmp_path: Path) -> None:
    sc = session.sparkContext
    words = sc.parallelize(range(MANY), 2).map(lambda number: (number, f"{WORD}{number}"))
    frames = [
        session.createDataFrame(words, "number LONG, word STRING"),
        session.createDataFrame([(number, f"{WORD}{number}") for number in range(MANY)], "number LONG, word STRING"),
    ]
    for frame in frames:
        assert frame.where(f"word = concat('{WORD}', number)").count() == MANY
    assert bool(files_with_the_word(tmp_path)) == (sc.getConf().get("spark.io.encryption.enabled") == "false")


@encrypted
def test_more_than_a_message_holds_is_refused_where_there_is_a_key(session: SparkSession) -> None:
    rows = [(bytearray(SECRET_MAX),)]
    with pytest.raises(UnsupportedOperationException, match="up to 64 MB go without a file"):
        session.createDataFrame(rows, "zeros BINARY").count()


@encrypted
def test_lines_of_csv_would_be_a_file_and_are_refused_where_there_is_a_key(
    session: SparkSession, tmp_path: Path
) -> None:
    lines = session.sparkContext.parallelize([f"1,{WORD}"])
    with pytest.raises(UnsupportedOperationException, match=r"csv\(rdd\) writes a file .* encryption"):
        session.read.csv(lines, "number LONG, word STRING")
    assert files_with_the_word(tmp_path) == 0
