"""Counts words in messages of a Kafka topic, read without a receiver, and prints the offsets of each batch.

Usage: direct_kafka_wordcount.py <broker_list> <topic>
"""
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext
from pyspark.streaming.kafka import KafkaUtils

offset_ranges = []


def store_offset_ranges(rdd):
    global offset_ranges
    offset_ranges = rdd.offsetRanges()
    return rdd


def print_offset_ranges(rdd):
    for o in offset_ranges:
        if o.untilOffset > o.fromOffset:
            print("%s %s %s %s" % (o.topic, o.partition, o.fromOffset, o.untilOffset))


if __name__ == "__main__":
    brokers, topic = sys.argv[1:]
    sc = SparkContext(appName="PythonStreamingDirectKafkaWordCount")
    ssc = StreamingContext(sc, 2)
    kvs = KafkaUtils.createDirectStream(
        ssc, [topic], {"metadata.broker.list": brokers, "auto.offset.reset": "smallest"})
    kvs.transform(store_offset_ranges).foreachRDD(print_offset_ranges)
    lines = kvs.map(lambda x: x[1])
    counts = lines.flatMap(lambda line: line.split(" ")) \
        .map(lambda word: (word, 1)) \
        .reduceByKey(lambda a, b: a + b)
    counts.pprint()
    ssc.start()
    ssc.awaitTermination()
