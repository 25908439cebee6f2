"""The backend: where tasks run, as the scheduler's application sees it.

Nothing above this knows whether an executor is this process or another machine, and nothing here assumes that two
executors share memory, disk or clock. Executor ids are never reused. What happens comes back as events of
`engine.events`, posted from any thread: ExecutorJoined before anything else of an executor, ExecutorLeft after which
nothing of it counts, TaskEnded once for each task, BlocksDropped, ReceiverPosted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from headwater.engine.events import BackendEvent, TaskSpec

Post = Callable[[BackendEvent], None]


class ExecutorHandle(Protocol):
    """An executor, near or far. No method waits for a task; calls to one that is gone do nothing."""

    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        """Run tasks of one stage, whose pickled program is `program`."""

    def kill(self, task_id: int, reason: str) -> None:
        """End a task."""

    def put_block(self, block_id: str, data: bytes) -> None:
        """Keep a block before any task that is submitted later runs."""

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
        """Keep a file for SparkFiles, before any task that is submitted later runs."""

    def start_receiver(self, receiver_id: int, factory: bytes) -> None:
        """Run a receiver."""

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        """Give it a message."""

    def stop_receiver(self, receiver_id: int) -> None:
        """Stop it; returns when it has, where that can be waited for."""


class Backend(Protocol):
    """A set of executors."""

    def start(self, post: Post) -> None:
        """Start the executors; each is announced by `ExecutorJoined` when it can take tasks."""

    def executors(self) -> dict[str, ExecutorHandle]:
        """The executors that are there, by id."""

    def left(self, executor_id: str, reason: str) -> str | None:
        """An executor has left: replace it, or say why none is coming (all jobs then fail with that)."""

    def stop(self) -> None:
        """End all executors and remove what they left behind. Idempotent."""
