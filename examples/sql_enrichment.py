"""Join events that arrive as files of JSON lines with a table of users, by SQL: print them, and keep them as files.

    python examples/sql_enrichment.py EVENTS USERS OUTPUT [SECONDS]

EVENTS is a directory that is there. USERS is a Parquet table with columns id and country; if there is none, it is made,
with some users. Then put events into the directory, by a move as a file is read once:

    echo '{"user": "ann", "item": "tea", "price": 3}' > event && mv event EVENTS/1.json

Each event is printed with its user's country, and added to the Parquet files in the directory OUTPUT. It ends after
SECONDS, or on Ctrl-C. Needs `pip install 'headwater[sql]'`.
"""

import os
import sys
from functools import partial

from headwater import SparkConf, SparkContext
from headwater.sql import DataFrame, SparkSession
from headwater.streaming import StreamingContext

SOME_USERS = [("ann", "Austria"), ("bob", "Brazil"), ("eve", "Estonia")]
WITH_COUNTRY = """
SELECT user, coalesce(country, 'unknown') AS country, item, price
FROM events LEFT JOIN users ON events.user = users.id
"""


def read(path: str, spark: SparkSession) -> DataFrame:
    return spark.read.parquet(path)


def main() -> None:
    events, users, output = sys.argv[1:4]
    seconds = float(sys.argv[4]) if len(sys.argv) > 4 else None

    sc = SparkContext(conf=SparkConf().setMaster("local[2]").setAppName("enrichment"))
    if not os.path.exists(users):
        SparkSession(sc).createDataFrame(SOME_USERS, "id STRING, country STRING").write.parquet(users)

    ssc = StreamingContext(sc, 1)
    frames = ssc.textFileStream(events).toDF("user STRING, item STRING, price INT", format="json")
    enriched = frames.sql(WITH_COUNTRY, name="events", tables={"users": partial(read, users)})
    enriched.pprint()
    enriched.writeFiles(output)

    try:
        ssc.start()
        ssc.awaitTermination(seconds)
    except KeyboardInterrupt:
        pass
    finally:
        ssc.stop()


if __name__ == "__main__":
    main()
