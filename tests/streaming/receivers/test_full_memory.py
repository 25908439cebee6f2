"""Received blocks where the memory file system is full: they go to disk, within its limit, and none is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.streaming.recovery.disks import MOUNT, child, mounting

FULL = """
def fill(path):
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 20))
        except OSError:
            pass

mount("/dev/shm", "513m")
"""
STREAM = """
import socket, threading
from headwater import SparkConf, SparkContext, StorageLevel
from headwater.streaming import StreamingContext

LINES = 50_000

def server():
    listener = socket.create_server(("127.0.0.1", 0))
    def serve():
        connection, _ = listener.accept()
        with connection:
            for i in range(0, LINES, 1000):
                connection.sendall(b"".join(b"%06d %s\\n" % (j, bytes(93)) for j in range(i, i + 1000)))
            over.wait()  # else the receiver would start anew
    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()

conf = SparkConf(loadDefaults=False).setMaster(sys.argv[1]).setAppName("full").set("spark.local.dir", sys.argv[2])
ssc = StreamingContext(SparkContext(conf=conf), 0.2)
fill("/dev/shm/other")
over, got = threading.Event(), []
levels = (StorageLevel.MEMORY_AND_DISK_2, StorageLevel.MEMORY_ONLY)
streams = [ssc.socketTextStream(*server(), level) for level in levels]

def output(rdd):
    got.extend(rdd.map(lambda line: int(line[:6])).collect())
    if len(got) >= 2 * LINES:
        over.set()

ssc.union(*streams).foreachRDD(output)
ssc.start()
print(over.wait(60), sorted(got) == [i // 2 for i in range(2 * LINES)])
ssc.stop()
"""


@pytest.mark.parametrize("master", ["local[3]", "local-cluster[2,2,512]"])
def test_no_line_is_lost_when_the_memory_file_system_is_full(tmp_path: Path, master: str) -> None:
    assert child(MOUNT + FULL + STREAM, master, tmp_path, before=mounting()) == ["True True"]


LIMITS = """
from pathlib import Path
from headwater.storagelevel import StorageLevel
from tests.engine.beds import Bed, make_filler

bed = Bed("in process", Path(sys.argv[1]))
fill("/dev/shm/other")
bed.receive(make_filler(getattr(StorageLevel, sys.argv[2]), blocks=2))
bed.posted(("putting", 1))
print(("put", 1) in bed.payloads(), bed.handle().get_block("input-0") == b"x" * 60)
bed.handle().remove_blocks(["input-0"])
bed.posted(("put", 1))
print(bed.handle().get_block("input-1") == b"x" * 60)
bed.backend.stop()
"""


@pytest.mark.parametrize("level", ["MEMORY_ONLY", "MEMORY_AND_DISK"])
def test_receiver_keeps_to_the_limit_of_the_disk_when_the_memory_file_system_is_full(
    tmp_path: Path, level: str
) -> None:
    """100 bytes may be on disk, and blocks have 60."""
    assert child(MOUNT + FULL + LIMITS, tmp_path, level, before=mounting()) == ["False True", "True"]
