"""16. Kafka: word count over 100-byte messages by a direct stream, beside what a user would pick instead; or lags.

Starts a broker of its own (Java, Maven), fills a topic with --messages, and has each of --readers count its words,
one after the other, each in a process of its own: `stream` (a direct stream, batches of --size messages at most),
`consumer` (confluent-kafka and a dict), `quixstreams`, `bytewax` (where they are installed). Prints a line for each,
and one with the ratios. With --lag a producer sends a message every 37 ms, and the time until its batch's foreachRDD
has it is taken.
"""

import collections
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path

from common import HERE, Api, Tree, contexts, dist, emit, parser, stop

sys.path.insert(0, str(Path(HERE).parent))
QUIET = {"log_level": 2}
PEERS = ("quixstreams", "bytewax")


def fill(args, bootstrap, topic):
    from confluent_kafka import Producer

    chosen, lines = random.Random(7), []
    for _ in range(2000):
        line = ""
        while len(line) < 95:
            line += f"w{int(5000 * chosen.random() ** 3)} "
        lines.append(line.strip())
    settings = {"linger.ms": 50, "queue.buffering.max.messages": 200000, **QUIET}
    producer = Producer({"bootstrap.servers": bootstrap, **settings})
    for i in range(args.messages):
        while True:
            try:
                producer.produce(topic, lines[i % 2000], partition=i % args.partitions)
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


# ---------------------------------------------------------------- readers: (seconds from the first message on, words)
def read_consumer(args, bootstrap, topic):
    from confluent_kafka import Consumer, TopicPartition

    client = Consumer({"bootstrap.servers": bootstrap, "group.id": "bare", "enable.auto.commit": False, **QUIET})
    client.assign([TopicPartition(topic, p, 0) for p in range(args.partitions)])
    counts, left, begin = collections.defaultdict(int), args.messages, None
    while left:
        for message in client.consume(min(left, 10000), 1.0):
            begin = begin or time.time()
            left -= 1
            for word in message.value().decode().split(" "):
                counts[word] += 1
    return time.time() - begin, sum(counts.values())


def read_stream(args, bootstrap, topic):
    kafka = import_module(args.package + ".streaming.kafka")
    rate = args.size / args.batch / args.partitions
    sc, ssc = contexts(Api(args.package), args, spark__streaming__kafka__maxRatePerPartition=str(rate))
    lines = kafka.KafkaUtils.createDirectStream(
        ssc, [topic], {"metadata.broker.list": bootstrap, "auto.offset.reset": "smallest"}
    )
    seen, left = [], [args.messages]

    def note(rdd):
        begin = time.time()
        words = sum(count for _, count in rdd.collect())
        if words:
            seen.append((begin, time.time(), words))
        elif seen:
            left[0] = 0

    lines.map(lambda pair: pair[1]).flatMap(lambda line: line.split(" ")).map(lambda word: (word, 1)).reduceByKey(
        lambda a, b: a + b
    ).foreachRDD(note)
    ssc.start()
    while left[0]:
        time.sleep(0.05)
    ssc.stop(True, False)
    return seen[-1][1] - seen[0][0], sum(words for _, _, words in seen)


def read_quixstreams(args, bootstrap, topic):
    from quixstreams import Application

    counts, seen = collections.defaultdict(int), []
    app = Application(broker_address=bootstrap, consumer_group="peer", auto_offset_reset="earliest", loglevel="ERROR")

    def count(line):
        if not seen:
            seen.append(time.time())
        for word in line.split(" "):
            counts[word] += 1

    app.dataframe(app.topic(topic, value_deserializer="str")).update(count)
    app.run(count=args.messages, timeout=30)
    return time.time() - seen[0], sum(counts.values())


def read_bytewax(args, bootstrap, topic):
    import bytewax.operators as op
    from bytewax.connectors.kafka import KafkaSource
    from bytewax.dataflow import Dataflow
    from bytewax.outputs import DynamicSink, StatelessSinkPartition
    from bytewax.testing import run_main

    counts, seen = collections.defaultdict(int), []

    class Counting(StatelessSinkPartition):
        def write_batch(self, items):
            if not seen:
                seen.append(time.time())
            for word in items:
                counts[word] += 1

    class Sink(DynamicSink):
        def build(self, *_):
            return Counting()

    flow = Dataflow("peer")
    messages = op.input("in", flow, KafkaSource([bootstrap], [topic], tail=False, batch_size=10000))
    op.output("out", op.flat_map("words", messages, lambda m: m.value.decode().split(" ")), Sink())
    run_main(flow)
    return time.time() - seen[0], sum(counts.values())


def lag(args, bootstrap, topic):
    from confluent_kafka import Producer

    kafka = import_module(args.package + ".streaming.kafka")
    sc, ssc = contexts(Api(args.package), args)
    lines = kafka.KafkaUtils.createDirectStream(ssc, [topic], {"metadata.broker.list": bootstrap})
    lags = []

    def note(rdd):
        got, now = rdd.collect(), time.time()
        lags.extend((now, (now - float(value)) * 1000) for _, value in got)

    lines.foreachRDD(note)
    ssc.start()
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, **QUIET})
    begin, sent = time.time(), 0
    while time.time() < begin + args.warm + args.seconds:
        producer.produce(topic, repr(time.time()), partition=sent % args.partitions)
        producer.poll(0)
        sent += 1
        time.sleep(0.037)
    producer.flush()
    time.sleep(1)
    after = [ms for at, ms in lags if at > begin + args.warm]
    emit("kafka-lag", args, Api(args.package), lag_ms=dist(after), sent=sent, got=len(lags))
    stop(ssc)


def main():
    p = parser(__doc__, batch=0.5, seconds=20, warm=5)
    p.add_argument("--readers", default="consumer,stream", help="in this order, one after the other")
    p.add_argument("--messages", type=int, default=3_000_000)
    p.add_argument("--size", type=int, default=500_000, help="messages of a batch at most")
    p.add_argument("--partitions", type=int, default=4)
    p.add_argument("--peers-python", default=sys.executable, help="where quixstreams and bytewax are installed")
    p.add_argument("--lag", action="store_true")
    p.add_argument("--at", default="", help="BROKER/TOPIC that is there and filled: read with one reader")
    args = p.parse_args()
    if args.at:
        bootstrap, topic = args.at.split("/")
        tree = Tree()
        seconds, words = globals()[f"read_{args.readers}"](args, bootstrap, topic)
        rate = round(args.messages / seconds)
        print(
            json.dumps(
                {"bench": "kafka", "reader": args.readers, "messages_per_s": rate, "words": words, "mem": tree.result()}
            ),
            flush=True,
        )
        os._exit(0)
    from tests.servers.kafka import new_broker

    directory = Path(tempfile.mkdtemp(prefix="bench-kafka-"))
    broker = new_broker(directory)
    try:
        topic = broker.topic(args.partitions)
        if args.lag:
            lag(args, broker.bootstrap, topic)
            return
        fill(args, broker.bootstrap, topic)
        rates = {}
        for reader in args.readers.split(","):
            at = f"{broker.bootstrap}/{topic}"
            python = args.peers_python if reader in PEERS else sys.executable
            command = [python, __file__, *sys.argv[1:], "--readers", reader, "--at", at]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            print(done, end="", flush=True)
            rates[reader] = json.loads(done.splitlines()[-1])["messages_per_s"]
        print(json.dumps({"ratio_of_stream_to": {k: round(rates.get("stream", 0) / v, 2) for k, v in rates.items()}}))
    finally:
        broker.kill()
        shutil.rmtree(directory, ignore_errors=True)


main()
