"""Accumulators, broadcasts and added files: what tasks and driver share."""

from __future__ import annotations

import gc
import io
import os
import pathlib
import pickle
import resource
import sys
import threading
import zipfile
from typing import Any

import cloudpickle
import pytest

from headwater import AccumulatorParam, SparkConf, SparkContext, SparkFiles, TaskContext, accumulators, broadcast
from headwater.errors import SerializationError, SparkException


# ------------------------------------------------------------------------------------------------ accumulators
class VectorParam(AccumulatorParam[list[float]]):
    def zero(self, value: list[float]) -> list[float]:
        return [0.0] * len(value)

    def addInPlace(self, value1: list[float], value2: list[float]) -> list[float]:
        for i, term in enumerate(value2):
            value1[i] += term
        return value1


def test_an_accumulator_sums_what_tasks_and_driver_add(sc: SparkContext) -> None:
    total, weight, phase = sc.accumulator(10), sc.accumulator(0.5), sc.accumulator(1j)

    def add(x: int) -> None:
        nonlocal total
        total += x
        weight.add(0.5)
        phase.add(1 + 1j)

    sc.parallelize(range(5), 3).foreach(add)
    total += 100
    assert (total.value, weight.value, phase.value) == (120, 3.0, 5 + 6j)
    assert str(total) == "120"
    assert repr(total) == f"Accumulator<id={total.aid}, value=120>"
    total.value = 3
    assert total.value == 3


def test_a_mutable_accumulator_starts_each_task_from_zero(sc: SparkContext) -> None:
    vector = sc.accumulator([1.0, 2.0], VectorParam())
    for _ in range(3):
        sc.parallelize(range(4), 4).foreach(lambda x: vector.add([1.0, float(x)]))
    assert vector.value == [13.0, 20.0]


def test_an_accumulator_has_no_value_in_a_task(sc: SparkContext) -> None:
    total = sc.accumulator(0)
    with pytest.raises(Exception, match="Accumulator.value cannot be accessed inside tasks"):
        sc.parallelize([1], 1).foreach(lambda x: total.value)


def test_what_a_failed_task_added_does_not_count(sc: SparkContext) -> None:
    total = sc.accumulator(0)

    def fails(x: int) -> None:
        total.add(1)
        raise KeyError(x)

    with pytest.raises(KeyError):
        sc.parallelize([1], 1).foreach(fails)
    assert total.value == 0


def test_a_type_without_a_param_is_refused(sc: SparkContext) -> None:
    with pytest.raises(TypeError, match="No default accumulator param for type <class 'str'>"):
        sc.accumulator("")


def test_unpickling_in_the_driver_gives_the_registered_accumulator(sc: SparkContext) -> None:
    total = sc.accumulator(5)
    assert pickle.loads(pickle.dumps(total)) is total


def test_updates_of_tasks_on_several_threads_do_not_mix() -> None:
    total = accumulators.create(0)
    updates: list[dict[int, Any]] = []

    def task(term: int) -> None:
        accumulators.begin_task()
        total.add(term)
        total.add(term)
        updates.append(accumulators.end_task())

    threads = [threading.Thread(target=task, args=(i,), daemon=True) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(update[total.aid] for update in updates) == [0, 2, 4]
    assert total.value == 0
    for update in updates:
        accumulators.merge(update)
    assert total.value == 6
    accumulators.merge({10**9: 1})  # of an accumulator that is gone
    assert accumulators.end_task() == {}


# ------------------------------------------------------------------------------------------------ broadcasts
def test_a_broadcast_is_the_same_value_in_tasks(sc: SparkContext) -> None:
    names = sc.broadcast({i: str(i) for i in range(1000)})
    assert names.value[7] == "7"
    assert sc.parallelize([1, 999], 2).map(lambda i: names.value[i]).collect() == ["1", "999"]


def test_a_broadcast_is_read_once_a_process(sc: SparkContext) -> None:
    value = sc.broadcast([1])
    same = sc.parallelize(range(4), 4).map(lambda i: value.value is value.value).collect()
    assert same == [True] * 4


def test_an_unpersisted_broadcast_is_sent_again(sc: SparkContext) -> None:
    value = sc.broadcast("here")
    rdd = sc.parallelize([1], 1).map(lambda i: value.value)
    assert rdd.collect() == ["here"]
    value.unpersist()
    assert value.value == "here"
    assert rdd.collect() == ["here"]


def test_a_destroyed_broadcast_says_so_wherever_it_is_used(sc: SparkContext) -> None:
    value = sc.broadcast([1])
    rdd = sc.parallelize([1], 1).map(lambda i: value.value)
    rdd.collect()
    value.destroy()
    text = rf"Attempted to use Broadcast\({value.id}\) after it was destroyed"
    for use in (lambda: value.value, value.unpersist, value.destroy, rdd.collect):
        with pytest.raises((SparkException, SerializationError), match=text):
            use()


def test_a_broadcast_that_nobody_holds_is_removed(sc: SparkContext) -> None:
    value = sc.broadcast(bytes(100))
    path = os.path.join(sc.application.directory, f"broadcast_{value.id}")
    assert os.path.exists(path)
    del value
    gc.collect()
    assert not os.path.exists(path)


def test_pickling_tells_which_broadcasts_a_program_needs(sc: SparkContext) -> None:
    one, other = sc.broadcast(1), sc.broadcast(2)
    with broadcast.captured() as outer:
        cloudpickle.dumps(lambda: one.value)
        with broadcast.captured() as inner:
            cloudpickle.dumps([other, other])
    assert (outer, inner) == ({one.id}, {other.id})
    assert pickle.loads(pickle.dumps(one)) is one


def test_a_broadcast_of_another_process_needs_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broadcast, "_reader", None)
    foreign = broadcast._restore(10**9)
    with pytest.raises(SparkException, match="Broadcast variable `1000000000` not loaded"):
        _ = foreign.value
    monkeypatch.setattr(broadcast, "_reader", lambda number: pickle.dumps(f"value {number}"))
    assert foreign.value == "value 1000000000"
    broadcast.forget(10**9)


