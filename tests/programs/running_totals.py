"""Purchases per customer since the program began: updateStateByKey with initial values."""
import sys
import tempfile

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def add_purchases(new_values, running_total):
    return sum(new_values) + (running_total or 0)


if __name__ == "__main__":
    host, port = sys.argv[1:]
    sc = SparkContext("local[2]", "RunningTotals")
    ssc = StreamingContext(sc, 1)
    ssc.checkpoint(tempfile.mkdtemp())

    balances = sc.parallelize([("ann", 100), ("bob", 5)])
    purchases = ssc.socketTextStream(host, int(port)).map(lambda line: line.split(","))
    totals = purchases.map(lambda fields: (fields[0], int(fields[1]))) \
                      .updateStateByKey(add_purchases, initialRDD=balances)
    totals.pprint()
    ssc.start()
    ssc.awaitTermination()
