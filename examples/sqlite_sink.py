"""Write the word counts of each batch to a SQLite database, once, though tasks and batches may run twice.

    python examples/sqlite_sink.py DATABASE [HOST [PORT [SECONDS]]]

Serve some text first, in another terminal: nc -lk 9999. It ends after SECONDS, or on Ctrl-C. Look at the result by:
sqlite3 DATABASE "SELECT word, sum(n) FROM counts GROUP BY word"
"""

import sqlite3
import sys
from collections.abc import Iterable
from datetime import datetime
from functools import partial

from headwater import RDD, SparkConf, SparkContext
from headwater.streaming import ConnectionPool, StreamingContext

TABLE = "CREATE TABLE IF NOT EXISTS counts (batch TEXT, word TEXT, n INTEGER, PRIMARY KEY (batch, word))"
# A row is found by its batch and word: written a second time it stays the same.
UPSERT = "INSERT INTO counts VALUES (?, ?, ?) ON CONFLICT (batch, word) DO UPDATE SET n = excluded.n"


def main() -> None:
    database = sys.argv[1]
    host = sys.argv[2] if len(sys.argv) > 2 else "localhost"
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 9999
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    # Made here, it connects in the workers: each keeps its connection from one batch to the next. The pool may close a
    # connection on a thread of its own, which SQLite must be told.
    pool = ConnectionPool(partial(sqlite3.connect, database, timeout=60, check_same_thread=False))
    with pool.connection() as connection:
        connection.execute(TABLE)

    def write(batch: str, counts: Iterable[tuple[str, int]]) -> None:
        with pool.connection() as connection, connection:  # the second one is the transaction
            connection.executemany(UPSERT, [(batch, word, n) for word, n in counts])

    def save(time: datetime, counts: RDD) -> None:
        counts.foreachPartition(partial(write, str(time)))

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("SQLite sink"))
    ssc = StreamingContext(sc, 1)
    ssc.socketTextStream(host, port).flatMap(lambda line: line.split()).countByValue().foreachRDD(save)

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
