"""Drop the messages of known spammers from a stream, by joining each batch with a list.

    python examples/spam_filter.py SPAMMERS [HOST [PORT [SECONDS]]]

SPAMMERS is a file with a name a line; it is read again in each batch, so names may be added. Serve messages first, in
another terminal: nc -lk 9999. A message is a line: its sender, a space, its text. It ends after SECONDS, or on Ctrl-C.
"""

import sys

from headwater import RDD, SparkConf, SparkContext
from headwater.streaming import StreamingContext


def main() -> None:
    spammers = sys.argv[1]
    host = sys.argv[2] if len(sys.argv) > 2 else "localhost"
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 9999
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("spam filter"))
    ssc = StreamingContext(sc, 1)
    lines = ssc.socketTextStream(host, port)
    messages = lines.map(lambda line: line.partition(" ")).map(lambda parts: (parts[0], parts[2]))

    def wanted(batch: RDD) -> RDD:
        # Called in this program once a batch, so that the file is looked at each time.
        known = sc.textFile(spammers).map(lambda name: (name.strip(), True))
        joined = batch.leftOuterJoin(known)
        return joined.filter(lambda pair: pair[1][1] is None).mapValues(lambda pair: pair[0])

    messages.transform(wanted).pprint()

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
