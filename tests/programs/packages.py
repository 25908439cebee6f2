"""What programs put before their imports when they are started by python and not by spark-submit."""
import os

os.environ["PYSPARK_SUBMIT_ARGS"] = \
    "--master local[2] --packages org.apache.spark:spark-streaming-kafka-0-8_2.11:2.4.8 pyspark-shell"
os.environ.setdefault("SPARK_HOME", "/opt/spark")

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

sc = SparkContext(appName="Packages")
ssc = StreamingContext(sc, 1)
seen = []
ssc.queueStream([["a"], ["b"]]).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
ssc.start()
while len(seen) < 2:
    ssc.awaitTerminationOrTimeout(0.2)
print(sc.master, seen)
ssc.stop()
