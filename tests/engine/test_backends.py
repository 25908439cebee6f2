"""What every backend promises to the scheduler, asked of each: see `headwater.engine.backend`."""

from __future__ import annotations

import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headwater.base.hashing import portable_hash
from headwater.base.pickling import dump_records, dumps, load_records, loads
from headwater.conf import SparkConf
from headwater.engine.backend import Backend, ExecutorHandle
from headwater.engine.backends.masters import make_backend, parse_master
from headwater.engine.events import (
    ExecutorJoined,
    ExecutorLeft,
    FailureKind,
    ReceiverPosted,
    TaskEnded,
    TaskReply,
    TaskSpec,
)
from headwater.engine.lineage import Action, Caching, ShuffleWrite, Slice
from headwater.engine.stages import Program
from headwater.storagelevel import StorageLevel
from tests.engine.processes import (
    PATIENCE_SECONDS,
    alive,
    await_true,
    descendants,
    executors,
    name_of,
    scratch_directories,
    workers,
)

PONG = ("heard", "ping")
MASTERS = {"in process": "local", "workers": "local[2]", "cluster": "local-cluster[2,1,512]"}
KINDS = [*MASTERS]
WITH_WORKERS = KINDS[1:]
SETTINGS = {
    "headwater.shuffle.inlineLimit": "0",
    "headwater.streaming.receiver.memoryLimit": "100b",
    "headwater.streaming.receiver.spillLimit": "100b",
    "spark.executorEnv.SET_FOR": "workers",
}


class Bed:
    """A backend that runs, the events that it posted, and tasks to lay into it."""

    def __init__(self, kind: str, local_dir: Path, master: str | None = None) -> None:
        self.before = set(threading.enumerate())
        self.events: list[Any] = []
        self._news = threading.Condition()
        self._task_ids = count()
        self.kind = kind
        self.executors = 2 if kind == "cluster" else 1
        self.cores = 2 if kind == "workers" else 1
        self.workers = 0 if kind == "in process" else self.executors * self.cores
        conf = SparkConf(loadDefaults=False).setAppName("bed").set("spark.local.dir", str(local_dir))
        for key, value in SETTINGS.items():
            conf.set(key, value)
        self.backend: Backend = make_backend(parse_master(master or MASTERS[kind]), conf, str(local_dir / "driver"))
        self.backend.start(self._post)
        for i in range(self.executors):
            self.wait(lambda e: isinstance(e, ExecutorJoined), i + 1)
        self.scratch = scratch_directories({os.getpid(), *descendants()})

    def _post(self, event: Any) -> None:
        with self._news:
            self.events.append(event)
            self._news.notify_all()

    def wait(self, wanted: Callable[[Any], bool], number: int = 1) -> Any:
        """The `number`th event that is wanted."""

        def found() -> list[Any]:
            return [event for event in self.events if wanted(event)][number - 1 :]

        with self._news:
            assert self._news.wait_for(lambda: bool(found()), PATIENCE_SECONDS), self.events
            return found()[0]

    def handle(self) -> ExecutorHandle:
        """Any executor."""
        return next(iter(self.backend.executors().values()))

    # tasks
    def submit(self, function: Any, *, tasks: int = 1, handle: ExecutorHandle | None = None, **spec: Any) -> list[int]:
        """Tasks that do `function(records)` on two records each; returns their ids."""
        ending = (
            function if isinstance(function, ShuffleWrite) else Action(lambda partition, records: function(records))
        )
        program = dumps(Program(((Slice(), ()),), ending))
        specs = [self._spec(str(hash(program)), spec) for _ in range(tasks)]
        (handle or self.handle()).submit(tuple(specs), program)
        return [spec.task_id for spec in specs]

    def _spec(self, program: str, more: dict[str, Any]) -> TaskSpec:
        inputs = {(0, 0): dump_records([("a", 1), ("b", 2)])}
        return TaskSpec(next(self._task_ids), 0, 0, 0, 0, program, inputs, {}, {}, {})._replace(**more)

    def reply(self, task_id: int) -> TaskReply:
        return self.wait(lambda e: isinstance(e, TaskEnded) and e.reply.task_id == task_id).reply  # type: ignore[no-any-return]

    def result(self, function: Any, **more: Any) -> Any:
        (task_id,) = self.submit(function, **more)
        reply = self.reply(task_id)
        assert reply.failure is None, reply.failure
        return loads(reply.value)

    def failure(self, function: Any, **more: Any) -> Any:
        (task_id,) = self.submit(function, **more)
        return self.reply(task_id).failure

    # receivers
    def receive(self, factory: Callable[[Any], Any], receiver_id: int = 0) -> None:
        self.handle().start_receiver(receiver_id, dumps(factory))

    def posted(self, payload: Any) -> None:
        """Wait until a receiver has posted this."""
        self.wait(lambda e: isinstance(e, ReceiverPosted) and e.payload == payload)

    def await_made(self, receiver_id: int = 0) -> None:
        """Wait until an echo hears us; before, it may not have been made."""

        def heard() -> bool:
            self.handle().send_to_receiver(receiver_id, "ping")
            posted = [event for event in self.events if isinstance(event, ReceiverPosted)]
            return any((event.receiver_id, event.payload) == (receiver_id, PONG) for event in posted)

        await_true(heard, "the receiver hears us")

    def payloads(self) -> list[Any]:
        return [event.payload for event in self.events if isinstance(event, ReceiverPosted)]


