"""Count the words that arrive over a TCP connection, every second.

    python examples/network_wordcount.py [HOST [PORT [SECONDS]]]

Serve some text first, in another terminal: nc -lk 9999. HOST is localhost and PORT 9999 by default. It ends after
SECONDS, or on Ctrl-C.
"""

import sys

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("network word count"))
    ssc = StreamingContext(sc, 1)
    lines = ssc.socketTextStream(host, port)
    counts = lines.flatMap(lambda line: line.split()).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
    counts.pprint()

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
