"""Drivers that are killed wherever they are, by the hundred: what their outputs hold is compared, record by record.

A schedule is a seed: how many drivers one after the other, where each of them dies, how long nobody runs in between,
what comes in. HEADWATER_SCHEDULES=5000 runs that number of them, HEADWATER_SCHEDULE=17 that one alone.
"""

from __future__ import annotations

import os
import random
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.effort import tries
from tests.simulation.fates import DIED, PLACES, Fate
from tests.simulation.lives import BATCH_MS, Life, Nursery, acknowledged
from tests.streaming.recovery.killing import Program

SCHEDULES = int(os.environ.get("HEADWATER_SCHEDULES", tries(40)))
AT_ONCE = 2
DEATHS_MAX = 4
# Some come to their end before they come to the place where they are to die.
NUMBERS = (1, 1, 2, 3, 5, 8, 13, 30)
NUMBERS_OF_ANY = (1, 200)
CONF = {
    "spark.streaming.clock": "ManualClock",
    "headwater.streaming.log.sync": "true",
    "headwater.streaming.fileStream.stabilityDuration": "0",
}


def lives_of(seed: int, root: Path) -> list[Life]:
    """The lives of a schedule; the last one isn't killed."""
    chance = random.Random(seed)
    source = chance.choice(("files", "files", "receiver"))
    conf = {
        **CONF,
        "headwater.streaming.checkpoint.interval": chance.choice(("1ms", "1ms", "10s")),
        "headwater.streaming.fileStream.selection": chance.choice(("identity", "modificationTime")),
        "spark.streaming.receiver.writeAheadLog.enable": "true",
        "spark.streaming.receiver.writeAheadLog.closeFileAfterWrite": chance.choice(("true", "false")),
        "spark.streaming.concurrentJobs": chance.choice(("1", "1", "3")),
    }
    options = {
        "master": "local",
        "source": source,
        "states": chance.choice(([], ["map"], ["inverse", "plain"])),
        "conf": conf,
    }
    lives, start_ms = [], 0
    for _ in range(chance.randint(1, DEATHS_MAX)):
        place = chance.choice(PLACES)
        number = chance.randint(*NUMBERS_OF_ANY) if place == "any" else chance.choice(NUMBERS)
        batches = chance.randint(1, 4)
        lives.append(Life(str(root), options, start_ms, batches, chance.randint(0, 5), Fate(place, number)))
        start_ms += (batches + chance.choice((0, 0, 1, 3))) * BATCH_MS
    return [*lives, Life(str(root), options, start_ms, 3, 2, None)]


def run(seed: int, root: Path, nursery: Nursery) -> None:
    """Live a schedule's lives, and compare what came of them."""
    program = Program(root)
    for life in lives_of(seed, root):
        code = nursery.live(life)
        assert code == 0 or (code == DIED and life.fate is not None), f"{life}: exit code {code}"
    if life.options["source"] == "files":
        program.check(exactly={int(line) for path in (root / "in").iterdir() for line in path.read_text().split()})
    else:
        program.check()
        assert acknowledged(root / "acknowledged") <= program.saved().keys()


@pytest.mark.timeout(60 + SCHEDULES * 5)
def test_every_record_is_counted_wherever_drivers_are_killed(tmp_path: Path) -> None:
    only = os.environ.get("HEADWATER_SCHEDULE")
    seeds = [int(only)] if only else range(SCHEDULES)
    nurseries: SimpleQueue[Nursery] = SimpleQueue()

    def failure_of(seed: int) -> str:
        root, nursery = tmp_path / str(seed), nurseries.get()
        root.mkdir()
        try:
            run(seed, root, nursery)
        except Exception as error:
            log = (root / "log").read_text() if (root / "log").exists() else ""
            return f"HEADWATER_SCHEDULE={seed}: {type(error).__name__}: {error}\n{log[-6000:]}"
        finally:
            nurseries.put(nursery)
        shutil.rmtree(root)
        return ""

    with Nursery() as one, Nursery() as another, ThreadPoolExecutor(AT_ONCE) as pool:
        nurseries.put(one)
        nurseries.put(another)
        failures = [failure for failure in pool.map(failure_of, seeds) if failure]
    assert not failures, f"{len(failures)} of {len(seeds)} schedules failed:\n" + "\n\n".join(failures[:3])
