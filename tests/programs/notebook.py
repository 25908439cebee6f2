# Cell 1
import pyspark
from pyspark import SparkConf, SparkContext
from pyspark.streaming import StreamingContext
# Cell 2
sc = SparkContext.getOrCreate()
sc
# Cell 3: run again, as one does
sc = SparkContext.getOrCreate(SparkConf())
numbers = sc.parallelize(range(100))
numbers.map(lambda x: x ** 2).take(3)
# Cell 4
ssc = StreamingContext(sc, 1)
batches = []
ssc.queueStream([[1, 2], [3]]).foreachRDD(lambda rdd: batches.append(rdd.sum()))
ssc.start()
# Cell 5
ssc.awaitTerminationOrTimeout(5)
ssc.stop(stopSparkContext=False)
# Cell 6: a stopped context is replaced by another
ssc = StreamingContext(sc, 1)
print(batches[:2], pyspark.__name__ in repr(type(sc)))
sc.stop()
