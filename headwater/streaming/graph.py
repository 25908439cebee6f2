"""The stream graph: inputs, outputs, and what a batch needs of them.

- Outputs are numbered in the order of definition. What no output needs is never computed.
- One lock guards the nodes: batches are generated on one thread, `slice` is called from any.
- An output whose generation fails fails alone, as a job that raises; the others of the batch go on.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from headwater.errors import IllegalArgumentException, SparkException, see
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.operators.node import Node
from headwater.streaming.operators.output import Output
from headwater.streaming.operators.versioned import Versioned
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.matching import Source, check, report
from headwater.streaming.runtime.batches import OutputJob

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger("headwater.streaming.graph")


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
        """What has changed, since it was asked last, of that which a restart must know besides: JSON by key.

        None for a key says that it may be forgotten.
        """
        return {}

    def amended(self) -> Sequence[int]:
        """Times of the batches whose `batch_data` has changed since it was asked last; so has `memory`, it may be."""
        return ()

    def go_on(self, first_ms: int, after_ms: int, memory: Mapping[str, Any]) -> None:
        """The program goes on from a checkpoint; called after `start` and before `restore_batch`.

        Args:
            first_ms: the first batch that is computed anew. Those before it that aren't restored have brought nothing.
            after_ms: the last batch that the driver of before has generated.
            memory: all that `memory` gave, and did not take back.
        """

    def restore_batch(self, time_ms: int, data: Any) -> None:
        """A batch from before a restart, as `batch_data` gave it; before the first batch is computed.

        Raises:
            SparkException: this kind of stream can't go on after a restart.
        """
        raise SparkException(f"{self.describe()} brings nothing into a restarted program")

    def brought(self, time_ms: int) -> StreamInputInfo | None:
        """What the stream brought into a batch that was computed; None if there is nothing to say."""
        return None

    def released(self, until_ms: int) -> list[str]:
        """Ids of received blocks that nobody needs after `forget(until_ms)`; they are handed out once."""
        return []

    def limit(self, records_per_second: float) -> None:
        """Back-pressure: bring in no more than so many records a second from now on. What has no pace ignores it."""

    def begin(self) -> None:
        """All batches from before a restart are restored: find out where to go on. Called once, before the first batch.

        Raises:
            SparkException: it can't be found out; the context doesn't start then.
        """

    def completed(self, time_ms: int) -> None:
        """All outputs of a batch have succeeded. Called on the generator's thread, so it must not wait."""

    def drain(self) -> int:
        """A graceful stop has begun: returns how many more batches it is to wait for, as something waits for them.

        What comes after this call need not be in them.
        """
        return 0

    def stop(self) -> None:
        """The application ends: close what is open. Called once."""

    def describe(self) -> str:
        return f"{type(self).__name__} {self.stream_id}"


class ReceivingNode(InputNode):
    """An input stream whose blocks come from a receiver."""

    is_stored = True
    keeping: Keeping | None = None  # knows of blocks that an earlier driver has logged; from the graph's start on
    not_kept = InputNode.not_kept | {"keeping"}

    def allocate(self, time_ms: int, blocks: Any) -> None:
        """The blocks of a batch, before it is computed."""
        raise NotImplementedError


