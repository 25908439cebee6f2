"""8. Sort of --records (str, int) pairs within --memory of worker memory; spills, and is checked.

The pairs are made in the workers, so that the driver neither holds nor sends them.  The
result is checked where it lies: each partition in order, their bounds in order, and count
and checksum those of the input.
"""

import random
import time

from common import Api, Tree, emit, parser, spark_context


def make(seed, n):
    """n pairs, and nothing kept of them."""
    rng = random.Random(seed)
    bits = rng.getrandbits
    for i in range(n):
        yield "%08x" % bits(32), i


def check(index, pairs):
    """(partition, first key, last key, in order, count, checksum) of a sorted partition."""
    first = last = None
    ordered, n, total = True, 0, 0
    for k, v in pairs:
        if last is None:
            first = k
        elif k < last:
            ordered = False
        last = k
        n += 1
        total = (total + int(k, 16) * (v + 1)) & 0xFFFFFFFFFFFF
    yield index, first, last, ordered, n, total


def totals(rows):
    return sum(r[4] for r in rows), sum(r[5] for r in rows) & 0xFFFFFFFFFFFF


def main():
    p = parser(__doc__)
    p.add_argument("--records", type=int, default=10_000_000)
    p.add_argument("--partitions", type=int, default=2)
    p.add_argument("--memory", type=int, default=512, help="MB, of all workers together")
    p.add_argument("--workers", type=int, default=2, help="how many that are, for --memory")
    args = p.parse_args()
    api = Api(args.package)
    each = args.memory // args.workers
    sc = spark_context(api, args, spark__python__worker__memory=f"{each}m", spark__driver__memory="2g")
    n, parts = args.records // args.partitions, args.partitions
    pairs = sc.parallelize(range(parts), parts).mapPartitions(
        lambda seeds: (pair for seed in seeds for pair in make(seed, n))
    )
    want = totals(pairs.mapPartitionsWithIndex(check).collect())
    tree = Tree(0.1)
    begin = time.time()
    rows = sorted(pairs.sortByKey(numPartitions=parts).mapPartitionsWithIndex(check).collect())
    took = time.time() - begin
    full = [r for r in rows if r[4]]
    ordered = all(r[3] for r in full) and all(a[2] <= b[1] for a, b in zip(full, full[1:]))
    emit(
        "sort",
        args,
        api,
        seconds_taken=round(took, 2),
        sorted=ordered,
        complete=totals(rows) == want,
        count=totals(rows)[0],
        records_per_s=round(n * parts / took),
        partition_sizes=[r[4] for r in rows],
        mem=tree.result(),
    )
    sc.stop()


if __name__ == "__main__":
    main()
