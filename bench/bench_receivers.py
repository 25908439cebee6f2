"""15. Parallel receiving: --receivers N socket streams and their union, lines counted, 1 s batches.

Each stream has a generator of its own. --rate 0 (default) sends as fast as it is read; --rate R throttles each
connection: what limits a receiver from outside. Compare runs with --receivers 1 and 2.
"""

import json
import subprocess
import sys
import time

from common import HERE, Api, Batches, Tree, contexts, emit, parser, stop, summary


def main():
    p = parser(__doc__, batch=1.0, seconds=20, warm=5)
    p.add_argument("--receivers", type=int, default=2)
    p.add_argument("--rate", type=float, default=0, help="lines/s of each connection")
    args = p.parse_args()
    command = [
        sys.executable,
        f"{HERE}/sockgen.py",
        "--rate",
        str(args.rate),
        "--seconds",
        str(args.seconds + args.warm),
    ]
    gens = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(args.receivers)]
    ports = [int(gen.stdout.readline()) for gen in gens]
    api = Api(args.package)
    sc, ssc = contexts(api, args)
    tree, batches = Tree(exclude=[gen.pid for gen in gens]), Batches(api, ssc)
    streams = [ssc.socketTextStream("127.0.0.1", port) for port in ports]
    ssc.union(*streams).foreachRDD(lambda rdd: rdd.count())
    ssc.start()
    begin = time.time()
    time.sleep(args.warm)
    tree.mark()
    sent = [json.loads(gen.stdout.readline()) for gen in gens]  # blocks until the generators are done
    end = time.time()
    mem = tree.result()
    time.sleep(0.2)
    s = summary(batches.after(begin + args.warm), args.batch, end - begin - args.warm)
    emit(
        "receivers",
        args,
        api,
        receivers=args.receivers,
        sent_per_s=sum(row["sent_per_s"] for row in sent),
        processed_per_wall_s=round(s.get("records", 0) / (end - begin - args.warm)),
        **s,
        mem=mem,
    )
    for gen in gens:
        gen.kill()
    stop(ssc)


main()
