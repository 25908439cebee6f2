"""7. Recovery: kill -9 a checkpointed stateful application, restart it with getOrCreate.

Times from the restart of the process to getOrCreate's return, to the first
completed batch, and until the batches missed meanwhile are caught up.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time

from common import Api, Batches, emit, parser, remove, scratch, spark_context


def app(args):
    """The application: running word count of a text directory; reports each batch."""
    api = Api(args.package)
    root, n = args.app, args.keys

    def setup():
        sc = spark_context(api, args)
        ssc = api.StreamingContext(sc, args.batch)
        initial = sc.parallelize(range(n)).map(lambda i: ("w%07d" % i, 0))
        counts = (
            ssc.textFileStream(root + "/in")
            .flatMap(lambda l: l.split(" "))
            .map(lambda w: (w, 1))
            .updateStateByKey(lambda new, old: (old or 0) + sum(new), initialRDD=initial)
        )

        def out(t, rdd):
            total = rdd.values().sum()
            print(json.dumps(["out", t.timestamp(), time.time(), total]), flush=True)

        counts.foreachRDD(out)
        return ssc

    ssc = api.StreamingContext.getOrCreate(root + "/ckpt", setup)
    ssc.sparkContext.setLogLevel("ERROR")
    print(json.dumps(["created", time.time()]), flush=True)
    batches = Batches(api, ssc)
    ssc.start()
    shown = 0
    while True:
        for r in batches.rows[shown:]:
            print(json.dumps(["batch", r[0] / 1000, r[3] / 1000, r[2]]), flush=True)
            shown += 1
        time.sleep(0.005)


def run(args, root, seconds, until_caught_up=False):
    """Run the application for `seconds`, kill -9 its process group, return its messages."""
    born, msgs = time.time(), []
    cmd = [
        sys.executable,
        __file__,
        "--package",
        args.package,
        "--master",
        args.master,
        "--batch",
        str(args.batch),
        "--keys",
        str(args.keys),
        "--app",
        root,
    ]
    for c in args.conf:
        cmd += ["--conf", c]
    p = subprocess.Popen(cmd, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def read():
        for line in p.stdout:
            if line.startswith("[") and line.endswith("]\n"):
                msgs.append(json.loads(line))

    threading.Thread(target=read, daemon=True).start()
    fed, caught = 0, None
    while time.time() < born + seconds and caught is None and p.poll() is None:
        if not until_caught_up and time.time() - born > 6 + fed:  # one file a second
            with open(f"{root}/tmp", "w") as f:
                f.write("".join("w%07d w%07d\n" % (i, i + 1) for i in range(1000)))
            os.rename(f"{root}/tmp", f"{root}/in/{fed}.txt")
            fed += 1
        if until_caught_up:
            caught = next((m for m in list(msgs) if m[0] == "batch" and m[2] - m[1] < 2 * args.batch), None)
        time.sleep(0.005)
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    time.sleep(0.1)
    return born, list(msgs), fed, caught


def main():
    p = parser(__doc__, batch=1.0, seconds=25)
    p.add_argument("--keys", type=int, default=100_000)
    p.add_argument("--down", type=float, default=3, help="seconds between kill and restart")
    p.add_argument("--app", default="", help=argparse_suppress())
    args = p.parse_args()
    if args.app:
        return app(args)
    root = scratch()
    os.mkdir(root + "/in")
    _, first, fed, _ = run(args, root, args.seconds)
    time.sleep(args.down)
    born, again, _, caught = run(args, root, 45, until_caught_up=True)
    api = Api(args.package)
    out1 = [m for m in first if m[0] == "out"]
    out2 = [m for m in again if m[0] == "out"]
    bat2 = [m for m in again if m[0] == "batch"]
    total = {m[1]: m[3] for m in out1}
    emit(
        "recovery",
        args,
        api,
        created_s=round(again[0][1] - born, 2) if again else None,
        first_output_s=round(out2[0][2] - born, 2) if out2 else None,
        first_batch_s=round(bat2[0][2] - born, 2) if bat2 else None,
        caught_up_s=round(caught[2] - born, 2) if caught else None,
        recovered_batches=[[round(m[2] - born, 2), m[3]] for m in bat2],
        # outputs produced both before the kill and again after it (at-least-once)
        outputs_repeated=len({m[1] for m in out2} & set(total)),
        repeated_equal=all(total[m[1]] == m[3] for m in out2 if m[1] in total),
        total_before=out1[-1][3] if out1 else None,
        total_after=out2[-1][3] if out2 else None,
        total_expected=fed * 2000,
    )
    remove(root)


def argparse_suppress():
    import argparse

    return argparse.SUPPRESS


main()
