"""File stream over a directory of many old files: what a batch's look at it costs.

The directory holds --files old files before the stream is made; --new files are renamed into it
each batch.  `lag` is the time from a batch's nominal time to its end: the listing, and a job that
counts the new files' lines.  With --files 0 it is the job alone.  `complete` says whether the
records of the new files were all seen, each once.
"""

import os
import threading
import time

from common import Api, Batches, Tree, contexts, emit, parser, remove, scratch, stop, summary

OLD = time.time() - 7 * 24 * 3600


def create(directory, names, mtime=None):
    for name in names:
        path = os.path.join(directory, name)
        with open(path, "w") as f:
            f.write(f"{name}\n")
        if mtime is not None:
            os.utime(path, (mtime, mtime))


def main():
    p = parser(__doc__, batch=1.0, seconds=20, warm=10)
    p.add_argument("--files", type=int, default=100_000, help="old files")
    p.add_argument("--new", type=int, default=10, help="new files a batch")
    args = p.parse_args()
    base = scratch()
    inbox, outside = os.path.join(base, "inbox"), os.path.join(base, "outside")
    os.mkdir(inbox)
    os.mkdir(outside)
    create(inbox, (f"old-{i:07d}.txt" for i in range(args.files)), OLD)
    api = Api(args.package)
    sc, ssc = contexts(api, args)
    tree, batches, seen = Tree(), Batches(api, ssc), []
    ssc.textFileStream(inbox).foreachRDD(lambda rdd: seen.extend(rdd.collect()))
    over, written = threading.Event(), []

    def feed():
        number = 0
        while not over.wait(args.batch):
            names = [f"new-{number + i:07d}.txt" for i in range(args.new)]
            number += args.new
            create(outside, names)
            for name in names:
                os.rename(os.path.join(outside, name), os.path.join(inbox, name))
            written.extend(names)

    feeder = threading.Thread(target=feed, daemon=True)
    ssc.start()
    feeder.start()
    start = time.time() + args.warm
    time.sleep(args.warm)
    tree.mark()
    time.sleep(args.seconds)
    mem = tree.result()
    rows = batches.after(start)
    over.set()
    feeder.join()
    end = time.time() + 10 * args.batch
    while len(seen) < len(written) and time.time() < end:
        time.sleep(0.05)
    emit(
        "listing",
        args,
        api,
        complete=sorted(seen) == sorted(written),
        new_files=len(written),
        **summary(rows, args.batch, args.seconds),
        mem=mem,
    )
    remove(base)
    stop(ssc)


main()
