"""Checkpoints and states on full disks and in directories that can't be written."""

from __future__ import annotations

import errno
from pathlib import Path

from tests.streaming.recovery.disks import MOUNT, bound_by_permissions, child, mounting

CHECKPOINTS = """
from headwater.errors import SparkException
from headwater.streaming.recovery import checkpoint
from headwater.streaming.recovery.ledger import BatchBegun, Ledger

def write(directory, number, size=0):
    ledger = Ledger(1000, 0)
    ledger.apply(BatchBegun(number * 1000, {}, {}, {}))
    made = checkpoint.Checkpoint(number, "app", "local", {"a": "b" * size}, "program-1", ledger, {})
    checkpoint.write(directory, made)

def newest(directory):
    return checkpoint.newest(directory)[0].number
"""

FULL_DISK = """
directory = sys.argv[1]
mount(directory)
checkpoint.write_program(directory, 1, b"program")
write(directory, 1)
with open(f"{directory}/other", "wb") as file:
    file.write(bytes(800_000))
for number in (2, 3):
    try:
        write(directory, number, 500_000)
    except OSError as error:
        print(error.errno, newest(directory), sorted(name for name in os.listdir(directory) if "tmp" in name))
os.remove(f"{directory}/other")
write(directory, 4, 500_000)
print(newest(directory))
"""


def test_checkpoint_that_a_full_disk_does_not_take_leaves_the_one_before_and_no_piece(tmp_path: Path) -> None:
    lines = child(MOUNT + CHECKPOINTS + FULL_DISK, tmp_path, before=mounting())
    assert lines == [f"{errno.ENOSPC} 1 []"] * 2 + ["4"]


FORBIDDEN = """
import os, sys
directory = sys.argv[1]
checkpoint.write_program(directory, 1, b"program")
write(directory, 1)
os.chmod(directory, 0o555)
try:
    write(directory, 2)
except OSError as error:
    print(error.errno, newest(directory))
os.chmod(directory, 0o755)
write(directory, 3)
print(newest(directory))
"""


def test_checkpoint_in_a_read_only_directory_says_so_and_leaves_the_one_before(tmp_path: Path) -> None:
    lines = child(CHECKPOINTS + FORBIDDEN, tmp_path, before=bound_by_permissions())
    assert lines == [f"{errno.EACCES} 1", "3"]


# ------------------------------------------------------------------------------------------------ states
STATES = """
import os, sys
from headwater.engine.states import StatePartition
directory = sys.argv[1]
partition = StatePartition(timed=False)

def step(version, name):
    changes = {f"{version}-{i}": "x" * 1000 for i in range(300)}
    partition.advance(version, changes, previous=partition.version)
    try:
        return partition.store(directory, name)
    except OSError as error:
        print(error.errno, sorted(os.listdir(directory)))

def restored(version, names):
    other = StatePartition(timed=False)
    other.restore(directory, version, names)
    return other.entries == partition.entries
"""
STATES_ON_A_FULL_DISK = """
mount(directory, "1200k")
print(step(1, "v1"))
with open(f"{directory}/other", "wb") as file:
    file.write(bytes(700_000))
for version in (2, 3):
    step(version, f"v{version}")
os.remove(f"{directory}/other")
os.remove(f"{directory}/v1")  # all is in the next one
names = step(4, "v4")
print(names, restored(4, names))
"""
STATES_IN_A_READ_ONLY_DIRECTORY = """
print(step(1, "v1"))
os.chmod(directory, 0o555)
step(2, "v2")
os.chmod(directory, 0o755)
names = step(3, "v3")
print(names, restored(3, names))
"""


def test_version_of_a_state_that_a_full_disk_does_not_take_is_in_the_next_one(tmp_path: Path) -> None:
    lines = child(MOUNT + STATES + STATES_ON_A_FULL_DISK, tmp_path, before=mounting())
    full = f"{errno.ENOSPC} ['other', 'v1']"
    assert lines == ["('v1',)", full, full, "('v4',) True"]


def test_version_of_a_state_in_a_read_only_directory_is_in_the_next_one(tmp_path: Path) -> None:
    lines = child(STATES + STATES_IN_A_READ_ONLY_DIRECTORY, tmp_path, before=bound_by_permissions())
    assert lines == ["('v1',)", f"{errno.EACCES} ['v1']", "('v3',) True"]


STATE_LARGER_THAN_THE_DISK = """
from headwater.engine.states.spilledmap import SpilledMap
from headwater.errors import SparkException
directory = sys.argv[1]
mount(directory, "4m")
entries = {number: "x" * 100 for number in range(60_000)}
try:
    SpilledMap(f"{directory}/state", entries)
except SparkException as error:
    print(error)
print(os.listdir(directory))
small = SpilledMap(f"{directory}/small", {1: "one"})
print(small.get(1))
small.close()
"""


def test_state_that_the_disk_does_not_take_is_a_clear_error_and_leaves_the_room_to_others(tmp_path: Path) -> None:
    error, left, found = child(MOUNT + STATE_LARGER_THAN_THE_DISK, tmp_path, before=mounting())
    assert f"the state on disk in {tmp_path}/state can't be written" in error and "spark.local.dir" in error
    assert (left, found) == ("[]", "one")


# ------------------------------------------------------------------------------------------------ the whole
STREAM = """
from pathlib import Path
from tests.streaming.recovery.killing import Files, Program
from tests.waiting import wait_for

root = Path(sys.argv[1])
os.mkdir(root / "checkpoints")
mount(str(root / "checkpoints"), "2m")
conf = {"headwater.streaming.checkpoint.interval": "300ms"}
program = Program(root, conf=conf)
try:
    program.start()
    program.await_start()
    with Files(root) as files:
        wait_for(lambda: len(program.batches("update")) > 2, "batches are done")
        with open(root / "checkpoints" / "other", "wb", buffering=0) as other:
            try:
                while True:
                    other.write(bytes(1000))
            except OSError:
                pass
        done = len(program.batches("update"))
        wait_for(lambda: len(program.batches("update")) > done + 4, "it goes on")
        wait_for(lambda: "No space left on device" in program.log(), "it says so")
        program.kill()
        os.remove(root / "checkpoints" / "other")
        program.start()
    program.await_numbers(files.sent)
finally:
    program.kill()
program.check(exactly=files.sent)
print("each record was counted once")
"""


def test_stream_goes_on_when_the_disk_of_its_checkpoints_is_full_and_a_restart_loses_nothing(tmp_path: Path) -> None:
    lines = child(MOUNT + STREAM, tmp_path, before=mounting())
    assert lines == ["each record was counted once"]
