"""Keep the totals of all words that have ever arrived over a TCP connection as a table, which another thread queries.

    python examples/sql_dashboard.py [HOST [PORT [SECONDS]]]

Serve some text first, in another terminal: nc -lk 9999. Every second it prints the five most frequent words, and how
many words there were. It ends after SECONDS, or on Ctrl-C. Needs `pip install 'headwater[sql]'`.
"""

import sys
import tempfile
import threading

from headwater import SparkConf, SparkContext
from headwater.sql import SparkSession
from headwater.streaming import State, StateSpec, StreamingContext

SCHEMA = "word STRING, total INT"
# One query sees the totals as one batch has left them; a second one might see those of the next.
TOP_FIVE = "SELECT *, sum(total) OVER () AS of_all FROM totals ORDER BY total DESC, word LIMIT 5"


def count(word: str, one: int | None, total: State) -> None:
    total.update((total.getOption() or 0) + 1)


def ask(spark: SparkSession, ended: threading.Event) -> None:
    """Query the table every second, whatever the stream is at."""
    while not ended.wait(1):
        spark.sql(TOP_FIVE).show()


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("dashboard"))
    spark = SparkSession(sc)
    spark.createDataFrame([], SCHEMA).createOrReplaceTempView("totals")  # until the first batch

    ssc = StreamingContext(sc, 1)
    ended = threading.Event()
    dashboard = threading.Thread(target=ask, args=(spark, ended))
    with tempfile.TemporaryDirectory() as directory:
        ssc.checkpoint(directory)  # where the totals are kept: a worker that dies loses nothing
        words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split())
        totals = words.map(lambda word: (word, 1)).mapWithState(StateSpec.function(count))
        totals.stateSnapshots().toDF(SCHEMA).createOrReplaceTempView("totals")

        try:
            dashboard.start()
            ssc.start()
            ssc.awaitTermination(seconds)
        except KeyboardInterrupt:
            pass
        finally:
            ended.set()
            dashboard.join()
            ssc.stop()


if __name__ == "__main__":
    main()
