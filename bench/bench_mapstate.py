"""mapWithState: a running count of --keys keys, of which --updates have data in a batch.

PySpark has no mapWithState in Python: compare with `bench_state.py --op update` on PySpark, and the batch time with
that of ten times fewer keys: a batch should cost what it touches, not what there is.
"""

import random
import time

from common import Api, Batches, Tree, contexts, emit, parser, remove, scratch, stop, summary


def main():
    p = parser(__doc__, batch=1.0, seconds=30, warm=10)
    p.add_argument("--keys", type=int, default=1_000_000)
    p.add_argument("--updates", type=int, default=10_000)
    p.add_argument("--timeout", type=float, default=0, help="seconds; 0: none")
    args = p.parse_args()
    api = Api(args.package)
    from headwater.streaming import StateSpec

    sc, ssc = contexts(api, args)
    ckpt = scratch()
    ssc.checkpoint(ckpt)
    tree, batches, outs = Tree(), Batches(api, ssc), []

    def running(key, value, state):
        count = (state.getOption() or 0) + value
        state.update(count)
        return key, count

    rng, keys = random.Random(3), args.keys
    pool = [sc.parallelize([("w%07d" % rng.randrange(keys), 1) for _ in range(args.updates)]) for _ in range(8)]
    n = int((args.seconds + args.warm) / args.batch) + 10
    spec = StateSpec.function(running).initialState(sc.parallelize(range(keys)).map(lambda i: ("w%07d" % i, 0)))
    if args.timeout:
        spec.timeout(args.timeout)
    mapped = ssc.queueStream([pool[i % 8] for i in range(n)]).mapWithState(spec)
    mapped.foreachRDD(lambda t, rdd: outs.append(rdd.count()))
    ssc.start()
    start = time.time() + args.warm
    time.sleep(args.warm)
    tree.mark()
    time.sleep(args.seconds)
    mem = tree.result()
    rows = list(batches.rows)
    meas = batches.after(start) or rows[2:]
    emit(
        "mapstate",
        args,
        api,
        **summary(meas, args.batch, args.seconds),
        counted=outs[-1],
        all_proc_ms=[r[2] for r in rows],
        mem=mem,
    )
    remove(ckpt)
    stop(ssc)


main()
