"""What stands in the main script, which workers don't have."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

SCRIPT = """
    import functools, json, typing
    from headwater import SparkContext

    sc = SparkContext("local[2]", "script")
    one = sc.parallelize([30], 1)
    seen = {}

    @functools.lru_cache(maxsize=None)
    def fibonacci(n):
        "Its documentation."
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)

    class Table:
        @classmethod
        @functools.lru_cache(maxsize=7)
        def row(cls, number):
            return [number]

    UserId = typing.NewType("UserId", int)

    class Marker:
        def __reduce__(self):
            return "MARKER"

    MARKER = Marker()

    def fails(record):
        return 1 // (record - 30)

    seen["cached"] = one.map(lambda n: [fibonacci(n), fibonacci.cache_info().misses, fibonacci.__doc__]).first()
    seen["passed"] = one.map(fibonacci).first()
    seen["method"] = one.map(lambda n: [Table.row(n), Table.row.cache_parameters()["maxsize"]]).first()
    seen["new type"] = one.map(lambda n: UserId(n)).first()
    try:
        one.map(lambda n: MARKER).count()
    except AttributeError as error:
        seen["by name"] = str(error)
    try:
        one.map(fails).count()
    except ZeroDivisionError as error:
        seen["traceback"] = error.__cause__.traceback_text
    print(json.dumps(seen))
    sc.stop()
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("script") / "app.py"
    path.write_text(textwrap.dedent(SCRIPT))
    return path


@pytest.fixture(scope="module")
def seen(script: Path) -> dict[str, Any]:
    """What the script saw."""
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    saw: dict[str, Any] = json.loads(done.stdout)
    return saw


def test_cached_function_of_the_script_works_in_tasks(seen: dict[str, Any]) -> None:
    assert seen["cached"] == [832040, 31, "Its documentation."]
    assert seen["passed"] == 832040


def test_cached_method_of_a_class_of_the_script_keeps_its_parameters(seen: dict[str, Any]) -> None:
    assert seen["method"] == [[30], 7]


def test_new_type_of_the_script_works_in_tasks(seen: dict[str, Any]) -> None:
    assert seen["new type"] == 30


def test_what_the_script_pickles_by_name_only_is_an_error_with_the_remedy(seen: dict[str, Any]) -> None:
    assert "Can't get attribute 'MARKER' on <module '__main__'>" in seen["by name"]
    assert "sc.addPyFile" in seen["by name"]


def test_traceback_of_a_task_shows_the_script_and_its_line(seen: dict[str, Any], script: Path) -> None:
    line = 1 + script.read_text().splitlines().index("    return 1 // (record - 30)")
    assert f'File "{script}", line {line}, in fails\n    return 1 // (record - 30)\n' in seen["traceback"]
