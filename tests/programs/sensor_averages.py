"""Average temperature of each sensor over the last six seconds, every two."""
import sys
from operator import add

from pyspark import SparkContext, StorageLevel
from pyspark.streaming import StreamingContext

sc = SparkContext("local[3]", "Sensors")
ssc = StreamingContext(sc, 2)
readings = ssc.socketTextStream(sys.argv[1], int(sys.argv[2]), StorageLevel.MEMORY_ONLY) \
    .map(lambda line: line.split()) \
    .filter(lambda fields: len(fields) == 2) \
    .map(lambda fields: (fields[0], float(fields[1])))
readings.persist(StorageLevel.MEMORY_AND_DISK)
averages = readings.window(6, 2).combineByKey(
    lambda value: (value, 1),
    lambda total, value: (total[0] + value, total[1] + 1),
    lambda a, b: (a[0] + b[0], a[1] + b[1]),
).mapValues(lambda total: round(total[0] / total[1], 2))
averages.pprint()
readings.map(lambda pair: pair[1]).reduceByWindow(add, None, 6, 2).pprint()
ssc.start()
ssc.awaitTermination()
