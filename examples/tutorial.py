"""Write orders with their customers' totals to a database, each once: the program of the tutorial.

    python examples/tutorial.py INBOX CHECKPOINTS DATABASE

INBOX is a directory of files with lines ORDER,CUSTOMER,CENTS; write them elsewhere and rename them into it. CHECKPOINTS
is a directory that it makes, DATABASE a file of SQLite's. End it however you like, also by kill -9, and start it again:
it goes on where it was. docs/tutorial.md goes through it step by step; tutorial_upgraded.py is what it becomes there.
"""

import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial

from headwater import SparkConf, SparkContext
from headwater.streaming import State, StateSpec, StreamingContext

TABLE = "CREATE TABLE IF NOT EXISTS orders (id TEXT, customer TEXT, cents INTEGER, total INTEGER)"


def parsed(line: str) -> tuple[str, tuple[str, int]]:
    """A line as a pair: the customer, and the order with what it costs."""
    order, customer, cents = line.split(",")
    return customer, (order, int(cents))


def with_total(customer: str, order: tuple[str, int], total: State) -> tuple[str, str, int, int]:
    """A row for the database: the order, with what its customer has spent up to it."""
    id, cents = order
    total.update((total.getOption() or 0) + cents)
    return id, customer, cents, total.get()


def write(cursor: sqlite3.Cursor, rows: Iterable[tuple[str, str, int, int]]) -> None:
    cursor.executemany("INSERT INTO orders VALUES (?, ?, ?, ?)", rows)


def create(inbox: str, database: str) -> StreamingContext:
    """The program, as it is before its first start."""
    conf = SparkConf().setMaster("local[2]").setAppName("orders")
    conf.set("headwater.streaming.fileStream.selection", "identity")  # each complete file once, however old
    conf.set("spark.streaming.stopGracefullyOnShutdown", "true")  # SIGTERM: finish what has begun
    ssc = StreamingContext(SparkContext(conf=conf), 1)
    lines = ssc.fileStream(inbox, newFilesOnly=False).uid("orders")
    orders = lines.map(parsed).mapWithState(StateSpec.function(with_total).numPartitions(2)).uid("totals")
    connect = partial(sqlite3.connect, database, timeout=60, check_same_thread=False)
    orders.foreachTransaction(connect, write, name="orders")
    return ssc


def main() -> None:
    inbox, checkpoints, database = sys.argv[1:4]
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(TABLE)
    ssc = StreamingContext.getOrCreate(checkpoints, partial(create, inbox, database))
    ssc.start()
    ssc.awaitTermination()  # raises what fails, so that the program ends and is started again


if __name__ == "__main__":
    main()
