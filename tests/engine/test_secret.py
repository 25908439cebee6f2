"""The application's secret: only processes that know it talk with the driver."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headwater import SparkConf, SparkContext
from headwater.engine import wire
from headwater.errors import IllegalArgumentException


def listening() -> list[tuple[str, int]]:
    """Where this process listens on the loopback interface."""
    inodes = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            inodes.add(os.readlink(f"/proc/self/fd/{fd}").removeprefix("socket:[").rstrip("]"))
        except FileNotFoundError:
            pass  # the one by which the directory is read
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    ports = [int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A" and row[9] in inodes]
    return [("127.0.0.1", port) for port in ports]


def start(**settings: str) -> SparkContext:
    conf = SparkConf(loadDefaults=False).setMaster("local-cluster[1,1,512]").setAppName("tests")
    return SparkContext(conf=conf.setAll(settings.items()))


def test_secret_that_is_set_is_the_applications(no_context: None) -> None:
    others = listening()
    with start(**{"spark.authenticate.secret": "the secret"}) as sc:
        assert sc.parallelize(range(10), 2).sum() == 45
        (address,) = set(listening()) - set(others)
        wire.connect(address, b"the secret").close()
        with pytest.raises(ConnectionError):
            wire.connect(address, b"another secret")
        assert "the secret" not in sc.getConf().toDebugString()


def test_secret_is_the_applications_own_when_none_is_set(no_context: None) -> None:
    others = listening()
    with start(**{"spark.authenticate.secretBitLength": "512"}):
        (address,) = set(listening()) - set(others)
        with pytest.raises(ConnectionError):
            wire.connect(address, b"")


def test_secret_is_not_made_shorter_than_128_bits() -> None:
    with pytest.raises(IllegalArgumentException, match=r"spark\.authenticate\.secretBitLength: '64' is not an integer"):
        SparkConf(loadDefaults=False).set("spark.authenticate.secretBitLength", 64)
