"""AsyncReceiver: a receiver whose author writes a coroutine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from headwater.base.daemonpool import DaemonPool
from headwater.base.threads import WatchedThread
from headwater.streaming.receivers.receiver import Receiver

# A stop waits this long for the coroutine to clean up.
CLEAN_UP_SECONDS_MAX = 2.0
# Calls of store that wait at once; further ones wait for these.
STORES_MAX = 8


class AsyncReceiver(Receiver):
    """A receiver that is a coroutine. Extend it by `receive`, and give it to `StreamingContext.receiverStream`.

        class Ticks(AsyncReceiver):
            async def receive(self):
                while True:
                    await self.storeAsync(["tick"])
                    await asyncio.sleep(1)

    The coroutine runs in an event loop of its own, on a thread of its own, in an executor. When the receiver stops it
    is cancelled: `finally` and `async with` clean up, for two seconds at most until something else goes on.

    Args:
        storageLevel: how blocks are kept; a block counts as stored once all its copies are.
    """

    _run: _CoroutineRun | None = None

    async def receive(self) -> None:
        """Receive, until cancelled. Called once for each start, always on the same object.

        If it raises, the receiver is restarted: it's called again after `spark.streaming.receiverRestartDelay`. If it
        returns, its source has no more: the receiver stops for good, and its stream goes on, empty.
        """
        raise NotImplementedError(f"{type(self).__name__}.receive")

    async def storeAsync(self, data: Any) -> None:
        """What `store` does, while the event loop goes on with other things: returns once a list is stored.

        Await it before you acknowledge, and before you read on: so that the source is read as fast as is stored.

        Args:
            data: as for `store`: a list or an iterator means many records, anything else but a memoryview is one.

        Raises:
            SparkException: the receiver has stopped, or the block can't be stored.
        """
        await self._in_thread(self.store, data)

    async def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Make a call that waits, on a thread beside the event loop's."""
        assert self._run is not None
        await asyncio.wrap_future(self._run.pool.submit(call, *arguments))

    def onStart(self) -> None:
        self._run = _CoroutineRun(self)
        self._run.start()

    def onStop(self) -> None:
        if self._run is not None:
            self._run.stop()


class _CoroutineRun:
    """The coroutine, its event loop and its thread, from one start to its stop."""

    def __init__(self, receiver: AsyncReceiver) -> None:
        self._receiver = receiver
        self.pool = DaemonPool(STORES_MAX, f"async-{type(receiver).__name__}-store")
        self._stopping = threading.Event()
        self._lock = threading.Lock()  # guards what follows, and the setting of the event
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        name = type(receiver).__name__
        self._thread = WatchedThread(
            lambda: asyncio.run(self._receive()),
            name=f"async-{name}",
            on_failure=partial(receiver.restart, f"The event loop of {name} has failed"),
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Cancel the coroutine, and wait for its end, but not for long."""
        with self._lock:
            self._stopping.set()
            running = self._running
        if running is not None:
            loop, task = running
            with contextlib.suppress(RuntimeError):  # the loop is closed: the coroutine has ended
                loop.call_soon_threadsafe(task.cancel)
        self._thread.join(CLEAN_UP_SECONDS_MAX)
        self.pool.shutdown(wait=False)

    async def _receive(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        with self._lock:
            if self._stopping.is_set():
                return
            self._running = asyncio.get_running_loop(), task
        receiver, name = self._receiver, type(self._receiver).__name__
        try:
            await receiver.receive()
        except asyncio.CancelledError as error:
            if not self._stopping.is_set():  # by its own doing
                receiver.restart(f"{name}.receive was cancelled", error)
        except (Exception, SystemExit) as error:
            if self._stopping.is_set():
                receiver.reportError(f"Error while {name}.receive was stopping", error)
            else:
                receiver.restart(f"Error receiving in {name}", error)
        else:
            if not self._stopping.is_set():
                receiver.stop(f"{name}.receive has returned: its source has no more")
