"""Stores that refuse, lose answers, cut them short or go away: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from headwater import SparkContext, filesystem
from headwater.streaming import StreamingContext
from tests.conftest import stop_active_context
from tests.servers.hdfs import HdfsCluster
from tests.servers.proxy import FaultyProxy
from tests.servers.stores import Store
from tests.stores.conftest import conf_of
from tests.stores.test_file_streams import Watching
from tests.stores.test_files import write

OBJECTS, LINES = 30, 20
AWAY_SECONDS = 30.0


# Shares of what is refused, whose answer is lost, and whose answer is cut. Google's own package waits for seconds
# before it tries a refused request again, so there are few for it; HDFS is slow by itself.
SHARES = {
    "s3": (0.1, 0.05, 0.1),
    "azure": (0.1, 0.05, 0.1),
    "gcs": (0.02, 0.01, 0.1),
    "webhdfs": (0.04, 0.03, 0.1),
}


@pytest.fixture(params=SHARES)
def store(request: pytest.FixtureRequest) -> Store:
    """Stores that speak HTTP."""
    found: Store = request.getfixturevalue(request.param)
    return found


def numbers_of(name: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(name * LINES, (name + 1) * LINES))


def saved(place: str) -> Counter[int]:
    """The numbers in the complete directories that a stream has saved, and how often they are there."""
    found = Counter[int]()
    for directory in filesystem.expand(f"{place}/saved/*"):
        assert filesystem.exists(f"{directory}/_SUCCESS"), directory
        for file in filesystem.list_files(directory):
            with filesystem.open_read(file.path) as content:
                found.update(map(int, content.read().split()))
    return found


def watch(harness: Watching, place: str) -> None:
    """Save what comes in, with a state beside it and checkpoints, all in the store."""
    ssc: StreamingContext = harness.ssc
    ssc.checkpoint(f"{place}/checkpoints")
    numbers = ssc.textFileStream(f"{place}/in").map(int)
    numbers.map(lambda number: (number % 3, 1)).updateStateByKey(lambda new, old: (old or 0) + sum(new)).foreachRDD(
        lambda rdd: rdd.count()
    )
    numbers.map(str).saveAsTextFiles(f"{place}/saved/numbers")
    harness.start()
    harness.run(1)


@pytest.mark.timeout(300)  # with the start of a name node, on a busy machine
def test_stream_is_exact_over_a_store_that_refuses_and_cuts(store: Store, place: str) -> None:
    stop_active_context()
    with FaultyProxy(store.port, seed=1) as proxy:
        conf = conf_of(store, spark__default__parallelism="2").setAll(store.settings_at(proxy.port).items())
        with SparkContext(conf=conf) as sc, Watching(sc, 5.0) as harness:
            watch(harness, store.through(proxy.port, place))
            for name in range(0, OBJECTS, 10):
                proxy.refuse_share = proxy.lose_share = proxy.cut_share = 0.0
                for each in range(name, name + 10):
                    write(f"{place}/in/{each}", numbers_of(each))
                proxy.refuse_share, proxy.lose_share, proxy.cut_share = SHARES[store.name]
                harness.catch_up()
            proxy.refuse_share = proxy.lose_share = proxy.cut_share = 0.0
            assert saved(place) == Counter(range(OBJECTS * LINES))
        assert proxy.faults.total() > 0, proxy.faults


def test_glob_over_a_store_that_refuses_misses_nothing(s3: Store) -> None:
    filesystem.configure(dict(s3.settings))
    place = s3.place()
    paths = [f"{place}/{year}/{month}/a" for year in range(4) for month in range(3)]
    for path in paths:
        write(path, b"x")
    with FaultyProxy(s3.port, seed=1) as proxy:
        filesystem.configure(s3.settings_at(proxy.port))
        proxy.refuse_share = 0.3
        for _ in range(5):
            assert [file.path for file in filesystem.list_files(f"{place}/*/[0-9]/?")] == paths
        assert proxy.faults["refused"] > 0


@pytest.fixture
def hdfs_place(hdfs: Store) -> str:
    filesystem.configure(dict(hdfs.settings))
    stop_active_context()
    return hdfs.place()


def test_batches_wait_for_a_name_node_that_is_away(hdfs: Store, hdfs_cluster: HdfsCluster, hdfs_place: str) -> None:
    with SparkContext(conf=conf_of(hdfs)) as sc, Watching(sc, 5.0) as harness, ThreadPoolExecutor(1) as aside:
        watch(harness, hdfs_place)
        write(f"{hdfs_place}/in/0", numbers_of(0))
        hdfs_cluster.kill_name_node()
        catching_up = aside.submit(harness.catch_up)
        time.sleep(AWAY_SECONDS)
        assert not catching_up.done()
        hdfs_cluster.start_name_node()
        catching_up.result()
        assert saved(hdfs_place) == Counter(range(LINES))


def test_batches_without_patience_fail_and_nothing_is_lost(
    hdfs: Store, hdfs_cluster: HdfsCluster, hdfs_place: str
) -> None:
    impatient = conf_of(hdfs, headwater__filesystem__retryTimeout="300ms")
    with SparkContext(conf=impatient) as sc, Watching(sc, 5.0) as harness:
        watch(harness, hdfs_place)
        write(f"{hdfs_place}/in/0", numbers_of(0))
        harness.catch_up()
        hdfs_cluster.kill_name_node()
        away = [harness.runBatch() for _ in range(2)]
        hdfs_cluster.start_name_node()
        filesystem.configure(dict(hdfs.settings))
        write(f"{hdfs_place}/in/1", numbers_of(1))
        harness.catch_up()
        assert any(output.failureReason() for batch in away for output in batch.outputOperationInfos().values())
        assert saved(hdfs_place) == Counter(range(2 * LINES))
