"""Sort the numbers of a text file, or some that are made up.

    python examples/sort.py [PATH]

The file holds integers separated by white space. They are printed in order, ten at most.
"""

import random
import sys

from headwater import SparkConf, SparkContext


def main() -> None:
    with SparkContext(conf=SparkConf().setAppName("sort")) as sc:
        if len(sys.argv) > 1:
            numbers = sc.textFile(sys.argv[1]).flatMap(lambda line: line.split()).map(int)
        else:
            numbers = sc.parallelize(random.Random(7).sample(range(1000), 100))
        ordered = numbers.map(lambda number: (number, 1)).sortByKey().keys()
        for number in ordered.take(10):
            print(number)


if __name__ == "__main__":
    main()
