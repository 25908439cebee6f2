"""The events that the scheduler's core takes and the actions that it gives, and the messages that tasks are made of.

- All are NamedTuples: immutable, the fastest to pickle, and such a class is made in a tenth of a dataclass's time,
  which a program that starts notices.
- The unions at the end list what a core takes and gives, so that type checkers prove each `match` on them exhaustive.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple, TypeAlias

from headwater.broadcast import Captured
from headwater.engine.lineage import BlockRef, Caching
from headwater.engine.stages import Job


# ------------------------------------------------------------------------------------------------ on every loop
class Wake(NamedTuple):
    """Action: give me `Woken` at that time."""

    at_ms: int


class Woken(NamedTuple):
    """Event: the time that a `Wake` asked for has come."""


# ------------------------------------------------------------------------------------------------ what tasks are
class MapSegment(NamedTuple):
    """A map task's output for one reduce partition: inline bytes, or a range of a block file."""

    data: bytes | None
    block_id: str = ""
    offset: int = 0
    length: int = 0
    location: tuple[str, ...] = ()  # the executor that holds the block
    shuffle_id: int = -1
    map_partition: int = -1


class MapOutput(NamedTuple):
    """What a map task wrote: `parts[reduce partition]` are segments, `blocks` the (id, bytes) of its files."""

    parts: tuple[tuple[MapSegment, ...], ...]
    blocks: tuple[tuple[str, int], ...] = ()
    on_disk: tuple[str, ...] = ()  # the ids of those that aren't in memory


class TaskSpec(NamedTuple):
    """One attempt of a stage on one partition. Node numbers are positions in the program."""

    task_id: int
    job_id: int
    stage_id: int
    partition: int
    attempt: int
    program: str  # content hash
    inputs: dict[tuple[int, int], Any]  # (node, partition) -> the leaf's payload
    caching: dict[int, Caching]  # node -> how it's kept
    cached: dict[tuple[int, int], BlockRef]  # (node, partition) -> where that partition is stored already
    properties: dict[str, str]
    shuffle_id: int = -1  # the shuffle that is written, if the stage ends in one
    pin: int = -1  # tasks with the same one go to the same worker, whose heap has live state for them


class StoredBlock(NamedTuple):
    """A block that a task put into its executor's store."""

    block_id: str
    size: int
    locations: tuple[str, ...]
    in_memory: bool
    use_disk: bool


class StoredVersion(NamedTuple):
    """A version of a state's partition lies in these segments, oldest first; the last one is new."""

    state_id: int
    version: int
    partition: int
    segments: tuple[str, ...]


class FailureKind(Enum):
    """Why an attempt failed, by which the scheduler decides what to do about it."""

    RAISED = "raised"  # the user's code raised
    FETCH = "fetch"  # a map output could not be read
    CACHE = "cache"  # a partition believed to be stored was not
    LOST = "lost"  # the worker, or its executor, died
    REFUSED = "refused"  # the result is over the limit, or can't be pickled: no retry would help
    KILLED = "killed"  # on request


class TaskFailure(NamedTuple):
    """What an attempt failed of."""

    kind: FailureKind
    text: str
    traceback: str = ""
    error: bytes = b""  # the exception, pickled; empty if there is none that can be
    segment: MapSegment | None = None  # of the map output that could not be read
    block_id: str = ""  # of the stored partition that was not there
    operation: str = ""  # where it raised, as far as that is known
    record: str = ""  # on what, as text
    whole_traceback: str = ""  # with the engine's frames, if it has any


class TaskReply(NamedTuple):
    """What a worker answers."""

    task_id: int
    failure: TaskFailure | None
    value: bytes | MapOutput | None  # the action's result, pickled; what a map task wrote; None: it has failed
    accumulators: bytes  # pickled {id: update}, or empty
    stored: tuple[StoredBlock, ...]
    metrics: dict[str, int]
    versions: tuple[StoredVersion, ...] = ()


# ------------------------------------------------------------------------------------------------ events
class SubmitJob(NamedTuple):
    """Run a job, and start what it waits for."""

    job: Job


class CancelJobs(NamedTuple):
    """Cancel one job, a group's jobs, or (both None) all."""

    reason: str
    job_id: int | None = None
    group: str | None = None

    def means(self, job: Job) -> bool:
        """Whether a job is one of these."""
        if self.job_id is not None:
            return job.id == self.job_id
        return self.group is None or job.group == self.group


class ExecutorJoined(NamedTuple):
    """An executor is there; its id was never used before."""

    executor_id: str
    host: str
    cores: int


