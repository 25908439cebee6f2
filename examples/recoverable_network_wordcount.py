"""Count the words that arrive over a TCP connection, and go on with the counts after a restart.

    python examples/recoverable_network_wordcount.py HOST PORT CHECKPOINTS OUTPUT [SECONDS]

Serve some text first, in another terminal: nc -lk 9999. Every second it adds a line to the file OUTPUT: the batch time,
and all counts since the first start. End it however you like, also by kill -9, and start it again: it goes on from the
directory CHECKPOINTS. A batch that was cut short is run again, with the same text, since what is received is logged: it
may stand in OUTPUT twice, but with the same counts. It ends after SECONDS, or on Ctrl-C.
"""

import json
import sys

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext


def updated(new_counts: list[int], total: int | None) -> int:
    return (total or 0) + sum(new_counts)


def create(host: str, port: int, output: str) -> StreamingContext:
    """The program, as it is before its first start."""
    conf = SparkConf().setMaster("local[2]").setAppName("recoverable network word count")
    conf.set("spark.streaming.receiver.writeAheadLog.enable", "true")
    sc = SparkContext(conf=conf)
    ssc = StreamingContext(sc, 1)
    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split())
    counts = words.map(lambda word: (word, 1)).updateStateByKey(updated)

    def write(time, rdd):
        with open(output, "a") as file:
            file.write(json.dumps([str(time), dict(sorted(rdd.collect()))]) + "\n")

    counts.foreachRDD(write)
    return ssc


def main() -> None:
    host, port, checkpoints, output = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None

    ssc = StreamingContext.getOrCreate(checkpoints, lambda: create(host, port, output))
    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
