"""Lives of a driver that cost little: forks of a process that has imported all it needs, on a clock of their own.

`python -m tests.simulation.lives` reads one `Life` a line, as JSON; for each it forks a process that lives it, waits
for its end, and prints the exit code. A life is the program of `counting.py` in one process, master `local`: it goes on
from what is in its directory, brings in something new before each batch, and ends after so many, or where its fate
says.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from headwater import filesystem
from headwater.streaming import Receiver, StreamingContext, StreamingListener
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.missed import first_tick, missed_batches
from tests.simulation.fates import Counter, Fate, install
from tests.streaming.recovery import counting

BATCH_MS = 200
START_MS = 1_700_000_000_000
# A life that takes so long stands still: it ends with the stacks of its threads in the log.
LIFE_SECONDS_MAX = 60.0
REPOSITORY = Path(__file__).parents[2]


class Life(NamedTuple):
    """One process of a driver.

    Args:
        root: the directory of all lives of a driver.
        options: as for `counting.setup`; and `source`, "files" or "receiver".
        start_ms: what the clock shows first, after `START_MS`.
        batches: how many are to pass, besides those that were missed.
        numbers: how many come in before each.
        fate: where it dies; None: it lives to its end.
    """

    root: str
    options: dict[str, Any]
    start_ms: int
    batches: int
    numbers: int
    fate: Fate | None


# ------------------------------------------------------------------------------------------------ sources
class Reliable(Receiver):
    """Stores numbers in order, a list for each that is asked for, and notes in a file which are stored for certain."""

    #: How many numbers to store; of this process.
    asked: queue.SimpleQueue[int] = queue.SimpleQueue()
    #: Gets an entry once they are stored.
    answers: queue.SimpleQueue[None] = queue.SimpleQueue()
    counter = Counter(None)

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def onStart(self) -> None:
        threading.Thread(target=self._receive, daemon=True).start()

    def _receive(self) -> None:
        while not self.isStopped():
            first = 1 + max(acknowledged(self._path), default=-1)
            numbers = list(range(first, first + self.asked.get()))
            self.store(numbers)
            self.counter.come_to("acknowledge")
            with open(self._path, "a") as file:
                file.write("".join(f"{number}\n" for number in numbers))
            self.answers.put(None)


def acknowledged(path: str | Path) -> set[int]:
    """The numbers in a file of such a receiver."""
    return {int(line) for line in Path(path).read_text().split()} if os.path.exists(path) else set()


def put_file(root: Path, number_of_them: int, modified_ms: int) -> None:
    """A file of new numbers, as of a time."""
    names = [int(path.stem) for path in (root / "in").iterdir()]
    name = 1 + max(names, default=-1)
    temporary = root / f"{name}.new"
    temporary.write_text("".join(f"{1000 * name + i}\n" for i in range(number_of_them)))
    os.utime(temporary, ns=(modified_ms * 1_000_000,) * 2)
    temporary.rename(root / "in" / f"{name}.txt")


# ------------------------------------------------------------------------------------------------ a life
class Completed(StreamingListener):
    """Waits for batches."""

    def __init__(self) -> None:
        self._times: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._completed: set[int] = set()

    def onBatchCompleted(self, batchCompleted: Any) -> None:
        self._times.put(batchCompleted.batchInfo().batchTime().milliseconds())

    def wait_for(self, times_ms: set[int]) -> None:
        while not times_ms <= self._completed:
            self._completed.add(self._times.get())


def live(life: Life) -> None:
    """A driver, from its start to its end, which is that of this process."""
    counter = Reliable.counter = Counter(life.fate)
    install(counter)
    root = Path(life.root)
    receiver = Reliable(f"{root}/acknowledged") if life.options["source"] == "receiver" else None
    ssc = StreamingContext.getOrCreate(f"{root}/checkpoints", lambda: counting.setup(life.root, life.options, receiver))
    completed = Completed()
    ssc.addStreamingListener(completed)
    clock: Any = ssc.clock
    clock.advance(START_MS + life.start_ms - BATCH_MS // 2)
    missed = set() if ssc._found is None else missed_by(ssc._found.checkpoint.ledger, ssc)
    ssc.start()
    completed.wait_for(missed)
    for _ in range(life.batches):
        if receiver is None:
            put_file(root, life.numbers, clock.now_ms())
        else:
            Reliable.asked.put(life.numbers)
            Reliable.answers.get()
        clock.advance(BATCH_MS)
        completed.wait_for({clock.now_ms() - BATCH_MS // 2})
    os._exit(0)


def missed_by(ledger: Ledger, ssc: StreamingContext) -> set[int]:
    """The batches that a restart runs first."""
    return set(missed_batches(ledger, first_tick(ledger, ssc.clock.now_ms()), ssc.sparkContext.conf))


def serve() -> None:
    """Live what standard input says, one life after the other."""
    for name in ("executor", "task"):
        __import__(f"headwater.engine.{name}")
    filesystem.resolve("/")
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        root, options, start_ms, batches, numbers, fate = json.loads(line)
        life = Life(root, options, start_ms, batches, numbers, None if fate is None else Fate(*fate))
        pid = os.fork()
        if pid == 0:
            _begin(life)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def _begin(life: Life) -> None:
    log = os.open(f"{life.root}/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    faulthandler.dump_traceback_later(LIFE_SECONDS_MAX, exit=True, file=sys.stderr)
    try:
        live(life)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


# ------------------------------------------------------------------------------------------------ the test's side
class Nursery:
    """The process that the lives are forks of; a context manager."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.simulation.lives"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env=environment,
        )

    def __enter__(self) -> Nursery:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.communicate()

    def live(self, life: Life) -> int:
        """Have a life lived; returns the exit code."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(life) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


if __name__ == "__main__":
    # Under its own name, as what is pickled here is looked for under that name.
    from tests.simulation.lives import serve as entry

    entry()
