"""What a running context says to be kept: what happened, and what must be durable before it goes on.

Without a directory for checkpoints nothing is kept, and nothing is waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headwater.streaming.recovery.ledger import Block, Ledger
from headwater.streaming.recovery.matching import Source

if TYPE_CHECKING:
    from headwater.engine.events import StoredVersion
    from headwater.engine.successors import Successors

Then = Callable[[BaseException | None], None]


class Keeping:
    """Keeps nothing: for a context without a directory for checkpoints. See `safekeeping` for the other kind.

    What is passed as `then` is called at once here, on the caller's thread; or else in order on one thread, when what
    it was passed with is durable, or with the reason why it isn't. It must not block.

    Args:
        directory: where states are stored; it lasts as long as the application at least.
        ledger: of this run from its start; one from before goes on.
    """

    received_data: str | None = None  # the directory for the receivers' logs, if there may be any
    successors: Successors | None = None  # of the classes in what an earlier driver has stored, if there was one
    epoch = "0"  # the part of the directory for states that belongs to this run

    def __init__(self, directory: str, ledger: Ledger) -> None:
        self.directory = directory
        self.ledger = ledger

    def start(self) -> None:
        """The context starts."""

    def stop(self) -> None:
        """The context has ended."""

    def started(
        self,
        inputs: Sequence[str],
        states: Mapping[str, tuple[int, int | None]],
        sources: Mapping[str, Source],
        receiving: Collection[str],
    ) -> None:
        """What this run begins with, before anything else; it may come before `start`.

        Args:
            inputs: uids of the input streams.
            states: by uid, how many partitions a state has, and the version that it goes on from, if there is one.
            sources: what these streams are, by uid.
            receiving: uids of the input streams that have receivers.
        """

    def block_stored(self, uid: str, block: Block, then: Then) -> None:
        """A receiver of an input stream has stored a block."""
        then(None)

    def batch_begun(
        self,
        time_ms: int,
        inputs: Mapping[str, Any],
        blocks: Mapping[str, list[str]],
        memory: Mapping[str, Mapping[str, Any]],
        then: Then,
    ) -> None:
        """A batch was generated.

        Args:
            time_ms: its time.
            inputs: what a restart needs of its input streams, by uid.
            blocks: ids of the received blocks that it has taken, by uid.
            memory: what has changed of what input streams must know beyond that, by uid; None where they may forget.
            then: see above.
        """
        then(None)

    def batches_amended(self, inputs: Sequence[tuple[str, int, Any]], memory: Mapping[str, Mapping[str, Any]]) -> None:
        """Batches have brought less than was told when they began.

        Args:
            inputs: what a restart needs, (uid of an input stream, batch time, data).
            memory: see `batch_begun`.
        """

    def version_stored(self, uid: str, stored: StoredVersion) -> None:
        """A task has stored a version of a state."""

    def batch_done(self, time_ms: int) -> None:
        """All outputs of a batch succeeded."""

    def forget(self, inputs: Mapping[str, int], versions: Mapping[str, list[int]], given_up_ms: int) -> None:
        """What came before isn't needed: batches up to a time, by the input's uid, and all versions but those listed.

        Batches up to `given_up_ms` aren't run again after a restart, even if they have failed.
        """

    def when_durable(self, then: Callable[[], None]) -> None:
        """Call `then` once all is durable that was told before; never, if it can't be."""
        then()
