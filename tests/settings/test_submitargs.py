"""PYSPARK_SUBMIT_ARGS: spark-submit's options as settings."""

from __future__ import annotations

import pytest

from headwater import SparkConf
from headwater.errors import IllegalArgumentException
from headwater.settings.submitargs import UnknownOptionWarning, settings_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("pyspark-shell", {}),
        ("--master local[2] pyspark-shell", {"spark.master": "local[2]"}),
        ("--master=local[2]", {"spark.master": "local[2]"}),
        ("--name 'two words' pyspark-shell", {"spark.app.name": "two words"}),
        ("--conf a.b=c=d -c e= pyspark-shell", {"a.b": "c=d", "e": ""}),
        ("--verbose --class Main --executor-memory 2g x.py", {"spark.executor.memory": "2g"}),
        ("--jars a.jar,b.jar pyspark-shell", {"spark.jars": "a.jar,b.jar"}),
        ("--driver-java-options -Dx=1 --files a", {"spark.driver.extraJavaOptions": "-Dx=1", "spark.files": "a"}),
        ("pyspark-shell --master local[2]", {}),  # the program's own
    ],
)
def test_options_become_settings(text: str, expected: dict[str, str]) -> None:
    assert settings_of(text) == expected


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("--master", "--master has no value"),
        ("--conf spark.ui.port pyspark-shell", "--conf 'spark.ui.port' is not key=value"),
        ("--name 'open", "No closing quotation"),
    ],
)
def test_a_line_that_is_none_of_spark_submits_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(IllegalArgumentException, match=f"PYSPARK_SUBMIT_ARGS: {complaint}"):
        settings_of(text)


@pytest.mark.parametrize("text", ["--foo bar", "--foo=bar", "--foo"])
def test_an_option_that_is_not_known_is_ignored_with_a_warning(text: str) -> None:
    with pytest.warns(UnknownOptionWarning, match="PYSPARK_SUBMIT_ARGS: option --foo isn't known, and is ignored"):
        assert settings_of(f"--name a {text} --master local pyspark-shell") == settings_of("--name a --master local")
    with pytest.warns(UnknownOptionWarning):
        assert settings_of(f"{text} pyspark-shell") == {}


def test_a_program_s_own_settings_win_over_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] --name options pyspark-shell")
    conf = SparkConf().setAppName("program")
    assert (conf.get("spark.app.name"), conf.get("spark.master")) == ("program", "local[2]")
    assert SparkConf(loadDefaults=False).getAll() == []


def test_options_win_over_the_defaults_file(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with open(f"{tmp_path}/spark-defaults.conf", "w") as file:
        file.write("spark.master local\nspark.task.cpus 1\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--master local[2] pyspark-shell")
    assert SparkConf().getAll() == [("spark.master", "local[2]"), ("spark.task.cpus", "1")]


def test_a_value_that_is_not_valid_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", "--conf spark.task.cpus=many pyspark-shell")
    with pytest.raises(IllegalArgumentException, match="PYSPARK_SUBMIT_ARGS: spark.task.cpus: 'many' is not an intege"):
        SparkConf()
