"""Where peers knock: strangers who prove nothing keep no peer out."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from headwater.engine import handshakes, wire
from headwater.engine.handshakes import PeerListener
from tests.engine.processes import descendants, executors, listening_ports
from tests.waiting import PATIENCE_SECONDS

SECRET = b"the application's secret"


@pytest.fixture
def door() -> Iterator[PeerListener]:
    def serve(channel: wire.Channel) -> None:
        with suppress(EOFError, OSError):
            while True:
                channel.send(channel.receive())
        channel.close()

    listener = PeerListener("127.0.0.1", SECRET, name="door", serve=serve)
    yield listener
    listener.close()


def stranger(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE_SECONDS)


def is_let_in(address: tuple[str, int]) -> bool:
    channel = wire.connect(address, SECRET)
    channel.send("hello")
    answer = channel.receive()
    channel.close()
    return bool(answer == "hello")


def test_peer_is_let_in_while_more_strangers_wait_than_may(door: PeerListener) -> None:
    with ExitStack() as stack:
        silent = [stack.enter_context(stranger(door.address)) for _ in range(3 * handshakes.UNPROVED_MAX)]
        assert is_let_in(door.address)
        # All but the last ones were sent away for it.
        for each in silent[: 2 * handshakes.UNPROVED_MAX]:
            while each.recv(4096):
                pass


def test_stranger_who_sends_a_byte_now_and_then_has_no_more_time_than_a_silent_one(
    door: PeerListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "HANDSHAKE_SECONDS", 0.3)
    with stranger(door.address) as slow:
        sent = 0
        with pytest.raises(OSError):
            while True:
                slow.sendall(b"x")
                sent += 1
                time.sleep(0.02)  # much less than the time that each wait would have
        assert sent < 64  # a nonce and a proof would be that long


def test_closing_sends_strangers_away(door: PeerListener) -> None:
    with stranger(door.address) as silent:
        assert len(silent.recv(32)) == 32
        door.close()
        assert silent.recv(32) == b""


# ------------------------------------------------------------------------------------------------ an application
_CLUSTER = """
import resource, sys
from headwater import SparkContext

sc = SparkContext("local-cluster[2,1,512]", "tests")
pairs = sc.parallelize([("a", 1), ("b", 2), ("a", 3)], 3)

def job():
    print(sorted(pairs.reduceByKey(lambda a, b: a + b, 2).collect()), flush=True)

job()
for line in sys.stdin:
    if line == "limit\\n":
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.stdin.readline()),) * 2)
        print("limited", flush=True)
    else:
        job()
sc.stop()
"""


def test_cluster_replaces_executors_and_runs_jobs_after_strangers_have_used_up_its_file_descriptors(
    tmp_path: Path,
) -> None:
    program = Popen(
        [sys.executable, "-c", _CLUSTER], stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, bufsize=1, cwd=tmp_path
    )
    right = "[('a', 4), ('b', 2)]\n"
    with program, ExitStack() as stack:
        stack.callback(program.kill)
        assert program.stdin and program.stdout and program.stderr
        assert program.stdout.readline() == right
        ports = [port for pid in [program.pid, *executors(program.pid)] for port in listening_ports(pid)]
        assert len(ports) == 3
        open_files = max(int(link.name) for link in Path(f"/proc/{program.pid}/fd").iterdir())
        program.stdin.write(f"limit\n{open_files + 10}\n")
        assert program.stdout.readline() == "limited\n"
        strangers = [stack.enter_context(stranger(("127.0.0.1", port))) for port in ports for _ in range(50)]
        said: Any = ""
        while "can't be accepted" not in said:
            said = program.stderr.readline()
        for each in strangers:
            each.close()
        executor = executors(program.pid)[0]
        os.kill(executor, signal.SIGKILL)
        for _ in range(3):
            program.stdin.write("job\n")
            assert program.stdout.readline() == right
        program.stdin.close()
        assert program.wait(PATIENCE_SECONDS) == 0
    assert not descendants(program.pid)
