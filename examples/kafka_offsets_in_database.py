"""Keep the records of a Kafka topic in a SQLite database, each once, without a checkpoint: offsets are kept there too.

    python examples/kafka_offsets_in_database.py BROKERS TOPIC DATABASE [SECONDS]

A partition's records and the offset behind them are one transaction, and the program begins with the offsets that it
finds: kill it wherever you like, start it again, also with other code. Needs `pip install 'headwater[kafka]'`. Look at
the result by: sqlite3 DATABASE "SELECT * FROM records"
"""

import sqlite3
import sys
from collections.abc import Iterable
from functools import partial

from headwater import SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import (
    ConsumerRecord,
    ConsumerStrategies,
    KafkaUtils,
    LocationStrategies,
    TopicPartition,
)

TABLES = """
CREATE TABLE IF NOT EXISTS records (key TEXT, value TEXT);
CREATE TABLE IF NOT EXISTS offsets (topic TEXT, partition INTEGER, next INTEGER, PRIMARY KEY (topic, partition));
"""
MOVE_ON = "INSERT INTO offsets VALUES (?, ?, ?) ON CONFLICT (topic, partition) DO UPDATE SET next = excluded.next"


def write(cursor: sqlite3.Cursor, records: Iterable[ConsumerRecord]) -> None:
    for record in records:
        cursor.execute("INSERT INTO records VALUES (?, ?)", (record.key, record.value))
        cursor.execute(MOVE_ON, (record.topic, record.partition, record.offset + 1))


def main() -> None:
    brokers, topic, database = sys.argv[1:4]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    # Workers wait for each other for up to a minute. They keep connections, which another thread may close in the end.
    connect = partial(sqlite3.connect, database, timeout=60, check_same_thread=False)
    connection = connect()
    connection.executescript(TABLES)
    found = connection.execute("SELECT partition, next FROM offsets WHERE topic = ?", (topic,))
    begin = {TopicPartition(topic, partition): offset for partition, offset in found}
    connection.close()

    ssc = StreamingContext(SparkContext("local[2]", "offsets in a database"), 1)
    params = {
        "bootstrap.servers": brokers,
        "auto.offset.reset": "earliest",
        "key.deserializer": "StringDeserializer",
        "value.deserializer": "StringDeserializer",
    }
    strategy = ConsumerStrategies.Subscribe([topic], params, begin)
    stream = KafkaUtils.createDirectStream(ssc, LocationStrategies.PreferConsistent, strategy)
    stream.foreachTransaction(connect, write, name="records")

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
