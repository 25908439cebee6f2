"""10. Flood: a socket that sends as fast as it is read, for --seconds; no line may get lost.

Each line is split by a user function, which is slower than receiving: input outruns the
processing, and the package must bound its memory.  When the sender has ended, waits until
all lines are counted, or until for --patience seconds no more were.
"""

import json
import subprocess
import sys
import time

from common import HERE, Api, Batches, Tree, contexts, emit, parser, stop, summary


def main():
    p = parser(__doc__, batch=1.0, seconds=60, warm=0)
    p.add_argument("--patience", type=float, default=20, help="s without progress that end the wait")
    args = p.parse_args()
    gen = subprocess.Popen(
        [sys.executable, f"{HERE}/sockgen.py", "--rate", "0", "--seconds", str(args.seconds)],
        stdout=subprocess.PIPE,
        text=True,
    )
    port = int(gen.stdout.readline())
    api = Api(args.package)
    sc, ssc = contexts(api, args)
    tree, batches = Tree(exclude=[gen.pid]), Batches(api, ssc)
    seen = {"lines": 0, "words": 0, "at": time.time()}

    def out(rdd):
        for words, lines in rdd.collect():
            seen["words"] += words
            seen["lines"] += lines
            seen["at"] = time.time()

    ssc.socketTextStream("127.0.0.1", port).map(lambda l: (len(l.split(" ")), 1)).reduce(
        lambda a, b: (a[0] + b[0], a[1] + b[1])
    ).foreachRDD(out)
    ssc.start()
    begin = time.time()
    sent = json.loads(gen.stdout.readline())  # blocks until the sender is done
    sent_at = time.time()
    at_end = seen["lines"]
    while seen["lines"] < sent["sent"] and time.time() < max(seen["at"], sent_at) + args.patience:
        time.sleep(0.1)
    end = seen["at"]
    mem = tree.result()
    emit(
        "flood",
        args,
        api,
        sent=sent["sent"],
        counted=seen["lines"],
        lost=sent["sent"] - seen["lines"],
        words=seen["words"],
        sent_per_s=sent["sent_per_s"],
        counted_per_s=round(seen["lines"] / (end - begin)) if end > begin else 0,
        # what was received, but not yet counted, when the sender ended
        behind=sent["sent"] - at_end,
        drain_s=round(max(0, end - sent_at), 1),
        **summary(list(batches.rows), args.batch, end - begin if end > begin else 1),
        mem=mem,
    )
    gen.kill()
    stop(ssc)


main()
