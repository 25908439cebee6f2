"""`make soak`: kills the driver every few seconds for minutes, under load, and compares all outputs with what was sent.

Each round is a program of its own with a seed, which is printed: `python -m tests.soak.recovery --seed 7` runs that
round alone. It ends with 1 if a round lost or repeated something.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

from tests.streaming.recovery.killing import Files, Program, Server

CONF = {
    "headwater.streaming.checkpoint.interval": "500ms",
    "spark.streaming.receiver.writeAheadLog.enable": "true",
    "spark.streaming.receiver.writeAheadLog.rollingIntervalSecs": "1",
    "spark.streaming.receiver.blockStoreTimeout": "1",
}
POINTS = (
    "before-batch-begun",
    "before-batch-done",
    "before-version",
    "before-forgotten",
    "before-commit",
    "in-checkpoint",
    "after-checkpoint",
    "in-recovery",
    "after-recovery",
)
KILLS_MAX = 8
# A crash point that isn't reached within this time: the process is killed where it is.
LIFE_SECONDS_MAX = 3.0


class Round(NamedTuple):
    """What a round came to. Of files each record is counted once; a receiver's at least once."""

    seed: int
    source: str
    kills: int
    sent: int
    counted: int
    lost: int
    repeated: int
    failure: str


def run(seed: int) -> Round:
    """A program under load, killed again and again by the seed, and let run to its end."""
    chance = random.Random(seed)
    source = chance.choice(("files", "receiver"))
    root = Path(tempfile.mkdtemp(prefix=f"soak-{seed}-"))
    kills, failure = chance.randint(1, KILLS_MAX), ""
    fed: Files | Server
    if source == "files":
        program, fed = Program(root, conf=CONF), Files(root, chance.choice((0.005, 0.03)))
        program.start()
        program.await_start()
    else:
        fed = Server(chance.choice((0.0, 0.02)))
        program = Program(root, port=fed.port, conf=CONF)
        program.start()
    with fed:
        for _ in range(kills):
            time.sleep(chance.uniform(0.05, LIFE_SECONDS_MAX))
            program.kill()
            time.sleep(chance.choice((0.0, 0.0, 1.0)))
            program.start(f"{chance.choice(POINTS)}:{chance.randint(1, 6)}" if chance.random() < 0.6 else "")
        time.sleep(LIFE_SECONDS_MAX)
        program.kill()
        program.start()
        time.sleep(1.0)
    try:
        program.await_numbers(fed.sent)
        program.kill()
        program.check(exactly=fed.sent if source == "files" else None)
    except Exception:
        failure = traceback.format_exc()
    finally:
        program.kill()
    saved = program.saved()
    lost, repeated = len(fed.sent - saved.keys()), sum(number - 1 for number in saved.values())
    if failure:
        print(f"round {seed} failed, see {root}:\n{failure}", flush=True)
    else:
        shutil.rmtree(root)
    return Round(seed, source, kills, len(fed.sent), saved.total(), lost, repeated, failure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="of the only round")
    parser.add_argument("--first", type=int, default=0, help="the first round's seed; others follow")
    arguments = parser.parse_args()
    end, seed = time.monotonic() + 60 * arguments.minutes, arguments.first
    rounds: list[Round] = []
    while not rounds or (arguments.seed is None and time.monotonic() < end):
        rounds.append(run(seed if arguments.seed is None else arguments.seed))
        seed += 1
        done = rounds[-1]
        print(*(f"{name} {value}" for name, value in done._asdict().items() if name != "failure"), sep=", ", flush=True)
    failed = [done.seed for done in rounds if done.failure]
    sums = {name: sum(getattr(done, name) for done in rounds) for name in ("kills", "sent", "counted", "lost")}
    print(f"{len(rounds)} rounds: {sums}; failed: {failed or 'none'}")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
