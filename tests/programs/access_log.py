"""Status codes and the busiest pages of a web server's log, over a window, with an accumulator for bad lines."""
import re
import sys
import tempfile
from collections import namedtuple

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

PATTERN = re.compile(r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+) \S+" (\d{3}) (\d+|-)')
Access = namedtuple("Access", "host time method page status size")

sc = SparkContext("local[2]", "AccessLog")
ssc = StreamingContext(sc, 1)
ssc.checkpoint(tempfile.mkdtemp())
bad_lines = sc.accumulator(0)


def parse(line):
    match = PATTERN.match(line)
    if match is None:
        bad_lines.add(1)
        return []
    return [Access(*match.groups())]


accesses = ssc.socketTextStream(sys.argv[1], int(sys.argv[2])).flatMap(parse).cache()
accesses.map(lambda access: int(access.status)).countByValueAndWindow(30, 1).pprint()
accesses.countByWindow(30, 1).pprint()


def busiest(rdd):
    pages = rdd.map(lambda access: (access.page, 1)).reduceByKey(lambda a, b: a + b)
    top = pages.takeOrdered(1, key=lambda pair: -pair[1])
    if top:
        print("busiest: %s, bad lines: %d" % (top[0][0], bad_lines.value))


accesses.foreachRDD(busiest)
ssc.start()
ssc.awaitTermination()
