"""A task: a stage's program on one partition, as a worker runs it.

A task reads payloads, blocks and map outputs, runs the fused chain, and answers with a result, with map outputs or with
the reason why not. All that it leaves behind is named in its reply; its spill files go when it ends.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Protocol
from zlib import crc32

from headwater import accumulators, taskcontext
from headwater.base.cipher import Cipher, KeySource, cipher_of
from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, dumps, load_records
from headwater.base.tasklocal import let_threads_inherit
from headwater.base.threads import WatchedThread
from headwater.base.tracebacks import folded_text
from headwater.engine import blockids, forks, fusion
from headwater.engine.blocks import NoSpace, Placed, decode, encode_records
from headwater.engine.events import (
    FailureKind,
    MapOutput,
    MapSegment,
    StoredBlock,
    StoredVersion,
    TaskFailure,
    TaskReply,
    TaskSpec,
)
from headwater.engine.external import MemoryBudget, Merger, SpillDirectory
from headwater.engine.failureplaces import Place, in_words, is_of_an_operation, record_of, taken_note
from headwater.engine.failures import description, pickled, shortened
from headwater.engine.lineage import BlockRef, Caching, Combiner, Leaf, PerRecord, Records, ShuffleWrite
from headwater.engine.shuffle import ShuffleWriter
from headwater.engine.stages import Program
from headwater.engine.states import LiveStates
from headwater.errors import BlockLost, SerializationError, SparkException

# Unfused operators nest four frames each, and programs that unite or zip in a loop have hundreds of them.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 10_000))

_current = threading.local()


def current() -> Task | None:
    """The task that runs on this thread; None outside a task."""
    return getattr(_current, "task", None)


def _returns_to_us() -> bool:
    """Whether a function of the user's that runs on this thread will return to the engine."""
    return current() is not None or isinstance(threading.current_thread(), WatchedThread)


def _before_fork() -> None:
    if _returns_to_us():
        forks.flush_output()  # or what waits to be written would be written by both


def _in_forked() -> None:
    if _returns_to_us():
        forks.end_at_return(sys._getframe(1))


os.register_at_fork(before=_before_fork, after_in_child=_in_forked)


class Surroundings(Protocol):
    """What a task finds in its executor."""

    executor_id: str
    scratch: str  # a directory for spill files
    memory_limit: int  # bytes a worker may use before it spills
    inline_limit: int  # bytes of shuffle output that travel in the reply
    result_limit: int  # bytes of result that the driver takes
    compress: bool  # of cached partitions
    states: LiveStates  # what the worker holds
    key: KeySource | None  # of what is written to disk; None: that isn't encrypted

    def read(self, block_id: str, locations: tuple[str, ...], offset: int = 0, length: int = -1) -> bytes | None:
        """A block's bytes from here or from one of the executors that have it; None if none has."""

    def write(self, block_id: str, pieces: list[bytes], *, use_memory: bool, use_disk: bool) -> Placed:
        """Write a block here, to memory, or to disk if memory may not be used or takes no more.

        Raises:
            NoSpace: no place that may be used takes it.
        """

    def in_memory(self, block_id: str) -> bool:
        """Whether a block that is here is in memory."""

    def replicate(self, block_id: str, pieces: list[bytes], copies: int, *, in_memory: bool) -> tuple[str, ...]:
        """Put copies on other executors; returns the ids of those that took one."""


class FetchFailed(Exception):
    """A map output is not where it should be."""

    def __init__(self, segment: MapSegment) -> None:
        super().__init__(f"map output {segment.map_partition} of shuffle {segment.shuffle_id} is gone")
        self.segment = segment


class CacheMissed(Exception):
    """A partition that was believed to be stored is not."""

    def __init__(self, block_id: str) -> None:
        super().__init__(block_id)
        self.block_id = block_id


class TaskKilled(BaseException):
    """Thrown into a task that runs in the driver's process, to end it."""


def spill_directory(scratch: str, task_id: int) -> str:
    """Where a task's spill files are, while it runs."""
    return os.path.join(scratch, f"spill-{task_id}")


