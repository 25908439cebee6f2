"""Show the most popular hashtags of the last seconds that arrived over a TCP connection, again and again, by SQL.

    python examples/sql_popular_hashtags.py [HOST [PORT [WINDOW [SLIDE [SECONDS]]]]]

Serve some text with words like #rain first, in another terminal: nc -lk 9999. Every SLIDE seconds (10) it prints the
ten most frequent hashtags of the last WINDOW seconds (60). It ends after SECONDS, or on Ctrl-C. Needs
`pip install 'headwater[sql]'`.
"""

import sys
from datetime import datetime

from headwater import SparkConf, SparkContext
from headwater.sql import DataFrame
from headwater.streaming import StreamingContext

MOST_POPULAR = "SELECT tag, count(*) AS total FROM tags GROUP BY tag ORDER BY total DESC, tag LIMIT 10"


def show(time: datetime, frame: DataFrame) -> None:
    print(f"Time: {time}")
    frame.show(truncate=False)


def main() -> None:
    host = sys.argv[1] if len(sys.argv) > 1 else "localhost"
    port = int(sys.argv[2]) if len(sys.argv) > 2 else 9999
    window = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    slide = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    seconds = float(sys.argv[5]) if len(sys.argv) > 5 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("popular hashtags"))
    ssc = StreamingContext(sc, 1)
    words = ssc.socketTextStream(host, port).flatMap(lambda line: line.split())
    tags = words.filter(lambda word: word.startswith("#")).map(lambda word: (word.lower(),))
    tags.window(window, slide).sql(MOST_POPULAR, "tag STRING", name="tags").foreachFrame(show)

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