@pytest.fixture(autouse=True)
def _alone(no_context: None) -> None:
    """Processes are counted here: no other application may have any."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def bed(kind: str, tmp_path: Path) -> Iterator[Bed]:
    bed = Bed(kind, tmp_path)
    yield bed
    bed.backend.stop()


with_workers = pytest.mark.parametrize("kind", WITH_WORKERS, indirect=True)
on_a_cluster = pytest.mark.parametrize("kind", ["cluster"], indirect=True)
locally = pytest.mark.parametrize("kind", KINDS[:2], indirect=True)


# ------------------------------------------------------------------------------------------------ executors
def test_executor_is_announced_before_all_else_when_it_can_take_tasks(bed: Bed) -> None:
    assert all(isinstance(event, ExecutorJoined) for event in bed.events)
    assert {event.executor_id for event in bed.events} == set(bed.backend.executors())
    assert [event.cores for event in bed.events] == [bed.cores] * bed.executors
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


def test_executor_ends_with_its_backend_and_leaves_nothing(bed: Bed) -> None:
    bed.submit(lambda records: list(records), tasks=3)
    processes = descendants()
    await_true(lambda: len(workers()) == bed.workers, "the workers are there")
    assert bed.scratch
    bed.backend.stop()
    bed.backend.stop()
    await_true(lambda: not alive(processes), "all processes ended")
    assert not [directory for directory in bed.scratch if os.path.exists(directory)]
    await_true(lambda: not set(threading.enumerate()) - bed.before, "all threads ended")


def test_executor_ends_with_its_backend_though_it_is_busy(bed: Bed, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def work(_records: Any) -> None:
        started.touch()
        while started.exists():
            pass

    bed.submit(work, tasks=2)
    await_true(started.exists, "the task runs")
    processes = descendants()
    bed.backend.stop()
    started.unlink()
    await_true(lambda: not alive(processes), "all processes ended")
    assert not [directory for directory in bed.scratch if os.path.exists(directory)]


# ------------------------------------------------------------------------------------------------ tasks
def test_each_task_ends_once_though_there_are_more_than_cores(bed: Bed) -> None:
    task_ids = bed.submit(lambda records: dict(records), tasks=7)
    replies = [bed.reply(task_id) for task_id in task_ids]
    assert [loads(reply.value) for reply in replies] == [{"a": 1, "b": 2}] * 7
    assert bed.result(lambda records: "the end") == "the end"
    ended = [event.reply.task_id for event in bed.events if isinstance(event, TaskEnded)]
    assert len(ended) == len(set(ended))


def test_task_ended_names_its_executor(bed: Bed) -> None:
    for executor_id, handle in bed.backend.executors().items():
        (task_id,) = bed.submit(lambda records: None, handle=handle)
        bed.reply(task_id)
        assert bed.events[-1].executor_id == executor_id


def test_task_that_raises_ends_as_raised_and_the_next_one_runs(bed: Bed) -> None:
    failure = bed.failure(lambda records: {}["missing"])
    assert (failure.kind, failure.text) == (FailureKind.RAISED, "KeyError: 'missing'")
    assert bed.result(lambda records: 7) == 7


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_task_that_would_end_the_process_ends_itself_alone(bed: Bed, error: type[BaseException]) -> None:
    def leave(_records: Any) -> None:
        raise error

    assert bed.failure(leave).kind is FailureKind.RAISED
    assert bed.result(lambda records: 7) == 7


def test_task_whose_program_cannot_be_read_fails_and_so_does_the_next(bed: Bed) -> None:
    class Unreadable:
        def __reduce__(self) -> Any:
            return int, ("not a number",)

    unreadable = Unreadable()
    for _ in range(3):
        failure = bed.failure(lambda records: unreadable)
        assert (failure.kind, failure.text[:11]) == (FailureKind.RAISED, "ValueError:")
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_task_sees_the_environment_that_is_set_for_it(bed: Bed) -> None:
    assert bed.result(lambda records: os.environ.get("SET_FOR")) == "workers"
    assert "SET_FOR" not in os.environ


def test_task_of_a_large_program_runs(bed: Bed) -> None:
    large = os.urandom(2_000_000)
    assert bed.result(lambda records: len(large)) == 2_000_000


def test_task_of_a_large_result_ends(bed: Bed) -> None:
    assert len(bed.result(lambda records: bytes(5_000_000))) == 5_000_000


def spin(marker: Path) -> Callable[[Any], None]:
    """A task that runs until it's killed, and says by a file that it does."""
    path = str(marker)

    def work(_records: Any) -> None:
        import time

        with open(path, "w"):
            pass
        while True:
            time.sleep(0.001)

    return work


