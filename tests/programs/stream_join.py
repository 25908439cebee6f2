"""Joins impressions and clicks of two sockets by advert, within a window."""
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

sc = SparkContext("local[4]", "Adverts")
ssc = StreamingContext(sc, 1)
host, impressions_port, clicks_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


def by_advert(line):
    advert, rest = line.split(" ", 1)
    return advert, rest


impressions = ssc.socketTextStream(host, impressions_port).map(by_advert).window(20)
clicks = ssc.socketTextStream(host, clicks_port).map(by_advert).window(20)
impressions.join(clicks).map(lambda pair: "%s: %s clicked by %s" % (pair[0], pair[1][0], pair[1][1])).pprint()
impressions.cogroup(clicks).mapValues(lambda sides: tuple(len(list(side)) for side in sides)).pprint()
ssc.start()
ssc.awaitTermination()
