"""What cases of SQL print, return and raise, recorded with PySpark and compared with Headwater.

The cases are the functions of `cases/*.py`, written for Headwater. To run them against a package with PySpark's layout,
a module's source is executed with that package's name in place of Headwater's. To record them anew:

    python -m tests.sql.recording --package pyspark --to tests/sql/recorded.json
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import patch

CASES = Path(__file__).parent / "cases"
RECORDED = Path(__file__).parent / "recorded.json"

# A session, a fresh directory's path.
Case = Callable[[Any, str], Any]

# Those that cases change.
_SETTINGS = ("spark.sql.ansi.enabled", "spark.sql.caseSensitive", "spark.sql.session.timeZone")


@dataclass(frozen=True)
class Outcome:
    """What a case did; in all texts the path of its directory is written TMP.

    `returned` is a repr, or a schema as Spark's simple string; `raised` an exception's class, `message` the first line
    of its text, or the last one of a traceback in it.
    """

    printed: list[str] = field(default_factory=list)
    returned: str | None = None
    raised: str | None = None
    message: str | None = None


def cases(package: str) -> dict[str, Case]:
    """The cases of all modules as they run against a package, by `module.case`, in the order of their source."""
    return {
        f"{path.stem}.{name}": function
        for path in sorted(CASES.glob("*.py"))
        for name, function in _functions(path, package)
    }


def _functions(path: Path, package: str) -> Iterator[tuple[str, Case]]:
    module = ModuleType(f"cases_{path.stem}")
    source = re.sub(r"\bheadwater\b", package, path.read_text())
    # Among the modules only while it is executed, where dataclasses look for it: pickles must hold its functions and
    # classes themselves, since workers can't import them.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
    finally:
        del sys.modules[module.__name__]
    for name, value in vars(module).items():
        if isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_"):
            yield name, value


def session(package: str, directory: str) -> Any:
    """A session to run cases in, whose tables are kept in a directory."""
    builder = import_module(f"{package}.sql").SparkSession.builder.master("local[2]").appName("cases")
    builder = builder.config("spark.ui.enabled", "false").config("spark.sql.shuffle.partitions", "2")
    builder = builder.config("spark.sql.warehouse.dir", str(Path(directory, "warehouse")))
    spark = builder.getOrCreate()
    if package == "pyspark":
        spark.sparkContext.setLogLevel("ERROR")
    return spark


def outcome(case: Case, spark: Any, tmp: str) -> Outcome:
    """Run a case; the session is then as it was before, but for functions that the case registered.

    Args:
        case: what to run.
        spark: a session of the package that the case is for.
        tmp: the path of a fresh directory.
    """
    spark.conf.set("spark.sql.session.timeZone", "UTC")
    out = io.StringIO()
    returned = raised = message = None
    try:
        with redirect_stdout(out):
            value = case(spark, tmp)
        if value is not None:
            returned = value.simpleString() if type(value).__name__.endswith("Type") else repr(value)
    except Exception as error:
        raised = type(error).__name__
        message = _first_line(str(error))
    finally:
        _cleaned(spark)
    printed, returned, message = (text and text.replace(tmp, "TMP") for text in (out.getvalue(), returned, message))
    return Outcome((printed or "").splitlines(), returned, raised, message)


def _first_line(text: str) -> str:
    """The first line of an exception's text; where that is a traceback, the line of the exception in it."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or [""]
    return lines[-1] if "Traceback (most recent call last):" in lines else lines[0]


def _cleaned(spark: Any) -> None:
    for key in _SETTINGS:
        spark.conf.unset(key)
    for table in spark.catalog.listTables():
        if table.isTemporary:
            spark.catalog.dropTempView(table.name)
        else:
            spark.sql(f"DROP TABLE IF EXISTS {table.name}")


@contextmanager
def utc() -> Iterator[None]:
    """UTC is this process's local time, which naive datetimes are in."""
    try:
        with patch.dict(os.environ, TZ="UTC"):
            time.tzset()
            yield
    finally:
        time.tzset()


def recorded() -> dict[str, Outcome]:
    """What PySpark did, by `module.case`."""
    return {name: Outcome(**values) for name, values in json.loads(RECORDED.read_text())["cases"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what the cases of SQL do with a package of PySpark's layout.")
    parser.add_argument("--package", default="pyspark", help="the package, as it is imported")
    parser.add_argument("--to", type=Path, default=RECORDED, help="the file to write")
    parser.add_argument("--only", default="", help="run just the cases whose name this regular expression is found in")
    arguments = parser.parse_args()
    to = arguments.to.resolve()
    os.environ["PYSPARK_PYTHON"] = sys.executable  # else PySpark's workers are the first python3 of the path
    with tempfile.TemporaryDirectory() as scratch, utc():
        os.chdir(scratch)  # where Spark would leave its metastore
        spark = session(arguments.package, scratch)
        outcomes = {}
        for name, case in cases(arguments.package).items():
            if re.search(arguments.only, name):
                outcomes[name] = asdict(outcome(case, spark, tempfile.mkdtemp(dir=scratch)))
        record = {"package": arguments.package, "version": spark.version, "cases": outcomes}
        spark.stop()
        to.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
