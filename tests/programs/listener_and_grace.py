"""Watches its batches by a listener, and stops gracefully after some of them."""
from pyspark import SparkConf, SparkContext
from pyspark.streaming import StreamingContext, StreamingListener


class Watch(StreamingListener):
    def __init__(self):
        self.sizes = []

    def onBatchCompleted(self, batchCompleted):
        info = batchCompleted.batchInfo()
        self.sizes.append(info.numRecords())


conf = SparkConf().setAppName("Watch").setMaster("local[2]")
conf.set("spark.streaming.stopGracefullyOnShutdown", "true")
conf.set("spark.ui.showConsoleProgress", "false")
sc = SparkContext.getOrCreate(conf)
ssc = StreamingContext(sc, batchDuration=1)
watch = Watch()
ssc.addStreamingListener(watch)
stream = ssc.queueStream([sc.parallelize(range(n)) for n in (10, 20, 30)], oneAtATime=True)
stream.mapPartitions(lambda records: [sum(records)]).foreachRDD(lambda rdd: print("sum", rdd.sum()))
ssc.start()
while not ssc.awaitTerminationOrTimeout(0.5):
    if len(watch.sizes) >= 3:
        ssc.stop(stopSparkContext=True, stopGraceFully=True)
print("batches", len(watch.sizes) >= 3)
