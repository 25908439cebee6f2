"""The engine's process: nobody else reaches it, and it goes with its driver."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from headwater.errors import SparkException
from headwater.sql.engine import SailEngine, only_peer
from tests.engine.processes import alive
from tests.waiting import wait_for

NOBODY = 65534


@pytest.fixture
def engine() -> Iterator[SailEngine]:
    started = SailEngine()
    yield started
    started.stop()


def port_of(engine: SailEngine) -> int:
    """The port of an engine: the one that its process listens at."""
    sockets = {
        os.readlink(entry.path)[8:-1] for entry in os.scandir(f"/proc/{engine.pid}/fd") if _is_socket(entry.path)
    }
    with open("/proc/net/tcp") as file:
        rows = [line.split() for line in file.readlines()[1:]]
    (port,) = [int(row[1][-4:], 16) for row in rows if row[3] == "0A" and row[9] in sockets]
    return port


def open_sockets() -> set[str]:
    """This process's sockets."""
    links = (f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.lexists(link) and _is_socket(link)}


def _is_socket(path: str) -> bool:
    return os.readlink(path).startswith("socket:")


@contextmanager
def connections_to(port: int, number: int) -> Iterator[None]:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(number)]
    try:
        yield
    finally:
        for each in sockets:
            each.close()


KNOCK = """
import os, socket, sys
door = socket.socket()
door.settimeout(1)
if os.getuid() == 0:
    os.setgid({nobody}); os.setuid({nobody})
try:
    door.connect(("127.0.0.1", {port}))
    print(os.getuid(), "is in")
except OSError as error:
    print(os.getuid(), "stays out")
"""


def test_another_user_does_not_reach_an_engine(engine: SailEngine) -> None:
    """Where the tests' user can't become another, it is another process that doesn't."""
    code = KNOCK.format(nobody=NOBODY, port=port_of(engine))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert process.stdout.split(maxsplit=1)[1] == "stays out\n"
    if os.getuid() == 0:
        assert process.stdout.startswith(str(NOBODY))


def test_its_own_driver_goes_on_reaching_it(engine: SailEngine) -> None:
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", port_of(engine)), timeout=0.5):
        pass
    assert only_peer(port_of(engine))


@pytest.mark.parametrize(("connections", "expected"), [(0, False), (1, True), (2, False)])
def test_a_peer_is_the_only_one_if_there_is_no_other(connections: int, expected: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connections_to(port, connections):
            accepted = [server.accept()[0] for _ in range(connections)]
            assert only_peer(port) is expected
            for each in accepted:
                each.close()


def test_a_peer_that_has_left_counts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connections_to(port, 1):
            server.accept()[0].detach()
        with connections_to(port, 1), server.accept()[0]:
            assert not only_peer(port)


def test_a_peer_of_another_process_is_not_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; s = socket.create_connection(('127.0.0.1', {port})); input()"
        with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
            with server.accept()[0]:
                assert not only_peer(port)
            process.communicate(b"\n")


def test_an_engine_to_which_somebody_else_has_connected_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An intruder who is quick enough is in before the door is closed: there is no engine then."""
    intruders: list[socket.socket] = []
    pids: list[int] = []
    close_the_door = vars(SailEngine)["_close_the_door"]

    def too_late(engine: SailEngine) -> bool:
        pids.append(engine.pid)
        intruders.append(socket.create_connection(("127.0.0.1", port_of(engine))))
        return bool(close_the_door(engine))

    monkeypatch.setattr(SailEngine, "_close_the_door", too_late)
    with pytest.raises(SparkException, match="Somebody else has connected to each of 5 SQL engines"):
        SailEngine()
    for intruder in intruders:
        intruder.close()
    assert alive(pids) == set()
    assert caplog.text.count("starting another") == len(pids) == 5


def test_an_engine_takes_the_place_of_one_that_was_spoiled(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(SailEngine, "_close_the_door", lambda engine: next(answers))
    engine = SailEngine()
    assert engine.is_alive()
    engine.stop()


def test_an_engine_that_cannot_start_says_why_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pysail").mkdir()
    (tmp_path / "pysail" / "__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = open_sockets()
    with pytest.raises(SparkException, match="has ended with exit code") as failure:
        SailEngine()
    assert open_sockets() == before, failure


def test_an_engine_that_others_can_reach_needs_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    with pytest.raises(SparkException, match=r"set headwater.sql.engine.unprotected to true"):
        SailEngine()
    engine = SailEngine(unprotected=True)
    assert engine.is_alive()
    engine.stop()


def test_an_engine_follows_its_driver(engine: SailEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    engine.follow()
    assert os.readlink(f"/proc/{engine.pid}/cwd") == str(tmp_path)


def test_a_session_may_be_idle_for_years(engine: SailEngine) -> None:
    """Sail's own limit is 900 s, after which a session's views are gone."""
    environment = Path(f"/proc/{engine.pid}/environ").read_text().split("\0")
    (seconds,) = [
        line.partition("=")[2] for line in environment if line.startswith("SAIL_SPARK__SESSION_TIMEOUT_SECS=")
    ]
    assert int(seconds) > 365 * 86400


def test_an_engine_that_is_stopped_is_gone(engine: SailEngine) -> None:
    assert engine.memory() > 1 << 20
    engine.stop()
    assert (engine.is_alive(), alive({engine.pid}), engine.memory()) == (False, set(), 0)
    engine.stop()


DRIVER = """
import os, sys, time
from headwater.sql import SparkSession
from headwater.sql.application import Application
spark = SparkSession.builder.master("local").getOrCreate()
assert spark.sql("SELECT 1 AS one").collect() == [(1,)]
with Application.of(spark.sparkContext).engines.lease() as lease:
    print(lease.engine.pid, flush=True)
{end}
"""


@pytest.mark.parametrize(
    ("end", "killed"),
    [
        pytest.param("spark.stop()", False, id="stop"),
        pytest.param("", False, id="end of the program"),
        pytest.param("raise SystemExit(1)", False, id="error"),
        pytest.param("time.sleep(60)", True, id="kill -9"),
    ],
)
def test_no_engine_outlives_its_driver(end: str, killed: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", DRIVER.format(end=end)], stdout=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        pid = int(driver.stdout.readline())
        if killed:
            assert alive({pid})
            driver.send_signal(signal.SIGKILL)
        driver.wait()
        wait_for(lambda: not alive({pid}), "the engine's end")