class Task:
    """One attempt. Lives on one thread, from `run` to its reply. Operators see it as `lineage.TaskView`."""

    def __init__(self, spec: TaskSpec, program: Program, surroundings: Surroundings) -> None:
        self.spec = spec
        self.budget = MemoryBudget(surroundings.memory_limit)
        self.spill = SpillDirectory(spill_directory(surroundings.scratch, spec.task_id), key=surroundings.key)
        self.metrics: Counter[str] = Counter()
        self._nodes = program.nodes
        self._ending = program.ending
        self._surroundings = surroundings
        self.states = surroundings.states
        self._stored: list[StoredBlock] = []
        self._versions: list[StoredVersion] = []

    @property
    def task_id(self) -> int:
        return self.spec.task_id

    @property
    def cipher(self) -> Cipher | None:
        return cipher_of(self._surroundings.key)

    # -------------------------------------------------------------------------------------------- a task's life
    def run(self) -> TaskReply:
        """Run the attempt; never raises: whatever goes wrong is in the reply."""
        spec = self.spec
        started = time.perf_counter()
        taskcontext.begin_task(
            stage_id=spec.stage_id,
            partition_id=spec.partition,
            attempt_number=spec.attempt,
            task_attempt_id=spec.task_id,
            properties=spec.properties,
        )
        pid = os.getpid()
        _current.task = self
        accumulators.begin_task()
        value: Any = None
        failure = None
        updates = b""
        try:
            value = self._perform()
            changed = accumulators.end_task()
            updates = dumps(changed) if changed else b""
        except BaseException as error:
            failure = failure_of(error, self._ending.place)
            value = None
        finally:
            forks.end_unless(pid)
            _current.task = None
            taskcontext.end_task()
            accumulators.end_task()  # of a task that failed
            self.metrics["run_us"] += int((time.perf_counter() - started) * 1e6)
            if self.spill.spilled_bytes:
                self.metrics["spilled_bytes"] += self.spill.spilled_bytes
            self.spill.close()
            self.states.end_task()
        return TaskReply(
            spec.task_id, failure, value, updates, tuple(self._stored), dict(self.metrics), tuple(self._versions)
        )

    def _perform(self) -> bytes | MapOutput:
        partition, last = self.spec.partition, len(self._nodes) - 1
        if isinstance(self._ending, ShuffleWrite):
            return self._write_shuffle(self._ending, last, partition)
        value = self._ending.function(partition, iter(self.records(last, partition)))
        data = dump_records(value) if type(value) is list else dumps(value)
        if len(data) > self._surroundings.result_limit:
            raise ResultTooLarge(len(data), self._surroundings.result_limit)
        return data

    # -------------------------------------------------------------------------------------------- reading
    def records(self, node: int, partition: int) -> Records:
        """A node's records, from the store if they're kept."""
        if node in self.spec.caching:
            return self._kept(node, partition)
        return self._computed(node, partition)

    def _computed(self, node: int, partition: int) -> Records:
        steps, base = self._chain(node)
        return fusion.transform(steps, self._base(base, partition) if steps else self._unchained(node, partition))

    def _chain(self, node: int) -> tuple[list[PerRecord], int]:
        """The per-record steps that end in a node, and the node that they start from."""
        steps: list[PerRecord] = []
        top = node
        while isinstance(operator := self._nodes[node][0], PerRecord) and (node == top or not self._keeps(node)):
            steps.append(operator)
            node = self._nodes[node][1][0]
        return steps[::-1], node

    def _keeps(self, node: int) -> bool:
        return node in self.spec.caching

    def _base(self, node: int, partition: int) -> Records:
        return self._kept(node, partition) if self._keeps(node) else self._unchained(node, partition)

    def _unchained(self, node: int, partition: int) -> Records:
        operator, parents = self._nodes[node]
        if isinstance(operator, Leaf):
            return operator.read(self, self.spec.inputs[node, partition])
        thunks = [partial(self.records, parents[i], p) for i, p in operator.inputs(partition)]
        return operator.compute(self, partition, thunks)

    def read_block(self, ref: BlockRef) -> Records:
        data = self._surroundings.read(ref.block_id, ref.locations)
        if data is None:
            raise BlockLost(f"could not compute partition {self.spec.partition}: block {ref.block_id} not found")
        return decode(data)

    def read_shuffle(self, segments: Sequence[MapSegment], aggregator: Combiner | None) -> Records:
        pairs: Iterator[Any] = chain.from_iterable(map(self._segment, segments))
        if aggregator is None:
            return pairs
        merger: Merger[Any, Any, Any] = Merger(
            aggregator.merge_combiners,
            self.budget,
            self.spill,
            create=aggregator.create,
            merge_value=aggregator.merge_value,
        )
        if aggregator.map_side or aggregator.create is None:  # values are combiners then
            merger.merge_combiners(pairs)
        else:
            merger.merge_values(pairs)
        return merger.items()

    def _segment(self, segment: MapSegment) -> list[Any]:
        data = segment.data
        if data is None:
            data = self._surroundings.read(segment.block_id, segment.location, segment.offset, segment.length)
            if data is None:
                raise FetchFailed(segment)
        return load_records(data)

    # -------------------------------------------------------------------------------------------- keeping
    def _kept(self, node: int, partition: int) -> Records:
        caching = self.spec.caching[node]
        block_id = blockids.cached(caching.dataset_id, partition=partition)
        ref = self.spec.cached.get((node, partition))
        data = self._surroundings.read(block_id, ref.locations if ref else ())
        if data is not None:
            if ref is None:  # written by a task that died before it could say so
                placed = Placed(len(data), self._surroundings.in_memory(block_id))
                self._report_kept(block_id, placed, caching, ())
            return decode(data)
        if ref is not None:
            raise CacheMissed(block_id)  # the inputs for computing it were not sent
        records = list(self._computed(node, partition))
        self._keep(block_id, records, caching)
        return records

    def _keep(self, block_id: str, records: list[Any], caching: Caching) -> None:
        pieces = [encode_records(records, compress=self._surroundings.compress)]
        use_memory, use_disk = caching.use_memory, caching.use_disk
        try:
            placed = self._surroundings.write(block_id, pieces, use_memory=use_memory, use_disk=use_disk)
        except NoSpace:
            if use_disk:
                raise
            return  # memory is full: it's computed again when it's needed
        copies: tuple[str, ...] = ()
        if caching.replication > 1:
            copies = self._surroundings.replicate(
                block_id, pieces, caching.replication - 1, in_memory=caching.use_memory
            )
        self._report_kept(block_id, placed, caching, copies)

    def _report_kept(self, block_id: str, placed: Placed, caching: Caching, copies: tuple[str, ...]) -> None:
        where = (self._surroundings.executor_id, *copies)
        self._stored.append(StoredBlock(block_id, placed.size, where, placed.in_memory, caching.use_disk))

    def report_version(self, *, state_id: int, version: int, partition: int, segments: tuple[str, ...]) -> None:
        self._versions.append(StoredVersion(state_id, version, partition, segments))

    # -------------------------------------------------------------------------------------------- writing
    def _write_shuffle(self, write: ShuffleWrite, node: int, partition: int) -> MapOutput:
        steps: list[PerRecord] = []
        if self._keeps(node):
            source = self._kept(node, partition)
        else:
            steps, base = self._chain(node)
            source = self._base(base, partition) if steps else self._unchained(node, partition)
        prefix = blockids.map_output_prefix(self.spec.shuffle_id, partition=partition, task_id=self.spec.task_id)
        index = indexer(write.partition_func, write.partitions)
        writer = ShuffleWriter(prefix, write.partitions, self._surroundings)
        aggregator, full = write.aggregator, self.budget.full
        if aggregator is not None and aggregator.map_side:
            create, merge_value = aggregator.create, aggregator.merge_value
            for combined in fusion.combine(steps, source, create, merge_value, full, write.place):
                for buckets in fusion.scatter((), combined.items(), index, write.partitions, _never, write.place):
                    writer.add(buckets)
        else:
            for buckets in fusion.scatter(steps, source, index, write.partitions, full, write.place):
                writer.add(buckets)
        return writer.finish()


