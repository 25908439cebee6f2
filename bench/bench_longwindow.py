"""A count over a window of --window seconds that slides with every batch of --batch: 6000 batches by default.

Headwater only: the batches follow a manual clock, each as soon as the one before is done, so that a window of ten
minutes is full after less. Batch times are taken once it is.
"""

import json
import queue
import tempfile
import time

import common
from common import Tree, dist, parser, remove


def main():
    p = parser(__doc__, batch=0.1, seconds=60, warm=0)
    p.add_argument("--window", type=float, default=600)
    p.add_argument("--op", choices=["count", "countByWindow", "reduceByKeyAndWindow"], default="countByWindow")
    p.add_argument("--records", type=int, default=100, help="a batch")
    args = p.parse_args()
    from headwater import SparkConf, SparkContext
    from headwater.clock import ManualClock
    from headwater.streaming import StreamingContext

    conf = SparkConf().setMaster(args.master).setAppName("longwindow")
    sc = SparkContext(conf=conf)
    clock = ManualClock(1_000_000_000_000)
    ssc = StreamingContext(sc, args.batch, clock=clock)
    directory = tempfile.mkdtemp()
    ssc.checkpoint(directory)
    records = ssc.queueStream([], default=[("k%d" % (i % 100), 1) for i in range(args.records)])
    if args.op == "count":
        windows = records.window(args.window, args.batch).count()
    elif args.op == "countByWindow":
        windows = records.countByWindow(args.window, args.batch)
    else:
        windows = records.reduceByKeyAndWindow(lambda a, b: a + b, lambda a, b: a - b, args.window, args.batch)
    done = common.done = queue.SimpleQueue()  # the checkpoint pickles what a function closes over
    windows.foreachRDD(lambda rdd: common.done.put(rdd.collect()))
    ssc.start()
    tree = Tree()
    tree.mark()
    n, times = round(args.window / args.batch), []
    last = None
    for i in range(n + 500):
        start = time.perf_counter()
        clock.advance(round(args.batch * 1000))
        last = done.get(timeout=60)
        if i >= n:
            times.append((time.perf_counter() - start) * 1000)
    print(
        json.dumps(
            {
                "bench": "longwindow",
                "op": args.op,
                "batches": n,
                "batch_ms": dist(times),
                "last": last[:1],
                "mem": tree.result(),
            }
        )
    )
    ssc.stop()
    remove(directory)


main()
