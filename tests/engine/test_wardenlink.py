"""A warden of its own: what it's asked, what it reports, and how it ends."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater.engine.blocks import Places
from headwater.engine.settings import WorkerSettings
from headwater.engine.wardenlink import WardenLink
from headwater.engine.wardenmessages import Ended, Forked, Report
from headwater.engine.wire import Channel
from headwater.engine.worker import ForgetState
from tests.engine.processes import alive
from tests.waiting import PATIENCE_SECONDS, wait_for

pytestmark = pytest.mark.usefixtures("no_context")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "scratch"
    directory.mkdir()
    return directory


@pytest.fixture
def warden(directory: Path) -> Iterator[WardenLink]:
    settings = WorkerSettings(
        executor_id="a",
        secret=b"",
        places=Places(str(directory / "memory"), str(directory / "disk")),
        scratch=str(directory / "spill"),
        memory_limit=1 << 20,
        inline_limit=1 << 20,
        result_limit=1 << 20,
        compress=False,
        state_limit=1 << 20,
        files=str(directory / "files"),
        sys_path=(),
        environment={},
        filesystems={},
    )
    warden = WardenLink(settings, directories=[str(directory)], lock_fds=())
    yield warden
    warden.stop()


def report(warden: WardenLink) -> Report | None:
    assert select.select([warden], [], [], PATIENCE_SECONDS)[0], "nothing is reported"
    return warden.receive()


def fork(warden: WardenLink, number: int) -> tuple[Channel, int]:
    """A worker, and its pid."""
    ours, theirs = socket.socketpair()
    warden.fork(number, theirs)
    theirs.close()
    forked = report(warden)
    assert isinstance(forked, Forked) and forked.number == number
    return Channel(ours), forked.pid


def test_warden_forks_workers_and_reports_how_each_ends(warden: WardenLink) -> None:
    (_, killed), (channel, closed) = fork(warden, 4), fork(warden, 5)
    warden.kill(killed)
    assert report(warden) == Ended(killed, -9)
    channel.send(ForgetState(1))
    channel.close()
    assert report(warden) == Ended(closed, 0)


def test_warden_kills_no_process_but_its_workers(warden: WardenLink) -> None:
    warden.kill(os.getpid())
    fork(warden, 0)


def test_workers_and_directories_go_when_the_warden_is_stopped(warden: WardenLink, directory: Path) -> None:
    _, pid = fork(warden, 0)
    warden.stop()
    wait_for(lambda: not alive([pid]), "the worker has ended")
    assert not directory.exists()


def test_warden_that_is_stopped_takes_requests_and_does_nothing(warden: WardenLink) -> None:
    warden.stop()
    ours, theirs = socket.socketpair()
    warden.fork(0, theirs)
    warden.kill(1)
    ours.close()
    theirs.close()