def _never(_count: int) -> bool:
    return False


def indexer(partition_func: Callable[[Any], int], partitions: int) -> Callable[[Any], int]:
    """key -> partition; the usual case, text hashed by content, without a call of ours in between."""
    if partitions == 1:
        return lambda key: 0
    if partition_func is portable_hash:

        def by_hash(key: Any) -> int:
            if type(key) is str:
                try:
                    return crc32(key.encode()) % partitions
                except UnicodeEncodeError:
                    pass  # a lone surrogate: the general way knows what to do
            return portable_hash(key) % partitions

        return by_hash
    return lambda key: partition_func(key) % partitions


class ResultTooLarge(SparkException):
    """A task's result is over what the driver takes."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the serialized result of a task ({size} bytes) is bigger than spark.driver.maxResultSize ({limit} bytes);"
            " write it out from the tasks (saveAsTextFile, foreachPartition) or raise the setting"
        )


def failure_of(error: BaseException, operation: str = "") -> TaskFailure:
    """The message that tells the scheduler, and the caller, what went wrong in a task. Never raises.

    Args:
        operation: what the task was for, if the error doesn't know better.
    """
    if isinstance(error, FetchFailed):
        return TaskFailure(FailureKind.FETCH, str(error), segment=error.segment)
    if isinstance(error, CacheMissed):
        return TaskFailure(FailureKind.CACHE, str(error), block_id=error.block_id)
    if isinstance(error, TaskKilled):
        return TaskFailure(FailureKind.KILLED, "killed on request")
    refused = isinstance(error, (ResultTooLarge, SerializationError))
    kind = FailureKind.REFUSED if refused else FailureKind.RAISED
    try:
        noted, by_operation = taken_note(error), is_of_an_operation(error)
        place = noted or Place(operation, record_of(error))
        whole = shortened("".join(traceback.format_exception(type(error), error, error.__traceback__)))
        if by_operation and noted is None and operation:
            error = in_words(error, operation)
        text = shortened("".join(traceback.format_exception_only(type(error), error)).strip())
        # Before pickling takes it off.
        folded = shortened(folded_text(error, is_users=by_operation or noted is not None))
    except BaseException:  # of the exception's own methods
        return TaskFailure(kind, description(error), description(error))
    return TaskFailure(
        kind,
        text,
        folded,
        pickled(error),
        operation=place.operation,
        record=place.record,
        whole_traceback=whole if whole != folded else "",
    )


class Programs:
    """The programs that a worker keeps, least recently used first to go.

    The executor keeps a twin per worker, which sees the same names in the same order: so it knows what to send.
    """

    LIMIT = 64

    def __init__(self) -> None:
        self._programs: dict[str, Any] = {}

    def use(self, name: str, program: Any) -> Any:
        """The program kept under a name, or `program` if there is none, which is then kept."""
        kept = self._programs.pop(name, None)
        self._programs[name] = kept = program if kept is None else kept
        if len(self._programs) > self.LIMIT:
            del self._programs[next(iter(self._programs))]
        return kept

    def knows(self, name: str) -> bool:
        return name in self._programs


class TaskRunner:
    """Runs the tasks that reach one worker, one after the other."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._programs = Programs()
        let_threads_inherit()

    def run(self, spec: TaskSpec, program: bytes | None) -> TaskReply:
        """Run a task; `program` comes along when this worker doesn't have it yet."""
        kept = self._programs.use(spec.program, None if program is None else _load(program))
        if isinstance(kept, TaskFailure):
            return TaskReply(spec.task_id, kept, None, b"", (), {})
        return Task(spec, kept, self._surroundings).run()


def _load(program: bytes) -> Program | TaskFailure:
    """The program; or why it can't be unpickled, which is kept in its place: it will not be sent again."""
    try:
        loaded: Program = pickle.loads(program)
        return loaded
    except AttributeError as error:
        text = (
            f"the worker can't load the program: {error}. What isn't a function or a class of the script travels by its"
            " name only: define it in a module that workers can import, which sc.addPyFile gives them."
        )
        return failure_of(AttributeError(text))
    except BaseException as error:
        return failure_of(error)


def reply_bytes(reply: TaskReply) -> bytes:
    """A reply, pickled; should that fail, a reply that says so."""
    try:
        return pickle.dumps(reply, 5)
    except Exception as error:
        return pickle.dumps(TaskReply(reply.task_id, failure_of(error), None, b"", (), {}), 5)
