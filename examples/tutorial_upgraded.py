"""Write orders with their customers' totals, and who is a gold customer: the program of the tutorial, upgraded.

    python examples/tutorial_upgraded.py INBOX CHECKPOINTS DATABASE

It goes on from the checkpoints and the database of tutorial.py, with new functions and another column, or begins anew
where there are none. docs/tutorial.md goes through it step by step.
"""

import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from functools import partial

from headwater import SparkConf, SparkContext
from headwater.streaming import State, StateSpec, StreamingContext

TABLE = "CREATE TABLE IF NOT EXISTS orders (id TEXT, customer TEXT, cents INTEGER, total INTEGER)"
COLUMN = "ALTER TABLE orders ADD COLUMN gold INTEGER NOT NULL DEFAULT 0"
GOLD_CENTS = 10_000  # who has spent that much is a gold customer


def parsed(line: str) -> tuple[str, tuple[str, int]]:
    """A line as a pair: the customer, and the order with what it costs."""
    order, customer, cents = line.split(",")
    return customer, (order, int(cents))


def with_total(customer: str, order: tuple[str, int], total: State) -> tuple[str, str, int, int, bool]:
    """A row for the database: the order, what its customer has spent up to it, whether that is a gold customer."""
    id, cents = order
    total.update((total.getOption() or 0) + cents)
    return id, customer, cents, total.get(), total.get() >= GOLD_CENTS


def write(cursor: sqlite3.Cursor, rows: Iterable[tuple[str, str, int, int, bool]]) -> None:
    cursor.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)


def prepare(connection: sqlite3.Connection) -> None:
    """Make the table, or add the column that the first version's table doesn't have."""
    connection.execute(TABLE)
    if "gold" not in [name for _, name, *_ in connection.execute("PRAGMA table_info(orders)")]:
        connection.execute(COLUMN)


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
        prepare(connection)
    ssc = StreamingContext.getOrCreate(checkpoints, partial(create, inbox, database), upgrade=True)
    ssc.start()
    ssc.awaitTermination()  # raises what fails, so that the program ends and is started again


if __name__ == "__main__":
    main()
