"""Programs as their authors wrote them for PySpark: they run once `headwater migrate` has changed their imports.

Each is a process of its own that is fed by a socket, files or a broker, says what is expected, and is ended by Ctrl-C
unless it ends by itself.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic

import pytest

from headwater.migrate.rewriting import rewritten
from tests.engine.processes import complaints
from tests.servers.kafka import KafkaBroker
from tests.waiting import wait_for

PROGRAMS = Path(__file__).parent / "programs"
PATIENCE_SECONDS = 60.0
LOOPBACK = "127.0.0.1"
# What a program may log: what a kill costs, and that nobody asks ZooKeeper.
EXPECTED = ("in the memory of a driver that died", "Kafka no longer needs ZooKeeper")


class Program:
    """A program that runs: what it has printed so far."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.output = ""
        self.killed = False
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def await_output(self, *patterns: str) -> None:
        """Wait until each of these has been printed, in any order."""
        deadline = monotonic() + PATIENCE_SECONDS
        missing = list(patterns)
        while missing := [pattern for pattern in missing if not re.search(pattern, self.output, re.M)]:
            try:
                line = self._lines.get(timeout=max(0.0, deadline - monotonic()))
            except Empty:
                raise AssertionError(f"not printed: {missing}\n{self.output}") from None
            assert line is not None, f"it ended without having printed {missing}\n{self.output}"
            self.output += line

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.killed = True
        self.process.kill()

    def await_end(self) -> None:
        """Wait until it has ended by itself."""
        self.process.wait(PATIENCE_SECONDS)
        self._reader.join()
        while (line := self._lines.get()) is not None:
            self.output += line


@contextmanager
def running(name: str, *arguments: object, in_directory: Path, **environment: str) -> Iterator[Program]:
    """A program of the folder; if it still runs at the end of the block it is ended by Ctrl-C, and must end at once."""
    script = in_directory / name
    script.write_text(rewritten((PROGRAMS / name).read_text()))
    with (in_directory / "errors").open("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-u", str(script), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            cwd=in_directory,
            env={**os.environ, **environment},
        )
        try:
            program = Program(process)
            yield program
            interrupted = process.poll() is None and not program.killed
            if interrupted:
                process.send_signal(signal.SIGINT)
            code = process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            process.wait()
        errors.seek(0)
        said = errors.read()
    if program.killed:
        return
    if interrupted:
        # Python's own words for Ctrl-C in a program that doesn't catch it, and nothing else but what a kill costs.
        assert code in (-signal.SIGINT, 128 + signal.SIGINT, 1), said
        *others, last = complaints(said)
        assert last == "KeyboardInterrupt", said
        logged = [line for line in others if re.match(r"\d\d/\d\d/\d\d|.*(ERROR|Error)", line)]
        assert [line for line in logged if not any(text in line for text in EXPECTED)] == [], said
    else:
        assert (code, complaints(said)) == (0, []), said


