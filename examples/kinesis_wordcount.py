"""Count the words that each second brings into an Amazon Kinesis stream.

    python examples/kinesis_wordcount.py APP STREAM [ENDPOINT [REGION [SECONDS]]]

APP names the application and its lease table in DynamoDB. Credentials come from the environment, a profile or the
machine's role. Needs `pip install 'headwater[kinesis]'`. It ends after SECONDS, or on Ctrl-C. Put a record, if you have
the AWS tools: aws kinesis put-record --stream-name STREAM --partition-key x --data "$(echo to be or not | base64)"
"""

import sys

from headwater import SparkContext
from headwater.streaming import StreamingContext
from headwater.streaming.kinesis import InitialPositionInStream, KinesisUtils


def main() -> None:
    app, stream = sys.argv[1:3]
    region = sys.argv[4] if len(sys.argv) > 4 else "us-east-1"
    endpoint = sys.argv[3] if len(sys.argv) > 3 else f"https://kinesis.{region}.amazonaws.com"
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None

    sc = SparkContext("local[2]", "Kinesis word count")
    ssc = StreamingContext(sc, 1)
    lines = KinesisUtils.createStream(
        ssc, app, stream, endpoint, region, InitialPositionInStream.TRIM_HORIZON, checkpointInterval=2
    )
    words = lines.flatMap(lambda line: line.split()).map(lambda word: (word, 1))
    words.reduceByKey(lambda a, b: a + b).pprint()

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
