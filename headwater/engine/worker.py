"""A worker: one process (or, in `local` mode, one thread of the driver) that runs tasks one after the other."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, NamedTuple

from headwater import broadcast, filesystem, logs
from headwater.cipher import KeySource
from headwater.engine import blockids, wire
from headwater.engine.blocks import Placed, Places
from headwater.engine.forks import flush_output
from headwater.engine.states import LiveStates
from headwater.engine.task import TaskRunner, reply_bytes
from headwater.files import SparkFiles


class WorkerSettings(NamedTuple):
    """What a worker must know from the start."""

    executor_id: str
    secret: bytes
    places: Places
    scratch: str
    memory_limit: int
    inline_limit: int
    result_limit: int
    compress: bool
    state_limit: int  # bytes of live state in a worker's heap
    files: str  # the directory of SparkFiles
    sys_path: tuple[str, ...]
    environment: dict[str, str]
    filesystems: dict[str, str]  # their settings
    key: KeySource | None = None  # of what is written to disk; None: that isn't encrypted


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
        self._peers: dict[str, tuple[str, int]] = {}
        self._channels: dict[str, wire.Channel] = {}

    def set_peers(self, peers: dict[str, tuple[str, int]]) -> None:
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
                answer: bytes | None = self._ask(executor_id, ("get", block_id, offset, length))
                if answer is not None:
                    return answer
        return None

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        return self._places.place(block_id, pieces, use_memory=use_memory, use_disk=use_disk)

    def in_memory(self, block_id: str) -> bool:
        return self._places.in_memory(block_id)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int, *, in_memory: bool) -> tuple[str, ...]:
        taken: list[str] = []
        for executor_id in self._peers:
            if len(taken) == copies:
                break
            if executor_id != self.executor_id and self._ask(
                executor_id, ("put", block_id, in_memory, b"".join(pieces))
            ):
                taken.append(executor_id)
        return tuple(taken)

    def _ask(self, executor_id: str, request: tuple[Any, ...]) -> Any:
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


def apply_paths(root: str, importable: tuple[str, ...]) -> None:
    """Make the application's files known to this process: SparkFiles' root, and what can be imported."""
    SparkFiles._set_root(root)
    sys.path[:0] = [path for path in importable if path not in sys.path]


def serve(channel: wire.Channel, settings: WorkerSettings) -> None:
    """A worker process's life: tasks in, replies out, until the executor closes the channel."""
    sys.path[:] = [*settings.sys_path, *(path for path in sys.path if path not in settings.sys_path)]
    os.environ.update(settings.environment)
    filesystem.configure(settings.filesystems)
    logs.show(f"worker of executor {settings.executor_id}")
    surroundings = ExecutorSurroundings(settings)
    broadcast.set_reader(surroundings.read_broadcast)
    apply_paths(settings.files, ())
    runner = TaskRunner(surroundings)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the executor is gone: so are we
        while True:
            kind, *arguments = channel.receive()
            if kind == "task":
                spec, program = arguments
                channel.send_bytes(reply_bytes(runner.run(spec, program)))
                flush_output()
            elif kind == "peers":
                surroundings.set_peers(arguments[0])
            elif kind == "paths":
                apply_paths(settings.files, arguments[0])
            elif kind == "forget":
                broadcast.forget(arguments[0])
            elif kind == "forget state":
                surroundings.states.forget(arguments[0])
            else:
                raise AssertionError(f"not a worker's message: {kind}")
