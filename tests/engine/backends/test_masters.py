from __future__ import annotations

from pathlib import Path

import pytest

from headwater import SparkContext
from headwater.conf import SparkConf
from headwater.engine.backend import Master
from headwater.engine.backends.masters import available_cores, parse_master
from headwater.errors import IllegalArgumentException

MB = 1 << 20


@pytest.mark.parametrize(
    ("text", "master"),
    [
        ("local", Master("local", 1, 1, in_process=True)),
        ("local[1]", Master("local[1]", 1, 1)),
        ("local[12]", Master("local[12]", 1, 12)),
        ("local[ 2 ]", Master("local[ 2 ]", 1, 2)),
        ("local[*]", Master("local[*]", 1, available_cores())),
        ("local[2,3]", Master("local[2,3]", 1, 2, task_failures=3)),
        ("local[*, 4]", Master("local[*, 4]", 1, available_cores(), task_failures=4)),
        ("local-cluster[2,1,512]", Master("local-cluster[2,1,512]", 2, 1, clustered=True, memory=512 * MB)),
        ("local-cluster[ 2 , 3 , 4 ]", Master("local-cluster[ 2 , 3 , 4 ]", 2, 3, clustered=True, memory=4 * MB)),
    ],
)
def test_master_is_understood(text: str, master: Master) -> None:
    assert parse_master(text) == master


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Local",
        "local[]",
        "local[0]",
        "local[-1]",
        "local[two]",
        "local[2,0]",
        "local[2,*]",
        "local[2",
        "local[2] ",
        "local[1.5]",
        "local-cluster",
        "local-cluster[2,1]",
        "local-cluster[0,1,512]",
        "local-cluster[2,0,512]",
        "local-cluster[2,1,0]",
        "local-cluster[*,1,512]",
        "spark://host:7077",
        "yarn",
    ],
)
def test_master_that_is_not_known_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(IllegalArgumentException) as refused:
        parse_master(text)
    message = str(refused.value)
    assert message.startswith(f"spark.master: Could not parse Master URL: '{text}'.")
    for known in ("local ", "local[N]", "local[*]", "local[N,F]", "local-cluster[n,c,m]"):
        assert known in message


def test_context_with_an_unknown_master_leaves_nothing(tmp_path: Path, no_context: None) -> None:
    conf = SparkConf(loadDefaults=False).set("spark.local.dir", str(tmp_path))
    with pytest.raises(IllegalArgumentException, match="Could not parse Master URL: 'mesos://there'"):
        SparkContext("mesos://there", "tests", conf=conf)
    assert list(tmp_path.iterdir()) == []
    with SparkContext("local", "tests", conf=conf) as sc:  # the first one isn't in its way
        assert sc.range(3).count() == 3


@pytest.mark.parametrize(
    ("master", "parallelism"),
    [("local", 1), ("local[3]", 3), ("local-cluster[1,1,512]", 2), ("local-cluster[2,3,4]", 6)],
)
def test_parallelism_is_the_cores_of_all_executors_and_two_at_least_on_a_cluster(master: str, parallelism: int) -> None:
    assert parse_master(master).parallelism == parallelism
