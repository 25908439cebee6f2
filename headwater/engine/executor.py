"""An executor: one machine's share of an application: its blocks, its workers and its receivers.

It runs in the driver's process (masters `local...`) or in a process of its own (`local-cluster`, a cluster) and is the
same class in both. It decides nothing: it does what `backend.ExecutorHandle` says and posts what happened. Any thread
may call it; what it owns has locks of its own.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import Any

from headwater import filesystem
from headwater.engine import blockids
from headwater.engine.backend import Post
from headwater.engine.blocks import BlockStore, Places
from headwater.engine.events import (
    ExecutorLeft,
    TaskSpec,
)
from headwater.engine.peers import BlockServer
from headwater.engine.receivers import Receivers
from headwater.engine.scratch import ScratchDirectory, free_bytes, local_root, memory_root, total_bytes
from headwater.engine.settings import ExecutorSettings, WorkerSettings
from headwater.engine.wire import Address
from headwater.engine.worker import ExecutorSurroundings, ForgetBroadcast, ForgetState
from headwater.engine.workerprocesses import WorkerProcesses
from headwater.engine.workers import Workers
from headwater.engine.workerthreads import WorkerThreads

logger = logging.getLogger(__name__)

# Of the memory file system, for all executors of an application on this host.
MEMORY_SHARE_MAX = 0.75
# What stays free there: a part of it, or that many bytes, whichever is less; others use it as well.
MEMORY_RESERVE_PART, MEMORY_RESERVE_MAX = 16, 64 << 20
# Files of `add_file` from which the modules within are imported.
_PACKAGES = (".zip", ".egg", ".whl")


class Executor:
    """Construct, `start`, then use; `stop` closes all that it opened. Its methods are `ExecutorHandle`'s."""

    def __init__(self, settings: ExecutorSettings, post: Post) -> None:
        self.settings = settings
        self.post = post
        filesystem.configure(settings.conf)  # receivers' logs are written here
        self._disk = ScratchDirectory(local_root(settings.local_dir))
        memory = memory_root()
        self._memory = ScratchDirectory(memory) if memory else self._disk
        self._files = os.path.join(self._disk.path, "files")
        os.makedirs(self._files)
        places, store_limit = self._room(memory)
        self.store = BlockStore(places, store_limit)
        worker_settings = self._worker_settings(places)
        self._workers = self._make_workers(worker_settings)
        self._block_server = BlockServer(self.store, settings.secret, settings.host) if settings.serve_blocks else None
        self._receivers = Receivers(self)
        self._replicating = threading.Lock()  # held by the thread that talks to the peers
        self._surroundings = ExecutorSurroundings(worker_settings)
        self._stopping = threading.Lock()  # taken by the first `stop`

    def _room(self, memory: str | None) -> tuple[Places, int]:
        """Where blocks are, and how many bytes of them in memory."""
        room, reserve = free_bytes(self._disk.path), 0
        if memory:
            # Of the whole: what others have there now may go, and what they will have is looked at with each block.
            room = total_bytes(memory)
            reserve = min(room // MEMORY_RESERVE_PART, MEMORY_RESERVE_MAX)
        share = int(room * MEMORY_SHARE_MAX) // self.settings.executors_on_host
        places = Places(
            os.path.join(self._memory.path, "memory"),
            os.path.join(self._disk.path, "disk"),
            reserve=reserve,
            key=self.settings.key,
            memory_is_disk=memory is None,
        )
        return places, min(self.settings.store_limit, share)

    def _worker_settings(self, places: Places) -> WorkerSettings:
        settings = self.settings
        return WorkerSettings(
            executor_id=settings.executor_id,
            secret=settings.secret,
            places=places,
            scratch=os.path.join(self._disk.path, "spill"),
            memory_limit=settings.worker_memory,
            inline_limit=settings.inline_limit,
            result_limit=settings.result_limit,
            compress=settings.compress,
            state_limit=settings.state_limit,
            files=self._files,
            sys_path=settings.sys_path,
            environment=settings.environment,
            filesystems=filesystem.relevant(settings.conf),
            key=settings.key,
        )

    def _make_workers(self, worker_settings: WorkerSettings) -> Workers[Any]:
        settings = self.settings
        if settings.in_process:
            return WorkerThreads(worker_settings, settings.cores, self.store, self.post)
        return WorkerProcesses(
            worker_settings,
            settings.cores,
            self.store,
            self.post,
            owner_directories={self._memory.path, self._disk.path, *settings.owner_directories},
            lock_fds={self._memory.lock_fd, self._disk.lock_fd},
            give_up=self._give_up,
        )

    # -------------------------------------------------------------------------------------------- life
    def start(self) -> None:
        """Start the workers; returns before they're up, tasks wait for them."""
        self._workers.start()

    @property
    def address(self) -> Address | None:
        """Where other executors may ask for blocks."""
        return self._block_server.address if self._block_server else None

    def stop(self) -> None:
        """End receivers and workers and remove the blocks. Idempotent."""
        self._receivers.stop()
        if not self._stopping.acquire(blocking=False):
            return
        if self._block_server:
            self._block_server.close()
        self._workers.close()
        self._surroundings.close()
        self._memory.close()
        if self._disk is not self._memory:
            self._disk.close()

    def _give_up(self, reason: str) -> None:
        """No task can run here any more."""
        logger.error("executor %s: %s", self.settings.executor_id, reason)
        self.post(ExecutorLeft(self.settings.executor_id, reason))

    # -------------------------------------------------------------------------------------------- tasks
    def submit(self, tasks: tuple[TaskSpec, ...], program: bytes) -> None:
        self._workers.submit(tasks, program)

    def kill(self, task_id: int, reason: str) -> None:
        self._workers.kill(task_id, reason)

    # -------------------------------------------------------------------------------------------- blocks, files, peers
    def put_block(self, block_id: str, data: bytes) -> None:
        self.store.put(block_id, [data], use_memory=True, use_disk=True, evictable=False)

    def get_block(self, block_id: str) -> bytes | None:
        return self.store.get(block_id)

    def remove_blocks(self, block_ids: list[str]) -> None:
        self.store.remove(block_ids)
        self._receivers.removed(block_ids)

    def remove_prefix(self, prefix: str) -> None:
        self.store.remove_prefix(prefix)

    def forget_broadcast(self, broadcast_id: int) -> None:
        self.store.remove([blockids.broadcast(broadcast_id)])
        self._workers.tell(ForgetBroadcast(broadcast_id))

    def forget_state(self, state_id: int) -> None:
        self._workers.tell(ForgetState(state_id))

    def add_file(self, name: str, data: bytes, importable: bool) -> None:
        path = os.path.join(self._files, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".tmp", "wb") as file:
            file.write(data)
        os.rename(path + ".tmp", path)
        if importable:
            self._workers.add_path(path if name.endswith(_PACKAGES) else self._files)

    def set_peers(self, peers: Mapping[str, Address]) -> None:
        self._workers.set_peers(peers)

    def replicate(self, block_id: str, pieces: list[bytes], copies: int) -> tuple[str, ...]:
        """Put copies of a received block on other executors; returns the ids of those that took one."""
        with self._replicating:
            self._surroundings.set_peers(self._workers.peers)
            return self._surroundings.replicate(block_id, pieces, copies, in_memory=True)

    # -------------------------------------------------------------------------------------------- receivers
    def start_receiver(self, receiver_id: int, factory: bytes) -> None:
        self._receivers.start(receiver_id, factory)

    def send_to_receiver(self, receiver_id: int, message: Any) -> None:
        self._receivers.send(receiver_id, message)

    def stop_receiver(self, receiver_id: int) -> None:
        self._receivers.stop_one(receiver_id)
