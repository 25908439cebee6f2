"""Count the words that each second brings into a Kafka topic.

    python examples/kafka_wordcount.py BROKERS TOPIC [SECONDS]

BROKERS is such as localhost:9092. Needs `pip install 'headwater[kafka]'`. It ends after SECONDS, or on Ctrl-C. Send
some text first, with Kafka's tools: kafka-console-producer.sh --bootstrap-server localhost:9092 --topic TOPIC
"""

import sys

from headwater import SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kafka import KafkaUtils


def main() -> None:
    brokers, topic = sys.argv[1:3]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else None

    sc = SparkContext("local[2]", "Kafka word count")
    ssc = StreamingContext(sc, 1)
    params = {"metadata.broker.list": brokers, "auto.offset.reset": "smallest"}
    lines = KafkaUtils.createDirectStream(ssc, [topic], params).map(lambda pair: pair[1])
    lines.flatMap(lambda line: line.split()).map(lambda word: (word, 1)).reduceByKey(lambda a, b: a + b).pprint()

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
