"""The program that the tests kill: counts numbers, with everything that it reads, keeps and writes in a store.

`python counting.py PLACE SETTINGS`: the settings are JSON. Batch T writes `PLACE/saved/numbers-T` and `PLACE/counts-T`.
Where a checkpoint is looked for no context lives yet, so the store's settings stand in `spark-defaults.conf`.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from headwater import SparkConf, SparkContext, filesystem
from headwater.streaming import StreamingContext

KEYS = 3


def total(new: list[int], old: int | None) -> int:
    return (old or 0) + sum(new)


def keep(place: str, time: Any, rdd: Any) -> None:
    counts = json.dumps(dict(rdd.collect())).encode()
    filesystem.write_whole(f"{place}/counts/{round(time.timestamp() * 1000)}", counts)


def setup(place: str, settings: dict[str, str]) -> StreamingContext:
    conf = SparkConf().setMaster("local[2]").setAppName("counting").setAll(settings.items())
    ssc = StreamingContext(SparkContext(conf=conf), 0.5)
    ssc.checkpoint(f"{place}/checkpoints")
    numbers = ssc.textFileStream(f"{place}/in").map(int)
    numbers.map(str).saveAsTextFiles(f"{place}/saved/numbers")
    counts = numbers.map(lambda number: (number % KEYS, 1)).updateStateByKey(total, 2)
    counts.foreachRDD(lambda time, rdd: keep(place, time, rdd))
    return ssc


if __name__ == "__main__":
    place, settings = sys.argv[1], json.loads(sys.argv[2])
    ssc = StreamingContext.getOrCreate(f"{place}/checkpoints", lambda: setup(place, settings))
    ssc.start()
    print("started", flush=True)
    ssc.awaitTermination()
