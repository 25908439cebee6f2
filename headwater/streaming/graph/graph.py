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
from typing import TYPE_CHECKING, Any, NamedTuple

from headwater.errors import IllegalArgumentException, SparkException, see
from headwater.storagelevel import StorageLevel
from headwater.streaming.durations import next_multiple_ms
from headwater.streaming.graph.inputs import InputNode, ReceivingNode
from headwater.streaming.graph.node import Node
from headwater.streaming.graph.output import Output
from headwater.streaming.graph.versioned import Versioned
from headwater.streaming.listener import StreamInputInfo
from headwater.streaming.recovery.keeping import Keeping
from headwater.streaming.recovery.ledger import Ledger
from headwater.streaming.recovery.matching import Source, check, report
from headwater.streaming.runtime.batches import OutputJob
from headwater.streaming.runtime.holds import Holds

if TYPE_CHECKING:
    from headwater.rdd import RDD

logger = logging.getLogger(__name__)


class Released(NamedTuple):
    """What no restart needs any more, and who needs the rest.

    `inputs`: by uid, up to when an input's batches are needed no more. `versions`: by uid, those of a state that are
    kept.
    """

    inputs: dict[str, int]
    versions: dict[str, list[int]]
    holds: Holds


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
        self._reset()

    def _reset(self) -> None:
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
        self._reset()
        self._is_loaded = True

    # -------------------------------------------------------------------------------------------- construction
    def add_input(self, make: Callable[[int], InputNode]) -> InputNode:
        """Add the input stream that `make(stream id)` returns."""
        with self._lock:
            node = make(len(self.inputs))
            self.inputs.append(node)
            return node

    def add_output(self, output: Output) -> None:
        """Add an output operation.

        Raises:
            IllegalArgumentException: another one of its kind has its name.
        """
        with self._lock:
            name = output.sink.unique_name
            if name and (output.operation, name) in {(each.operation, each.sink.unique_name) for each in self.outputs}:
                raise IllegalArgumentException(f"another {output.operation} has the name {name!r}. Give each its own.")
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
            if output.sink.must_checkpoint and kept_in is None:
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
            for node in [*(output.parent for output in self.outputs), *self.inputs]:
                node.start(zero_ms, 0, keeping)
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

    def _with_states(self, output: Output, run: Callable[[int], None], time_ms: int) -> Callable[[int], None]:
        """The job of an output; the states that it follows from are stored too: earlier ones before, its own after."""
        states = self._states_of(output)
        if not states:
            return run

        def run_and_store(oldest_pending_ms: int) -> None:
            for node in states:
                node.settle(time_ms)
            run(oldest_pending_ms)
            for node in states:
                node.materialise(time_ms)

        return run_and_store

    def _failed_job(self, output: Output, time_ms: int, error: BaseException) -> Callable[[int], None]:
        """What to run for an output whose generation failed: it fails with that; run again, it generates again."""
        errors = [error]

        def run(oldest_pending_ms: int) -> None:
            if errors:
                raise errors.pop()
            with self._lock:
                for node in self._nodes:
                    node.forget_failure()
                generated = output.job(time_ms)
            if generated is not None:
                generated(oldest_pending_ms)

        return run

    def limit(self, rates: Mapping[int, float]) -> None:
        """Have input streams bring in at most this many records per second, by stream id."""
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

    def forget(self, done_ms: int, *, unpersist: bool) -> list[str]:
        """All batches up to `done_ms` are done with: drop what is needed no more; returns the blocks to remove."""
        with self._lock:
            self._forgotten_ms = done_ms
            for node in self._nodes:
                node.forget(done_ms, unpersist=unpersist)
            return [block for node in self.inputs for block in node.released(node.unneeded_ms(done_ms))]

    def slice(self, node: Node, from_ms: int, to_ms: int) -> list[RDD[Any]]:
        """The RDDs of a stream in a closed interval, of those batches that were generated and are still remembered."""
        with self._lock:
            node.is_due(from_ms)  # says so if the context has not started
            zero, slide = node.zero_ms or 0, node.slide_ms
            after_ms = max(from_ms - 1, zero, node.unneeded_ms(self._forgotten_ms))
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
                "matched by position: %s",
                ", ".join(sorted(self._unnamed)),
            )

    def restore(
        self, ledger: Ledger, missed: Sequence[int], tick_ms: int, *, drop_unknown: bool
    ) -> dict[str, tuple[int, int | None]]:
        """Go on from a ledger; after `start`.

        Args:
            ledger: of the previous driver, or a new one.
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
                    batches = dict(sorted(ledger.inputs.get(uid, {}).items()))
                    any_input.restore(first_ms, ledger.generated_ms, ledger.memory.get(uid, {}), batches)
            self._generated_ms = self._reached_ms = ledger.generated_ms
            return {uid: self._restore_state(state, ledger, first_ms) for uid, state in states.items()}

    def _restore_state(self, state: Versioned, ledger: Ledger, first_ms: int) -> tuple[int, int | None]:
        if state.uid in ledger.partitions:
            versions = ledger.versions.get(state.uid, {})
            return state.partitions, state.restore(versions, ledger.partitions[state.uid], first_ms)
        if ledger.streams:
            state.restore({}, None, first_ms)
        return state.partitions, None

    def release(self, holds: Holds) -> Released:
        """Remove what was stored for batches that no restart needs.

        Args:
            holds: of the batches that may have to be run again; those of the states come on top.
        """
        with self._lock:
            states = self.states()
            holds = holds.with_(state.hold() for state in states)
            kept = {state.uid: state.release(holds.until_ms) for state in states}
            return Released({node.uid: node.unneeded_ms(holds.until_ms) for node in self.inputs}, kept, holds)

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
