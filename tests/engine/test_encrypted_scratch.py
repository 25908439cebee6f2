"""What an encrypted application writes to disk: none of its data can be read there, and changes are noticed."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headwater import RDD, SparkConf, SparkContext, StorageLevel
from headwater.engine import scratch
from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming import StreamingContext
from tests.engine.processes import descendants

MARKER = "marker-5c9e27d1"
RECORDS = [f"{MARKER}-{i:05d}" for i in range(3000)]
# Nothing stays in memory: blocks leave it, and each shuffle and each sort spills.
SMALL = {
    "spark.memory.fraction": "0.00001",
    "spark.python.worker.memory": "1m",
    "headwater.shuffle.inlineLimit": "0",
    "spark.rdd.compress": "false",
}
ENCRYPTED = {"spark.io.encryption.enabled": "true"}


@pytest.fixture
def start(tmp_path: Path, no_context: None) -> Callable[..., SparkContext]:
    """Starts a context whose scratch directory is below `scratch`."""

    def start(master: str = "local[2]", **settings: str) -> SparkContext:
        conf = SparkConf(loadDefaults=False).setMaster(master).setAppName("tests")
        conf.setAll({"spark.local.dir": str(tmp_path / "scratch"), **settings}.items())
        (tmp_path / "scratch").mkdir()
        return SparkContext(conf=conf)

    return start


def photograph(source: Path, pattern: str, target: Path) -> None:
    """Copy all files of a kind."""
    target.mkdir(parents=True)
    for number, path in enumerate(source.rglob(pattern)):
        shutil.copy(path, target / f"{number}-{path.name}")


def photographing(source: Path, pattern: str, target: Path) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """Passes a partition's records on; what the task has on disk once it has the first of them is copied."""

    def photographed(records: Iterator[Any]) -> Iterator[Any]:
        for number, record in enumerate(records):
            if not number:
                photograph(source, pattern, target)
            yield record

    return photographed


def readable(directory: Path) -> list[str]:
    """The files in which the marker can be read."""
    paths = [path for path in directory.rglob("*") if path.is_file()]
    assert paths, f"nothing was written for {directory.name}"
    return [path.name for path in paths if MARKER.encode() in path.read_bytes()]


def write_everything(sc: SparkContext, root: Path) -> dict[str, Path]:
    """Have every kind of file written, check that what was written is read again, and copy it: kind -> the copies."""
    scratch_root, seen = root / "scratch", root / "seen"
    source = sc.parallelize(RECORDS, 2)

    cached = source.map(lambda text: text).persist(StorageLevel.DISK_ONLY)
    assert cached.count() == len(RECORDS)
    photograph(scratch_root, "rdd_*", seen / "cached")
    assert cached.collect() == RECORDS
    cached.unpersist(blocking=True)

    shuffled = source.map(lambda text: (text, 1)).partitionBy(3)
    assert shuffled.count() == len(RECORDS)
    photograph(scratch_root, "shuffle_*", seen / "shuffled")
    assert sorted(shuffled.keys().collect()) == RECORDS

    ordered = source.repartition(1).sortBy(lambda text: text, ascending=False, numPartitions=1)
    assert ordered.mapPartitions(photographing(scratch_root, "*.spill", seen / "sorted")).collect() == RECORDS[::-1]

    grouped = source.map(lambda text: (text, text)).groupByKey(1).mapValues(list)
    found = grouped.mapPartitions(photographing(scratch_root, "*.spill", seen / "grouped")).collect()
    assert sorted(found) == [(text, [text]) for text in RECORDS]

    broadcast = sc.broadcast(RECORDS)
    assert source.map(lambda text: text in broadcast.value[:1]).sum() == 1
    photograph(scratch_root, "broadcast_*", seen / "broadcast")

    sc.setCheckpointDir(str(root / "checkpoints"))
    checkpointed = source.map(lambda text: text)
    checkpointed.checkpoint()
    checkpointed.count()
    photograph(root / "checkpoints", "part-*", seen / "checkpointed")
    assert checkpointed.collect() == RECORDS
    assert checkpointed.pipe("cat").collect() == RECORDS  # which another thread of the task reads
    return {path.name: path for path in seen.iterdir()}


@pytest.mark.parametrize("master", ["local", "local[2]", "local-cluster[2,1,512]"])
def test_nothing_on_disk_can_be_read_when_it_is_encrypted(
    tmp_path: Path, start: Callable[..., SparkContext], master: str
) -> None:
    with start(master, **SMALL, **ENCRYPTED) as sc:
        seen = write_everything(sc, tmp_path)
    assert {kind: readable(path) for kind, path in seen.items()} == {
        kind: [] for kind in ("cached", "shuffled", "sorted", "grouped", "broadcast", "checkpointed")
    }


def test_everything_on_disk_can_be_read_when_it_is_not_encrypted(
    tmp_path: Path, start: Callable[..., SparkContext]
) -> None:
    with start(**SMALL) as sc:
        seen = write_everything(sc, tmp_path)
    assert {kind for kind, path in seen.items() if readable(path)} == {
        "cached",
        "shuffled",
        "sorted",
        "grouped",
        "broadcast",
        "checkpointed",
    }