def test_killed_task_ends_as_killed_and_the_next_one_runs(bed: Bed, tmp_path: Path) -> None:
    (task_id,) = bed.submit(spin(tmp_path / "runs"))
    await_true((tmp_path / "runs").exists, "the task runs")
    bed.handle().kill(task_id, "its job is over")
    assert bed.reply(task_id).failure.kind is FailureKind.KILLED
    assert bed.result(lambda records: 7) == 7


def test_killed_task_ends_as_killed_though_it_has_not_begun(bed: Bed, tmp_path: Path) -> None:
    first = bed.submit(spin(tmp_path / "runs"), tasks=bed.cores)
    (waiting,) = bed.submit(lambda records: 7)
    bed.handle().kill(waiting, "its job is over")
    assert bed.reply(waiting).failure.kind is FailureKind.KILLED
    for task_id in first:
        bed.handle().kill(task_id, "its job is over")


def test_killing_a_task_that_is_not_there_does_nothing(bed: Bed) -> None:
    bed.handle().kill(12345, "never heard of")
    assert bed.result(lambda records: 7) == 7


def test_killing_a_task_that_is_about_to_end_does_no_harm_to_the_next(bed: Bed) -> None:
    for _ in range(25):
        doomed = bed.submit(lambda records: 7, tasks=bed.cores)
        innocent = bed.submit(lambda records: 8, tasks=bed.cores)
        for task_id in doomed:
            bed.handle().kill(task_id, "its job is over")
        for task_id in innocent:
            reply = bed.reply(task_id)
            assert reply.failure is None, reply.failure


# ------------------------------------------------------------------------------------------------ workers that die
@with_workers
def test_worker_that_is_killed_loses_its_task_and_is_replaced(bed: Bed) -> None:
    failure = bed.failure(lambda records: os.kill(os.getpid(), signal.SIGKILL))
    assert failure.kind is FailureKind.LOST
    assert "SIGKILL" in failure.text
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_worker_that_exits_loses_its_task_and_is_replaced(bed: Bed) -> None:
    failure = bed.failure(lambda records: os._exit(3))
    assert failure.kind is FailureKind.LOST
    assert "exited with code 3" in failure.text
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_worker_that_dies_idle_is_replaced(bed: Bed) -> None:
    await_true(lambda: len(workers()) == bed.workers, "the workers are there")
    before = workers()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await_true(lambda: len(workers()) == len(before) and not set(workers()) & set(before), "the workers are replaced")
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


