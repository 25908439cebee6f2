"""The scheduler's core under random schedules: executors that exist on paper fail, vanish, lie and answer late.

What is asserted of every schedule: `check()` after each event; a task is launched only on an executor with a free core
and with all that it reads; a job ends exactly once, and if it succeeds, each of its results was delivered exactly once;
a partition's accumulator updates are added once; and as soon as nothing fails any more, all jobs end.
"""

from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from headwater.engine.events import (
    AddAccumulators,
    BlocksDropped,
    CancelJobs,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ForgetDataset,
    ForgetShuffle,
    KillTask,
    Launch,
    MapOutput,
    RemoveBlocks,
    Segment,
    StoredBlock,
    SubmitJob,
    TaskEnded,
    TaskFailure,
    TaskReply,
    TaskSpec,
    Wake,
    Woken,
)
from headwater.engine.lineage import (
    Action,
    Dataset,
    Leaf,
    PerRecord,
    Shuffle,
    ShuffleRead,
    ShuffleWrite,
    Slice,
    Together,
)
from headwater.engine.scheduler import Limits, Scheduler
from headwater.engine.stages import Planner, Program
from headwater.storagelevel import StorageLevel

STEPS_UNTIL_QUIET_MAX = 2000
LOCALITY_WAIT_MS = 500


def never(*_arguments: Any) -> Any:
    raise AssertionError("nothing is computed here")


@dataclass
class Machine:
    """An executor on paper."""

    cores: int
    blocks: set[str] = field(default_factory=set)
    running: dict[int, TaskSpec] = field(default_factory=dict)
    killed: dict[int, TaskSpec] = field(default_factory=dict)  # may answer yet


@dataclass
class Progress:
    """What became of a job."""

    wanted: int
    group: str
    dataset: Dataset
    delivered: Counter[int] = field(default_factory=Counter)
    over: bool = False


