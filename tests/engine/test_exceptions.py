"""Exceptions of user code that are hard to carry: what the caller gets, and that nothing else is harmed."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from headwater import accumulators
from headwater.accumulators import AccumulatorParam
from headwater.errors import SparkException, TaskError
from tests.engine.applications import App, with_workers
from tests.waiting import PATIENCE_SECONDS


class OnlyHere:
    """Can be unpickled in the process where it was pickled, and nowhere else."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return _only_in, (os.getpid(),)


def _only_in(pid: int) -> OnlyHere:
    import os

    if pid != os.getpid():
        raise LookupError("not in this process")
    return OnlyHere()


def _raise(error: Any) -> Any:
    def fail(_partition: int, _records: Any) -> None:
        raise error()

    return fail


@with_workers
def test_exception_that_cannot_be_unpickled_in_the_driver_is_reported_by_its_text_and_traceback(app: App) -> None:
    class Mine(Exception):
        def __reduce__(self) -> tuple[Any, ...]:
            return Mine, (OnlyHere(),)

    def fail(_partition: int, _records: Any) -> None:
        raise Mine("what matters")

    with pytest.raises(TaskError, match="Mine: what matters") as caught:
        app.result(app.source([1]), fail)
    assert "in fail" in caught.value.traceback_text
    assert app.works()


def test_exception_with_endless_text_is_reported_by_its_beginning_and_end(app: App) -> None:
    def fail(_partition: int, _records: Any) -> None:
        raise ValueError("the beginning " + "x" * 50_000_000 + " the end")

    with pytest.raises(SparkException) as caught:
        app.result(app.source([1]), fail)
    text = str(caught.value)
    assert len(text) < 200_000
    assert "ValueError: the beginning xxx" in text
    assert "characters are left out here" in text
    assert text.endswith("xxx the end")
    assert app.works()


def test_exception_whose_methods_raise_is_reported_by_its_type(app: App) -> None:
    class Sullen(Exception):
        def __str__(self) -> str:
            raise SystemExit("from __str__")

        def __reduce__(self) -> Any:
            raise SystemExit("from __reduce__")

    with pytest.raises(TaskError, match="Sullen"):
        app.result(app.source([1]), _raise(Sullen))
    assert app.works()


def test_exception_that_refuses_attributes_is_raised_with_its_place_as_cause(app: App) -> None:
    class Refused(Exception):
        def __setattr__(self, name: str, value: Any) -> None:
            raise AttributeError(name)

    with pytest.raises(Exception) as caught:
        app.result(app.source([1]), _raise(Refused))
    assert type(caught.value).__name__ == "Refused"
    assert isinstance(caught.value.__cause__, TaskError)


@pytest.mark.parametrize("error", [StopIteration, StopAsyncIteration])
def test_jobs_stop_iteration_ends_no_iteration_of_the_callers(app: App, error: type[Exception]) -> None:
    jobs = iter([_raise(error)])
    with pytest.raises(TaskError, match=error.__name__):
        list(map(lambda job: app.result(app.source([1]), job), jobs))
    assert app.works()


@with_workers
def test_result_that_cannot_be_unpickled_in_the_driver_is_the_callers_error(app: App) -> None:
    with pytest.raises(SparkException, match="can't be unpickled here: LookupError: not in this process"):
        app.result(app.source([1]), lambda _partition, _records: OnlyHere())
    assert app.works()


class Leaving(AccumulatorParam[int]):
    """Adds in tasks, and leaves in the driver."""

    def zero(self, value: int) -> int:
        return 0

    def addInPlace(self, value1: int, value2: int) -> int:
        if value1 == value2 == 1_000:
            raise SystemExit("from addInPlace")
        return value1 + value2


def test_accumulator_that_leaves_in_the_driver_fails_its_job_and_not_the_application(app: App) -> None:
    leaving = accumulators.create(1_000, Leaving())

    def add(_partition: int, _records: Any) -> None:
        leaving.add(1_000)

    with pytest.raises(SparkException, match="adding up its accumulators raised SystemExit: from addInPlace"):
        app.result(app.source([1]), add)
    assert app.works()


@with_workers
def test_accumulator_update_that_cannot_be_unpickled_fails_its_job_and_not_the_application(app: App) -> None:
    class Last(AccumulatorParam[Any]):
        def zero(self, value: Any) -> Any:
            return None

        def addInPlace(self, value1: Any, value2: Any) -> Any:
            return value2

    last = accumulators.create(None, Last())

    def add(_partition: int, _records: Any) -> None:
        last.add(OnlyHere())

    with pytest.raises(SparkException, match="adding up its accumulators raised LookupError: not in this process"):
        app.result(app.source([1]), add)
    assert app.works()


_WITHOUT_MEMORY = """
import resource, sys
from headwater import SparkContext

sc = SparkContext(sys.argv[1], "tests")
numbers = sc.parallelize(range(8), 8)
assert numbers.count() == 8
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (200 << 20), resource.RLIM_INFINITY))
try:
    numbers.map(lambda n: bytes(60 << 20)).collect()
except Exception as error:
    print(type(error).__name__, error)
print(numbers.count())
sc.stop()
"""


@pytest.mark.parametrize("master", ["local", "local[2]", "local-cluster[1,2,512]"])
def test_results_for_which_the_driver_has_no_memory_fail_their_job_and_not_the_application(
    tmp_path: Path, master: str
) -> None:
    command = [sys.executable, "-c", _WITHOUT_MEMORY, master]
    done = run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, cwd=tmp_path)
    error, count = done.stdout.splitlines()
    assert "no memory" in error or "MemoryError" in error
    assert "was lost" not in error
    assert (count, done.returncode) == ("8", 0)
