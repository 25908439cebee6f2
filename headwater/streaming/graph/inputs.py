"""Streams without parents: what a source brings into each batch, and what a restart must know of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from headwater.errors import IllegalArgumentException, SparkException
from headwater.streaming.graph.node import Node
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.matching import Source

logger = logging.getLogger(__name__)


class InputNode(Node):
    """A stream without parents.

    Args:
        stream_id: from 0, in the order of definition.
        batch_ms: the batch interval, which is its slide.
    """

    #: What the program called to make it, if what it brings can't be had again after a restart.
    unrepeatable: ClassVar[str | None] = None

    def __init__(self, stream_id: int, batch_ms: int) -> None:
        super().__init__((), batch_ms)
        self.stream_id = stream_id
        self._is_lost = False  # it came out of a checkpoint and can bring nothing

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        if self.unrepeatable is None:
            return state
        return {name: state[name] for name in ("stream_id", "parents", "slide_ms", "uid")} | {"_is_lost": True}

    def validate(self, checkpoint_directory: str | None) -> None:
        if self._is_lost:
            raise IllegalArgumentException(
                f"{self.unrepeatable} doesn't support checkpointing. Please don't use {self.unrepeatable} when "
                f"checkpointing is enabled: what stream {self.stream_id} brought died with the previous driver."
            )
        super().validate(checkpoint_directory)

    def warn_if_unrepeatable(self) -> None:
        """The application keeps checkpoints: say so if this stream can't go on from them."""
        if self.unrepeatable is not None:
            logger.warning(
                "%s doesn't support checkpointing. Stream %d can't go on after a restart of the driver.",
                self.unrepeatable,
                self.stream_id,
            )

    def source(self) -> Source:
        """What the stream is, and of what: for a restart with new code, which may have another one at its position."""
        return (type(self).__name__, "")

    def batch_data(self, time_ms: int) -> Any:
        """What a restart needs to compute a batch anew, as JSON; None if the batch brought nothing, or can't be had."""
        return None

    def memory(self) -> Mapping[str, Any]:
        """What else a restart must know, as far as it has changed since this was asked last: JSON by key.

        None for a key says that it may be forgotten.
        """
        return {}

    def amended(self) -> Sequence[int]:
        """Times of the batches whose `batch_data` has changed since it was asked last; so has `memory`, it may be."""
        return ()

    def restore(self, first_ms: int, after_ms: int, memory: Mapping[str, Any], batches: Mapping[int, Any]) -> None:
        """Go on from a checkpoint.

        Args:
            first_ms: the first batch that is computed anew. Those before it that aren't restored have brought nothing.
            after_ms: the last batch that the previous driver has generated.
            memory: all that `memory` gave, and did not take back.
            batches: by batch time, ascending: what `batch_data` gave.

        Raises:
            SparkException: this kind of stream can't go on after a restart.
        """
        if batches:
            raise SparkException(f"{self.describe()} brings nothing into a restarted program")

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        """What the stream brought into a batch that was computed; None if there is nothing to say."""
        return None

    def released(self, until_ms: int) -> list[str]:
        """Ids of received blocks that are not needed after `forget(until_ms)`; they are handed out once."""
        return []

    def limit(self, records_per_second: float) -> None:
        """Back-pressure: bring in at most this many records per second from now on. What has no pace ignores it."""

    def completed(self, time_ms: int) -> None:
        """All outputs of a batch have succeeded. Called on the generator's thread, so it must not wait."""

    def drain(self) -> int:
        """A graceful stop has begun: returns how many more batches it is to wait for, as something waits for them.

        What comes after this call need not be in them.
        """
        return 0

    def describe(self) -> str:
        return f"{type(self).__name__} {self.stream_id}"


class ReceivingNode(InputNode):
    """An input stream whose blocks come from a receiver."""

    is_stored = True
    keeping: Keeping | None = None  # knows of blocks that an earlier driver has logged; from `start` on
    not_kept = InputNode.not_kept | {"keeping"}

    def start(self, zero_ms: int, remember_ms: int, keeping: Keeping) -> None:
        super().start(zero_ms, remember_ms, keeping)
        self.keeping = keeping

    def allocate(self, time_ms: int, blocks: Any) -> None:
        """The blocks of a batch, before it is computed."""
        raise NotImplementedError
