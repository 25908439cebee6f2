"""Estimate pi by throwing darts at a square.

    python examples/pi.py [PARTITIONS]

Each partition throws 100,000 darts; 2 partitions by default.
"""

import random
import sys
from collections.abc import Iterator

from headwater import SparkConf, SparkContext

DARTS = 100_000


def hits(partition: int, _: Iterator[int]) -> Iterator[int]:
    """How many of a partition's darts hit the circle."""
    rng = random.Random(partition)
    yield sum(rng.random() ** 2 + rng.random() ** 2 < 1 for _ in range(DARTS))


def main() -> None:
    partitions = int(sys.argv[1]) if len(sys.argv) > 1 else 2
    with SparkContext(conf=SparkConf().setAppName("pi")) as sc:
        inside = sc.parallelize(range(partitions), partitions).mapPartitionsWithIndex(hits).sum()
    print(f"Pi is roughly {4 * inside / (partitions * DARTS):.4f}")


if __name__ == "__main__":
    main()
