"""A program in classes, with globals, defaults and closures that workers must find."""
import sys
from collections import Counter
from functools import partial, reduce

from pyspark import SparkContext
from pyspark.streaming import StreamingContext

STOP_WORDS = {"the", "and", "a"}


class Tokenizer(object):
    def __init__(self, lower=True):
        self.lower = lower

    def __call__(self, line):
        return [w for w in (line.lower() if self.lower else line).split() if w not in STOP_WORDS]


class Job(object):
    minimum = 2

    def __init__(self, sc):
        self.ssc = StreamingContext(sc, 1)
        self.totals = Counter()

    def on_batch(self, name, rdd):
        self.totals.update(dict(rdd.collect()))
        frequent = sorted(word for word, n in self.totals.items() if n >= self.minimum)
        print("%s: %s" % (name, " ".join(frequent)))

    def run(self, host, port):
        tokenize = Tokenizer()
        words = self.ssc.socketTextStream(host, port).flatMap(tokenize)
        longest = words.reduce(lambda a, b: a if len(a) >= len(b) else b)
        longest.map(lambda word: "longest: " + word).pprint()
        counts = words.map(lambda word: (word, [1])).reduceByKey(lambda a, b: a + b)
        counts.mapValues(partial(reduce, lambda a, b: a + b)).foreachRDD(partial(self.on_batch, "frequent"))
        self.ssc.start()
        self.ssc.awaitTermination()


if __name__ == "__main__":
    Job(SparkContext("local[2]", "Classes")).run(sys.argv[1], int(sys.argv[2]))
