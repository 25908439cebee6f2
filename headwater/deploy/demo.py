"""`headwater demo`: the network word count against a text server on this machine."""

from __future__ import annotations

from headwater.deploy.textserver import TextServer

BATCH_S = 1

WHAT_NEXT = """
What to try next:
  - get the example programs:      headwater examples examples
  - the same from your own text:   nc -lk 9999
                                   python examples/network_wordcount.py localhost 9999
  - batch programs:                python examples/wordcount.py
                                   python examples/pi.py
  - more workers, more lines:      headwater demo --master 'local[4]' --rate 10000
  - what programs can do:          docs/getting-started.md
  - every setting:                 docs/reference/configuration.md
"""


def run(*, seconds: float | None, lines_per_s: float, master: str) -> int:
    """Count words until the time is up or Ctrl-C comes; returns the exit code, 0 in both cases.

    Args:
        seconds: how long; None is until Ctrl-C.
        lines_per_s: what the text server sends.
        master: where tasks run, as in `SparkConf.setMaster`.

    Raises:
        IllegalArgumentException: the master is unknown.
    """
    from headwater import SparkConf, SparkContext
    from headwater.streaming import StreamingContext

    conf = SparkConf().setMaster(master).setAppName("headwater demo")
    with TextServer(lines_per_s=lines_per_s) as server, SparkContext(conf=conf) as sc:
        ssc = StreamingContext(sc, BATCH_S)
        lines = ssc.socketTextStream(server.host, server.port)
        counts = lines.flatMap(lambda line: line.split()).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b)
        counts.pprint()
        try:
            print(f"Counting the words of {server.host}:{server.port}, {lines_per_s:g} lines a second, on {master}.")
            end = "Ctrl-C ends it." if seconds is None else f"It ends after {seconds:g} s, or on Ctrl-C."
            print(end + "\n", flush=True)
            ssc.start()
            ssc.awaitTermination(seconds)
        except KeyboardInterrupt:
            print()
        finally:
            ssc.stop(stopSparkContext=False)
    print(WHAT_NEXT, flush=True)
    return 0
