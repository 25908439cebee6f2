"""Count all words that have ever arrived over a TCP connection: updateStateByKey.

    python examples/stateful_network_wordcount.py [HOST [PORT [SECONDS]]]

Serve some text first, in another terminal: nc -lk 9999. Every second it prints the counts since the start; "hello" and
"world" begin at 1. It ends after SECONDS, or on Ctrl-C.
"""

import sys
import tempfile

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext


def updated(new_counts: list[int], total: int | None) -> int:
    return (total or 0) + sum(new_counts)


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("stateful network word count"))
    ssc = StreamingContext(sc, 1)
    with tempfile.TemporaryDirectory() as directory:
        ssc.checkpoint(directory)  # where the counts are kept: a worker that dies loses nothing
        words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split())
        begun = sc.parallelize([("hello", 1), ("world", 1)])
        words.map(lambda word: (word, 1)).updateStateByKey(updated, initialRDD=begun).pprint()

        try:
            ssc.start()
            ssc.awaitTermination(seconds)
        except KeyboardInterrupt:
            pass
        finally:
            ssc.stop()


if __name__ == "__main__":
    main()
