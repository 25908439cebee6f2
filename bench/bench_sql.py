"""17. SQL: createDataFrame + view + group by + collect; JSON lines of a file stream; thousands of batches.

--what rows   medians for --rows rows, as Row and with a schema; the first one is the session's start
--what json   a file stream of --lines lines of JSON, to a group by: by the package's own way, and by json.loads
--what soak   --batches batches of ten rows: times, and the memory of the driver and of the largest child
"""

import importlib
import json
import os
import time

from common import Api, contexts, dist, emit, parser, remove, scratch, spark_context, stop

QUERY = "SELECT word, count(*) AS n, sum(n) AS total FROM words GROUP BY word"
EVENT = '{"user": "u%d", "country": "%s", "amount": %d.5, "ts": 17000%05d, "note": "some text that nobody reads"}'
COUNTRIES = ("de", "fr", "it", "es", "pl")


def ask(sql, spark, rdd, how):
    """One batch's work; returns how many groups there were."""
    if how == "Row":
        frame = spark.createDataFrame(rdd.map(lambda i: sql.Row(word=f"w{i % 100}", n=i)))
    else:
        frame = spark.createDataFrame(rdd.map(lambda i: (f"w{i % 100}", i)), "word STRING, n BIGINT")
    frame.createOrReplaceTempView("words")
    return len(spark.sql(QUERY).collect())


def rows(api, sql, args):
    sc = spark_context(api, args)
    began = time.time()
    spark = sql.SparkSession.builder.getOrCreate()
    spark.sql("SELECT 1").collect()
    found = {"first_query_s": round(time.time() - began, 2)}
    for number in map(int, args.rows.split(",")):
        rdd = sc.parallelize(range(number), 2)
        rdd.count()
        for how in ("Row", "schema"):
            times = []
            for _ in range(args.repeats + 2):
                began = time.time()
                assert ask(sql, spark, rdd, how) == min(number, 100)
                times.append((time.time() - began) * 1000)
            found[f"{number}_{how}_ms"] = dist(times[2:])
    emit("sql_rows", args, api, **found)
    sc.stop()


def json_lines(api, sql, args):
    root = scratch()
    stage, watched = os.path.join(root, "stage"), os.path.join(root, "in")
    os.mkdir(stage), os.mkdir(watched)
    lines = "\n".join(EVENT % (i % 1000, COUNTRIES[i % 5], i % 97, i % 100000) for i in range(args.lines)) + "\n"
    schema = "user STRING, country STRING, amount DOUBLE"
    query = "SELECT country, count(*) AS n, sum(amount) AS amount FROM events GROUP BY country"
    sc, ssc = contexts(api, args)
    spark = sql.SparkSession.builder.getOrCreate()
    files, times = ssc.textFileStream(watched), {"own": [], "loads": []}

    def own(rdd):
        if hasattr(files, "toDF"):  # Headwater's: no Python object for a field
            frame = spark.connected.of_json(rdd, schema)
        else:
            frame = spark.read.json(rdd, schema)
        frame.createOrReplaceTempView("events")

    def loads(rdd):
        def values(line):
            event = json.loads(line)
            return event["user"], event["country"], event["amount"]

        spark.createDataFrame(rdd.map(values), schema).createOrReplaceTempView("events")

    def out(rdd):
        if rdd.isEmpty():
            return
        for name, way in (("own", own), ("loads", loads)):
            began = time.time()
            way(rdd)
            groups = spark.sql(query).collect()
            assert sum(row.n for row in groups) == args.lines, groups
            times[name].append((time.time() - began) * 1000)

    files.foreachRDD(out)
    ssc.start()
    time.sleep(2)
    for number in range(args.repeats + 1):
        path = os.path.join(stage, f"{number}.json")
        with open(path, "w") as file:
            file.write(lines)
        os.rename(path, os.path.join(watched, f"{number}.json"))
        deadline = time.time() + 120
        while len(times["loads"]) <= number and time.time() < deadline:
            time.sleep(0.05)
    emit("sql_json", args, api, lines=args.lines, **{f"{name}_ms": dist(each[1:]) for name, each in times.items()})
    stop(ssc)
    remove(root)


def memory_mb(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * 4096 >> 20


def children():
    """Pids of this process's children, and of theirs."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                parents[int(name)] = int(file.read().rpartition(")")[2].split()[1])
        except OSError:
            continue
    found, new = set(), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - found
        found |= new
    return found


def soak(api, sql, args):
    sc = spark_context(api, args)
    spark = sql.SparkSession.builder.getOrCreate()
    held = spark.createDataFrame([(i, f"w{i}") for i in range(100)], "id BIGINT, word STRING")
    held.createOrReplaceTempView("held")
    rdd, times, largest, driver = sc.parallelize(range(10), 2), [], 0, []
    engines = set()
    for batch in range(args.batches):
        began = time.time()
        assert ask(sql, spark, rdd, "schema") == 10
        times.append((time.time() - began) * 1000)
        if batch % 200 == 199:
            assert (held.count(), spark.sql("SELECT count(*) AS n FROM held").collect()[0].n) == (100, 100)
            sizes = {pid: memory_mb(pid) for pid in children() if os.path.exists(f"/proc/{pid}/statm")}
            pid = max(sizes, key=sizes.get)
            engines.add(pid)
            largest = max(largest, sizes[pid])
            driver.append(memory_mb(os.getpid()))
    kept = times[len(times) // 20 :]
    emit(
        "sql_soak",
        args,
        api,
        batches=args.batches,
        ms=dist(kept),
        p99_to_p50=round(sorted(kept)[int(len(kept) * 0.99)] / sorted(kept)[len(kept) // 2], 2),
        driver_mb=[driver[0], driver[len(driver) // 2], driver[-1]],
        largest_child_mb=largest,
        engines_seen=len(engines),
    )
    sc.stop()


def main():
    p = parser(__doc__)
    p.add_argument("--what", choices=("rows", "json", "soak"), default="rows")
    p.add_argument("--rows", default="10,100000,1000000")
    p.add_argument("--lines", type=int, default=1_000_000)
    p.add_argument("--repeats", type=int, default=5)
    p.add_argument("--batches", type=int, default=10_000)
    args = p.parse_args()
    api, sql = Api(args.package), importlib.import_module(args.package + ".sql")
    {"rows": rows, "json": json_lines, "soak": soak}[args.what](api, sql, args)


main()
