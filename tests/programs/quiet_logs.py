"""Turns Spark's logging down in the ways that answers on the web tell."""
from pyspark import SparkContext

sc = SparkContext("local", "Quiet")
sc.setLogLevel("WARN")
log4j = sc._jvm.org.apache.log4j
log4j.LogManager.getRootLogger().setLevel(log4j.Level.ERROR)
logger = sc._jvm.org.apache.log4j
logger.LogManager.getLogger("org").setLevel(logger.Level.OFF)
logger.LogManager.getLogger("akka").setLevel(logger.Level.OFF)
print(sc.parallelize([1, 2, 3, 4]).reduce(lambda a, b: a + b))
