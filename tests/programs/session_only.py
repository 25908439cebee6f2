"""Begins with a SparkSession, as programs do since Spark 2, and goes on with RDDs."""
from pyspark.sql import SparkSession

spark = SparkSession.builder \
    .appName("SessionOnly") \
    .master("local[2]") \
    .config("spark.default.parallelism", "3") \
    .getOrCreate()
sc = spark.sparkContext
words = sc.parallelize(["spring", "stream", "river", "stream"])
print(sorted(words.countByValue().items()))
print(sc.appName, sc.defaultParallelism)
spark.stop()