@with_workers
def test_worker_that_dies_takes_no_other_task_with_it(bed: Bed, tmp_path: Path) -> None:
    """The tasks of the other workers, and those that wait for a core."""

    def die(_records: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    before = bed.submit(lambda records: 7, tasks=3)
    (doomed,) = bed.submit(die)
    after = bed.submit(lambda records: 7, tasks=3)
    assert bed.reply(doomed).failure.kind is FailureKind.LOST
    assert [loads(bed.reply(task_id).value) for task_id in (*before, *after)] == [7] * 6


@with_workers
def test_executor_stays_in_service_however_many_workers_the_tasks_kill(bed: Bed) -> None:
    for _ in range(15):
        assert bed.failure(lambda records: os._exit(1)).kind is FailureKind.LOST
    assert not [event for event in bed.events if isinstance(event, ExecutorLeft)]
    assert bed.result(lambda records: 7) == 7


@with_workers
def test_workers_die_with_their_warden_and_are_replaced(bed: Bed, tmp_path: Path) -> None:
    (task_id,) = bed.submit(spin(tmp_path / "runs"))
    await_true((tmp_path / "runs").exists, "the task runs")

    def wardens() -> list[int]:
        return [pid for pid in descendants() if name_of(pid).startswith("hw-warden")]

    # A worker bears its warden's name for a moment.
    await_true(lambda: len(wardens()) == bed.executors, "the workers have names of their own")
    for pid in wardens():
        os.kill(pid, signal.SIGKILL)
    failure = bed.reply(task_id).failure
    assert failure.kind is FailureKind.LOST
    assert "warden" in failure.text
    for handle in bed.backend.executors().values():
        assert bed.result(lambda records: 7, handle=handle) == 7


@with_workers
def test_blocks_outlive_the_worker_that_wrote_them(bed: Bed) -> None:
    (task_id,) = bed.submit(ShuffleWrite(1, portable_hash), shuffle_id=0)
    ((block, size),) = bed.reply(task_id).value.blocks
    bed.failure(lambda records: os._exit(1))
    data = bed.handle().get_block(block)
    assert data is not None
    assert len(data) == size
    assert load_records(data) == [("a", 1), ("b", 2)]


@with_workers
def test_worker_that_dies_leaves_no_files_of_its_task(bed: Bed) -> None:
    """Neither spill files nor map outputs that were never reported."""

    def leave_and_die(_records: Any) -> None:
        from headwater.engine.task import current

        task = current()
        task.spill.create().append([1, 2, 3])  # type: ignore[union-attr]
        os.kill(os.getpid(), signal.SIGKILL)

    assert bed.failure(leave_and_die).kind is FailureKind.LOST
    bed.result(lambda records: 7)
    spilled = [path for directory in bed.scratch for path in Path(directory, "spill").rglob("*.spill")]
    assert spilled == []


# ------------------------------------------------------------------------------------------------ blocks and files
def test_block_that_is_put_can_be_got_until_it_is_removed(bed: Bed) -> None:
    handle = bed.handle()
    handle.put_block("broadcast_1", b"one")
    handle.put_block("broadcast_2", b"two" * 1_000_000)
    assert handle.get_block("broadcast_1") == b"one"
    assert handle.get_block("broadcast_2") == b"two" * 1_000_000
    handle.forget_broadcast(1)
    assert handle.get_block("broadcast_1") is None
    handle.remove_blocks(["broadcast_2", "unknown"])
    assert handle.get_block("broadcast_2") is None


def test_blocks_are_removed_by_the_start_of_their_id(bed: Bed) -> None:
    handle = bed.handle()
    for block in ("rdd_1_0", "rdd_1_1", "rdd_10_0"):
        handle.put_block(block, b"x")
    handle.remove_prefix("rdd_1_")
    assert [handle.get_block(block) for block in ("rdd_1_0", "rdd_1_1", "rdd_10_0")] == [None, None, b"x"]


def test_cached_partition_is_in_the_store_when_its_task_has_ended(bed: Bed) -> None:
    (task_id,) = bed.submit(lambda records: list(records), caching={0: Caching(5, False, True, 1)})
    (stored,) = bed.reply(task_id).stored
    assert stored.block_id == "rdd_5_0"
    assert bed.handle().get_block("rdd_5_0") is not None


def test_block_is_there_before_tasks_that_are_submitted_later(bed: Bed) -> None:
    def read(_records: Any) -> Any:
        from headwater.broadcast import _restore

        return _restore(777_001).value

    bed.handle().put_block("broadcast_777001", dumps("the value"))
    assert bed.result(read) == "the value"


def test_file_is_there_before_tasks_that_are_submitted_later(bed: Bed) -> None:
    def read(_records: Any) -> str:
        from headwater.files import SparkFiles

        with open(SparkFiles.get("lists/words.txt")) as file:
            return file.read()

    bed.handle().add_file("lists/words.txt", b"one two", False)
    assert bed.result(read) == "one two"


def test_file_can_be_imported_when_it_was_added_for_that(bed: Bed) -> None:
    name = f"added_for_{bed.kind.replace(' ', '_')}"

    def use(_records: Any) -> Any:
        import importlib

        return importlib.import_module(name).ANSWER

    bed.handle().add_file(f"{name}.py", b"ANSWER = 42", True)
    assert bed.result(use) == 42


@with_workers
def test_file_reaches_workers_that_start_later(bed: Bed) -> None:
    def use(_records: Any) -> Any:
        import importlib

        return importlib.import_module("added_before_the_worker").ANSWER

    bed.handle().add_file("added_before_the_worker.py", b"ANSWER = 42", True)
    for _ in range(bed.cores):
        bed.failure(lambda records: os._exit(1))
    assert [bed.result(use) for _ in range(bed.cores)] == [42] * bed.cores


@with_workers
def test_busy_worker_holds_up_nobody_however_much_it_is_told(bed: Bed, tmp_path: Path) -> None:
    """It reads its messages between two tasks only."""
    (busy,) = bed.submit(spin(tmp_path / "runs"))
    await_true((tmp_path / "runs").exists, "the task runs")
    handle, told = bed.handle(), threading.Event()

    def tell() -> None:
        for i in range(3000):
            handle.forget_broadcast(i)
        handle.get_block("unknown")
        told.set()

    threading.Thread(target=tell, daemon=True).start()
    in_time = told.wait(5.0)
    for pid in workers():
        os.kill(pid, signal.SIGKILL)
    bed.reply(busy)
    assert in_time


def test_executor_whose_disk_is_full_goes_on(tmp_path: Path) -> None:
    """Blocks that should leave memory for a disk that takes no more stay where they are."""
    bed = Bed("cluster", tmp_path, master="local-cluster[2,1,1]")
    try:
        for pid in executors():
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, 1000))
        for dataset in range(4):
            (task_id,) = bed.submit(
                lambda records: list(records),
                caching={0: Caching(dataset, True, True, 1)},
                inputs={(0, 0): dump_records(["x" * 300_000])},
            )
            assert bed.reply(task_id).failure is None
        assert bed.result(lambda records: 7) == 7
    finally:
        bed.backend.stop()