def test_what_cannot_be_pickled_cannot_be_broadcast(sc: SparkContext) -> None:
    with pytest.raises(SerializationError, match="cannot pickle"):
        sc.broadcast(threading.Lock())


def test_dump_and_load_of_a_broadcast(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    value = sc.broadcast([1, 2])
    path = tmp_path / "value"
    with open(path, "wb") as file:
        value.dump([3], file)
    assert value.load_from_path(str(path)) == [3]
    assert value.load(io.BytesIO(path.read_bytes())) == [3]


# ------------------------------------------------------------------------------------------------ files
def test_an_added_file_is_found_by_tasks_and_driver(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"{sc.master.partition('[')[0]}-words.txt"
    path.write_text("hello")
    sc.addFile(str(path))
    sc.addFile(str(path))  # the same content may come again

    def read(_: int) -> str:
        with open(SparkFiles.get(path.name)) as file:
            return file.read()

    assert read(0) == "hello"
    assert sc.parallelize([1, 2], 2).map(read).collect() == ["hello", "hello"]
    path.write_text("other")
    with pytest.raises(SparkException, match=f"File {path.name} was already added"):
        sc.addFile(str(path))


def test_a_directory_is_added_only_if_asked(sc: SparkContext, tmp_path: pathlib.Path) -> None:
    top = tmp_path / f"{sc.master.partition('[')[0]}-top"
    (top / "sub").mkdir(parents=True)
    (top / "sub" / "leaf").write_text("leaf")
    with pytest.raises(SparkException, match="is a directory and recursive is not turned on"):
        sc.addFile(str(top))
    sc.addFile(str(top), recursive=True)

    def read(_: int) -> str:
        with open(os.path.join(SparkFiles.get(top.name), "sub", "leaf")) as file:
            return file.read()

    assert sc.parallelize([1], 1).map(read).collect() == ["leaf"]


def test_a_missing_file_is_an_error_at_once(sc: SparkContext) -> None:
    with pytest.raises(FileNotFoundError, match="/no/such/file"):
        sc.addFile("/no/such/file")


def test_tasks_import_from_added_modules_and_packages(no_context: None, tmp_path: pathlib.Path) -> None:
    (tmp_path / "added_module.py").write_text("def triple(x):\n    return 3 * x\n")
    with zipfile.ZipFile(tmp_path / "added_package.zip", "w") as archive:
        archive.writestr("added_package/__init__.py", "def square(x):\n    return x * x\n")
    before = list(sys.path)
    with SparkContext("local[2]", "x", pyFiles=[str(tmp_path / "added_module.py")]) as sc:
        sc.addPyFile(str(tmp_path / "added_package.zip"))
        import added_module  # type: ignore[import-not-found]

        def use(x: int) -> Any:
            import added_package  # type: ignore[import-not-found]

            return added_package.square(added_module.triple(x))

        assert sc.parallelize([1, 2], 2).map(use).collect() == [9, 36]
    assert sys.path == before


def test_there_is_no_directory_of_files_without_a_context(no_context: None) -> None:
    with pytest.raises(Exception, match="no SparkContext runs"):
        SparkFiles.getRootDirectory()
    with pytest.raises(NotImplementedError):
        SparkFiles()


# ------------------------------------------------------------------------------------------------ task context
def test_a_task_knows_what_it_is(sc: SparkContext) -> None:
    def ask(_: Any) -> Any:
        context = TaskContext.get()
        assert context is not None
        return [(context.partitionId(), context.attemptNumber(), context.stageId(), context.taskAttemptId())]

    told = sc.parallelize(range(3), 3).mapPartitions(ask).collect()
    assert [(partition, attempt) for partition, attempt, _, _ in told] == [(0, 0), (1, 0), (2, 0)]
    assert len({stage for _, _, stage, _ in told}) == 1
    assert len({task for *_, task in told}) == 3
    assert TaskContext.get() is None


def test_a_broadcast_that_finds_no_room_fails_its_job_and_no_other(no_context: None) -> None:
    with SparkContext("local[2]", "full disk") as sc:
        value = sc.broadcast(bytes(200_000))
        used = sc.parallelize([1], 1).map(lambda x: len(value.value))
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
        try:
            with pytest.raises(SparkException, match="could not be stored: no space left"):
                used.collect()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert used.collect() == [200_000]


def test_files_can_be_added_by_settings(no_context: None, tmp_path: pathlib.Path) -> None:
    for name, text in (("set_one.py", "one = 1"), ("set_two.py", "two = 2"), ("a.txt", "a"), ("b.txt", "b")):
        (tmp_path / name).write_text(text)
    conf = SparkConf().set("spark.submit.pyFiles", f"{tmp_path}/set_one.py, {tmp_path}/set_two.py")
    conf.set("spark.files", f"{tmp_path}/a.txt,{tmp_path}/b.txt,")

    def found(_: int) -> tuple[int, str]:
        import set_one  # type: ignore[import-not-found]
        import set_two  # type: ignore[import-not-found]

        return set_one.one + set_two.two, "".join(open(SparkFiles.get(name)).read() for name in ("a.txt", "b.txt"))

    with SparkContext("local[1]", "x", conf=conf) as sc:
        assert sc.parallelize([1], 1).map(found).collect() == [(3, "ab")]
        assert sorted(map(os.path.basename, sc.listFiles)) == ["a.txt", "b.txt", "set_one.py", "set_two.py"]
