"""Writes each partition to a database over one connection, as the guide's design patterns advise."""
import sqlite3
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

host, port, database = sys.argv[1:]


def send_partition(records):
    connection = sqlite3.connect(database, timeout=30)
    with connection:
        connection.executemany("INSERT INTO lines VALUES (?, ?)", list(records))
    connection.close()


connection = sqlite3.connect(database)
connection.execute("CREATE TABLE IF NOT EXISTS lines (word TEXT, length INTEGER)")
connection.commit()
connection.close()

sc = SparkContext("local[2]", "SqliteSink")
ssc = StreamingContext(sc, 1)
words = ssc.socketTextStream(host, int(port)).flatMap(lambda line: line.split())
words.map(lambda word: (word, len(word))).foreachRDD(lambda rdd: rdd.foreachPartition(send_partition))
ssc.start()
ssc.awaitTermination()