class ExecutorLeft(NamedTuple):
    """The executor is gone with its blocks; its id is never used again."""

    executor_id: str
    reason: str


class Heartbeat(NamedTuple):
    """From an executor in another process to its backend: it lives."""


class ExecutorSuspected(NamedTuple):
    """Nothing is heard of the executor: it gets no tasks."""

    executor_id: str


class ExecutorTrusted(NamedTuple):
    """The suspected executor is heard again."""

    executor_id: str


class TaskEnded(NamedTuple):
    """A task has ended, by itself or killed, on the executor where it was launched; once, unless that has left."""

    executor_id: str
    reply: TaskReply


class BlocksDropped(NamedTuple):
    """An executor has these blocks no more (evicted)."""

    executor_id: str
    block_ids: tuple[str, ...]


class ForgetDataset(NamedTuple):
    """Drop the cached partitions of a dataset."""

    dataset_id: int


class ForgetShuffle(NamedTuple):
    """No job can read this shuffle any more."""

    shuffle_id: int


# ------------------------------------------------------------------------------------------------ receivers
class ReceiverPosted(NamedTuple):
    """A receiver tells its owner in the driver something that the engine doesn't read."""

    executor_id: str
    receiver_id: int
    payload: Any


class ReceiverLost(NamedTuple):
    """A receiver is gone with its executor."""

    receiver_id: int
    executor_id: str
    reason: str


# ------------------------------------------------------------------------------------------------ actions
class Launch(NamedTuple):
    """Run these tasks on an executor, which has a free core for each."""

    executor_id: str
    tasks: tuple[TaskSpec, ...]
    program: bytes
    broadcasts: Captured


class KillTask(NamedTuple):
    """End a task; its `TaskEnded` comes all the same."""

    executor_id: str
    task_id: int
    reason: str


class DeliverResult(NamedTuple):
    """A result of a job; once for each position, the updates of accumulators before it."""

    job_id: int
    position: int
    value: bytes


class AddAccumulators(NamedTuple):
    """The updates of a successful task, and the jobs that it worked for; given once per partition of a stage."""

    updates: bytes
    job_ids: tuple[int, ...]


class CountMetrics(NamedTuple):
    """What a successful task measured of itself."""

    stage_id: int
    metrics: dict[str, int]


class EndJob(NamedTuple):
    """The job is over; `failure` None means that all results were delivered."""

    job_id: int
    failure: JobFailure | None


class JobFailure(NamedTuple):
    """Why a job has failed; the last four say of which attempt, if it was one."""

    text: str
    cancelled: bool = False
    task: TaskFailure | None = None
    stage_id: int = -1
    partition: int = -1
    attempt: int = -1


class RemoveBlocks(NamedTuple):
    """Remove the blocks whose id starts with the prefix, from every executor."""

    prefix: str


class TellVersion(NamedTuple):
    """A version was stored. Not `wanted`: by an attempt that doesn't count, so that its new segment may go."""

    stored: StoredVersion
    wanted: bool


# ------------------------------------------------------------------------------------------------ reports
class JobStarted(NamedTuple):
    """Report: a job was submitted."""

    job_id: int
    group: str | None
    stage_ids: tuple[int, ...]
    time_ms: int
    description: str


class JobOver(NamedTuple):
    """Report: a job has ended."""

    job_id: int
    status: str  # SUCCEEDED or FAILED
    time_ms: int


class StageChanged(NamedTuple):
    """Report: how many of a stage's tasks are where, each time that changes."""

    stage_id: int
    name: str
    fetch_rounds: int  # how many map outputs that were gone it has had made again
    tasks: int
    active: int
    completed: int
    failed: int
    over: bool


# ------------------------------------------------------------------------------------------------ unions
# Without `Woken` and `Wake`, which each loop adds.
BackendEvent: TypeAlias = (
    ExecutorJoined
    | ExecutorLeft
    | ExecutorSuspected
    | ExecutorTrusted
    | TaskEnded
    | BlocksDropped
    | CancelJobs
    | ReceiverPosted
)
SchedulerEvent: TypeAlias = (
    SubmitJob
    | CancelJobs
    | ExecutorJoined
    | ExecutorLeft
    | ExecutorSuspected
    | ExecutorTrusted
    | TaskEnded
    | BlocksDropped
    | ForgetDataset
    | ForgetShuffle
)
Report: TypeAlias = JobStarted | JobOver | StageChanged
SchedulerAction: TypeAlias = (
    Launch | KillTask | DeliverResult | AddAccumulators | CountMetrics | EndJob | RemoveBlocks | TellVersion | Report
)
