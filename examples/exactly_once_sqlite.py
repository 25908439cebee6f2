"""Keep running totals of words in a SQLite database, counting each word once, though tasks and batches may run twice.

    python examples/exactly_once_sqlite.py DATABASE [HOST [PORT [SECONDS]]]

Serve some text first, in another terminal: nc -lk 9999. It ends after SECONDS, or on Ctrl-C. Look at the result by:
sqlite3 DATABASE "SELECT * FROM totals"
"""

import sqlite3
import sys
from collections.abc import Iterable
from functools import partial

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext

TABLE = "CREATE TABLE IF NOT EXISTS totals (word TEXT PRIMARY KEY, n INTEGER)"
# Adding is not idempotent: done a second time for the same batch it would count its words twice.
ADD = "INSERT INTO totals VALUES (?, ?) ON CONFLICT (word) DO UPDATE SET n = n + excluded.n"


def add(cursor: sqlite3.Cursor, counts: Iterable[tuple[str, int]]) -> None:
    cursor.executemany(ADD, counts)


def main() -> None:
    database = sys.argv[1]
    host = sys.argv[2] if len(sys.argv) > 2 else "localhost"
    port = int(sys.argv[3]) if len(sys.argv) > 3 else 9999
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    # Workers wait for each other for up to a minute. They keep connections, which another thread may close in the end.
    connect = partial(sqlite3.connect, database, timeout=60, check_same_thread=False)
    connect().execute(TABLE)

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("totals"))
    ssc = StreamingContext(sc, 1)
    counts = ssc.socketTextStream(host, port).flatMap(lambda line: line.split()).countByValue()
    counts.foreachTransaction(connect, add, name="totals")

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
