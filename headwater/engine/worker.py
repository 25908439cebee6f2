"""A worker: one process (or, in `local` mode, one thread of the driver) that runs tasks one after the other."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from headwater import broadcast, filesystem
from headwater.base import logs
from headwater.engine import blockids, wire
from headwater.engine.blocks import Placed
from headwater.engine.events import TaskReply, TaskSpec
from headwater.engine.forks import flush_output
from headwater.engine.interrupt import Interrupt, Run
from headwater.engine.peermessages import KeepCopy, ReadBlock, Request
from headwater.engine.settings import WorkerSettings
from headwater.engine.states import LiveStates
from headwater.engine.task import TaskRunner, reply_bytes
from headwater.files import SparkFiles


class ExecutorSurroundings:
    """What tasks find around them: this executor's block files, and the other executors' by the network.

    One thread at a time uses it: a worker's only one.
    """

    def __init__(self, settings: WorkerSettings) -> None:
        self.executor_id = settings.executor_id
        self.scratch = settings.scratch
        self.memory_limit = settings.memory_limit
        self.inline_limit = settings.inline_limit
        self.result_limit = settings.result_limit
        self.compress = settings.compress
        self.key = settings.key
        self.states = LiveStates(settings.state_limit, settings.scratch, settings.key)
        self._places = settings.places
        self._secret = settings.secret
        self._peers: Mapping[str, wire.Address] = {}
        self._channels: dict[str, wire.Channel] = {}

    def set_peers(self, peers: Mapping[str, wire.Address]) -> None:
        """The block servers of the other executors; the connections to those that are gone are closed."""
        self._peers = peers
        for gone in [executor_id for executor_id in self._channels if executor_id not in peers]:
            self._channels.pop(gone).close()

    def read(self, block_id: str, locations: tuple[str, ...], offset: int = 0, length: int = -1) -> bytes | None:
        data = self._places.read(block_id, offset, length)
        if data is not None:
            return data
        for executor_id in locations:
            if executor_id != self.executor_id:
                answer: bytes | None = self._ask(executor_id, ReadBlock(block_id, offset, length))
                if answer is not None:
                    return answer
        return None

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        return self._places.place(block_id, pieces, use_memory=use_memory, use_disk=use_disk)

    def in_memory(self, block_id: str) -> bool:
        return self._places.in_memory(block_id)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int, *, in_memory: bool) -> tuple[str, ...]:
        others = [executor_id for executor_id in self._peers if executor_id != self.executor_id]
        if not others:
            return ()
        copy = KeepCopy(block_id, in_memory, b"".join(pieces))
        return tuple(islice((executor_id for executor_id in others if self._ask(executor_id, copy)), copies))

    def _ask(self, executor_id: str, request: Request) -> Any:
        """A peer's answer; None if it can't be reached, which its death will explain."""
        if executor_id not in self._peers:
            return None
        try:
            channel = self._channels.get(executor_id)
            if channel is None:
                channel = self._channels[executor_id] = wire.connect(self._peers[executor_id], self._secret)
            channel.send(request)
            return channel.receive()
        except (OSError, EOFError):
            broken = self._channels.pop(executor_id, None)
            if broken is not None:
                broken.close()
            return None

    def read_broadcast(self, broadcast_id: int) -> bytes:
        """The pickled value of a broadcast, which the executor has before any task that uses it."""
        data = self._places.read(blockids.broadcast(broadcast_id))
        if data is None:
            raise LookupError(f"Attempted to use Broadcast({broadcast_id}) after it was destroyed")
        return data

    def close(self) -> None:
        for channel in self._channels.values():
            channel.close()


# ------------------------------------------------------------------------------------------------ messages
class RunTask(NamedTuple):
    """Run a task, and answer with its reply; `program` comes along when this worker doesn't have it yet."""

    spec: TaskSpec
    program: bytes | None


class SetPeers(NamedTuple):
    """The block servers of all executors, by id."""

    peers: Mapping[str, wire.Address]


class AddPaths(NamedTuple):
    """Import from these, too."""

    paths: tuple[str, ...]


class ForgetBroadcast(NamedTuple):
    """Drop the value."""

    broadcast_id: int


class ForgetState(NamedTuple):
    """Drop the state's partitions."""

    state_id: int


Message = RunTask | SetPeers | AddPaths | ForgetBroadcast | ForgetState


# ------------------------------------------------------------------------------------------------ the worker
class Worker:
    """Does what it's told, message by message, on one thread. `broadcast` reads by the one that was made last.

    Args:
        settings: what it must know from the start.
        interrupt: by which a task of it can be killed, if it's a thread of the driver.
    """

    def __init__(self, settings: WorkerSettings, interrupt: Interrupt | None = None) -> None:
        self._surroundings = ExecutorSurroundings(settings)
        run = TaskRunner(self._surroundings).run
        self._run: Run = run if interrupt is None else partial(interrupt.guard, run)
        broadcast.set_reader(self._surroundings.read_broadcast)
        SparkFiles._set_root(settings.files)

    def apply(self, message: Message) -> TaskReply | None:
        """Do what a message says; returns a task's reply, and None for all others."""
        match message:
            case RunTask(spec, program):
                return self._run(spec, program)
            case SetPeers(peers):
                self._surroundings.set_peers(peers)
                return None
            case AddPaths(paths):
                sys.path[:0] = [path for path in paths if path not in sys.path]
                return None
            case ForgetBroadcast(broadcast_id):
                broadcast.forget(broadcast_id)
                return None
            case ForgetState(state_id):
                self._surroundings.states.forget(state_id)
                return None


def serve(channel: wire.Channel, settings: WorkerSettings) -> None:
    """A worker process's life: messages in, replies out, until the executor closes the channel."""
    sys.path[:] = [*settings.sys_path, *(path for path in sys.path if path not in settings.sys_path)]
    os.environ.update(settings.environment)
    filesystem.configure(settings.filesystems)
    logs.show(f"worker of executor {settings.executor_id}")
    worker = Worker(settings)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the executor is gone: so are we
        while True:
            reply = worker.apply(channel.receive())
            if reply is not None:
                channel.send_bytes(reply_bytes(reply))
                flush_output()