class Graph:
    """All streams of a StreamingContext.

    Args:
        batch_ms: the batch interval.
    """

    classes = b""  # those that its functions take along, by name, from the first `dump_graph` on: see `class_table`

    def __init__(self, batch_ms: int) -> None:
        self.batch_ms = batch_ms
        self.remember_ms: int | None = None  # what `StreamingContext.remember` asked for
        self.inputs: list[InputNode] = []  # position = stream id
        self.outputs: list[Output] = []  # position = output id
        self._begin()

    def _begin(self) -> None:
        """As before the start; also when it comes out of a checkpoint."""
        self._is_loaded = False  # it came out of a checkpoint, and no script made it
        self._unnamed: frozenset[str] = frozenset()  # uids that `identify` has given
        self._nodes: list[Node] = []  # all that inputs and outputs reach; fixed by start
        self._states: dict[Output, list[Node]] = {}  # by output: what has something to store; filled when asked for
        self._generated_ms = 0  # the latest batch that was generated, from start on
        self._reached_ms = 0  # the latest that ever was: a restart generates some before it again
        self._forgotten_ms = 0  # what `forget` said last; batches up to then less what a stream remembers are gone
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._begin()
        self._is_loaded = True

    # -------------------------------------------------------------------------------------------- construction
    def add_input(self, make: Callable[[int], InputNode]) -> InputNode:
        """Add the input stream that `make(stream id)` returns."""
        with self._lock:
            node = make(len(self.inputs))
            self.inputs.append(node)
            return node

    def add_output(self, output: Output) -> None:
        """Add an output operation."""
        with self._lock:
            self.outputs.append(output)

    def validate(self, rdd_directory: str | None, kept_in: str | None) -> None:
        """See to it that there is something to do, and that it can be done.

        Args:
            rdd_directory: for checkpoints of RDDs, which `SparkContext.setCheckpointDir` gives too.
            kept_in: the directory of the application's checkpoints; None: nothing of it is kept.

        Raises:
            IllegalArgumentException: there is no output, or no directory for checkpoints where one is needed.
        """
        if not self.outputs:
            raise IllegalArgumentException(
                "requirement failed: No output operations registered, so nothing to execute. "
                "Call foreachRDD, pprint or another output operation on a stream before start()."
                + see("nothing-to-execute")
            )
        for output in self.outputs:
            if output.must_checkpoint and kept_in is None:
                raise IllegalArgumentException(
                    "requirement failed: The checkpoint directory has not been set. Please set it by "
                    f"StreamingContext.checkpoint(): the output {output.name} can write each batch once only if a "
                    "restart runs the same batches again." + see("state-without-a-checkpoint-directory")
                )
        for node in self._reachable():
            node.validate(rdd_directory)
        if kept_in is not None:
            for any_input in self.inputs:
                any_input.warn_if_unrepeatable()

    def identify(self) -> None:
        """Give each input stream and each state that the program has not named a name by its position.

        Raises:
            IllegalArgumentException: two streams have the same name.
        """
        states = self.states()
        named = {node.uid for node in (*self.inputs, *states)}
        for node in self.inputs:
            node.uid = node.uid or f"input-{node.stream_id}"
        for number, state in enumerate(states):
            state.uid = state.uid or f"state-{number}"
        self._unnamed = frozenset(node.uid for node in (*self.inputs, *states)) - named
        for uid, count in Counter(node.uid for node in (*self.inputs, *states)).items():
            if count > 1:
                raise IllegalArgumentException(
                    f"{count} streams have the uid {uid!r}: a checkpoint could not tell them apart. Give each its own."
                )

    def nodes(self) -> Iterator[Node]:
        """All streams, in an order that depends on the program only."""
        return self._reachable()

    def persist_shared(self) -> None:
        """Keep the batches of streams that several streams or outputs read, so that each is computed once."""
        with self._lock:
            readers = Counter(output.parent for output in self.outputs)
            for node in self._reachable():
                readers.update(set(node.parents))
            for node, count in readers.items():
                if count > 1 and node.parents and not node.is_stored and node.storage_level is None:
                    node.storage_level = StorageLevel.MEMORY_ONLY

    def start(self, zero_ms: int, keeping: Keeping) -> None:
        """Fix the zero time, how long each stream remembers, and where states are stored."""
        with self._lock:
            for state in self.states():
                state.keep_in(keeping)
            for receiving in self.inputs:
                if isinstance(receiving, ReceivingNode):
                    receiving.keeping = keeping
            for node in [*(output.parent for output in self.outputs), *self.inputs]:
                node.start(zero_ms, 0)
            self._nodes = list(self._reachable())
            self._generated_ms = self._reached_ms = self._forgotten_ms = zero_ms
            for node in self._nodes:
                node.remember_ms = max(node.remember_ms, self.remember_ms or 0)

    # -------------------------------------------------------------------------------------------- batches
    def generate(self, time_ms: int, blocks: Mapping[int, Any]) -> tuple[OutputJob, ...]:
        """The jobs of a batch, in order. `blocks`: what receivers brought, by stream id."""
        with self._lock:
            for node in self.inputs:
                if isinstance(node, ReceivingNode):
                    node.allocate(time_ms, blocks.get(node.stream_id))
            self._generated_ms = time_ms
            self._skip_to(time_ms)
            for any_node in self._nodes:
                any_node.forget_failure()  # of batches before: a window that reaches back to one may be lucky this time
            jobs = []
            for output_id, output in enumerate(self.outputs):
                try:
                    run = output.job(time_ms)
                except BaseException as error:  # SystemExit of a user's function too: it must not end this thread
                    logger.error("Error generating jobs for time %d ms: output %s", time_ms, output.name)
                    run = self._failed_job(output, time_ms, error)
                if run is not None:
                    run = self._with_states(output, run, time_ms)
                    jobs.append(OutputJob(time_ms, output_id, output.name, output.description, run))
            return tuple(jobs)

    def _skip_to(self, time_ms: int) -> None:
        """No batch took place between the latest one and this, if that isn't the next."""
        if time_ms > self._reached_ms + self.batch_ms:
            for node in self._nodes:
                node.skipped = (*node.skipped, (self._reached_ms, time_ms))
        self._reached_ms = max(self._reached_ms, time_ms)

    def _with_states(self, output: Output, run: Callable[[], None], time_ms: int) -> Callable[[], None]:
        """The job of an output; the states that it follows from are stored too: earlier ones before, its own after."""
        states = self._states_of(output)
        if not states:
            return run

        def run_and_store() -> None:
            for node in states:
                node.settle(time_ms)
            run()
            for node in states:
                node.materialise(time_ms)

        return run_and_store

    def _failed_job(self, output: Output, time_ms: int, error: BaseException) -> Callable[[], None]:
        """What to run for an output whose generation failed: it fails with that; run again, it generates again."""
        errors = [error]

        def run() -> None:
            if errors:
                raise errors.pop()
            with self._lock:
                for node in self._nodes:
                    node.forget_failure()
                generated = output.job(time_ms)
            if generated is not None:
                generated()

        return run

    def limit(self, rates: Mapping[int, float]) -> None:
        """Have input streams bring in no more than so many records a second, by stream id."""
        with self._lock:
            for stream_id, rate in rates.items():
                self.inputs[stream_id].limit(rate)

    def brought(self, time_ms: int) -> dict[int, StreamInputInfo]:
        """What each input stream brought into a batch that was generated."""
        with self._lock:
            found = ((node.stream_id, node.brought(time_ms)) for node in self.inputs)
            return {stream_id: info for stream_id, info in found if info is not None}

    def completed(self, time_ms: int) -> None:
        """Tell the inputs that all outputs of a batch have succeeded."""
        with self._lock:
            for node in self.inputs:
                node.completed(time_ms)

    def forget(self, until_ms: int, *, unpersist: bool) -> list[str]:
        """All batches up to `until_ms` are done: drop what no stream remembers; returns the blocks to remove."""
        with self._lock:
            self._forgotten_ms = until_ms
            for node in self._nodes:
                node.forget(until_ms, unpersist=unpersist)
            return [block for node in self.inputs for block in node.released(until_ms - node.remember_ms)]

    def slice(self, node: Node, from_ms: int, to_ms: int) -> list[RDD[Any]]:
        """The RDDs of a stream in a closed interval, of those batches that were generated and are still remembered."""
        with self._lock:
            node.is_due(from_ms)  # says so if the context has not started
            zero, slide = node.zero_ms or 0, node.slide_ms
            after_ms = max(from_ms - 1, zero, self._forgotten_ms - node.remember_ms)
            first = next_multiple_ms(after_ms, slide, zero)
            times = range(first, min(to_ms, self._generated_ms) + 1, slide)
            return [rdd for rdd in map(node.rdd, times) if rdd is not None]

    # -------------------------------------------------------------------------------------------- recovery
    def batch_data(self, time_ms: int) -> tuple[dict[str, Any], dict[str, Mapping[str, Any]]]:
        """What a restart needs of the input streams to compute a batch anew, and what it must know besides; by uid."""
        with self._lock:
            data = {node.uid: node.batch_data(time_ms) for node in self.inputs}
            memory = {node.uid: node.memory() for node in self.inputs}
        return {k: v for k, v in data.items() if v is not None}, {k: v for k, v in memory.items() if v}

    def amended(self) -> tuple[list[tuple[str, int, Any]], dict[str, Mapping[str, Any]]]:
        """What has changed of what batches have brought, (uid, batch time, data), and of what must be known besides."""
        with self._lock:
            data, memory = [], {}
            for node in self.inputs:
                if times := node.amended():
                    data += [(node.uid, time_ms, node.batch_data(time_ms)) for time_ms in times]
                    memory[node.uid] = node.memory()
        return data, memory

    def states(self) -> list[Versioned]:
        """The states that outputs follow from."""
        return [node for node in self.nodes() if isinstance(node, Versioned)]

    def begin(self) -> None:
        """Have inputs go on, and the versions stored that states begin with; after `start` and `restore`."""
        for node in self.inputs:
            node.begin()
        for state in self.states():
            state.begin()

    def sources(self) -> dict[str, Source]:
        """What the inputs and the states are, by uid; streams of one source are told apart by their order."""
        found: dict[str, Source] = {node.uid: node.source() for node in self.inputs}
        for state in self.states():
            inputs = {node.uid: None for node in _ancestors([state]) if isinstance(node, InputNode)}
            kind, *rest = state.source()
            found[state.uid] = [f"{kind} over", ", ".join((*rest, *(" ".join(found[uid]) for uid in sorted(inputs))))]
        several = Counter(map(tuple, found.values()))
        numbers: Counter[tuple[str, ...]] = Counter()
        for uid, source in found.items():
            key = tuple(source)
            if several[key] > 1:
                numbers[key] += 1
                found[uid] = [*source, f"(number {numbers[key]} of {several[key]})"]
        return found

    def match(self, ledger: Ledger, *, refuses: bool) -> None:
        """See to it that a ledger is that of these streams; before `restore`. `refuses`: see `matching.check`."""
        if ledger.sources:
            now = self.sources()
            if not self._is_loaded:
                check(ledger.sources, now, self._unnamed, refuses=refuses)
            report(ledger.sources, now)
        elif ledger.streams and self._unnamed:
            logger.warning(
                "The checkpoint is of an older version and doesn't say what its streams were: those without a uid are "
                "matched by position: %s", ", ".join(sorted(self._unnamed))
            )

    def restore(
        self, ledger: Ledger, missed: Sequence[int], tick_ms: int, *, drop_unknown: bool
    ) -> dict[str, tuple[int, int | None]]:
        """Go on from a ledger; after `start`.

        Args:
            ledger: of a driver of before, or a new one.
            missed: the batches from before the first tick that are to be run, ascending.
            tick_ms: the first tick. Between the last of those and it no batch takes place.
            drop_unknown: whether to go on without what it holds for streams that this graph doesn't have.

        Returns:
            Of the states, by uid: how many partitions it has, and the version that it goes on from, if there is one.

        Raises:
            SparkException: it knows streams that this graph doesn't have, or that can't go on.
        """
        with self._lock:
            first_ms = missed[0] if missed else tick_ms
            states = {state.uid: state for state in self.states()}
            inputs = {node.uid: node for node in self.inputs}
            brought = {*ledger.inputs, *ledger.memory, *(uid for uid, blocks in ledger.waiting.items() if blocks)}
            strange = sorted((brought - inputs.keys()) | (ledger.versions.keys() - states.keys()))
            if strange and drop_unknown:
                logger.warning("Dropped, as the program doesn't have these streams any more: %s", ", ".join(strange))
            elif strange:
                raise SparkException(
                    f"the checkpoint knows streams that the program doesn't have: {', '.join(strange)}. What they hold "
                    "would be dropped. Name streams by uid() so that they can be matched, or, to drop them, set "
                    "headwater.streaming.recovery.dropUnknown=true." + see("streams-do-not-match")
                )
            for node in self._nodes:
                node.skipped = (*ledger.skipped, (max((ledger.generated_ms, *missed)), tick_ms))
            if ledger.streams:  # another driver has begun before
                for uid, any_input in inputs.items():
                    any_input.go_on(first_ms, ledger.generated_ms, ledger.memory.get(uid, {}))
            for uid in ledger.inputs.keys() & inputs.keys():
                for time_ms, data in sorted(ledger.inputs[uid].items()):
                    inputs[uid].restore_batch(time_ms, data)
            self._generated_ms = self._reached_ms = ledger.generated_ms
            return {uid: self._restore_state(state, ledger, first_ms) for uid, state in states.items()}

    def _restore_state(self, state: Versioned, ledger: Ledger, first_ms: int) -> tuple[int, int | None]:
        if state.uid in ledger.partitions:
            versions = ledger.versions.get(state.uid, {})
            return state.partitions, state.restore(versions, ledger.partitions[state.uid], first_ms)
        if ledger.streams:
            state.join(first_ms)
        return state.partitions, None

    def release(self, until_ms: int) -> tuple[dict[str, int], dict[str, list[int]]]:
        """No restart needs batches up to `until_ms`, but for what is remembered: remove what was stored for it.

        Returns:
            By uid: up to when an input's batches are needed no more, and which versions of a state are kept.
        """
        with self._lock:
            states = self.states()
            # What isn't in a stored version yet has to be computed from the inputs.
            until_ms = min((until_ms, *(state.stored_until_ms() for state in states)))
            kept = {state.uid: state.release(until_ms) for state in states}
            return {node.uid: until_ms - node.remember_ms for node in self.inputs}, kept

    def stop(self) -> list[str]:
        """Close the inputs; returns all received blocks that are still held."""
        with self._lock:
            for node in self._reachable():
                node.stop()
            return [block for node in self.inputs for block in node.released(2**63)]

    def _states_of(self, output: Output) -> list[Node]:
        """The nodes that an output is computed from and that have something to store, parents first."""
        if output not in self._states:
            nodes = list(_ancestors([output.parent]))
            self._states[output] = [node for node in reversed(nodes) if type(node).materialise is not Node.materialise]
        return self._states[output]

    def drain(self) -> int:
        """Have inputs come to an end; returns how many more batches are to take what waits."""
        with self._lock:
            return max([node.drain() for node in self.inputs], default=0)

    def _reachable(self) -> Iterator[Node]:
        return _ancestors([*(output.parent for output in self.outputs), *self.inputs])


def _ancestors(nodes: list[Node]) -> Iterator[Node]:
    """The nodes and all that they are computed from, each once."""
    seen: set[int] = set()
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if id(node) not in seen:
            seen.add(id(node))
            todo.extend(node.parents)
            yield node
