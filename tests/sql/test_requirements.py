"""What the extra for SQL needs is looked at before it is imported: what is wrong is said once, with the remedy."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata, util
from typing import Any

import pytest

from headwater.errors import SparkException
from headwater.sql import requirements


@pytest.fixture(autouse=True)
def _not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pyspark.sql.connect.session", raising=False)


def versions(monkeypatch: pytest.MonkeyPatch, **installed: str) -> None:
    """Have these packages be installed, `_` in their names for `-`."""

    def version(package: str) -> str:
        try:
            return installed[package.replace("-", "_")]
        except KeyError:
            raise metadata.PackageNotFoundError(package) from None

    monkeypatch.setattr(metadata, "version", version)


def there_is_none_of(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    find_spec = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name in names else find_spec(name))


def test_the_packages_of_the_extra_suffice(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, pyspark_client="4.2.1", pysail="0.7.2")
    requirements.check()


@pytest.mark.parametrize("missing", ["pysail", "pyspark"])
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    versions(monkeypatch)
    there_is_none_of(monkeypatch, missing)
    with pytest.raises(SparkException, match=r"pysail and pyspark-client: pip install 'headwater\[sql\]'"):
        requirements.check()


@pytest.mark.parametrize(
    ("system", "machine", "libc", "has_wheel"),
    [
        ("linux", "x86_64", "glibc", True),
        ("linux", "aarch64", "glibc", False),
        ("linux", "x86_64", "", False),  # musl
        ("darwin", "arm64", "", True),
        ("freebsd14", "amd64", "", False),
    ],
)
def test_where_there_is_no_wheel_that_is_said(
    monkeypatch: pytest.MonkeyPatch, system: str, machine: str, libc: str, has_wheel: bool
) -> None:
    versions(monkeypatch)
    there_is_none_of(monkeypatch, "pysail")
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: (libc, ""))
    with pytest.raises(SparkException) as caught:
        requirements.check()
    assert ("there is no wheel of pysail for" in str(caught.value)) is not has_wheel


def test_pyspark_beside_its_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, pyspark="4.3.0", pyspark_client="4.2.0")
    with pytest.raises(SparkException, match=r"overwrite each other's files.*pip uninstall pyspark pyspark-client"):
        requirements.check()


@pytest.mark.parametrize("client", ["4.1.3", "4.3.0"])
def test_another_client_is_refused(monkeypatch: pytest.MonkeyPatch, client: str) -> None:
    versions(monkeypatch, pyspark_client=client)
    with pytest.raises(SparkException, match=rf"SQL needs pyspark-client 4\.2, and {client} is installed"):
        requirements.check()


def test_a_session_says_it_when_sql_is_first_used(no_context: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from headwater.sql import SparkSession

    versions(monkeypatch)
    there_is_none_of(monkeypatch, "pysail")
    with SparkSession.builder.master("local").getOrCreate() as spark:
        assert spark.sparkContext.parallelize([1]).count() == 1
        uses: list[Any] = [lambda: spark.sql("SELECT 1"), lambda: spark.read, lambda: spark.createDataFrame([(1,)])]
        for use in uses:
            with pytest.raises(SparkException, match=r"headwater\[sql\]"):
                use()


@pytest.mark.parametrize("given", ["-c", "-"])
def test_a_program_without_a_file_can_use_sql(given: str) -> None:
    """PySpark's client ends such a program when it's imported."""
    program = (
        "from headwater.sql import SparkSession\n"
        "from headwater.sql.functions import lit\n"
        "with SparkSession.builder.master('local').getOrCreate() as spark:\n"
        "    print(spark.range(1).select(lit('there').alias('x')).collect())\n"
    )
    command = [sys.executable, "-c", program] if given == "-c" else [sys.executable, "-"]
    run = subprocess.run(command, input=program, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == "[Row(x='there')]\n"