@pytest.mark.parametrize("bits", ["128", "192", "256"])
def test_key_of_the_application_may_have_any_length_of_aes(start: Callable[..., SparkContext], bits: str) -> None:
    with start("local", **ENCRYPTED, **{"spark.io.encryption.keySizeBits": bits}) as sc:
        cached = sc.parallelize(RECORDS).persist(StorageLevel.DISK_ONLY)
        assert (cached.count(), cached.collect()) == (len(RECORDS), RECORDS)


@pytest.mark.parametrize("encrypted", [True, False])
def test_blocks_in_memory_are_encrypted_when_that_is_on_disk(
    tmp_path: Path, start: Callable[..., SparkContext], monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(scratch, "MEMORY_FILE_SYSTEM", str(tmp_path / "none"))
    with start(**(ENCRYPTED if encrypted else {}), **{"headwater.shuffle.inlineLimit": "0"}) as sc:
        cached = sc.parallelize(RECORDS, 2).map(lambda text: (text, 1)).cache()
        shuffled = cached.partitionBy(3)
        assert sorted(shuffled.keys().collect()) == RECORDS
        photograph(tmp_path / "scratch", "[rs]*_*", tmp_path / "seen")
    assert bool(readable(tmp_path / "seen")) is not encrypted


def test_key_is_in_no_environment_and_no_command_line(
    start: Callable[..., SparkContext], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level("DEBUG")
    with start("local-cluster[1,1,512]", **ENCRYPTED) as sc:
        assert sc.parallelize([1]).count() == 1
        source = sc.application.key
        assert source is not None
        forms = (source.key, source.key.hex().encode())
        public = [Path(f"/proc/{pid}/{name}").read_bytes() for pid in descendants() for name in ("environ", "cmdline")]
        assert len(public) >= 6  # an executor, a warden, a worker
        said = f"{caplog.text} {capfd.readouterr()} {source!r} {sc.getConf().toDebugString()}".encode()
    assert [text for text in (*public, said) for form in forms if form in text] == []


# ------------------------------------------------------------------------------------------------ changed files
def flip(path: Path, at: int = -1) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def only(root: Path, pattern: str) -> Path:
    (path,) = root.rglob(pattern)
    return path


def test_changed_block_is_an_error_that_names_it(tmp_path: Path, start: Callable[..., SparkContext]) -> None:
    with start("local", **ENCRYPTED) as sc:
        cached = sc.parallelize(RECORDS, 1).persist(StorageLevel.DISK_ONLY)
        cached.count()
        path = only(tmp_path, "rdd_*_0")
        flip(path, 100)
        with pytest.raises(SparkException, match=f"block {path.name} is damaged, or was changed"):
            cached.collect()


def test_block_in_the_place_of_another_one_is_an_error(tmp_path: Path, start: Callable[..., SparkContext]) -> None:
    with start("local", **ENCRYPTED) as sc:
        one, other = (sc.parallelize([text], 1).persist(StorageLevel.DISK_ONLY) for text in ("one", "other"))
        assert one.collect() + other.collect() == ["one", "other"]
        first, second = sorted(tmp_path.rglob("rdd_*_0"))
        second.write_bytes(first.read_bytes())
        with pytest.raises(SparkException, match=f"block {second.name} is damaged, or was changed or moved"):
            one.union(other).collect()


@pytest.mark.parametrize("change", [flip, lambda path: os.truncate(path, path.stat().st_size - 1)])
def test_changed_checkpoint_of_an_rdd_is_an_error(
    tmp_path: Path, start: Callable[..., SparkContext], change: Callable[[Path], None]
) -> None:
    with start("local", **ENCRYPTED) as sc:
        sc.setCheckpointDir(str(tmp_path / "checkpoints"))
        rdd: RDD[str] = sc.parallelize(RECORDS, 1)
        rdd.checkpoint()
        rdd.count()
        change(only(tmp_path, "part-00000"))
        with pytest.raises(SparkException, match="the RDD checkpoint file:.*part-00000 is damaged, or was changed"):
            rdd.collect()


# ------------------------------------------------------------------------------------------------ at the start
def test_checkpoints_of_streams_are_refused_when_no_other_driver_would_have_the_key(
    tmp_path: Path, start: Callable[..., SparkContext]
) -> None:
    with start("local", **ENCRYPTED) as sc:
        ssc = StreamingContext(sc, 1)
        with pytest.raises(IllegalArgumentException, match=r"no key is named.*Name a key by headwater\.encryption"):
            ssc.checkpoint(str(tmp_path / "checkpoints"))
    assert not (tmp_path / "checkpoints").exists()


def test_key_that_cannot_be_read_ends_the_start(tmp_path: Path, start: Callable[..., SparkContext]) -> None:
    with pytest.raises(IllegalArgumentException, match=r"headwater\.encryption\.keyFile: /none can't be read"):
        start("local", **{"headwater.encryption.keyFile": "/none"})
    assert SparkContext._active_spark_context is None


def test_missing_package_ends_the_start_and_is_named(
    start: Callable[..., SparkContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)
    with pytest.raises(SparkException, match=r"pip install 'headwater\[encryption\]'"):
        start("local", **ENCRYPTED)
    assert SparkContext._active_spark_context is None
