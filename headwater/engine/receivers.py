"""Receivers in an executor: long-lived guests that store blocks and talk with their owner in the driver.

The engine knows no streams: it runs what the factory makes, stores its blocks within the limits and carries messages.
When both limits are reached, `put_block` waits: the receiver stops reading its source, which is the back-pressure.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from headwater.base.pickling import loads
from headwater.base.threads import WatchedThread
from headwater.engine.blocks import BlockStore
from headwater.engine.events import ReceiverPosted
from headwater.engine.failures import description
from headwater.engine.lineage import BlockRef
from headwater.engine.settings import ExecutorSettings
from headwater.errors import IllegalStateException, SparkException
from headwater.storagelevel import StorageLevel

logger = logging.getLogger(__name__)

_STOP: Any = object()


class Handle(Protocol):
    """What a factory returns: the running receiver."""

    def receive(self, message: Any) -> None:
        """A message from the owner. Must not block."""

    def stop(self) -> None:
        """End; called once, may block for a short while."""


class HostingExecutor(Protocol):
    """What receivers use of their executor."""

    settings: ExecutorSettings
    store: BlockStore

    def post(self, event: Any, /) -> None:
        """Tell the driver; arrives in order."""

    def replicate(self, block_id: str, pieces: list[bytes], copies: int) -> tuple[str, ...]:
        """Put copies of a block on other executors; returns the ids of those that took one."""


class ExecutorsHost:
    """What a receiver may do in its executor. Safe to use from any of its threads."""

    def __init__(self, receiver_id: int, receivers: Receivers) -> None:
        self._receiver_id = receiver_id
        self._receivers = receivers
        settings = receivers.executor.settings
        self.executor_id = settings.executor_id
        self.host = settings.host
        self.conf: Mapping[str, str] = settings.conf
        self.key = settings.key  # of what is written; None: that isn't encrypted

    @property
    def closing(self) -> bool:
        """Whether the executor is about to end."""
        return self._receivers.closing

    def put_block(self, block_id: str, data: bytes | Sequence[bytes], *, records: int, level: StorageLevel) -> BlockRef:
        """Store an encoded block and its copies; waits while the executor's limits of received blocks are reached.

        Raises:
            IllegalStateException: the executor is closing.
            SparkException: the disk is full.
        """
        pieces = [data] if isinstance(data, bytes) else list(data)
        return self._receivers.put(block_id, pieces, records, level)

    def post(self, payload: Any) -> None:
        """Tell the owner; arrives in order."""
        self._receivers.executor.post(ReceiverPosted(self.executor_id, self._receiver_id, payload))


class Receivers:
    """The receivers of an executor and the books of what they have stored. Any thread; one lock."""

    def __init__(self, executor: HostingExecutor) -> None:
        self.executor = executor
        self._room = threading.Condition()  # guards all below
        self._handles: dict[int, Handle] = {}
        self._ending: dict[int, Handle] = {}  # those that are being stopped; they hear what they are told
        self._making: dict[int, list[Any]] = {}  # receivers that are being made -> messages; _STOP among them stops it
        self._sizes: dict[str, tuple[int, bool]] = {}  # received block -> (bytes, in memory)
        self._memory_bytes = 0  # the sums of the sizes above, by place
        self._disk_bytes = 0
        self._closing = False

    def start(self, receiver_id: int, factory: bytes) -> None:
        """Make and run a receiver on a thread of its own; if the factory raises, its owner is told."""

        host = ExecutorsHost(receiver_id, self)

        def run() -> None:
            handle: Handle = loads(factory)(host)
            self._made(receiver_id, handle)

        def failed(error: BaseException) -> None:
            with self._room:
                self._making.pop(receiver_id, None)
                self._room.notify_all()
            host.post(SparkException(description(error)))  # theirs might not survive the way

        with self._room:
            self._making[receiver_id] = []
        try:
            WatchedThread(run, name=f"receiver-{receiver_id}", on_failure=failed).start()
        except RuntimeError as error:  # there are too many threads
            failed(error)

    def _made(self, receiver_id: int, handle: Handle) -> None:
        """Give a new receiver what it was sent meanwhile, then let it in; unless it's to stop at once."""
        while True:
            with self._room:
                messages = self._making[receiver_id]
                unwanted = self._closing or _STOP in messages
                if unwanted or not messages:
                    del self._making[receiver_id]
                    (self._ending if unwanted else self._handles)[receiver_id] = handle
                    break
                self._making[receiver_id] = []
            for message in messages:
                handle.receive(message)
        if unwanted:
            self._end(receiver_id, handle)

    def _end(self, receiver_id: int, handle: Handle) -> None:
        try:
            handle.stop()
        finally:
            with self._room:
                del self._ending[receiver_id]
                self._room.notify_all()

    def send(self, receiver_id: int, message: Any) -> None:
        """Give a receiver a message; one that is gone doesn't get it."""
        with self._room:
            handle = self._handles.get(receiver_id) or self._ending.get(receiver_id)
            if receiver_id in self._making:
                self._making[receiver_id].append(message)
        if handle is not None:
            handle.receive(message)

    def stop_one(self, receiver_id: int) -> None:
        """Stop a receiver, also one that is being made, and wait until it has: all it has posted is on its way then."""
        with self._room:
            handle = self._handles.pop(receiver_id, None)
            if receiver_id in self._making:
                self._making[receiver_id].append(_STOP)
            if handle is not None:
                self._ending[receiver_id] = handle
            else:
                self._room.wait_for(lambda: not {receiver_id} & (self._making.keys() | self._ending.keys()))
        if handle is not None:
            self._end(receiver_id, handle)

    @property
    def closing(self) -> bool:
        """Whether all receivers are to end with the executor."""
        return self._closing

    def stop(self) -> None:
        """Stop all; who waits for room is told off. Idempotent."""
        with self._room:
            self._closing = True
            handles = list(self._handles.values())
            self._handles.clear()
            self._room.notify_all()
        for handle in handles:
            try:
                handle.stop()
            except BaseException:
                logger.exception("a receiver failed to stop")

    def put(self, block_id: str, pieces: list[bytes], records: int, level: StorageLevel) -> BlockRef:
        """See `ReceiverHost.put_block`."""
        executor, size = self.executor, sum(map(len, pieces))
        in_memory = self._reserve(block_id, size, level)
        try:
            put = executor.store.put(
                block_id, pieces, use_memory=in_memory, use_disk=level.useDisk or not in_memory, evictable=False
            )
            if put.in_memory != in_memory:
                self._moved(block_id, size, put.in_memory)
        except BaseException:
            self.removed([block_id])
            raise
        copies = executor.replicate(block_id, pieces, level.replication - 1) if level.replication > 1 else ()
        return BlockRef(block_id, (executor.settings.executor_id, *copies), records)

    def _reserve(self, block_id: str, size: int, level: StorageLevel) -> bool:
        """Wait for room and enter the block into the books; returns whether it goes to memory.

        A block larger than a limit is let in when nothing else is there, so that it can't wait for ever. Where the
        memory file system takes no more, the disk is used whatever the level: nothing could bring the block back.
        """
        settings = self.executor.settings
        with self._room:
            while not self._closing:
                takes = self.executor.store.takes(size)
                in_memory = (level.useMemory and takes) and (
                    not self._memory_bytes or self._memory_bytes + size <= settings.received_memory
                )
                on_disk = (level.useDisk or not takes) and (
                    not self._disk_bytes or self._disk_bytes + size <= settings.received_disk
                )
                if in_memory or on_disk:
                    self._sizes[block_id] = (size, in_memory)
                    self._count(size, in_memory)
                    return in_memory
                self._room.wait()
        raise IllegalStateException(f"block {block_id} can't be stored: the executor is closing")

    def _count(self, size: int, in_memory: bool) -> None:
        if in_memory:
            self._memory_bytes += size
        else:
            self._disk_bytes += size

    def _moved(self, block_id: str, size: int, in_memory: bool) -> None:
        """A block isn't where there was room for it: the memory file system was filled meanwhile."""
        with self._room:
            if block_id in self._sizes:
                self._sizes[block_id] = (size, in_memory)
                self._count(-size, not in_memory)
                self._count(size, in_memory)
                self._room.notify_all()

    def removed(self, block_ids: Sequence[str]) -> None:
        """These blocks are needed no more: there is room again."""
        with self._room:
            for block_id in block_ids:
                if block_id in self._sizes:
                    size, in_memory = self._sizes.pop(block_id)
                    self._count(-size, in_memory)
            self._room.notify_all()
