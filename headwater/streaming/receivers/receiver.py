"""Receivers: code that fetches data from outside, run in an executor beside the tasks. `Receiver` is to be extended."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, Protocol

from headwater.conf import SparkConf
from headwater.errors import IllegalStateException
from headwater.storagelevel import StorageLevel
from headwater.streaming.receivers.messages import ReceiverSettings


class ReceiverState(Enum):
    """Where in its life a receiver is, as its executor sees it."""

    CREATED = "created"
    STARTED = "started"
    RESTARTING = "restarting"  # stopped, until the delay is over
    STOPPED = "stopped"


class Supervising(Protocol):
    """What its supervisor does for a receiver in the executor; safe to use from any thread. See `Receiver`."""

    settings: ReceiverSettings

    @property
    def state(self) -> ReceiverState:
        """Where in its life the receiver is."""

    @property
    def conf(self) -> SparkConf:
        """The application's settings; what is read here is in no checkpoint."""

    def store_one(self, record: Any) -> None:
        """One record into the current interval's block."""

    def store_many(self, records: Iterator[Any]) -> None:
        """Blocks of their own; returns once they are stored."""

    def store_encoded(self, block: bytes, records: int = 0) -> None:
        """A block that is in the engine's encoding; 0 records: they were not counted, so no rate holds for it."""

    def store_text(self, data: bytes) -> None:
        """Whole lines of raw text, each ended by a newline, into the current interval's block."""

    def restart(self, message: str, error: BaseException | None, delay_ms: int | None) -> None:
        """Stop and start again."""

    def stop_itself(self, message: str, error: BaseException | None) -> None:
        """Stop for good."""

    def report_error(self, message: str, error: BaseException | None) -> None:
        """Tell the driver."""


class Receiver:
    """Fetches records from outside and stores them. Extend it, and give it to `StreamingContext.receiverStream`.

    The object is pickled and sent to an executor; what it opens, it opens in `onStart`. `onStart` and `onStop` are
    called on one thread, never at once, in turns: `onStop` follows each `onStart` that returned. All other methods
    may be called from any thread from `onStart` on. A receiver takes no core of the tasks.

    Args:
        storageLevel: how blocks are kept; a block counts as stored once all its copies are.

    >>> import itertools, threading, time
    >>> from headwater.streaming import Receiver
    >>> class Ticks(Receiver):
    ...     def __init__(self, seconds):
    ...         super().__init__()
    ...         self.seconds = seconds
    ...     def onStart(self):
    ...         threading.Thread(target=self.receive, daemon=True).start()
    ...     def receive(self):
    ...         try:
    ...             for tick in itertools.count():
    ...                 if self.isStopped():
    ...                     return
    ...                 self.store(tick)
    ...                 time.sleep(self.seconds)
    ...         except Exception as error:
    ...             self.restart("no more ticks", error)
    >>> received = harness.collect(ssc.receiverStream(Ticks(0.001)))
    >>> while len(sum(received, [])) < 3:
    ...     _ = harness.run()
    >>> sum(received, [])[:3]
    [0, 1, 2]
    """

    storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2
    _attached: Supervising | None = None

    def __init__(self, storageLevel: StorageLevel = StorageLevel.MEMORY_AND_DISK_2) -> None:
        self.storageLevel = storageLevel

    # -------------------------------------------------------------------------------------------- to be extended
    def onStart(self) -> None:
        """Begin to receive: start threads and return soon. If it raises, the receiver is restarted with the delay."""
        raise NotImplementedError(f"{type(self).__name__}.onStart")

    def onStop(self) -> None:
        """Stop receiving: end what `onStart` began, and return soon."""

    def preferredLocation(self) -> str | None:
        """The host to run on, if it matters. Called in the driver."""
        return None

    def _secrets(self) -> Any:
        """What the executor needs and no pickle may hold, such as passwords: a checkpoint is a pickle.

        Called in the driver before each launch, which hands it to `_reveal`. None: nothing.
        """
        return None

    def _reveal(self, secrets: Any) -> None:
        """Take what `_secrets` gave, in the executor before the start."""

    # -------------------------------------------------------------------------------------------- to be called
    def store(self, data: Any) -> None:
        """Store one record or many. Waits while the application can't take more, or beyond the rate limit.

        Args:
            data: a list or an iterator means many records, stored as blocks of their own: the call returns once they
                are stored with all their copies. Records that can't be pickled are dropped and reported, as by
                `reportError`. A memoryview is one block in the engine's encoding. Anything else
                (bytes, tuples, dicts, ...) is one record, which becomes part of the current interval's block.

        Raises:
            SparkException: the receiver has stopped, or the block can't be stored.
        """
        supervisor = self._supervisor
        if isinstance(data, list):
            supervisor.store_many(iter(data))
        elif isinstance(data, memoryview):
            supervisor.store_encoded(bytes(data))
        elif isinstance(data, Iterator):
            supervisor.store_many(data)
        else:
            supervisor.store_one(data)

    def restart(self, message: str, error: BaseException | None = None, delay: float | None = None) -> None:
        """Stop the receiver and start it again after a delay. Returns at once.

        Args:
            message: why, for the log and the receiver's status.
            error: what was raised, if anything.
            delay: seconds; None takes `spark.streaming.receiverRestartDelay`, and twice as long as last time, up to
                eight times that setting, if nothing was stored since.
        """
        self._supervisor.restart(message, error, None if delay is None else round(delay * 1000))

    def stop(self, message: str, error: BaseException | None = None) -> None:
        """Stop the receiver for good; the stream goes on without it. Returns at once."""
        self._supervisor.stop_itself(message, error)

    def reportError(self, message: str, error: BaseException | None = None) -> None:
        """Tell the driver of an error, for the log, the receiver's status and listeners; nothing else happens."""
        self._supervisor.report_error(message, error)

    def isStarted(self) -> bool:
        """Whether it is to receive: true from before `onStart` until it stops or restarts."""
        return self._supervisor.state is ReceiverState.STARTED

    def isStopped(self) -> bool:
        """Whether its threads should end: it has stopped, or waits for its restart."""
        return self._supervisor.state in (ReceiverState.RESTARTING, ReceiverState.STOPPED)

    def streamId(self) -> int:
        """The id of the input stream."""
        return self._supervisor.settings.stream_id

    @property
    def _supervisor(self) -> Supervising:
        if self._attached is None:
            raise IllegalStateException(
                "A ReceiverSupervisor has not been attached to the receiver yet. This method works in the executor "
                "from onStart() on; do not call it in the constructor."
            )
        return self._attached
