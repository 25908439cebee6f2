from __future__ import annotations

import pytest

from headwater.engine.holdings import CachedPartitions, Inputs, MapOutputs
from headwater.engine.lineage import Action, Dataset, Operator, Slice
from headwater.engine.placement import ExecutorCores, Placement
from headwater.engine.runs import StageRun
from headwater.engine.stages import Stage
from tests.engine.cores import never, received, source


def cores_of(executors: str) -> ExecutorCores:
    cores = ExecutorCores()
    for executor in executors.split():
        name, _, number = executor.partition("*")
        cores.join(name, int(number or 1))
    return cores


def chosen(placement: Placement, dataset: Dataset, now_ms: int = 1000) -> list[str]:
    """Where the tasks of a new run go, as `executor runs partition`."""
    run = StageRun(Stage(0, dataset, Action(never)), range(dataset.num_partitions), {}, now_ms)
    return [f"{executor} runs {partition}" for partition, executor, _ in placement.choose(run, now_ms)]


def placement_on(cores: ExecutorCores, *, wait_ms: int = 3000) -> Placement:
    return Placement(cores, Inputs(CachedPartitions(), MapOutputs()), wait_ms)


# ------------------------------------------------------------------------------------------------ cores
def test_freest_executor_has_the_most_free_cores() -> None:
    cores = cores_of("a*2 b*3 c*3")
    assert cores.freest() == "b"
    assert cores.freest(["c", "a"]) == "c"
    cores.take("b")
    assert cores.freest() == "c"
    cores.give_back("b")
    cores.check({})
    assert cores.freest() == "b"


def test_executor_without_a_free_core_is_not_the_freest() -> None:
    cores = cores_of("a b")
    cores.take("a")
    assert cores.freest(["a"]) is None
    cores.take("b")
    cores.check({"a": 1, "b": 1})
    assert (cores.freest(), cores.room) == (None, 0)
    assert cores.freest([]) is None


def test_suspect_gets_no_tasks_until_it_is_trusted_but_gets_its_cores_back() -> None:
    cores = cores_of("a*2 b")
    cores.take("a")
    cores.suspect("a")
    cores.suspect("a")
    cores.check({"a": 1})
    assert (cores.freest(), cores.freest(["a"]), cores.room) == ("b", None, 1)
    cores.give_back("a")
    cores.check({})
    assert cores.room == 1
    cores.trust("a")
    cores.check({})
    assert (cores.freest(), cores.room) == ("a", 3)


@pytest.mark.parametrize("suspect", [False, True])
def test_executor_leaves_once_with_all_its_cores(suspect: bool) -> None:
    cores = cores_of("a*2 b")
    cores.take("a")
    if suspect:
        cores.suspect("a")
    assert cores.leave("a")
    assert not cores.leave("a")
    cores.give_back("a")
    cores.trust("a")
    cores.check({})
    assert ("a" in cores, cores.room) == (False, 1)


# ------------------------------------------------------------------------------------------------ choices
def test_tasks_go_to_the_freest_executors_until_there_is_no_room() -> None:
    assert chosen(placement_on(cores_of("a b*2")), source(4)) == ["b runs 0", "a runs 1", "b runs 2"]


def test_task_goes_where_what_it_reads_is() -> None:
    assert chosen(placement_on(cores_of("a b")), received(("b",), ("a",))) == ["b runs 0", "a runs 1"]


def test_task_waits_for_its_data_until_a_deadline() -> None:
    cores = cores_of("a b")
    placement = placement_on(cores, wait_ms=500)
    cores.take("b")
    run = StageRun(Stage(0, received(("b",)), Action(never)), [0], {}, 1000)
    assert list(placement.choose(run, 1000)) == []
    assert placement.deadlines_ms == {1500}
    assert list(placement.choose(run, 1500)) == [(0, "a", -1)]


class Stateful(Operator):
    """Has live state in one worker's heap."""

    pinned = True


def test_tasks_with_one_pin_go_to_the_executor_that_got_the_last_one() -> None:
    cores = cores_of("a b*2")
    placement = placement_on(cores)
    state = Dataset(1, Stateful(), (Dataset(0, Slice(), (), 2, payloads=[b"", b""]),), 2)
    assert chosen(placement, state) == ["b runs 0", "a runs 1"]
    cores.give_back("a")
    cores.give_back("b")
    cores.join("c", 9)
    assert chosen(placement, state) == ["b runs 0", "a runs 1"]
    cores.leave("a")
    assert chosen(placement, state)[-1] == "c runs 1"
