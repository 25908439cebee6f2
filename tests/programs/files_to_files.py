"""Error lines of the log files that appear in a directory, written to a directory a batch."""
import sys

from pyspark import SparkContext
from pyspark.streaming import StreamingContext


def main(incoming, outgoing):
    sc = SparkContext(appName="LogFilter")
    ssc = StreamingContext(sc, 1)
    errors = ssc.textFileStream(incoming).filter(lambda line: "ERROR" in line)
    errors.saveAsTextFiles(outgoing, "txt")
    errors.count().map(lambda n: "errors in this batch: %d" % n).pprint()
    ssc.start()
    ssc.awaitTermination()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
