"""Shared helpers of the streaming benchmarks.

Every bench_*.py takes --package NAME (default pyspark) and uses only NAME's
public API (SparkConf, SparkContext, NAME.streaming.StreamingContext,
StreamingListener), so the same script measures any package that mirrors
PySpark's layout.  Each script prints exactly one JSON line on stdout.
Only the standard library is used here (no psutil), Linux /proc required.
"""

import argparse
import importlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
import warnings

T0 = time.time()  # about when the interpreter was up

# Marks what this process starts.  A detached process has another parent by now (workers
# of a daemon that forked twice), but keeps the environment it was started with.
MARK = f"BENCH_TREE={os.getpid()}"
os.environ["BENCH_TREE"] = str(os.getpid())
HERE = os.path.dirname(os.path.abspath(__file__))
warnings.simplefilter("ignore", FutureWarning)  # "DStream is deprecated ..."


# ---------------------------------------------------------------- arguments
def parser(doc, batch=1.0, seconds=20.0, warm=5.0):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--package", default="pyspark", help="package under test")
    p.add_argument("--master", default="local[2]")
    p.add_argument("--batch", type=float, default=batch, help="batch interval, s")
    p.add_argument("--seconds", type=float, default=seconds, help="measured time")
    p.add_argument("--warm", type=float, default=warm, help="warm-up left out of statistics, s")
    p.add_argument("--conf", action="append", default=[], metavar="K=V")
    return p


# ---------------------------------------------------------------- package under test
class Api:
    """The handful of names taken from the package under test."""

    def __init__(self, package):
        core = importlib.import_module(package)
        streaming = importlib.import_module(package + ".streaming")
        self.version = getattr(core, "__version__", "?")
        self.SparkConf, self.SparkContext = core.SparkConf, core.SparkContext
        self.StreamingContext = streaming.StreamingContext
        self.StreamingListener = streaming.StreamingListener


def spark_context(api, args, **extra):
    conf = api.SparkConf().setMaster(args.master).setAppName("bench")
    conf.set("spark.ui.enabled", "false")
    conf.set("spark.ui.showConsoleProgress", "false")
    for k, v in extra.items():
        conf.set(k.replace("__", "."), v)
    for kv in args.conf:
        conf.set(*kv.split("=", 1))
    sc = api.SparkContext(conf=conf)
    sc.setLogLevel("ERROR")
    return sc


def contexts(api, args, **extra):
    sc = spark_context(api, args, **extra)
    return sc, api.StreamingContext(sc, args.batch)


# ---------------------------------------------------------------- batch times
class Batches:
    """Collects what the streaming listener says about each completed batch.

    Rows: time (batch time), sched, proc (delays as the package reports them),
    end (processing end), records.  All in ms, `records` a count.
    lag = end - time is the honest figure: Spark generates the job (all Python
    transform functions run then) before a batch counts as submitted, so job
    generation is in neither `sched` nor `proc`.
    """

    def __init__(self, api, ssc):
        rows = self.rows = []

        class Listener(api.StreamingListener):
            def onBatchCompleted(self, completed):
                b = completed.batchInfo()
                rows.append(
                    (
                        b.batchTime().milliseconds(),
                        b.schedulingDelay(),
                        b.processingDelay(),
                        b.processingEndTime(),
                        b.numRecords(),
                    )
                )

        self.listener = Listener()  # keep a reference: the JVM holds only an id
        ssc.addStreamingListener(self.listener)

    def after(self, t):
        """Rows of the batches completed since t (whenever they were due)."""
        return [r for r in list(self.rows) if r[3] >= t * 1000]

    def wait(self, n, timeout):
        end = time.time() + timeout
        while len(self.rows) < n and time.time() < end:
            time.sleep(0.02)
        return len(self.rows) >= n


