"""File stream over S3: many small objects in one batch, against s3fs reading them one after the other.

A moto server (`pip install 'moto[server]' s3fs 'headwater[s3]'`) gets --files objects of --bytes bytes.  `seq_s` is
what a loop of s3fs's `cat_file` over its own listing takes, `stream_s` a batch of a file stream: its listing, its
reads, and the count of its lines.  Both are measured --rounds times in turn, in one run; the medians are printed.
`server_cpu_s` is the CPU time that the server took for the median batch: it is one Python process, so a batch can't
be shorter than that.  The interval is long, as each batch that becomes due lists the bucket.  --latency SECONDS has
it wait with each answer, as stores do that aren't in the same machine.  Headwater only.
"""

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from common import Api, emit, parser, spark_context

BUCKET, KEY = "bench", "key"
SERVER = """
import sys, time
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
app, port, latency = DomainDispatcherApplication(create_backend_app), int(sys.argv[1]), float(sys.argv[2])

def late(environ, start_response):
    if environ["REQUEST_METHOD"] == "GET":
        time.sleep(latency)
    return app(environ, start_response)

run_simple("127.0.0.1", port, late, threaded=True)
"""
LINE = b"a line of words, one like the other\n"


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return taken.getsockname()[1]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def client(endpoint):
    import boto3

    return boto3.client(
        "s3", region_name="us-east-1", endpoint_url=endpoint, aws_access_key_id=KEY, aws_secret_access_key=KEY
    )


def upload(endpoint, files, size):
    s3 = client(endpoint)
    s3.create_bucket(Bucket=BUCKET)
    body = (LINE * (size // len(LINE) + 1))[: size - 1] + b"\n"
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda i: s3.put_object(Bucket=BUCKET, Key=f"in/{i:06d}", Body=body), range(files)))
    return files * body.count(b"\n")


def sequential(endpoint):
    import s3fs

    fs = s3fs.S3FileSystem(
        key=KEY, secret=KEY, endpoint_url=endpoint, use_listings_cache=False, skip_instance_cache=True
    )
    start = time.perf_counter()
    lines = sum(fs.cat_file(entry["name"]).count(b"\n") for entry in fs.ls(f"{BUCKET}/in", detail=True))
    return time.perf_counter() - start, lines


def streamed(api, args, endpoint, pid):
    """A context's first batch that takes the objects: its time, its lines, the server's CPU time."""
    sc = spark_context(
        api,
        args,
        **{
            "spark.hadoop.fs.s3a.endpoint": endpoint,
            "spark.hadoop.fs.s3a.access.key": KEY,
            "spark.hadoop.fs.s3a.secret.key": KEY,
            "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
            "headwater.streaming.fileStream.selection": "identity",
            "headwater.streaming.fileStream.stabilityDuration": "0",
        },
    )
    ssc = api.StreamingContext(sc, args.batch)
    seen, done, cpu = [], threading.Event(), [0.0]

    class Ended(api.StreamingListener):
        def onBatchCompleted(self, completed):
            info = completed.batchInfo()
            if info.numRecords() and not done.is_set():
                seen.insert(0, (info.batchTime().milliseconds(), info.processingEndTime()))
                cpu[0] = cpu_seconds(pid) - cpu[0]
                done.set()

    counts = []
    ssc.fileStream(f"s3a://{BUCKET}/in", newFilesOnly=False).foreachRDD(lambda rdd: counts.append(rdd.count()))
    ssc.addStreamingListener(Ended())
    cpu[0] = cpu_seconds(pid)
    ssc.start()
    assert done.wait(600), "the batch has not completed"
    ssc.stop()
    began, ended = seen[0]
    return (ended - began) / 1000, max(counts), cpu[0]


def main():
    p = parser(__doc__, batch=20.0)
    p.add_argument("--files", type=int, default=10_000, help="objects")
    p.add_argument("--bytes", type=int, default=10_000, help="of an object")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--latency", type=float, default=0, help="seconds that the server waits with an answer")
    p.set_defaults(package="headwater")
    args = p.parse_args()
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER, str(port), str(args.latency)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.1)
        endpoint, api = f"http://127.0.0.1:{port}", Api(args.package)
        lines = upload(endpoint, args.files, args.bytes)
        rounds = [(*sequential(endpoint), *streamed(api, args, endpoint, server.pid)) for _ in range(args.rounds)]
        middle = sorted(rounds, key=lambda each: each[2])[len(rounds) // 2]
        seq_s = statistics.median(each[0] for each in rounds)
        emit(
            "s3",
            args,
            api,
            complete=all(each[1] == each[3] == lines for each in rounds),
            files=args.files,
            seq_s=round(seq_s, 2),
            stream_s=round(middle[2], 2),
            ratio=round(seq_s / middle[2], 2),
            server_cpu_s=round(middle[4], 2),
        )
    finally:
        server.kill()
        server.wait()


main()
