"""The program that the tests kill: counts records with every kind of state, and keeps what each batch saw.

`python counting.py ROOT OPTIONS`. A record is a number; each batch T writes `out/NAME-T.json`, whole or not at all, and
`saved/ids-T`. The environment variable CRASH, `POINT:N`, ends the process as kill -9 does when it comes to a point for
the Nth time.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import socket
import sys
from itertools import count
from typing import Any

from headwater import SparkConf, SparkContext
from headwater.streaming import Receiver, StateSpec, StreamingContext

KEYS = 7
WINDOW_SECONDS = 1.2


class Acknowledging(Receiver):
    """Stores what a server sends, a line a list of numbers, and acknowledges it once the store has returned."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._port = port

    def onStart(self) -> None:
        import threading

        threading.Thread(target=self._receive, daemon=True).start()

    def onStop(self) -> None:
        pass

    def _receive(self) -> None:
        try:
            with socket.create_connection(("127.0.0.1", self._port)) as connection, connection.makefile("rw") as file:
                for line in file:
                    self.store(json.loads(line))
                    file.write("ok\n")
                    file.flush()
        except Exception as error:
            self.restart("the connection ended", error, 0.05)
        else:
            self.restart("the server has gone", None, 0.05)


def write(root: str, name: str, time: Any, rdd: Any) -> None:
    path = f"{root}/out/{name}-{round(time.timestamp() * 1000)}.json"
    with open(f"{path}.{os.getpid()}", "w") as file:
        json.dump(sorted(rdd.collect()), file)
    os.rename(f"{path}.{os.getpid()}", path)


def total(new: list[int], old: tuple[int, int] | None) -> tuple[int, int]:
    records, numbers = old or (0, 0)
    return records + len(new), numbers + sum(new)


def remember(key: int, value: int | None, state: Any) -> None:
    state.update(total([value or 0], state.getOption()))


def setup(root: str, options: dict[str, Any], receiver: Receiver | None = None) -> StreamingContext:
    conf = SparkConf(loadDefaults=False).setMaster(options.get("master", "local[2]")).setAppName("counting")
    conf.setAll(options.get("conf", {}).items())
    ssc = StreamingContext(SparkContext(conf=conf), options.get("batch", 0.2))
    ssc.checkpoint(f"{root}/checkpoints")
    if "port" in options:
        receiver = Acknowledging(options["port"])
    if receiver is not None:
        numbers = ssc.receiverStream(receiver)
    else:
        numbers = ssc.textFileStream(f"{root}/in").map(int)
    pairs = numbers.map(lambda number: (number % KEYS, number))
    numbers.map(str).saveAsTextFiles(f"{root}/saved/ids")
    outputs = {"ids": numbers, "update": pairs.updateStateByKey(total, 2)}
    slide = 2 * options.get("batch", 0.2)
    add, subtract = (lambda a, b: a + b), (lambda a, b: a - b)
    more = {
        "map": lambda: pairs.mapWithState(StateSpec.function(remember).numPartitions(2)).stateSnapshots(),
        "inverse": lambda: pairs.reduceByKeyAndWindow(add, subtract, WINDOW_SECONDS, slide, 2),
        "plain": lambda: pairs.reduceByKeyAndWindow(add, None, WINDOW_SECONDS, slide, 2),
    }
    for name in options.get("states", more):
        outputs[name] = more[name]()
    for name, stream in outputs.items():
        stream.foreachRDD(lambda time, rdd, name=name: write(root, name, time, rdd))
    return ssc


# ------------------------------------------------------------------------------------------------ crash points
def crash_at(point: str, number: int) -> None:
    """Have the process die when it comes to a point for the `number`th time."""
    from headwater import filesystem
    from headwater.streaming.recovery import journal, safekeeping
    from headwater.streaming.running import Running

    calls = count(1)

    def die_if_due() -> None:
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(owner: Any, name: str, wanted: Any = lambda *arguments: True) -> None:
        original = getattr(owner, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            if wanted(*arguments):
                die_if_due()
            return original(*arguments, **named)

        setattr(owner, name, replaced)

    amended: list[Any] = []

    def note_amended(posted: Any) -> bool:
        amended.extend(entry for entry, _ in posted if type(entry).__name__ == "BatchesAmended")
        return False

    def entry(kind: str) -> Any:
        return lambda _journal, posted, _then: type(posted).__name__ == kind

    match point:
        case "before-batch-begun" | "before-batch-done" | "before-forgotten" | "before-version" | "before-block":
            kinds = {
                "before-batch-begun": "BatchBegun",
                "before-batch-done": "BatchDone",
                "before-forgotten": "Forgotten",
                "before-version": "VersionsStored",
                "before-block": "BlockAdded",
            }
            before(journal.Journal, "post", entry(kinds[point]))
        case "before-batches-amended":
            before(safekeeping.Safekeeping, "batches_amended")
        case "after-batches-amended":  # it is durable, but no batch has taken what that frees
            before(journal.Journal, "_image_is_due", lambda _journal: amended)
            before(journal.Journal, "_commit", lambda _journal, posted: note_amended(posted))
        case "before-commit":  # posted, not durable
            before(journal.Journal, "_commit", lambda _journal, posted: any(entry for entry, _ in posted))
        case "in-checkpoint":  # written, not renamed
            system = filesystem.LocalFileSystem
            before(system, "rename", lambda _system, _source, target: "/checkpoint-" in target)
        case "after-checkpoint":  # the old logs and checkpoints are still there
            before(journal.Journal, "_clean")
        case "in-recovery":  # streams are restored, nothing was said of it yet
            before(safekeeping.Safekeeping, "started")
        case "after-recovery":
            before(Running, "_generate")
        case _:
            raise ValueError(f"no such point: {point}")


def main() -> None:
    faulthandler.register(signal.SIGUSR1)
    root, options = sys.argv[1], json.loads(sys.argv[2])
    point, _, number = os.environ.get("CRASH", "").partition(":")
    if point:
        crash_at(point, int(number))
    upgrade = options.get("upgrade", False)
    ssc = StreamingContext.getOrCreate(f"{root}/checkpoints", lambda: setup(root, options), upgrade=upgrade)
    ssc.sparkContext.setLogLevel("WARN")
    ssc.start()
    print("started", flush=True)
    ssc.awaitTermination()


if __name__ == "__main__":
    main()
