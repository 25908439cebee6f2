"""The backend: where tasks run, as the application sees it. Those that there are stand in `engine.backends`.

Nothing above this knows whether an executor is this process or another machine, and nothing here assumes that two
executors share memory, disk or clock. Executor ids are never reused. What happens comes back as events of
`BackendEvent`, posted from any thread: ExecutorJoined before anything else of an executor, ExecutorLeft after which
nothing of it counts, TaskEnded once for each task.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from headwater.base.cipher import KeySource
from headwater.conf import SparkConf
from headwater.engine.events import BackendEvent, TaskSpec
from headwater.engine.wire import Address

#: The host of executors on the driver's machine.
LOOPBACK = "127.0.0.1"

Post = Callable[[BackendEvent], None]


@dataclass(frozen=True)
class Master:
    """A master, understood. `cores` are an executor's, `memory` is its bytes (None: as configured)."""

    text: str
    executors: int
    cores: int
    in_process: bool = False
    clustered: bool = False
    task_failures: int | None = None
    memory: int | None = None

    @property
    def parallelism(self) -> int:
        """The cores of all executors; 2 at least on a cluster, as in Spark."""
        cores = self.cores * self.executors
        return max(cores, 2) if self.clustered else cores


class ExecutorHandle(Protocol):
    """An executor, near or far: all that it can be told. Any thread; calls to one that is gone do nothing.

    No method waits for a task. Of a far executor, those that are in `WAITED_FOR` wait for its answer, the others until
    the kernel has taken the message.
    """

    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        """Run tasks of one stage, whose pickled program is `program`; each ends in one `TaskEnded`."""

    def kill(self, task_id: int, reason: str) -> None:
        """End a task that is queued or runs; a worker process is killed and replaced."""

    def put_block(self, block_id: str, data: bytes) -> None:
        """Keep a block of the driver's (a broadcast) before any task that is submitted later runs."""

    def get_block(self, block_id: str) -> bytes | None:
        """A block's bytes; None if it isn't there, or the executor is gone."""

    def remove_blocks(self, block_ids: list[str]) -> None:
        """Remove received blocks."""

    def forget_broadcast(self, broadcast_id: int) -> None:
        """Remove a broadcast, its value in the workers included."""

    def forget_state(self, state_id: int) -> None:
        """Drop a state's partitions from the workers' heaps."""

    def remove_prefix(self, prefix: str) -> None:
        """Remove blocks whose id starts so."""

    def add_file(self, name: str, data: bytes, importable: bool) -> None:
        """Keep a file for SparkFiles before any task that is submitted later runs; workers can import what may be."""

    def set_peers(self, peers: Mapping[str, Address]) -> None:
        """The block servers of all executors, by id."""

    def start_receiver(self, receiver_id: int, factory: bytes) -> None:
        """Run a receiver on a thread of its own; if the pickled factory raises, its owner is told."""

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        """Give a receiver a message; one that is gone doesn't get it."""

    def stop_receiver(self, receiver_id: int) -> None:
        """Stop a receiver, also one that is being made, and wait until it has stopped."""


#: The names of an executor's methods, and of those whose answer is waited for.
SURFACE = frozenset(name for name in vars(ExecutorHandle) if not name.startswith("_"))
WAITED_FOR = frozenset({ExecutorHandle.get_block.__name__, ExecutorHandle.stop_receiver.__name__})


class Backend(Protocol):
    """A set of executors. Any thread."""

    def start(self, post: Post) -> None:
        """Start the executors; each is announced by `ExecutorJoined` when it can take tasks."""

    def executors(self) -> dict[str, ExecutorHandle]:
        """The executors that are there, by id."""

    def left(self, executor_id: str, reason: str) -> str | None:
        """An executor has left: replace it, or say why none is coming (all jobs then fail with that)."""

    def stop(self) -> None:
        """End all executors and remove what they left behind. Idempotent."""


#: Makes the backend of a master, not started yet, of (the master, the application's settings, the driver's scratch
#: directory, the key by which what is written to disk is encrypted, or None).
MakeBackend = Callable[[Master, SparkConf, str, KeySource | None], Backend]
