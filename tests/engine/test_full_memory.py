"""Blocks where the memory file system is full: they go to disk, and a partition kept in memory only isn't kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from headwater.engine.blocks import BlockStore, NoSpace, Placed, Places
from tests.streaming.recovery.disks import MOUNT, child, mounting

CLUSTER = "local-cluster[2,1,1024]"


# ------------------------------------------------------------------------------------------------ a store
@pytest.fixture
def places(tmp_path: Path) -> Places:
    places = Places(str(tmp_path / "memory"), str(tmp_path / "disk"))
    places.make()
    return places


def make_full(directory: str, block: str) -> None:
    """Let the file system take no byte of this block: /dev/full stands where it would be written by this thread."""
    os.symlink("/dev/full", f"{directory}/{block}.{os.getpid()}.{threading.get_ident()}.tmp")


def test_block_that_memory_does_not_take_goes_to_disk_if_it_may(places: Places) -> None:
    make_full(places.memory, "a")
    assert places.place("a", [b"123"], use_memory=True, use_disk=True) == Placed(3, in_memory=False)
    assert (places.read("a"), places.in_memory("a")) == (b"123", False)
    assert os.listdir(places.memory) == []


def test_block_that_memory_does_not_take_and_that_may_not_go_to_disk_is_refused(places: Places) -> None:
    make_full(places.memory, "a")
    with pytest.raises(NoSpace, match=f"no space left on {places.memory} for block a"):
        places.place("a", [b"123"], use_memory=True, use_disk=False)
    assert os.listdir(places.memory) + os.listdir(places.disk) == []


def test_block_that_no_place_takes_is_refused_with_the_disk_named(places: Places) -> None:
    make_full(places.memory, "a")
    make_full(places.disk, "a")
    with pytest.raises(NoSpace, match=f"no space left on {places.disk} for block a.*spark.local.dir"):
        places.place("a", [b"123"], use_memory=True, use_disk=True)
    assert os.listdir(places.memory) + os.listdir(places.disk) == []


def test_block_that_nothing_could_bring_back_goes_to_disk_whatever_its_level(places: Places) -> None:
    store = BlockStore(places, 100)
    make_full(places.memory, "a")
    assert store.put("a", [b"123"], use_memory=True, use_disk=False, evictable=False) == (False, [])
    assert (store.get("a"), store.sizes()) == (b"123", (0, 3))
    store.check()


@pytest.mark.parametrize("reported_in_memory", [True, False])
def test_block_stays_readable_when_it_was_moved_before_a_task_reported_where_it_had_found_it(
    places: Places, reported_in_memory: bool
) -> None:
    store = BlockStore(places, 100)
    store.put("a", [b"123"], use_memory=not reported_in_memory, use_disk=True, evictable=True)
    store.added("a", 3, reported_in_memory, use_disk=True, evictable=True)
    assert store.get("a") == b"123"
    assert store.sizes() == ((0, 3) if reported_in_memory else (3, 0))


SHORT_OF_ROOM = """
import logging
from headwater.engine.blocks import BlockStore, Places
logging.basicConfig(format="%(message)s", stream=sys.stdout)
MB = 1 << 20
mount(sys.argv[1], "40m")
places = Places(f"{sys.argv[1]}/blocks", sys.argv[2], reserve=4 * MB)
store = BlockStore(places, 1000 * MB)

def put(name, size, **more):
    print(name, *store.put(name, [bytes(size * MB)], **{"use_disk": False, "evictable": True, **more}, use_memory=True))

def fill(size):
    with open(f"{sys.argv[1]}/other", "wb") as other:
        other.write(bytes(size * MB))

