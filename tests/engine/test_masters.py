from __future__ import annotations

from pathlib import Path

import pytest

from headwater.conf import SparkConf
from headwater.engine.application import Application
from headwater.engine.masters import Master, available_cores, parse_master
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


def test_application_with_an_unknown_master_leaves_nothing(tmp_path: Path) -> None:
    conf = SparkConf(loadDefaults=False).set("spark.local.dir", str(tmp_path))
    with pytest.raises(IllegalArgumentException):
        Application(conf, "mesos://there", "app", merge_accumulators=print)
    assert list(tmp_path.iterdir()) == []
