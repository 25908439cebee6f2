"""The program whose files are searched: everything that it keeps has the marker in it.

`python marked.py ROOT MARKER SETTINGS`. Each process brings three records by its receiver and one by a file; when the
states have counted as many as the file ROOT/records says, it dies as by kill -9.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from functools import partial
from typing import Any

from headwater import SparkConf, SparkContext
from headwater.streaming import Receiver, StateSpec, StreamingContext


class Three(Receiver):
    """Stores three records, once a start."""

    def __init__(self, record: str) -> None:
        super().__init__()
        self._record = record

    def onStart(self) -> None:
        threading.Thread(target=self.store, args=([self._record] * 3,), daemon=True).start()

    def onStop(self) -> None:
        pass


def add(new: list[int], old: int | None) -> int:
    return sum(new) + (old or 0)


def remember(key: str, value: int | None, state: Any) -> tuple[str, int]:
    state.update(add([value or 0], state.getOption()))
    return key, state.get()


def keep(root: str, marker: str, rdd: Any) -> None:
    """Checkpoint an RDD, bring this process's file, and die at the end."""
    counts = dict(rdd.collect())
    kept = rdd.context.parallelize([f"{marker}-checkpointed"], 1)
    kept.checkpoint()
    kept.count()
    path = f"{root}/in/{marker}-{os.getpid()}"
    if not os.path.exists(path):
        with open(f"{root}/.new", "w") as file:
            file.write(f"{marker}-file\n")
        os.rename(f"{root}/.new", path)
    with open(f"{root}/records") as file:
        records = int(file.read())
    if sum(counts.values()) >= records:
        with open(f"{root}/counts", "w") as file:
            json.dump(counts, file)
        os.kill(os.getpid(), signal.SIGKILL)


def setup(root: str, marker: str, settings: dict[str, str]) -> StreamingContext:
    conf = SparkConf(loadDefaults=False).setMaster("local[2]").setAppName(f"{marker}-application")
    ssc = StreamingContext(SparkContext(conf=conf.setAll(settings.items())), 0.2)
    ssc.checkpoint(f"{root}/checkpoints")
    received = ssc.receiverStream(Three(f"{marker}-received"))
    pairs = ssc.textFileStream(f"{root}/in").union(received).map(lambda record: (record, 1))
    pairs.mapWithState(StateSpec.function(remember)).foreachRDD(lambda rdd: rdd.count())
    pairs.reduceByKeyAndWindow(int.__add__, int.__sub__, 1, 0.2).foreachRDD(lambda rdd: rdd.count())
    pairs.updateStateByKey(add).foreachRDD(partial(keep, root, marker))
    return ssc


def main() -> None:
    root, marker, settings = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    ssc = StreamingContext.getOrCreate(f"{root}/checkpoints", partial(setup, root, marker, settings))
    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    main()
