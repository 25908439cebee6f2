"""HDFS: a name node and a data node, processes of their own, which can be killed and started again."""

from __future__ import annotations

import getpass
import importlib.util
import json
import subprocess
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.servers import jars, leave_out
from tests.servers.processes import await_answer, dies_with_its_parent, free_port, running
from tests.servers.stores import Store
from tests.waiting import wait_for

# As Hadoop's own scripts start them; the web server of Hadoop 3 reaches into Java's packages.
JAVA = ["java", "-Xmx192m", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.lang=ALL-UNNAMED"]
FORMAT_SECONDS_MAX = 60


class HdfsCluster:
    """A cluster that keeps its data in a directory.

    Args:
        jars: of Hadoop.
        directory: of its data and its logs.
    """

    def __init__(self, jars: Path, directory: Path) -> None:
        # Its web servers want to have pages, which Hadoop's jars don't bring.
        for pages in ("hdfs", "datanode", "static"):
            (directory / "webapps" / pages).mkdir(parents=True)
        self._class_path = f"{directory}:{jars}/*"
        self._directory = directory
        self.port, self.http_port = free_port(), free_port()
        self._name_node, self._data_node = ExitStack(), ExitStack()

    def start(self) -> None:
        """Start it, empty; returns when files can be written."""
        subprocess.run(
            [*self._name_node_command(), "-format", "-nonInteractive"],
            check=True,
            capture_output=True,
            timeout=FORMAT_SECONDS_MAX,
            preexec_fn=dies_with_its_parent,
        )
        settings = {
            "dfs.datanode.data.dir": str(self._directory / "blocks"),
            "dfs.datanode.hostname": "127.0.0.1",
            **{f"dfs.datanode.{server}address": "127.0.0.1:0" for server in ("", "http.", "ipc.")},
        }
        command = self._command("datanode.DataNode", settings)
        self._data_node.enter_context(running(command, self._directory / "data-node.log"))
        self.start_name_node()

    def start_name_node(self) -> None:
        """Start the name node, again or for the first time; returns when files can be written."""
        log = self._directory / "name-node.log"
        process = self._name_node.enter_context(running(self._name_node_command(), log))
        await_answer(self.http_port, process, log)
        wait_for(self._is_ready, "a data node has come to the name node")

    def kill_name_node(self) -> None:
        """End the name node as a power cut would; the data node stays, and looks for it."""
        self._name_node.close()

    def kill(self) -> None:
        """End it all."""
        self._name_node.close()
        self._data_node.close()

    def _name_node_command(self) -> list[str]:
        settings = {
            "dfs.namenode.name.dir": str(self._directory / "names"),
            "dfs.namenode.http-address": f"127.0.0.1:{self.http_port}",
            "dfs.namenode.safemode.extension": "0",
            "dfs.replication": "1",
        }
        return self._command("namenode.NameNode", settings)

    def _command(self, server: str, settings: Mapping[str, str]) -> list[str]:
        settings = {**settings, "fs.defaultFS": f"hdfs://127.0.0.1:{self.port}", "dfs.heartbeat.interval": "1"}
        options = [part for key, value in settings.items() for part in ("-D", f"{key}={value}")]
        return [*JAVA, "-cp", self._class_path, f"org.apache.hadoop.hdfs.server.{server}", *options]

    def _is_ready(self) -> bool:
        url = f"http://127.0.0.1:{self.http_port}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        with suppress(OSError), urllib.request.urlopen(url, timeout=10) as answer:
            # There are no beans yet while it starts.
            return any(
                state["NumLiveDataNodes"] >= 1 and state["FSState"] == "Operational"
                for state in json.load(answer)["beans"]
            )
        return False


def settings_at(port: int) -> dict[str, str]:
    """What a program for Spark sets, so that it need not name the name node."""
    return {"spark.hadoop.fs.defaultFS": f"hdfs://127.0.0.1:{port}"}


def web_settings_at(port: int) -> dict[str, str]:
    """What a program for Spark sets to reach it over HTTP."""
    return {
        "spark.hadoop.fs.defaultFS": f"webhdfs://127.0.0.1:{port}",
        "spark.hadoop.hadoop.user.name": getpass.getuser(),
    }


@pytest.fixture(scope="session")
def hdfs_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HdfsCluster]:
    """The cluster, started once. A test that kills its name node starts it again."""
    if not all(map(importlib.util.find_spec, ("hdfs_native", "requests"))):
        leave_out("HDFS", "pip install 'headwater[hdfs]'")
    cluster = HdfsCluster(jars("HDFS", "hdfs"), tmp_path_factory.mktemp("hdfs"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture(scope="session")
def hdfs(hdfs_cluster: HdfsCluster) -> Store:
    """The cluster as a store."""
    return Store("hdfs", f"hdfs://127.0.0.1:{hdfs_cluster.port}", hdfs_cluster.port, settings_at, ("hdfs://",))


@pytest.fixture(scope="session")
def webhdfs(hdfs_cluster: HdfsCluster) -> Store:
    """The cluster as a store that speaks HTTP."""
    port = hdfs_cluster.http_port
    return Store("webhdfs", f"webhdfs://127.0.0.1:{port}", port, web_settings_at, ("webhdfs://",))
