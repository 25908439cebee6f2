"""Clicks per page from a Kafka topic, by a receiver that belongs to a consumer group.

Usage: kafka_receiver.py <zk> <topic>
"""
import json
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext
from pyspark.streaming.kafka import KafkaUtils

sc = SparkContext("local[4]", "Clicks")
ssc = StreamingContext(sc, 1)
zk, topic = sys.argv[1:]
stream = KafkaUtils.createStream(ssc, zk, "clicks-consumer", {topic: 1}, {"auto.offset.reset": "smallest"})
parsed = stream.map(lambda message: json.loads(message[1]))
parsed.map(lambda click: click["page"]).countByValue().pprint()
parsed.count().map(lambda x: "Clicks in this batch: %s" % x).pprint()
ssc.start()
ssc.awaitTermination()