def pct(values, q):
    """Nearest-rank percentile, 0 <= q <= 100."""
    v = sorted(values)
    return v[min(len(v) - 1, max(0, -(-len(v) * q // 100) - 1))] if v else None


def dist(values, nd=1):
    v = list(values)
    if not v:
        return None
    return {"n": len(v), "p50": round(statistics.median(v), nd), "p99": round(pct(v, 99), nd), "max": round(max(v), nd)}


def summary(rows, batch, elapsed):
    """Statistics of the rows of the batches completed within `elapsed` seconds."""
    if not rows:
        return {"batches": 0, "keeps_up": False}
    interval = batch * 1000
    lag = [r[3] - r[0] for r in rows]
    q = max(1, len(rows) // 4)
    first, last = statistics.median(lag[:q]), statistics.median(lag[-q:])
    due = int(elapsed / batch)
    out = {
        "batches": len(rows),
        "due": due,
        "batches_per_s": round(len(rows) / elapsed, 2),
        "proc_ms": dist(r[2] for r in rows),
        "sched_ms": dist(r[1] for r in rows),
        "lag_ms": dist(lag),
        "lag_first_quarter_ms": first,
        "lag_last_quarter_ms": last,
        "records": sum(r[4] for r in rows),
    }
    # Keeps up: nearly every due batch was done and the lag does not grow
    # by more than one interval (or 100 ms for tiny intervals).
    out["keeps_up"] = bool(len(rows) >= 0.9 * due - 1 and last <= first + max(interval, 100))
    return out


# ---------------------------------------------------------------- memory and CPU
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def _machine_cpu():
    """Busy CPU seconds of the whole machine since boot (steal included)."""
    with open("/proc/stat") as f:
        v = list(map(int, f.readline().split()[1:9]))
    return (sum(v) - v[3] - v[4]) / _TICK


def _shmem():
    """Bytes in memory file systems and shared memory, machine-wide: no process's RSS need
    hold them (blocks in /dev/shm that nobody maps)."""
    with open("/proc/meminfo") as f:
        return next(int(l.split()[1]) for l in f if l.startswith("Shmem:")) * 1024


def _marked(pid):
    """Whether a process was started, directly or not, by this one."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            return MARK.encode() in f.read().split(b"\0")
    except OSError:
        return False


def _tree(root, detached=False):
    """pid -> (kind, cpu seconds, rss bytes) of root and all its descendants; with
    `detached` also of what this process started that has left its tree."""
    procs, children = {}, {}
    for d in os.listdir("/proc"):
        if not d.isdigit():
            continue
        try:
            with open(f"/proc/{d}/stat") as f:
                s = f.read()
        except OSError:
            continue
        name = s[s.index("(") + 1 : s.rindex(")")]
        f = s[s.rindex(")") + 2 :].split()
        pid, ppid = int(d), int(f[1])
        # own time plus that of reaped children
        procs[pid] = (name, sum(map(int, f[11:15])) / _TICK, int(f[21]) * _PAGE)
        children.setdefault(ppid, []).append(pid)
    out, todo = {}, [root]
    if detached:
        todo += [p for p in procs if _marked(p)]
    while todo:
        p = todo.pop()
        if p in procs and p not in out:
            name, cpu, rss = procs[p]
            kind = "driver" if p == root else "jvm" if name == "java" else "workers"
            out[p] = (kind, cpu, rss)
        todo += children.get(p, [])
    return out


class Tree:
    """Samples RSS (peak) and CPU of this process and all that it started, also what was
    detached from it, and by how much the machine's shared memory grew.

    exclude: pids (and what they started) not belonging to the system under
    test, e.g. the load generator.
    """

    def __init__(self, period=0.5, exclude=()):
        self.root, self.exclude = os.getpid(), set(exclude)
        self.peak, self.peak_kind, self.nproc = 0, {}, 0
        self.shmem0 = self.shmem = _shmem()
        self.mark()
        threading.Thread(target=self._run, args=(period,), daemon=True).start()

    def _snap(self):
        t = _tree(self.root, detached=True)
        for pid in self.exclude:
            for p in _tree(pid):
                t.pop(p, None)
        return t

    def _sum(self, t, i):
        d = {}
        for v in t.values():
            d[v[0]] = d.get(v[0], 0) + v[i]
        return d

    def _run(self, period):
        while True:
            t = self._snap()
            kinds = self._sum(t, 2)
            total = sum(kinds.values())
            if total > self.peak:
                self.peak, self.peak_kind, self.nproc = total, kinds, len(t)
            self.shmem = max(self.shmem, _shmem())
            time.sleep(period)

    def mark(self):
        """Start of the CPU interval reported by result()."""
        self.t, self.cpu0 = time.time(), self._sum(self._snap(), 1)
        self.machine0, self.gen0 = _machine_cpu(), self._gen()

    def _gen(self):
        return sum(v[1] for pid in self.exclude for v in _tree(pid).values())

    def result(self):
        t = self._snap()
        cpu = self._sum(t, 1)
        gen, machine = self._gen() - self.gen0, _machine_cpu() - self.machine0
        mine = sum(cpu.values()) - sum(self.cpu0.values())
        pss = {}
        for pid, v in t.items():
            try:
                with open(f"/proc/{pid}/smaps_rollup") as f:
                    kb = next(int(l.split()[1]) for l in f if l.startswith("Pss:"))
                pss[v[0]] = pss.get(v[0], 0) + kb * 1024
            except (OSError, StopIteration):
                pass
        mb = lambda d: {k: round(v / 2**20) for k, v in d.items()}
        return {
            "rss_peak_mb": round(self.peak / 2**20),
            "rss_peak_by": mb(self.peak_kind),
            "processes": self.nproc,
            "shmem_growth_mb": round((self.shmem - self.shmem0) / 2**20),
            "pss_end_mb": round(sum(pss.values()) / 2**20),
            "pss_end_by": mb(pss),
            "cpu_s": {k: round(v - self.cpu0.get(k, 0), 2) for k, v in cpu.items()},
            "cpu_wall_s": round(time.time() - self.t, 2),
            # the load generator's CPU, and everybody else's: noise when large
            "cpu_generator_s": round(gen, 2),
            "cpu_others_s": round(machine - mine - gen, 2),
        }


# ---------------------------------------------------------------- ending
def emit(bench, args, api, **result):
    out = {"bench": bench, "package": args.package, "version": api.version, "python": sys.version.split()[0]}
    out.update({k: v for k, v in vars(args).items() if k not in ("package",)})
    out.update(result)
    print(json.dumps(out), flush=True)


def stop(ssc, limit=8):
    """Stop without draining; never hang on an overloaded context."""
    threading.Timer(limit, lambda: os._exit(0)).start()
    try:
        ssc.stop(True, False)
    except Exception:
        pass
    os._exit(0)


def scratch(prefix="bench-"):
    """A temporary directory; TMPDIR decides where."""
    return tempfile.mkdtemp(prefix=prefix)


def remove(path):
    shutil.rmtree(path, ignore_errors=True)
