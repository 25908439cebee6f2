"""Count the words of the last seconds that arrived over a TCP connection, again and again.

    python examples/windowed_wordcount.py [HOST [PORT [WINDOW [SLIDE [SECONDS]]]]]

Serve some text first, in another terminal: nc -lk 9999. Every SLIDE seconds (10) it prints the ten most frequent words
of the last WINDOW seconds (30). It ends after SECONDS, or on Ctrl-C.
"""

import sys

from headwater import RDD, SparkConf, SparkContext
from headwater.streaming import StreamingContext


def most_frequent_first(counts: RDD) -> RDD:
    return counts.sortBy(lambda pair: (-pair[1], pair[0]), numPartitions=1)


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    window = int(sys.argv[3]) if len(sys.argv) > 3 else 30
    slide = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("windowed word count"))
    ssc = StreamingContext(sc, 1)
    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split())
    counts = words.map(lambda word: (word, 1)).reduceByKeyAndWindow(lambda a, b: a + b, None, window, slide)
    counts.transform(most_frequent_first).pprint(10)

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
