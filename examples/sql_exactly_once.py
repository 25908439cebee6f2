"""Keep orders that arrive as files in Parquet files and in a database, each exactly once, though the driver is killed.

    python examples/sql_exactly_once.py INBOX CHECKPOINTS OUTPUT DATABASE [SECONDS]

INBOX is a directory that is there, of files with lines ORDER,ITEM,CENTS; write them elsewhere and move them into it.
OUTPUT is a directory for Parquet files, a partition for each item. DATABASE is a file of SQLite's, or the URL of one of
PostgreSQL's (postgresql://USER@HOST/NAME). End it however you like, also by kill -9, and start it again: it goes on
from the directory CHECKPOINTS. It ends after SECONDS, or on Ctrl-C. Needs `pip install 'headwater[sql,postgres]'`.
"""

import sqlite3
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from headwater import SparkConf, SparkContext
from headwater.streaming import StreamingContext

ORDERS = "CREATE TABLE IF NOT EXISTS orders (id INTEGER, item TEXT, cents INTEGER)"
LATEST = "CREATE TABLE IF NOT EXISTS latest (item TEXT PRIMARY KEY, id INTEGER)"


def connecting(database: str) -> Callable[[], Any]:
    """What connects to the database, in the driver and in workers."""
    if database.startswith("postgresql:"):
        import psycopg

        return partial(psycopg.connect, database)
    # Workers wait for each other for up to a minute. They keep connections, which another thread may close in the end.
    return partial(sqlite3.connect, database, timeout=60, check_same_thread=False)


def parsed(line: str) -> tuple[int, str, int]:
    id, item, cents = line.split(",")
    return int(id), item, int(cents)


def create(inbox: str, output: str, connect: Callable[[], Any]) -> StreamingContext:
    """The program, as it is before its first start."""
    conf = SparkConf().setMaster("local[2]").setAppName("orders exactly once")
    conf.set("headwater.streaming.fileStream.selection", "identity")  # each complete file once, however old
    ssc = StreamingContext(SparkContext(conf=conf), 1)
    orders = ssc.fileStream(inbox, newFilesOnly=False).map(parsed).toDF("id INT, item STRING, cents INT")
    orders.writeFiles(output, partitionBy="item", name="files")
    orders.writeTable(connect, "orders", name="orders")
    latest = orders.sql("SELECT item, max(id) AS id FROM stream GROUP BY item")
    latest.writeTable(connect, "latest", name="latest", upsertOn=["item"])  # a row takes its forerunner's place
    return ssc


def main() -> None:
    inbox, checkpoints, output, database = sys.argv[1:5]
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None

    connect = connecting(database)
    with connect() as connection:
        connection.execute(ORDERS)
        connection.execute(LATEST)

    ssc = StreamingContext.getOrCreate(checkpoints, partial(create, inbox, output, connect))
    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
