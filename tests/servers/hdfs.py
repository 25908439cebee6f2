"""HDFS: Hadoop's mini cluster, a name node and a data node in one process, which can be killed and started again."""

from __future__ import annotations

import importlib.util
import json
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import jars, leave_out
from tests.servers.processes import await_answer, free_port, running, until
from tests.servers.stores import Store

MEMORY = "-Xmx256m"


class HdfsCluster:
    """A cluster that keeps its data in a directory.

    Args:
        jars: of Hadoop.
        directory: of its data and its log.
    """

    def __init__(self, jars: Path, directory: Path) -> None:
        self._jars = jars
        self._directory = directory
        self.port, self.http_port = free_port(), free_port()
        self._running = ExitStack()

    def start(self) -> None:
        """Start it; returns when files can be written. The first time it is empty."""
        new, log = not (self._directory / "name-0-1").exists(), self._directory / "log"
        command = ["java", MEMORY, "-XX:TieredStopAtLevel=1", "-cp", f"{self._jars}/*"]
        command += ["org.apache.hadoop.test.MiniDFSClusterManager", "-datanodes", "1", "-nnport", str(self.port)]
        command += ["-httpport", str(self.http_port), "-D", f"hdfs.minidfs.basedir={self._directory}"]
        process = self._running.enter_context(running([*command, *(["-format"] if new else [])], log))
        await_answer(self.port, process, log)
        until(self._is_ready, "a data node has come to the name node")

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.close()

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.http_port}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        with urllib.request.urlopen(url, timeout=10) as answer:
            (state,) = json.load(answer)["beans"]
        return bool(state["NumLiveDataNodes"] >= 1 and state["FSState"] == "Operational")


def settings_at(port: int) -> dict[str, str]:
    """What a program for Spark sets, so that it need not name the name node."""
    return {"spark.hadoop.fs.defaultFS": f"hdfs://127.0.0.1:{port}"}


@pytest.fixture(scope="session")
def hdfs_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HdfsCluster]:
    """The cluster, started once. A test that kills it starts it again."""
    if not all(map(importlib.util.find_spec, ("hdfs_native", "requests"))):
        leave_out("HDFS", "pip install 'headwater[hdfs]'")
    cluster = HdfsCluster(jars("HDFS (a mini cluster)", "hdfs"), tmp_path_factory.mktemp("hdfs"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
def hdfs(hdfs_cluster: HdfsCluster) -> Store:
    """The cluster as a store."""
    return Store("hdfs", f"hdfs://127.0.0.1:{hdfs_cluster.port}", hdfs_cluster.port, settings_at, ("hdfs://",))