class Schedules(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.scheduler = Scheduler(Limits(task_failures=2, locality_wait_ms=LOCALITY_WAIT_MS))
        self.planner = Planner(count(), self.scheduler.shuffle_stages)
        self.machines: dict[str, Machine] = {}
        self.programs: dict[str, Program] = {}
        self.jobs: dict[int, Progress] = {}
        self.lineages: list[Dataset] = []
        self.added: Counter[bytes] = Counter()
        self.ids, self.dataset_ids, self.shuffle_ids = count(), count(), count()
        self.now_ms = 1
        self.wakes: list[int] = []
        self.machine_joins(2)
        self._make_lineages()

    # -------------------------------------------------------------------------------------------- what happens
    @rule(cores=st.integers(1, 3))
    def machine_joins(self, cores: int) -> None:
        name = f"e{next(self.ids)}"
        self.machines[name] = Machine(cores)
        self._happens(ExecutorJoined(name, "localhost", cores))

    @precondition(lambda self: self.machines)
    @rule(i=st.integers(0, 99))
    def machine_leaves(self, i: int) -> None:
        name = self._pick(self.machines, i)
        del self.machines[name]
        self._happens(ExecutorLeft(name, "it fell over"))

    @rule(i=st.integers(0, 99), group=st.sampled_from("gh"), some=st.booleans())
    def job_is_submitted(self, i: int, group: str, some: bool) -> None:
        dataset = self.lineages[i % len(self.lineages)]
        partitions = [*range(dataset.num_partitions)][-1 if some else 0 :]
        job_id = next(self.ids)
        properties = {"spark.jobGroup.id": group}
        job = self.planner.plan(job_id, dataset, Action(never), partitions, properties, "")
        self.jobs[job_id] = Progress(len(partitions), group, dataset)
        self._happens(SubmitJob(job))

    @precondition(lambda self: self._running())
    @rule(n=st.integers(1, 6), i=st.integers(0, 99), in_file=st.booleans())
    def tasks_end(self, n: int, i: int, in_file: bool) -> None:
        for _ in range(n):
            if running := self._running():
                name, task_id = self._pick(running, i)
                spec = self.machines[name].running.pop(task_id)
                self._happens(TaskEnded(name, self._reply(name, spec, in_file=in_file)))

    @precondition(lambda self: self._running())
    @rule(i=st.integers(0, 99), kind=st.sampled_from(["raised", "lost", "lost", "refused"]))
    def task_fails(self, i: int, kind: str) -> None:
        name, task_id = self._pick(self._running(), i)
        del self.machines[name].running[task_id]
        self._happens(TaskEnded(name, TaskReply(task_id, TaskFailure(kind, kind), None, b"", (), {})))

    @precondition(lambda self: any(machine.killed for machine in self.machines.values()))
    @rule(i=st.integers(0, 99))
    def killed_task_answers_all_the_same(self, i: int) -> None:
        name, task_id = self._pick([(n, t) for n, m in self.machines.items() for t in m.killed], i)
        spec = self.machines[name].killed.pop(task_id)
        self._happens(TaskEnded(name, self._reply(name, spec, in_file=True)))

    @precondition(lambda self: self._blocks())
    @rule(i=st.integers(0, 99), told=st.booleans())
    def block_vanishes(self, i: int, told: bool) -> None:
        name, block_id = self._pick(self._blocks(), i)
        self.machines[name].blocks.discard(block_id)
        if told and block_id.startswith("rdd_"):
            self._happens(BlocksDropped(name, (block_id,)))

    @precondition(lambda self: self.jobs)
    @rule(i=st.integers(0, 99))
    def job_is_cancelled(self, i: int) -> None:
        self._happens(CancelJobs("not wanted", job_id=self._pick(self.jobs, i)))

    @rule(group=st.sampled_from(["g", "h", None]))
    def group_is_cancelled(self, group: str | None) -> None:
        self._happens(CancelJobs("not wanted", group=group))
        assert not [job for job in self.jobs.values() if not job.over and group in (None, job.group)]

    @rule(i=st.integers(0, 99))
    def dataset_is_unpersisted(self, i: int) -> None:
        self._happens(ForgetDataset(self._pick(self.dataset_ids_kept, i)))

    @precondition(lambda self: all(job.over for job in self.jobs.values()))
    @rule()
    def lineages_are_collected(self) -> None:
        for shuffle_id in list(self.scheduler.shuffle_stages):
            self._happens(ForgetShuffle(shuffle_id))
        self._make_lineages()
        files = {block for machine in self.machines.values() for block in machine.blocks if block.startswith("shuffle_")}
        #assert not files

    @rule(ms=st.integers(1, LOCALITY_WAIT_MS))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms
        if any(at_ms <= self.now_ms for at_ms in self.wakes):
            self.wakes = [at_ms for at_ms in self.wakes if at_ms > self.now_ms]
            self._happens(Woken())

    def teardown(self) -> None:
        """Nothing fails any more: all jobs end."""
        if not self.machines:
            self.machine_joins(2)
        for _ in range(STEPS_UNTIL_QUIET_MAX):
            if self._running():
                self.tasks_end(1, 0, in_file=True)
            elif self.wakes:
                self.time_passes(max(1, min(self.wakes) - self.now_ms))
            else:
                break
        waiting = [job_id for job_id, job in self.jobs.items() if not job.over]
        assert not waiting, f"jobs {waiting} wait for ever"

    # -------------------------------------------------------------------------------------------- lineages
    def _make_lineages(self) -> None:
        """A few that share shuffles, and stored partitions on either side of them."""
        counted = self._shuffled(self._mapped(self._source(2)), 2)
        kept = self._mapped(counted, StorageLevel.MEMORY_ONLY)
        copied = self._mapped(self._source(2), StorageLevel.MEMORY_ONLY_2)
        together = self._dataset(Together(2, never), (kept, self._shuffled(copied, 2)), 2)
        self.lineages = [counted, self._mapped(kept), together, self._shuffled(together, 3), copied]

    def _mapped(self, parent: Dataset, level: StorageLevel | None = None) -> Dataset:
        dataset = self._dataset(PerRecord("map", never), (parent,), parent.num_partitions)
        dataset.storage_level = level
        return dataset

    def _dataset(self, operator: Any, parents: tuple[Dataset, ...], partitions: int, **more: Any) -> Dataset:
        return Dataset(next(self.dataset_ids), operator, parents, partitions, **more)

    def _source(self, partitions: int) -> Dataset:
        return self._dataset(Slice(), (), partitions, payloads=[b""] * partitions)

    def _shuffled(self, parent: Dataset, partitions: int) -> Dataset:
        shuffle = Shuffle(next(self.shuffle_ids), parent, ShuffleWrite(partitions, never))
        return self._dataset(ShuffleRead(None), (), partitions, shuffle=shuffle)

    # -------------------------------------------------------------------------------------------- the world
    def _pick(self, things: Any, i: int) -> Any:
        return list(things)[i % len(things)]

    def _running(self) -> list[tuple[str, int]]:
        return [(name, task_id) for name, machine in self.machines.items() for task_id in machine.running]

    def _blocks(self) -> list[tuple[str, str]]:
        return [(name, block) for name, machine in self.machines.items() for block in sorted(machine.blocks)]

    def _happens(self, event: Any) -> None:
        for action in self.scheduler.handle(event, self.now_ms):
            self._performed(action)
        self.scheduler.check()

    def _performed(self, action: Any) -> None:
        match action:
            case Launch():
                self._launched(action)
            case KillTask():
                machine = self.machines.get(action.executor_id)
                if machine is not None:
                    machine.killed[action.task_id] = machine.running.pop(action.task_id)
            case DeliverResult():
                job = self.jobs[action.job_id]
                job.delivered[action.position] += 1
                assert not job.over
                assert job.delivered[action.position] == 1
            case EndJob():
                job = self.jobs[action.job_id]
                assert not job.over
                job.over = True
                assert action.failure is not None or len(job.delivered) == job.wanted
            case AddAccumulators():
                self.added[action.updates] += 1
                assert self.added[action.updates] == 1
            case RemoveBlocks():
                for machine in self.machines.values():
                    machine.blocks = {block for block in machine.blocks if not block.startswith(action.prefix)}
            case Wake():
                assert action.at_ms > self.now_ms
                self.wakes.append(action.at_ms)

    def _launched(self, action: Launch) -> None:
        machine = self.machines[action.executor_id]
        for spec in action.tasks:
            assert len(machine.running) < machine.cores
            machine.running[spec.task_id] = spec
            self.programs[spec.program] = pickle.loads(action.program)
            for node, partition in self._reads(spec):
                given = spec.inputs[node, partition]
                if isinstance(given, list):
                    assert len(given) == self._map_partitions(spec, node), "a map output is missing"

    def _map_partitions(self, spec: TaskSpec, node: int) -> int:
        if spec.shuffle_id >= 0:
            stage = self.scheduler.shuffle_stages[spec.shuffle_id]
        else:
            stage = self.scheduler._jobs[spec.job_id].result
        shuffle = stage.nodes[node].shuffle
        assert shuffle is not None
        return shuffle.parent.num_partitions

    def _walk(self, spec: TaskSpec) -> list[tuple[int, int]]:
        """(node, partition) of all that a task computes or reads, the first reached first."""
        program = self.programs[spec.program]
        todo, seen = [(len(program.nodes) - 1, spec.partition)], []
        while todo:
            node, partition = todo.pop()
            seen.append((node, partition))
            if (node, partition) not in spec.cached:
                operator, parents = program.nodes[node]
                todo += [(parents[i], p) for i, p in operator.inputs(partition)]
        return seen

    def _reads(self, spec: TaskSpec) -> list[tuple[int, int]]:
        nodes = self.programs[spec.program].nodes
        return [at for at in self._walk(spec) if isinstance(nodes[at[0]][0], Leaf) and at not in spec.cached]

    def _reply(self, name: str, spec: TaskSpec, *, in_file: bool) -> TaskReply:
        """What a task on this machine answers, the world being as it is."""
        machine = self.machines[name]
        failure = self._missed(name, spec)
        if failure is not None:
            return TaskReply(spec.task_id, failure, None, b"", (), {})
        stored = []
        for node, partition in self._walk(spec):
            if node in spec.caching:
                block = f"rdd_{spec.caching[node].dataset_id}_{partition}"
                if block not in machine.blocks:
                    copies = [other for other in self.machines if other != name][: spec.caching[node].replication - 1]
                    stored.append(StoredBlock(block, 1, (name, *copies), True, False))
                    for holder in (name, *copies):
                        self.machines[holder].blocks.add(block)
        value: Any = b"value"
        if spec.shuffle_id >= 0:
            value = self._map_output(machine, spec, in_file=in_file)
        updates = f"{spec.stage_id}.{spec.partition}".encode()
        return TaskReply(spec.task_id, None, value, updates, tuple(stored), {})

    def _missed(self, name: str, spec: TaskSpec) -> TaskFailure | None:
        for ref in spec.cached.values():
            if not any(ref.block_id in self._held_by(holder) for holder in (name, *ref.locations)):
                return TaskFailure("cache", ref.block_id, block_id=ref.block_id)
        for at in self._reads(spec):
            given = spec.inputs[at]
            for segment in given if isinstance(given, list) else []:
                if segment.data is None and segment.block_id not in self._held_by(segment.location[0]):
                    return TaskFailure("fetch", "map output is gone", segment=segment)
        return None

    def _held_by(self, name: str) -> set[str]:
        return self.machines[name].blocks if name in self.machines else set()

    def _map_output(self, machine: Machine, spec: TaskSpec, *, in_file: bool) -> MapOutput:
        stage = self.scheduler.shuffle_stages.get(spec.shuffle_id)
        if stage is None or not in_file:
            partitions = 3 if stage is None else stage.ending.partitions  # type: ignore[union-attr]
            return MapOutput(((Segment(b"x"),),) * partitions)
        block = f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_0"
        machine.blocks.add(block)
        partitions = stage.ending.partitions  # type: ignore[union-attr]
        return MapOutput(tuple((Segment(None, block, p, 1),) for p in range(partitions)), ((block, partitions),))


TestSchedules = Schedules.TestCase
TestSchedules.settings = settings(
    max_examples=3000, stateful_step_count=80, deadline=None, suppress_health_check=list(HealthCheck)
)