@contextmanager
def feeding(*lines: str, then: Sequence[str] = ()) -> Iterator[int]:
    """The port of a server that sends these lines to its first client, others to its second, and then nothing more."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        connections: list[socket.socket] = []

        def serve() -> None:
            for text in (lines, then):
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return  # there was one client, and the test is over
                connections.append(connection)
                connection.sendall("".join(line + "\n" for line in text).encode())

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        server.join(PATIENCE_SECONDS)
        for connection in connections:
            connection.close()


# ------------------------------------------------------------------------------------------------ sockets
def test_network_wordcount(tmp_path: Path) -> None:
    with (
        feeding("to be or not to be", "that is", "être") as port,
        running("network_wordcount.py", "localhost", port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"^Time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d$", r"\('to', 2\)", r"\('être', 1\)")


def test_network_wordcount_without_arguments_says_how_it_is_used(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(rewritten((PROGRAMS / "network_wordcount.py").read_text()))
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert (ended.returncode, ended.stderr) == (255, "Usage: network_wordcount.py <hostname> <port>\n")


def test_running_totals(tmp_path: Path) -> None:
    with (
        feeding("ann,20", "eve,7", "ann,3") as port,
        running("running_totals.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"\('ann', 123\)", r"\('bob', 5\)", r"\('eve', 7\)")


def test_popular_hashtags(tmp_path: Path) -> None:
    texts = ["#rain and #sea", "no tags", "#RAIN again", "#rain"]
    with (
        feeding(*[json.dumps({"text": text}) for text in texts], json.dumps({"deleted": True})) as port,
        running("popular_hashtags.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"^==== .* ====\n#rain: 3\n#sea: 1$")


def test_spam_filter(tmp_path: Path) -> None:
    with (
        feeding("mallory: buy", "alice: hello", "trudy: win", "bob: lunch?") as port,
        running("spam_filter.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"\('alice', 'hello'\)", r"\('bob', 'lunch\?'\)")
        assert "mallory" not in program.output and "trudy" not in program.output


def test_sensor_averages(tmp_path: Path) -> None:
    with (
        feeding("attic 20.5", "attic 21.0", "cellar 12", "broken") as port,
        running("sensor_averages.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"\('attic', 20.75\)", r"\('cellar', 12.0\)", r"^53.5$")


def test_access_log(tmp_path: Path) -> None:
    line = '10.0.0.{} - - [01/Mar/2026:10:00:00 +0000] "GET {} HTTP/1.1" {} 512'
    with (
        feeding(line.format(1, "/", 200), line.format(2, "/", 200), line.format(3, "/gone", 404), "nonsense") as port,
        running("access_log.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"\(200, 2\)", r"\(404, 1\)", r"^3$", r"^busiest: /, bad lines: 1$")


def test_sqlite_sink(tmp_path: Path) -> None:
    database = tmp_path / "lines.db"

    def rows() -> list[tuple[str, int]]:
        with closing(sqlite3.connect(database, timeout=PATIENCE_SECONDS)) as connection:
            return sorted(connection.execute("SELECT word, length FROM lines"))

    with (
        feeding("drop by drop") as port,
        running("sqlite_sink.py", LOOPBACK, port, database, in_directory=tmp_path),
    ):
        await_until(lambda: database.exists() and tables(database) == ["lines"] and len(rows()) >= 3)
    assert rows() == [("by", 2), ("drop", 4), ("drop", 4)]


def test_stream_join(tmp_path: Path) -> None:
    with (
        feeding("a1 seen by ann", "a2 seen by bob") as impressions,
        feeding("a1 ann") as clicks,
        running("stream_join.py", LOOPBACK, impressions, clicks, in_directory=tmp_path) as program,
    ):
        program.await_output(r"^a1: seen by ann clicked by ann$", r"\('a1', \(1, 1\)\)", r"\('a2', \(1, 0\)\)")


def test_classes_and_globals(tmp_path: Path) -> None:
    with (
        feeding("The river and the sea", "a RIVER") as port,
        running("classes_and_globals.py", LOOPBACK, port, in_directory=tmp_path) as program,
    ):
        program.await_output(r"^longest: river$", r"^frequent: river$")


def test_recoverable_word_count_goes_on_after_kill_9(tmp_path: Path) -> None:
    checkpoint, output = tmp_path / "checkpoint", tmp_path / "counts"
    with feeding("a river a sea", then=["a stream"]) as port:
        arguments = "localhost", port, checkpoint, output
        with running("recoverable.py", *arguments, in_directory=tmp_path) as first:
            first.await_output("^Creating new context$", r"\('river', 1\)", r"^Dropped 2 word\(s\) totally$")
            wait_for(
                lambda: output.exists() and "('river', 1)" in output.read_text(),
                "the first driver's counts are in the file",
            )
            first.kill()
        with running("recoverable.py", *arguments, in_directory=tmp_path) as second:
            second.await_output(r"\('stream', 1\)", r"^Dropped 1 word\(s\) totally$")
            assert "Creating" not in second.output
    assert "('river', 1)" in output.read_text() and "('stream', 1)" in output.read_text()


# ------------------------------------------------------------------------------------------------ files, Kafka
def test_files_to_files(tmp_path: Path) -> None:
    incoming, outgoing = tmp_path / "in", tmp_path / "out"
    incoming.mkdir()
    with running("files_to_files.py", incoming, outgoing / "errors", in_directory=tmp_path) as program:
        program.await_output("^Time: ")  # the stream runs: what comes from now on is new
        (tmp_path / "log").write_text("INFO up\nERROR down\nERROR out\n")
        (tmp_path / "log").rename(incoming / "log")
        program.await_output("^errors in this batch: 2$")
        await_until(lambda: any(part.read_text() for part in outgoing.glob("errors-*.txt/part-*")))
    lines = [line for part in sorted(outgoing.glob("errors-*.txt/part-*")) for line in part.read_text().splitlines()]
    assert lines == ["ERROR down", "ERROR out"]


def test_direct_kafka_wordcount(kafka: KafkaBroker, tmp_path: Path) -> None:
    topic = kafka.topic(1)
    kafka.send(topic, ["to be", "or not to be"])
    with running("direct_kafka_wordcount.py", kafka.bootstrap, topic, in_directory=tmp_path) as program:
        program.await_output(rf"^{topic} 0 0 2$", r"\('to', 2\)", r"\('or', 1\)")


def test_kafka_receiver_finds_its_brokers_by_a_setting_as_nothing_asks_zookeeper(
    kafka: KafkaBroker,
    tmp_path: Path,
) -> None:
    topic = kafka.topic(1)
    kafka.send(topic, [json.dumps({"page": page}) for page in ("/", "/a", "/")])
    (tmp_path / "spark-defaults.conf").write_text(f"headwater.streaming.kafka.brokers {kafka.bootstrap}\n")
    with running(
        "kafka_receiver.py", "localhost:2181", topic, in_directory=tmp_path, SPARK_CONF_DIR=str(tmp_path)
    ) as program:
        program.await_output(r"\('/', 2\)", r"\('/a', 1\)", "^Clicks in this batch: 3$")


# ------------------------------------------------------------------------------------------------ those that end
@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("no_name.py", r"Pi is about 3\.[12]\ncalled no_name.py\n"),
        ("notebook.py", r"\[3, 3\] True\n"),
        ("session_only.py", r"\[\('river', 1\), \('spring', 1\), \('stream', 2\)\]\nSessionOnly 3\n"),
        ("quiet_logs.py", r"10\n"),
        ("packages.py", r"local\[2\] \['a', 'b'\]\n"),
        ("listener_and_grace.py", r"sum 45\nsum 190\nsum 435\n(sum 0\n)*batches True\n"),
    ],
)
def test_program_that_ends_by_itself_prints_what_it_should(name: str, printed: str, tmp_path: Path) -> None:
    with running(name, in_directory=tmp_path) as program:
        program.await_end()
    assert re.fullmatch(printed, program.output)


def test_queue_stream(tmp_path: Path) -> None:
    with running("queue_stream.py", in_directory=tmp_path) as program:
        program.await_end()
    assert program.output.count("(0, 100)") == program.output.count("(9, 100)") == 3


def test_every_program_of_the_folder_is_run() -> None:
    tested = set(re.findall(r'"([a-z_]+\.py)"', Path(__file__).read_text())) - {"program.py"}
    assert tested == {path.name for path in PROGRAMS.glob("*.py")}


def await_until(condition: Callable[[], bool]) -> None:
    """Look at files and databases, which don't tell, until something is so."""
    wait_for(condition, "the program has written what it received")


def tables(database: Path) -> list[str]:
    with closing(sqlite3.connect(database, timeout=PATIENCE_SECONDS)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