put("only", 6)
put("both", 6, use_disk=True)
put("received", 6, evictable=False)
fill(14)
put("one", 1)
print(sorted(os.listdir(places.disk)))
fill(20)
put("more", 1, use_disk=True)
fill(26)
put("last", 4, evictable=False)
store.check()
print(store.sizes("received"), [store.get(name) and len(store.get(name)) // MB for name in ("received", "last")])
"""


def test_memory_is_full_for_the_store_when_the_file_system_is_nearly_so(tmp_path: Path) -> None:
    """40 MB, of which 4 are for others: from 8 on those used longest ago leave, and nothing takes the last 4."""
    (tmp_path / "mount").mkdir()
    (tmp_path / "disk").mkdir()
    lines = child(MOUNT + SHORT_OF_ROOM, tmp_path / "mount", tmp_path / "disk", before=mounting())
    warnings = [line for line in lines if "nearly full" in line]
    assert [line for line in lines if line not in warnings] == [
        "only True []",
        "both True []",
        "received True []",
        "one True ['only']",
        "[]",
        "more True []",
        "last False ['one']",
        "(6291456, 0) [6, 4]",
    ]
    assert len(warnings) == 1 and "docker run --shm-size" in warnings[0]


# ------------------------------------------------------------------------------------------------ an application
PROGRAM = """
from headwater import SparkConf, SparkContext, StorageLevel

def start(size, **settings):
    mount("/dev/shm", size)
    conf = SparkConf(loadDefaults=False).setMaster(sys.argv[1]).setAppName("full").set("spark.local.dir", sys.argv[2])
    for key, value in settings.items():
        conf.set(key.replace("_", "."), value)
    return SparkContext(conf=conf)

def blocks(root, kind):
    return sum(name.startswith(kind) for _, _, files in os.walk(root) for name in files)
"""
OTHERS_FILL_IT = """
sc = start("513m")
with open("/dev/shm/other", "wb", buffering=0) as other:
    try:
        while True:
            other.write(bytes(1 << 20))
    except OSError:
        pass
numbers = sc.parallelize(range(8), 8).map(lambda i: (i, bytes(1 << 20)))
for level in ("MEMORY_ONLY", "MEMORY_AND_DISK", "MEMORY_AND_DISK_2"):
    kept = numbers.map(lambda pair: pair).persist(getattr(StorageLevel, level))
    for _ in range(2):
        assert kept.map(lambda pair: (pair[0], len(pair[1]))).collect() == [(i, 1 << 20) for i in range(8)]
    print(level, blocks("/dev/shm", "rdd_"), blocks(sys.argv[2], "rdd_"))
    kept.unpersist(blocking=True)
    sc.parallelize([1]).count()  # removed before: executors follow their orders one after the other
shuffled = numbers.map(lambda pair: (pair[0] % 2, pair[1])).groupByKey(2).mapValues(lambda v: sum(map(len, v)))
print(sorted(shuffled.collect()), blocks("/dev/shm", "shuffle_"), blocks(sys.argv[2], "shuffle_"))
words = sc.broadcast(bytes(4 << 20))
print(sc.parallelize([1, 2], 2).map(lambda i: len(words.value)).collect(), blocks("/dev/shm", "broadcast_"))
sc.stop()
"""


@pytest.mark.parametrize("master", ["local[2]", CLUSTER])
def test_jobs_are_right_when_others_have_filled_the_memory_file_system(tmp_path: Path, master: str) -> None:
    lines = child(MOUNT + PROGRAM + OTHERS_FILL_IT, master, tmp_path, before=mounting())
    copies = 16 if master == CLUSTER else 8
    assert lines == [
        "MEMORY_ONLY 0 0",
        "MEMORY_AND_DISK 0 8",
        f"MEMORY_AND_DISK_2 0 {copies}",
        "[(0, 4194304), (1, 4194304)] 0 8",
        "[4194304, 4194304] 0",
    ]


IT_FILLS_IT = """
sc = start("520m", spark_rdd_compress="false")
kept = sc.parallelize(range(60), 60).map(lambda i: (i, bytes(10 << 20))).persist(getattr(StorageLevel, sys.argv[3]))
for _ in range(2):
    assert kept.map(lambda pair: (pair[0], len(pair[1]))).collect() == [(i, 10 << 20) for i in range(60)]
print(0 < blocks("/dev/shm", "rdd_") < 50, blocks(sys.argv[2], "rdd_") > 10)
sc.stop()
"""


@pytest.mark.parametrize("level", ["MEMORY_ONLY", "MEMORY_AND_DISK"])
def test_executors_share_a_memory_file_system_that_is_smaller_than_they_may_use(tmp_path: Path, level: str) -> None:
    """60 partitions of 10 MB, two executors that may use 614 MB each, and 520 MB that there are."""
    lines = child(MOUNT + PROGRAM + IT_FILLS_IT, CLUSTER, tmp_path, level, before=mounting())
    assert lines == [f"True {level == 'MEMORY_AND_DISK'}"]
