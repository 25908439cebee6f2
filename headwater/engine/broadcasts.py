"""The driver's copies of broadcast values, and the executors to which they were sent.

A value is a file of the driver's scratch directory, sealed if what is on disk is encrypted. Each executor gets it with
the first tasks that use it.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Mapping

from headwater.base.cipher import Cipher, unsealed
from headwater.broadcast import Captured
from headwater.engine import blockids
from headwater.engine.backend import ExecutorHandle
from headwater.errors import SparkException


class Broadcasts:
    """`put` and `remove` may be called by any thread; `send` and `forget` by the scheduler's alone."""

    def __init__(self, directory: str, cipher: Cipher | None) -> None:
        self._directory = directory
        self._cipher = cipher
        self._sent: defaultdict[str, set[int]] = defaultdict(set)  # executor -> what it has

    def put(self, broadcast_id: int, data: bytes) -> None:
        """Keep a pickled value."""
        path = self._path(broadcast_id)
        if self._cipher is not None:
            data = self._cipher.sealed(data, os.path.basename(path))
        with open(path + ".tmp", "wb") as file:
            file.write(data)
        os.rename(path + ".tmp", path)

    def remove(self, broadcast_id: int) -> None:
        """Remove the driver's copy; takes no lock, as finalizers call it."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(broadcast_id))

    def send(self, needed: Captured, executor_id: str, executor: ExecutorHandle) -> None:
        """See to it that an executor has all values that are needed; one that was destroyed is left out.

        Raises:
            SparkException: a value can't be stored.
        """
        sent = self._sent[executor_id]
        for broadcast_id in needed - sent:
            needed.put_again(broadcast_id)
            try:
                executor.put_block(blockids.broadcast(broadcast_id), self._read(broadcast_id))
            except FileNotFoundError:
                continue  # the task that uses it will say so
            except (OSError, SparkException) as error:  # a full disk
                raise SparkException(f"broadcast {broadcast_id} could not be stored: {error}") from error
            sent.add(broadcast_id)

    def forget(self, broadcast_id: int, executors: Mapping[str, ExecutorHandle]) -> None:
        """Remove a value from all executors."""
        for executor_id, executor in executors.items():
            self._sent[executor_id].discard(broadcast_id)
            executor.forget_broadcast(broadcast_id)

    def _read(self, broadcast_id: int) -> bytes:
        path = self._path(broadcast_id)
        with open(path, "rb") as file:
            data = file.read()
        if self._cipher is None:
            return data
        name = os.path.basename(path)
        return unsealed(self._cipher, data, name, name)

    def _path(self, broadcast_id: int) -> str:
        return os.path.join(self._directory, blockids.broadcast(broadcast_id))
