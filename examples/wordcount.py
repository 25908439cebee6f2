"""Count the words of text files.

    python examples/wordcount.py [PATH]

PATH is a file, a directory or a glob; by default this very file. The ten most frequent words are printed.
"""

import sys

from headwater import SparkConf, SparkContext


def main() -> None:
    path = sys.argv[1] if len(sys.argv) > 1 else __file__
    with SparkContext(conf=SparkConf().setAppName("word count")) as sc:
        counts = (
            sc.textFile(path)
            .flatMap(lambda line: line.split())
            .map(lambda word: (word, 1))
            .reduceByKey(lambda a, b: a + b)
        )
        for word, count in counts.takeOrdered(10, key=lambda pair: (-pair[1], pair[0])):
            print(f"{word}: {count}")


if __name__ == "__main__":
    main()
