"""Count the words that arrive over a TCP connection by SQL, every second.

    python examples/sql_network_wordcount.py HOST PORT CHECKPOINTS [SECONDS]

Serve some text first, in another terminal: nc -lk 9999. Every second it prints a table of the words that came. End it
however you like, also by kill -9, and start it again: it goes on from the directory CHECKPOINTS. It ends after SECONDS,
or on Ctrl-C. Needs `pip install 'headwater[sql]'`.
"""

import sys
from datetime import datetime

from headwater import RDD, SparkConf, SparkContext
from headwater.sql import Row, SparkSession
from headwater.streaming import StreamingContext


def session_of(conf: SparkConf) -> SparkSession:
    """The driver's one session, made for the first batch; so also by a driver that goes on from a checkpoint."""
    return SparkSession.builder.config(conf=conf).getOrCreate()


def show_counts(time: datetime, words: RDD) -> None:
    print(f"Time: {time}")
    if words.isEmpty():  # rows of which no columns could be known
        return
    spark = session_of(words.context.getConf())
    frame = spark.createDataFrame(words.map(lambda word: Row(word=word)))
    frame.createOrReplaceTempView("words")
    spark.sql("SELECT word, count(*) AS total FROM words GROUP BY word ORDER BY word").show()


def create(host: str, port: int) -> StreamingContext:
    """The program, as it is before its first start."""
    conf = SparkConf().setMaster("local[2]").setAppName("SQL network word count")
    conf.set("spark.streaming.receiver.writeAheadLog.enable", "true")  # what was received is not lost with the driver
    ssc = StreamingContext(SparkContext(conf=conf), 1)
    ssc.socketTextStream(host, port).flatMap(lambda line: line.split()).foreachRDD(show_counts)
    return ssc


def main() -> None:
    host, port, checkpoints = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    ssc = StreamingContext.getOrCreate(checkpoints, lambda: create(host, port))
    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
