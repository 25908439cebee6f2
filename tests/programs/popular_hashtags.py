"""The five most popular hashtags of the last ten seconds, every two seconds."""
import json
import sys
import tempfile

from pyspark import SparkConf, SparkContext
from pyspark.streaming import StreamingContext

conf = SparkConf().setMaster("local[*]").setAppName("PopularHashtags")
sc = SparkContext(conf=conf)
sc.setLogLevel("ERROR")
ssc = StreamingContext(sc, 1)
ssc.checkpoint(tempfile.mkdtemp())


def hashtags(line):
    text = json.loads(line).get("text", "")
    return [word.lower() for word in text.split() if word.startswith("#")]


def show(time, rdd):
    print("==== %s ====" % str(time))
    for tag, count in rdd.take(5):
        print("%s: %d" % (tag, count))


tags = ssc.socketTextStream(sys.argv[1], int(sys.argv[2])).flatMap(hashtags)
tags.map(lambda tag: (tag, 1)) \
    .reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, 10, 2, filterFunc=lambda pair: pair[1] > 0) \
    .transform(lambda rdd: rdd.sortBy(lambda pair: (-pair[1], pair[0]))) \
    .foreachRDD(show)

ssc.start()
ssc.awaitTermination()