# ------------------------------------------------------------------------------------------------ receivers
def make_echo() -> Callable[[Any], Any]:
    """A receiver that says what it does."""

    def factory(host: Any) -> Any:
        class Echo:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                host.post("stopped")

        for i in range(3):
            host.post(("begins", i))
        return Echo()

    return factory


def test_receiver_posts_in_order_hears_messages_and_stops(bed: Bed) -> None:
    bed.receive(make_echo())
    bed.await_made()
    for i in range(3):
        bed.handle().send_to_receiver(0, i)
    bed.posted(("heard", 2))
    bed.handle().stop_receiver(0)
    bed.posted("stopped")
    bed.handle().send_to_receiver(0, "to nobody")
    bed.handle().stop_receiver(0)
    expected = [("begins", 0), ("begins", 1), ("begins", 2), ("heard", 0), ("heard", 1), ("heard", 2), "stopped"]
    assert [payload for payload in bed.payloads() if payload != PONG] == expected


def test_receiver_knows_where_it_is_and_the_configuration(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        host.post((host.executor_id, host.host, host.conf["spark.app.name"]))

    bed.receive(factory)
    (executor_id, _), *_ = bed.backend.executors().items()
    bed.posted((executor_id, "127.0.0.1", "bed"))


def test_receivers_are_told_apart(bed: Bed) -> None:
    for receiver_id in (4, 5):
        bed.receive(make_echo(), receiver_id)
        bed.await_made(receiver_id)
    bed.handle().stop_receiver(5)
    stopped = bed.wait(lambda e: isinstance(e, ReceiverPosted) and e.payload == "stopped")
    assert stopped.receiver_id == 5


def test_receiver_that_cannot_be_made_tells_its_owner_why(bed: Bed) -> None:
    class OwnError(Exception):
        pass

    def factory(host: Any) -> Any:
        raise OwnError("no such host")

    bed.receive(factory)
    posted = bed.wait(lambda e: isinstance(e, ReceiverPosted))
    assert isinstance(posted.payload, Exception)
    assert "no such host" in str(posted.payload)


def test_receiver_is_stopped_though_it_was_still_being_made(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")

    make = make_echo()

    def made(host: Any) -> Any:
        import os
        import time

        host.post("being made")
        while not os.path.exists(gate):
            time.sleep(0.001)
        return make(host)

    bed.receive(made)
    bed.posted("being made")
    stopping = threading.Thread(target=bed.handle().stop_receiver, args=(0,), daemon=True)
    stopping.start()
    stopping.join(0.5)  # it may wait until the receiver is made, or not
    Path(gate).touch()
    bed.posted("stopped")


def test_message_to_a_receiver_that_is_still_being_made_arrives(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    make = make_echo()

    def made(host: Any) -> Any:
        import os
        import time

        host.post("being made")
        while not os.path.exists(gate):
            time.sleep(0.001)
        return make(host)

    bed.receive(made)
    bed.posted("being made")
    bed.handle().send_to_receiver(0, "hello")
    bed.handle().get_block("unknown")  # answered after the message was taken
    Path(gate).touch()
    bed.posted(("heard", "hello"))


@pytest.mark.parametrize(
    ("level", "room"), [(StorageLevel.MEMORY_ONLY, 1), (StorageLevel.DISK_ONLY, 1), (StorageLevel.MEMORY_AND_DISK, 2)]
)
def test_receiver_waits_when_the_limits_are_reached_and_goes_on_when_blocks_are_removed(
    bed: Bed, level: StorageLevel, room: int
) -> None:
    """Both limits are 100 bytes here."""
    bed.receive(make_filler(level, blocks=room + 1))
    bed.posted(("putting", room))
    assert ("put", room) not in bed.payloads()
    assert bed.handle().get_block("input-0") == b"x" * 60
    bed.handle().remove_blocks(["input-0"])
    bed.posted(("put", room))
    assert bed.handle().get_block(f"input-{room}") == b"x" * 60


def make_filler(level: StorageLevel, blocks: int) -> Callable[[Any], Any]:
    """A receiver that puts blocks of 60 bytes."""

    def factory(host: Any) -> Any:
        import threading

        def fill() -> None:
            for i in range(blocks):
                host.post(("putting", i))
                try:
                    ref = host.put_block(f"input-{i}", [b"x" * 30, b"x" * 30], records=2, level=level)
                except Exception as error:
                    host.post(("refused", type(error).__name__))
                    return
                assert ref.records == 2
                assert ref.locations[0] == host.executor_id
                host.post(("put", i))

        class Filler:
            def stop(self) -> None:
                pass

        threading.Thread(target=fill, daemon=True).start()
        return Filler()

    return factory


def test_block_larger_than_the_limit_is_let_in_alone(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        from headwater.storagelevel import StorageLevel

        host.put_block("input-0", b"x" * 1000, records=1, level=StorageLevel.MEMORY_ONLY)
        host.post("put")

    bed.receive(factory)
    bed.posted("put")
    assert bed.handle().get_block("input-0") == b"x" * 1000


@locally
def test_receiver_that_waits_is_told_off_when_the_backend_stops(bed: Bed) -> None:
    bed.receive(make_filler(StorageLevel.MEMORY_ONLY, blocks=2))
    bed.posted(("putting", 1))
    bed.backend.stop()
    bed.posted(("refused", "IllegalStateException"))


@locally
def test_receivers_are_stopped_with_the_backend(bed: Bed) -> None:
    bed.receive(make_echo())
    bed.await_made()
    bed.backend.stop()
    bed.posted("stopped")


@on_a_cluster
def test_block_is_copied_to_another_executor_when_its_level_asks_for_it(bed: Bed) -> None:
    def factory(host: Any) -> Any:
        from headwater.storagelevel import StorageLevel

        ref = host.put_block("input-0", b"x" * 10, records=1, level=StorageLevel.MEMORY_AND_DISK_2)
        host.post(("put", ref.locations))

    bed.receive(factory)
    bed.posted(("put", tuple(bed.backend.executors())))
    for handle in bed.backend.executors().values():
        assert handle.get_block("input-0") == b"x" * 10


# ------------------------------------------------------------------------------------------------ executors that die
def kill_one(bed: Bed) -> ExecutorLeft:
    """Kill the first executor, and wait for the news."""
    os.kill(executors()[0], signal.SIGKILL)
    left: ExecutorLeft = bed.wait(lambda e: isinstance(e, ExecutorLeft))
    return left


@on_a_cluster
def test_executor_that_dies_leaves_and_is_replaced_by_one_with_a_new_id(bed: Bed) -> None:
    bed.handle().put_block("rdd_0_0", b"x")
    left = kill_one(bed)
    assert left.executor_id not in bed.backend.executors()
    assert bed.backend.left(left.executor_id, left.reason) is None
    joined = bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    assert joined.executor_id not in {event.executor_id for event in bed.events[:2]}
    new = bed.backend.executors()[joined.executor_id]
    assert bed.result(lambda records: 7, handle=new) == 7
    assert new.get_block("rdd_0_0") is None


@on_a_cluster
def test_executor_that_dies_leaves_once(bed: Bed) -> None:
    """Its connection ends and so does its process: that is one death."""
    left = kill_one(bed)
    assert bed.backend.left(left.executor_id, left.reason) is None
    bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    assert len([event for event in bed.events if isinstance(event, ExecutorLeft)]) == 1
    assert len(executors()) == 2


@on_a_cluster
def test_executor_that_gives_up_is_replaced_and_ends(bed: Bed) -> None:
    """Its warden dies again and again, so that it can run no task; its process and its connection live."""
    tired = executors()[0]
    dead: set[int] = set()

    def gives_up() -> bool:
        for pid in {pid for pid in descendants(tired) if name_of(pid).startswith("hw-warden")} - dead:
            dead.add(pid)
            os.kill(pid, signal.SIGKILL)
        return any(isinstance(event, ExecutorLeft) for event in bed.events)

    await_true(gives_up, "the executor gives up")
    left = bed.wait(lambda e: isinstance(e, ExecutorLeft))
    assert left.executor_id not in bed.backend.executors()
    assert bed.backend.left(left.executor_id, left.reason) is None
    bed.wait(lambda e: isinstance(e, ExecutorJoined), 3)
    await_true(lambda: not alive([tired]), "its process has ended")
    assert len([event for event in bed.events if isinstance(event, ExecutorLeft)]) == 1


@on_a_cluster
def test_executor_that_dies_takes_its_workers_and_scratch_directories_along(bed: Bed, tmp_path: Path) -> None:
    for executor_id, handle in bed.backend.executors().items():
        bed.submit(spin(tmp_path / executor_id), handle=handle)
        await_true((tmp_path / executor_id).exists, "the task runs")
    doomed = executors()[0]
    below, directories = descendants(doomed), scratch_directories([doomed])
    assert workers(doomed)
    os.kill(doomed, signal.SIGKILL)
    await_true(lambda: not alive(below), "its warden and workers ended")
    await_true(lambda: not any(map(os.path.exists, directories)), "its directories are gone")


@on_a_cluster
def test_calls_to_an_executor_that_is_gone_do_nothing(bed: Bed) -> None:
    gone = bed.handle()
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    bed.wait(lambda e: isinstance(e, ExecutorLeft), 2)
    assert bed.backend.executors() == {}
    bed.submit(lambda records: 7, handle=gone)
    gone.kill(0, "why not")
    gone.put_block("a", b"x")
    assert gone.get_block("a") is None
    gone.remove_blocks(["a"])
    gone.remove_prefix("a")
    gone.forget_broadcast(1)
    gone.add_file("a", b"", False)
    gone.start_receiver(0, dumps(make_echo()))
    gone.send_to_receiver(0, "hello")
    gone.stop_receiver(0)


@on_a_cluster
def test_call_that_waits_for_an_answer_is_answered_when_the_executor_dies(bed: Bed, tmp_path: Path) -> None:
    gate = str(tmp_path / "never")

    def factory(host: Any) -> Any:
        class Stubborn:
            def receive(self, message: Any) -> None:
                host.post(("heard", message))

            def stop(self) -> None:
                import os
                import time

                host.post("stops")
                while not os.path.exists(gate):
                    time.sleep(0.001)

        return Stubborn()

    bed.receive(factory)
    bed.await_made()
    stopping = threading.Thread(target=bed.handle().stop_receiver, args=(0,), daemon=True)
    stopping.start()
    bed.posted("stops")
    for pid in executors():
        os.kill(pid, signal.SIGKILL)
    stopping.join(PATIENCE_SECONDS)
    assert not stopping.is_alive()
