"""13. Back-pressure: a receiver that is offered --times what the output can process, back-pressure on.

The output takes 1/--capacity seconds a record, so the best sustainable rate is --capacity. The figures are of the last
third of the run: "once settled". Also how long a graceful stop takes beyond what waits, and one with nothing to do.
"""

import threading
import time

from common import Api, Batches, contexts, emit, parser, pct

from headwater.streaming import Receiver


class Offered(Receiver):
    """Stores records at a fixed rate, or as fast as it may if that is slower."""

    def __init__(self, rate):
        super().__init__()
        self.rate = rate

    def onStart(self):
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        due = time.monotonic()
        try:
            while not self.isStopped():
                for _ in range(max(1, self.rate // 100)):
                    self.store(0)
                due = max(due + max(1, self.rate // 100) / self.rate, time.monotonic() - 0.1)
                time.sleep(max(0.0, due - time.monotonic()))
        except Exception:
            if not self.isStopped():
                raise


def run(api, args, rate, seconds, **conf):
    """Batches of one run, and how many seconds its graceful stop took."""
    sc, ssc = contexts(api, args, **conf)
    batches = Batches(api, ssc)

    def slowly(rdd):
        time.sleep(rdd.count() / args.capacity)

    ssc.receiverStream(Offered(rate)).foreachRDD(slowly)
    ssc.start()
    time.sleep(seconds)
    rows, begin = list(batches.rows), time.time()
    ssc.stop(True, True)
    return rows, time.time() - begin


def main():
    p = parser(__doc__, batch=1.0, seconds=40, warm=0)
    p.add_argument("--capacity", type=int, default=5000, help="records the output processes a second")
    p.add_argument("--times", type=float, default=3.0, help="input over capacity")
    p.set_defaults(package="headwater")
    args = p.parse_args()
    api = Api(args.package)
    offered = int(args.times * args.capacity)
    on = {"spark__streaming__backpressure__enabled": "true"}
    rows, stop_s = run(api, args, offered, args.seconds, **on)
    settled = rows[-len(rows) // 3 :]
    lag = [end - at for at, _, _, end, _ in settled]
    rate = sum(r[4] for r in settled) / (len(settled) * args.batch)
    _, idle_stop_s = run(api, args, 1, 3 * args.batch, **on)
    emit(
        "backpressure",
        args,
        api,
        offered_per_s=offered,
        batches=len(rows),
        settled_batches=len(settled),
        settled_rate_per_s=round(rate),
        rate_over_capacity=round(rate / args.capacity, 3),
        lag_p50_ms=pct(lag, 50),
        lag_max_ms=max(lag),
        lag_max_intervals=round(max(lag) / 1000 / args.batch, 2),
        graceful_stop_s=round(stop_s, 2),
        graceful_stop_idle_s=round(idle_stop_s, 2),
    )


main()
