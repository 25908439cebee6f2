"""The block generator: a receiver's records become a block each interval, in the executor.

- One thread cuts and stores. While it waits for the store, records gather in one buffer, and once that is full
  threads that add wait: so memory holds one block being stored and one buffer, and the wait reaches the source.
- Block ids are `input-<stream>-<ms>`, ascending and unique; an interval without records makes no block.
- A buffer holds either Python records or raw text, never both.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Literal

from headwater.base.lives import Table
from headwater.base.threads import WatchedThread
from headwater.clock import Clock
from headwater.engine import blockids
from headwater.engine.blocks import encode_records, text_block
from headwater.errors import SparkException

# A buffer of this size becomes a block before its interval is over, so that memory stays bounded.
TEXT_BYTES_MAX = 8 << 20
RECORDS_MAX = 100_000
# Blocks end this much before the multiples of the interval, so that they are known when a batch takes its blocks.
LEAD_MS_MAX = 5


class GeneratorState(Enum):
    """Where in its life a block generator is."""

    INITIALIZED = "initialized"
    ACTIVE = "active"
    STOPPED_ADDING = "stopped adding"  # what was added is still being stored
    STOPPED = "stopped"


LIFE: Table[GeneratorState, Literal["start", "stop", "drained"]] = Table(
    "the block generator",
    GeneratorState.INITIALIZED,
    {
        (GeneratorState.INITIALIZED, "start"): GeneratorState.ACTIVE,
        (GeneratorState.INITIALIZED, "stop"): GeneratorState.STOPPED,
        (GeneratorState.ACTIVE, "stop"): GeneratorState.STOPPED_ADDING,
        (GeneratorState.STOPPED_ADDING, "drained"): GeneratorState.STOPPED,
    },
)

_WAKE: Any = object()


class BlockGenerator:
    """Cuts what is added into blocks and stores them.

    Args:
        stream_id: of the input stream.
        interval_ms: how often a block is cut, at least 1.
        after_ms: block ids begin above this.
        store: is given (block id, data, records, undecodable lines) of each block, and returns once it is stored;
            called under a lock of its own, one block at a time. What it raises goes to `on_error`, or is raised to the
            caller who adds in bulk.
        clock: says when.
        on_error: is told that a cut block could not be stored, on the generator's thread.
        on_refused: is told of records of a block that can't be pickled, and why the first of them can't: they are left
            out of it. On the generator's thread, or that of the caller who adds in bulk.
    """

    def __init__(
        self,
        stream_id: int,
        *,
        interval_ms: int,
        after_ms: int,
        store: Callable[[str, bytes | list[bytes], int, int], None],
        clock: Clock,
        on_error: Callable[[BaseException], None],
        on_refused: Callable[[list[Any], Exception], None],
    ) -> None:
        self._stream_id = stream_id
        self._interval_ms = interval_ms
        self._lead_ms = min(LEAD_MS_MAX, interval_ms // 4)
        self._last_id_ms = after_ms  # the latest block's
        self._store = store
        self._clock = clock
        self._on_error = on_error
        self._on_refused = on_refused
        self._life = LIFE.begin(f"of stream {stream_id}")
        self._lock = threading.Lock()  # guards its life and the buffer
        self._room = threading.Condition(self._lock)  # signalled when the buffer was cut, adding ends, or a bulk store
        self._bulk_stores = 0  # under way
        self._storing = threading.Lock()  # held while a block gets its id and is stored: reports are in order of ids
        self._records: list[Any] = []
        self._text: list[bytes] = []
        self._text_bytes = 0
        self._text_lines = 0
        self._undecodable = 0
        self._signals: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = self._new_thread()

    @property
    def state(self) -> GeneratorState:
        """Where in its life it is."""
        return self._life.state

    def start(self) -> None:
        """Begin to cut blocks."""
        with self._lock:
            self._life.move("start")
        self._thread.start()

    def add(self, record: Any) -> None:
        """Add one record; waits while the buffer is full.

        Raises:
            SparkException: the generator is not active.
        """
        with self._lock:
            self._require_active()
            while len(self._records) >= RECORDS_MAX:
                self._wait_for_room()
            self._records.append(record)

    def add_text(self, data: bytes, lines: int, undecodable: int) -> None:
        """Add whole lines of raw text, each ended by a newline; waits while the buffer is full.

        Args:
            data: the lines.
            lines: how many.
            undecodable: how many of them are not UTF-8.

        Raises:
            SparkException: the generator is not active.
        """
        with self._lock:
            self._require_active()
            while self._text_bytes >= TEXT_BYTES_MAX:
                self._wait_for_room()
            self._text.append(data)
            self._text_bytes += len(data)
            self._text_lines += lines
            self._undecodable += undecodable

    def store_now(self, records: list[Any]) -> None:
        """Make a block of these records at once, of those that can be pickled; returns when it is stored.

        Raises:
            SparkException: the generator is not active, or the block could not be stored.
        """
        with self._counted_in():
            self._store_records(records, self._clock.now_ms())

    def store_encoded(self, block: bytes, records: int) -> None:
        """Make a block of bytes that are in a block's encoding already; 0 records: the number is not known.

        Raises:
            SparkException: the generator is not active, or the block could not be stored.
        """
        with self._counted_in():
            self._store_block(block, records, 0, self._clock.now_ms())

    def stop(self) -> None:
        """Take nothing more, store what was added, and end; waits for that, and for what is being added in bulk.

        Later calls do nothing.
        """
        with self._lock:
            if self._life.may("stop"):
                self._life.move("stop")
            self._room.notify_all()
        self._signals.put(_WAKE)
        while self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join()
        with self._lock:
            self._room.wait_for(lambda: not self._bulk_stores)

    @contextmanager
    def _counted_in(self) -> Iterator[None]:
        """Around a bulk store: `stop` waits for its end, so that no block comes after the receiver's last word."""
        with self._lock:
            self._require_active()
            self._bulk_stores += 1
        try:
            yield
        finally:
            with self._lock:
                self._bulk_stores -= 1
                self._room.notify_all()

    # -------------------------------------------------------------------------------------------- its thread
    def _new_thread(self) -> threading.Thread:
        return WatchedThread(self._run, name=f"block-generator-{self._stream_id}", on_failure=self._go_on)

    def _go_on(self, failure: BaseException) -> None:
        """What it was about to store is lost; another thread cuts what comes."""
        self._on_error(failure)
        self._thread = self._new_thread()
        self._thread.start()

    def _run(self) -> None:
        while self.state is GeneratorState.ACTIVE:
            now = self._clock.now_ms()
            tick = ((now + self._lead_ms) // self._interval_ms + 1) * self._interval_ms
            self._clock.get(self._signals, tick - self._lead_ms)
            self._cut(tick - self._interval_ms)
        self._cut(self._clock.now_ms())
        with self._lock:
            self._life.move("drained")

    def _cut(self, id_ms: int) -> None:
        """Store what has gathered; the buffer is free again before the store is waited for."""
        with self._lock:
            records, self._records = self._records, []
            text, self._text = self._text, []
            lines, undecodable = self._text_lines, self._undecodable
            self._text_bytes = self._text_lines = self._undecodable = 0
            self._room.notify_all()
        try:
            if records:
                self._store_records(records, id_ms)
            if text:
                self._store_block(text_block(text), lines, undecodable, id_ms)
        except Exception as error:
            self._on_error(error)

    def _store_records(self, records: list[Any], id_ms: int) -> None:
        try:
            data = encode_records(records)
        except MemoryError:
            raise
        except Exception as error:
            refused, records = _sifted(records)
            self._on_refused(refused, error)
            if not records:
                return
            data = encode_records(records)
        self._store_block(data, len(records), 0, id_ms)

    def _store_block(self, data: bytes | list[bytes], records: int, undecodable: int, id_ms: int) -> None:
        with self._storing:
            self._last_id_ms = max(self._last_id_ms + 1, id_ms)
            self._store(blockids.received(self._stream_id, time_ms=self._last_id_ms), data, records, undecodable)

    # -------------------------------------------------------------------------------------------- under the lock
    def _wait_for_room(self) -> None:
        self._signals.put(_WAKE)
        self._room.wait()
        self._require_active()

    def _require_active(self) -> None:
        if self.state is not GeneratorState.ACTIVE:
            raise SparkException(
                "Cannot add data as BlockGenerator has not been started or has been stopped "
                f"(stream {self._stream_id}, {self.state.value})"
            )


def _sifted(records: list[Any]) -> tuple[list[Any], list[Any]]:
    """Those that can't be pickled, and those that can."""
    refused, kept = [], []
    for record in records:
        try:
            encode_records([record])
        except MemoryError:
            raise
        except Exception:
            refused.append(record)
        else:
            kept.append(record)
    return refused, kept
