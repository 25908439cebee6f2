"""An application without a name and a master: what a first try looks like."""
from random import random

from pyspark import SparkContext

sc = SparkContext()


def inside(_):
    x, y = random(), random()
    return x * x + y * y < 1


n = 20000
count = sc.parallelize(range(n)).filter(inside).count()
print("Pi is about %.1f" % (4.0 * count / n))
print("called", sc.appName)
sc.stop()
