"""3. Text-file throughput: word count over files moved atomically into a textFileStream.

Moves --per-batch files at a time, waits for their batch, --rounds times after
one warm-up round.  words_per_s = words / processing time of those batches.
"""

import os
import shutil
import tempfile
import time

import gen
from common import Api, Batches, Tree, contexts, emit, parser, remove, scratch, stop


def main():
    p = parser(__doc__, batch=1.0)
    p.add_argument(
        "--data", default=os.path.join(tempfile.gettempdir(), "bench-data"), help="generated files are kept here"
    )
    p.add_argument("--mb", type=float, default=50)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--per-batch", type=int, default=1)
    args = p.parse_args()
    files = gen.files(args.data, 4, args.mb)
    api = Api(args.package)
    # staging and watched directory on the same file system: rename is atomic
    root = scratch()
    stage, watched = os.path.join(root, "stage"), os.path.join(root, "in")
    os.mkdir(stage), os.mkdir(watched)

    sc, ssc = contexts(api, args)
    tree, batches, done = Tree(), Batches(api, ssc), []
    counts = (
        ssc.textFileStream(watched)
        .flatMap(lambda l: l.split(" "))
        .map(lambda w: (w, 1))
        .reduceByKey(lambda a, b: a + b)
    )

    def out(t, rdd):
        n = rdd.count()
        if n:
            done.append((t.timestamp() * 1000, n, time.time()))

    counts.foreachRDD(out)
    ssc.start()
    time.sleep(2)
    rounds = []
    for r in range(args.rounds + 1):
        if r == 1:
            tree.mark()
        words = 0
        for k in range(args.per_batch):
            i = r * args.per_batch + k
            path, _, w = files[i % len(files)]
            tmp = os.path.join(stage, f"{i}.txt")
            shutil.copy(path, tmp)
            os.utime(tmp)
            words += w
            os.rename(tmp, os.path.join(watched, f"{i}.txt"))
        moved, before = time.time(), len(done)
        while len(done) == before and time.time() < moved + 80:
            time.sleep(0.02)
        t, distinct, at = done[-1]
        time.sleep(0.3)  # let the listener event arrive
        proc = next(x[2] for x in batches.rows if x[0] == t)
        rounds.append(
            {
                "words": words,
                "distinct": distinct,
                "proc_ms": proc,
                "moved_to_output_s": round(at - moved, 2),
                "words_per_s": round(words / proc * 1000),
            }
        )
        time.sleep(1)
    mem = tree.result()
    rates = sorted(r["words_per_s"] for r in rounds[1:])
    emit("text", args, api, words_per_s=rates[len(rates) // 2], rounds=rounds, mem=mem)
    remove(root)
    stop(ssc)


main()
