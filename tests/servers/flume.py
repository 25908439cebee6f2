"""Flume agents: one pushes to an avro sink, one holds events for whoever polls Spark's sink.

An agent lives as long as a test wants it: agents that are killed are what the tests are about.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from tests.servers import jars
from tests.servers.processes import START_SECONDS_MAX, await_answer, free_port, running

MEMORY = "-Xmx256m"


class FlumeAgent:
    """An agent with one source, one file channel and one sink, which keeps its events in a directory.

    Args:
        jars: of Flume.
        directory: of its configuration, its log and its events; the same directory makes the same agent again.
        sink: the sink's settings.
    """

    def __init__(self, jars: Path, directory: Path, sink: Mapping[str, object]) -> None:
        self._jars = jars
        self._directory = directory
        self.port = free_port()
        settings: dict[str, object] = {
            "sources": "r",
            "channels": "c",
            "sinks": "k",
            "sources.r.type": "netcat",
            "sources.r.bind": "127.0.0.1",
            "sources.r.port": self.port,
            "sources.r.max-line-length": 2000,
            "sources.r.channels": "c",
            "sources.r.interceptors": "i",
            "sources.r.interceptors.i.type": "static",
            "sources.r.interceptors.i.key": "from",
            "sources.r.interceptors.i.value": "agent",
            "channels.c.type": "file",
            "channels.c.checkpointDir": directory / "checkpoint",
            "channels.c.dataDirs": directory / "data",
            "channels.c.maxFileSize": 10 << 20,
            "channels.c.minimumRequiredSpace": 1 << 20,
            "channels.c.transactionCapacity": 1000,
            "sinks.k.channel": "c",
            **{f"sinks.k.{key}": value for key, value in sink.items()},
        }
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "flume.conf").write_text("".join(f"a.{key} = {value}\n" for key, value in settings.items()))
        self._running = ExitStack()

    def __enter__(self) -> FlumeAgent:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start the agent; returns when it takes lines."""
        command = ["java", MEMORY, "-Dflume.monitoring.type=none", "-cp", f"{self._jars}/*"]
        command += ["org.apache.flume.node.Application", "-n", "a", "-f", str(self._directory / "flume.conf")]
        log = self._directory / "log"
        process = self._running.enter_context(running([*command, "--no-reload-conf"], log))
        await_answer(self.port, process, log)

    def send(self, lines: list[str]) -> None:
        """Give it lines, an event each; returns when its channel has them."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=START_SECONDS_MAX) as connection:
            answers_of = connection.makefile("rb")
            for line in lines:
                connection.sendall(line.encode() + b"\n")
                assert answers_of.readline().strip() == b"OK"

    def kill(self) -> None:
        """End it as a power cut would."""
        self._running.close()


def pushing_agent(directory: Path, port: int, **sink: object) -> FlumeAgent:
    """An agent that pushes to a port; skips the test where there is no Flume."""
    settings = {"type": "avro", "hostname": "127.0.0.1", "port": port, "batch-size": 50, "reset-connection-interval": 0}
    options = {key.replace("_", "-"): value for key, value in sink.items()}
    return FlumeAgent(jars("Flume (an agent with an avro sink)", "flume"), directory, settings | options)


def polled_agent(directory: Path, port: int) -> FlumeAgent:
    """An agent with Spark's sink at a port; skips the test where there is no Flume."""
    sink = {"type": "org.apache.spark.streaming.flume.sink.SparkSink", "hostname": "127.0.0.1", "port": port}
    return FlumeAgent(jars("Flume (an agent with Spark's sink)", "flume-spark-sink"), directory, sink)
