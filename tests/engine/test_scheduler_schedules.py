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
from random import Random
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from headwater.engine.events import (
    AddAccumulators,
    BlocksDropped,
    CancelJobs,
    DeliverResult,
    EndJob,
    ExecutorJoined,
    ExecutorLeft,
    ExecutorSuspected,
    ExecutorTrusted,
    FailureKind,
    ForgetDataset,
    ForgetShuffle,
    KillTask,
    Launch,
    MapOutput,
    MapSegment,
    RemoveBlocks,
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
from headwater.engine.scheduler import KILLING_MS_MAX, Limits, Scheduler
from headwater.engine.stages import Planner, Program
from headwater.storagelevel import StorageLevel
from tests.effort import tries

STEPS_MAX = 40
MACHINES_MAX = 3
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
    suspect: bool = False


@dataclass
class Progress:
    """What became of a job."""

    wanted: int
    group: str
    delivered: Counter[int] = field(default_factory=Counter)
    over: bool = False
    killed_ms: int = 0  # when tasks of its were killed


class World:
    """A scheduler, the executors that it believes in, and what happens to both, drawn from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.scheduler = Scheduler(Limits(task_failures=2, locality_wait_ms=LOCALITY_WAIT_MS))
        self.planner = Planner(count(), self.scheduler.shuffle_stages)
        self.machines: dict[str, Machine] = {}
        self.programs: dict[str, Program] = {}
        self.jobs: dict[int, Progress] = {}
        self.added: Counter[bytes] = Counter()
        self.ids, self.dataset_ids, self.shuffle_ids = count(), count(), count()
        self.now_ms = 1
        self.wakes: list[int] = []
        self.machine_joins()
        self._make_lineages()

    def run(self) -> None:
        """Jobs under a schedule of events, then no more jobs, which could mend what others wait for, then quiet."""
        likely = {
            self.tasks_end: 12,
            self.job_is_submitted: 6,
            self.block_vanishes: 8,
            self.job_is_cancelled: 3,
            self.task_fails: 2,
            self.killed_task_answers_all_the_same: 2,
            self.machine_joins: 1,
            self.machine_leaves: 1,
            self.machine_is_suspected: 1,
            self.machine_is_trusted: 1,
            self.dataset_is_unpersisted: 1,
            self.time_passes: 1,
            self.group_is_cancelled: 0.3,
            self.lineages_are_collected: 0.3,
        }
        for _ in range(2):
            for step in self.random.choices(list(likely), list(likely.values()), k=self.random.randrange(STEPS_MAX)):
                step()
            likely[self.job_is_submitted] = 0
        self.all_is_quiet()

    # -------------------------------------------------------------------------------------------- what happens
    def machine_joins(self) -> None:
        if len(self.machines) < MACHINES_MAX:
            name, cores = f"e{next(self.ids)}", self.random.randint(1, 2)
            self.machines[name] = Machine(cores)
            self._happens(ExecutorJoined(name, "localhost", cores))

    def machine_leaves(self) -> None:
        if name := self._one_of(self.machines):
            del self.machines[name]
            self._happens(ExecutorLeft(name, "it fell over"))

    def machine_is_suspected(self) -> None:
        if name := self._one_of(self.machines):
            self.machines[name].suspect = True
            self._happens(ExecutorSuspected(name))

    def machine_is_trusted(self) -> None:
        if name := self._one_of(self.machines):
            self.machines[name].suspect = False
            self._happens(ExecutorTrusted(name))

    def job_is_submitted(self) -> None:
        dataset = self._one_of(self.lineages)
        partitions = self.random.sample(range(dataset.num_partitions), self.random.randint(1, dataset.num_partitions))
        job_id, group = next(self.ids), self._one_of("gh")
        properties = {"spark.jobGroup.id": group}
        job = self.planner.plan(job_id, dataset, Action(never), partitions, properties, "")
        self.jobs[job_id] = Progress(len(partitions), group)
        self._happens(SubmitJob(job))

    def tasks_end(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            if running := self._running():
                name, task_id = self._one_of(running)
                spec = self.machines[name].running.pop(task_id)
                self._happens(TaskEnded(name, self._reply(name, spec)))

    def task_fails(self) -> None:
        if running := self._running():
            name, task_id = self._one_of(running)
            kind = self._one_of([FailureKind.RAISED, FailureKind.LOST, FailureKind.LOST, FailureKind.REFUSED])
            del self.machines[name].running[task_id]
            self._happens(TaskEnded(name, TaskReply(task_id, TaskFailure(kind, "no"), None, b"", (), {})))

    def killed_task_answers_all_the_same(self) -> None:
        if late := self._one_of([(n, t) for n, m in self.machines.items() for t in m.killed]):
            name, task_id = late
            spec = self.machines[name].killed.pop(task_id)
            self._happens(TaskEnded(name, self._reply(name, spec)))

    def block_vanishes(self) -> None:
        """The scheduler hears of it, or a task finds out."""
        if held := self._one_of([(n, block) for n, m in self.machines.items() for block in sorted(m.blocks)]):
            name, block_id = held
            self.machines[name].blocks.discard(block_id)
            if block_id.startswith("rdd_") and self.random.random() < 0.5:
                self._happens(BlocksDropped(name, (block_id,)))

    def job_is_cancelled(self) -> None:
        active = [job_id for job_id, job in self.jobs.items() if not job.over]
        if active:
            job_id = self._one_of(active)
            self._happens(CancelJobs("not wanted", job_id=job_id))
            assert not [spec for spec in self._results_running() if spec.job_id == job_id]
            assert self.jobs[job_id].over or any(machine.killed for machine in self.machines.values())

    def group_is_cancelled(self) -> None:
        group = self._one_of(["g", "h", None])
        self._happens(CancelJobs("not wanted", group=group))
        assert not [spec for spec in self._results_running() if group in (None, self.jobs[spec.job_id].group)]

    def dataset_is_unpersisted(self) -> None:
        self._happens(ForgetDataset(self._one_of(self.kept)))

    def lineages_are_collected(self) -> None:
        """Nobody refers to any dataset any more: what the shuffles left is removed."""
        if all(job.over for job in self.jobs.values()):
            for shuffle_id in list(self.scheduler.shuffle_stages):
                self._happens(ForgetShuffle(shuffle_id))
            for machine in self.machines.values():
                assert not [block for block in machine.blocks if block.startswith("shuffle_")]
                machine.killed.clear()
            self._make_lineages()

    def time_passes(self) -> None:
        self.now_ms += self.random.randint(1, LOCALITY_WAIT_MS)
        if any(at_ms <= self.now_ms for at_ms in self.wakes):
            self.wakes = [at_ms for at_ms in self.wakes if at_ms > self.now_ms]
            self._happens(Woken())

    def all_is_quiet(self) -> None:
        """Nothing fails any more: all jobs end."""
        self.machine_joins()
        while any(machine.suspect for machine in self.machines.values()):
            self.machine_is_trusted()
        for _ in range(STEPS_MAX * 50):
            if self._running():
                self.tasks_end()
            elif self.wakes:
                self.time_passes()  # killed tasks may stay silent
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
        self.kept = [kept.dataset_id, copied.dataset_id]

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
    def _one_of(self, things: Any) -> Any:
        """Any one; None if there are none."""
        return self.random.choice(list(things)) if things else None

    def _running(self) -> list[tuple[str, int]]:
        return [(name, task_id) for name, machine in self.machines.items() for task_id in machine.running]

    def _results_running(self) -> list[TaskSpec]:
        running = [spec for machine in self.machines.values() for spec in machine.running.values()]
        return [spec for spec in running if spec.shuffle_id < 0]

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
                    spec = machine.killed[action.task_id] = machine.running.pop(action.task_id)
                    self.jobs[spec.job_id].killed_ms = self.now_ms
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
                if self.now_ms < job.killed_ms + KILLING_MS_MAX:
                    killed = [spec for machine in self.machines.values() for spec in machine.killed.values()]
                    assert not [spec for spec in killed if spec.shuffle_id < 0 and spec.job_id == action.job_id]
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
        assert not machine.suspect
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

    def _reply(self, name: str, spec: TaskSpec) -> TaskReply:
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
            value = self._map_output(machine, spec)
        updates = f"{spec.stage_id}.{spec.partition}".encode()
        return TaskReply(spec.task_id, None, value, updates, tuple(stored), {})

    def _missed(self, name: str, spec: TaskSpec) -> TaskFailure | None:
        for ref in spec.cached.values():
            if not any(ref.block_id in self._held_by(holder) for holder in (name, *ref.locations)):
                return TaskFailure(FailureKind.CACHE, ref.block_id, block_id=ref.block_id)
        for at in self._reads(spec):
            given = spec.inputs[at]
            for segment in given if isinstance(given, list) else []:
                if segment.data is None and segment.block_id not in self._held_by(segment.location[0]):
                    return TaskFailure(FailureKind.FETCH, "map output is gone", segment=segment)
        return None

    def _held_by(self, name: str) -> set[str]:
        return self.machines[name].blocks if name in self.machines else set()

    def _map_output(self, machine: Machine, spec: TaskSpec) -> MapOutput:
        stage = self.scheduler.shuffle_stages.get(spec.shuffle_id)
        if stage is None or self.random.random() < 0.3:
            partitions = 3 if stage is None else stage.ending.partitions  # type: ignore[union-attr]
            return MapOutput(((MapSegment(b"x"),),) * partitions)
        block = f"shuffle_{spec.shuffle_id}_{spec.partition}_{spec.task_id}_0"
        machine.blocks.add(block)
        partitions = stage.ending.partitions  # type: ignore[union-attr]
        return MapOutput(tuple((MapSegment(None, block, p, 1),) for p in range(partitions)), ((block, partitions),))


# A smaller seed is not a simpler schedule: shrinking would only take time.
@settings(max_examples=tries(160), deadline=None, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(seed=st.integers(0, 2**32 - 1))
def test_jobs_end_once_and_whole_whatever_happens_to_executors_and_blocks(seed: int) -> None:
    World(seed).run()
