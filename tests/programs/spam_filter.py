"""Joins a stream with data that stands still: messages of known senders of spam are left out."""
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

sc = SparkContext("local[2]", "SpamFilter")
ssc = StreamingContext(sc, 1)
spammers = sc.parallelize([("mallory", True), ("trudy", True)]).cache()

messages = ssc.socketTextStream(sys.argv[1], int(sys.argv[2])) \
    .map(lambda line: tuple(line.split(": ", 1)))
clean = messages.transform(
    lambda rdd: rdd.leftOuterJoin(spammers)
                   .filter(lambda pair: not pair[1][1])
                   .map(lambda pair: (pair[0], pair[1][0])))
clean.pprint(100)
ssc.start()
ssc.awaitTermination()
