"""What a task costs in a job of few tasks and in one of many: a count, a count of cached partitions, a shuffle.

`us_per_task` is the job's time over its tasks, for --tasks and, after that, for --times as many;
`growth` is the second over the first: 1 where the cost is linear.
"""

import time

from common import Api, emit, parser, spark_context


def counted(sc, n):
    return lambda: sc.parallelize(range(n), n).count()


def cached(sc, n):
    rdd = sc.parallelize(range(n), n).cache()
    rdd.count()
    return rdd.count


def shuffled(sc, n):
    pairs = sc.parallelize(range(n), n).map(lambda x: (x % 7, 1))
    return lambda: pairs.reduceByKey(lambda a, b: a + b, 2).count()


def main():
    p = parser(__doc__)
    p.add_argument("--tasks", type=int, default=1000)
    p.add_argument("--times", type=int, default=16)
    args = p.parse_args()
    api = Api(args.package)
    sc = spark_context(api, args)
    counted(sc, 100)()
    result = {}
    for job in (counted, cached, shuffled):
        per_task = []
        for n in (args.tasks, args.tasks * args.times):
            run = job(sc, n)
            start = time.perf_counter()
            run()
            per_task.append((time.perf_counter() - start) / n * 1e6)
        result[job.__name__] = {
            "us_per_task": [round(us) for us in per_task],
            "growth": round(per_task[1] / per_task[0], 2),
        }
    emit("many_tasks", args, api, **result)
    sc.stop()


main()
