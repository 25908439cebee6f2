"""Rank pages by the links between them.

    python examples/pagerank.py [PATH [ITERATIONS]]

Each line of the file is a link: the page it is on, white space, the page it leads to. Without a file a small web of
four pages is ranked, in 10 iterations.
"""

import sys
from collections.abc import Iterable, Iterator

from headwater import SparkConf, SparkContext

LINKS = ["home news", "home shop", "news home", "shop home", "shop news", "help home"]
DAMPING = 0.85


def link(line: str) -> tuple[str, str]:
    page, target = line.split()[:2]
    return page, target


def contributions(page: str, targets: Iterable[str], rank: float) -> Iterator[tuple[str, float]]:
    """A page's rank, shared out to the pages that it links to."""
    yield page, 0.0  # so that a page to which none links is ranked too
    shared = list(targets)
    for target in shared:
        yield target, rank / len(shared)


def main() -> None:
    iterations = int(sys.argv[2]) if len(sys.argv) > 2 else 10
    with SparkContext(conf=SparkConf().setAppName("page rank")) as sc:
        lines = sc.textFile(sys.argv[1]) if len(sys.argv) > 1 else sc.parallelize(LINKS)
        links = lines.map(link).distinct().groupByKey().cache()
        ranks = links.mapValues(lambda targets: 1.0)
        for _ in range(iterations):
            sent = links.join(ranks).flatMap(lambda row: contributions(row[0], *row[1]))
            ranks = sent.reduceByKey(lambda a, b: a + b).mapValues(lambda rank: (1 - DAMPING) + DAMPING * rank)
        for page, rank in ranks.sortBy(lambda row: row[1], ascending=False).collect():
            print(f"{page} {rank:.3f}")


if __name__ == "__main__":
    main()
