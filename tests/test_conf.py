"""SparkConf, and what contexts make of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from headwater import SparkContext
from headwater import conf as conf_module
from headwater.conf import SparkConf, UnknownSettingWarning
from headwater.errors import IllegalArgumentException


def empty() -> SparkConf:
    return SparkConf(loadDefaults=False)


@pytest.fixture
def system_properties() -> Iterator[dict[str, str]]:
    before = dict(conf_module.system_properties)
    yield conf_module.system_properties
    conf_module.system_properties.clear()
    conf_module.system_properties.update(before)


# ------------------------------------------------------------------------------------------------- SparkConf
@pytest.mark.parametrize(("value", "text"), [(True, "True"), (1.5, "1.5"), (7, "7"), (None, "None"), ("x", "x")])
def test_conf_keeps_the_str_of_a_value(value: object, text: str) -> None:
    assert empty().set("my.key", value).get("my.key") == text


def test_conf_setters_chain() -> None:
    conf = empty().setMaster("local[2]").setAppName("a").setSparkHome("/opt").setAll([("x", 1), ("y", 2)])
    assert conf.getAll() == [
        ("spark.master", "local[2]"),
        ("spark.app.name", "a"),
        ("spark.home", "/opt"),
        ("x", "1"),
        ("y", "2"),
    ]


def test_conf_prints_key_value_lines_in_order_of_setting() -> None:
    assert empty().set("b", 1).set("a", 2).set("b", 3).toDebugString() == "b=3\na=2"


def test_conf_set_if_missing_keeps_what_is_there() -> None:
    conf = empty().set("a", 1).setIfMissing("a", 2).setIfMissing("b", 3)
    assert conf.getAll() == [("a", "1"), ("b", "3")]


def test_conf_get_returns_the_given_default_and_not_the_tables() -> None:
    assert empty().get("spark.locality.wait") is None
    assert empty().get("spark.locality.wait", "9s") == "9s"
    assert not empty().contains("spark.locality.wait")


def test_conf_executor_env_takes_a_pair_or_pairs() -> None:
    conf = empty().setExecutorEnv("A", "1").setExecutorEnv(pairs=[("B", "2"), ("C", "3")])
    assert conf.getAll() == [("spark.executorEnv.A", "1"), ("spark.executorEnv.B", "2"), ("spark.executorEnv.C", "3")]


@pytest.mark.parametrize("arguments", [{}, {"key": "A", "value": "1", "pairs": [("B", "2")]}])
def test_conf_executor_env_refuses_both_and_neither(arguments: dict[str, object]) -> None:
    with pytest.raises(Exception, match="Either pass one key-value pair or a list of pairs"):
        empty().setExecutorEnv(**arguments)  # type: ignore[arg-type]


def test_conf_clone_is_independent() -> None:
    conf = empty().set("a", 1)
    copy = conf.clone().set("a", 2)
    assert (conf.get("a"), copy.get("a")) == ("1", "2")


def test_conf_ignores_the_arguments_that_only_a_jvm_needs() -> None:
    assert SparkConf(False, object(), object()).getAll() == []


# ------------------------------------------------------------------------------------------------- values
def test_duration_without_unit_counts_the_keys_unit() -> None:
    conf = empty().set("spark.network.timeout", "5").set("spark.streaming.receiverRestartDelay", "5")
    assert conf.read("spark.network.timeout") == 5000
    assert conf.read("spark.streaming.receiverRestartDelay") == 5


def test_value_is_read_without_the_space_around_it() -> None:
    assert empty().set("spark.locality.wait", " 3 S ").read("spark.locality.wait") == 3000


def test_size_without_unit_counts_the_keys_unit() -> None:
    assert empty().set("spark.executor.memory", "512").read("spark.executor.memory") == 512 * 2**20


@pytest.mark.parametrize("value", [True, "True", "true", "TRUE", " true "])
def test_boolean_is_read_in_any_case(value: object) -> None:
    assert empty().set("spark.rdd.compress", value).read("spark.rdd.compress") is True


def test_choice_is_read_as_the_table_writes_it() -> None:
    assert empty().set("spark.scheduler.mode", "fair").read("spark.scheduler.mode") == "FAIR"


@pytest.mark.parametrize(
    ("key", "value", "accepted"),
    [
        ("spark.rdd.compress", "yes", "a boolean: true or false"),
        ("spark.task.maxFailures", "0", "an integer of at least 1"),
        ("spark.task.maxFailures", "4.0", "an integer of at least 1"),
        ("spark.memory.fraction", "nan", "a number of at least 0"),
        ("spark.memory.fraction", "much", "a number of at least 0"),
        ("spark.locality.wait", "3 weeks", r"a duration: .*\(alone it counts ms\), such as 30s"),
        ("spark.locality.wait", "0.5s", "a duration"),
        ("spark.locality.wait", "-1s", "a duration"),
        ("spark.locality.wait", "", "a duration"),
        ("spark.streaming.blockInterval", "0", "a duration"),
        ("spark.executor.memory", "1 gig", r"a size: .*\(alone it counts m\), such as 512m"),
        ("spark.io.compression.codec", "middle-out", "one of zstd, lz4"),
        ("spark.streaming.backpressure.rateEstimator", "guess", "one of pid"),
    ],
)
def test_invalid_value_raises_when_set_and_names_key_value_and_remedy(key: str, value: str, accepted: str) -> None:
    conf = empty()
    with pytest.raises(IllegalArgumentException, match=f"^{key}: '{value}' is not {accepted}"):
        conf.set(key, value)
    assert conf.getAll() == []


def test_invalid_value_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="spark.ui.port"):
        empty().set("spark.ui.port", "http")


# ------------------------------------------------------------------------------------------------- keys
def test_misspelt_key_warns_with_the_nearest_and_is_kept() -> None:
    with pytest.warns(UnknownSettingWarning, match=r"Did you mean spark\.streaming\.blockInterval\?") as caught:
        conf = empty().set("spark.streaming.blockIntervall", "1s")
    assert conf.get("spark.streaming.blockIntervall") == "1s"
    assert [warning.filename for warning in caught] == [__file__]


def test_misspelt_key_of_headwaters_own_warns() -> None:
    with pytest.warns(UnknownSettingWarning, match=r"Did you mean headwater\.shuffle\.inlineLimit\?"):
        empty().set("headwater.shuffle.inlinelimit", "1k")


@pytest.mark.parametrize(
    "key",
    [
        "my.app.setting",
        "spark.hadoop.fs.s3a.endpoint",
        "spark.executorEnv.PATH",
        "spark.sql.shuffle.partitions",
        "spark.yarn.queue",
        "spark.kubernetes.namespace",
        "spark.akka.frameSize",
        "spark.jars.packages",
        "spark.metrics.conf.driver.sink.class",
    ],
)
def test_key_of_the_program_or_of_an_open_family_is_kept_silently(key: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert empty().set(key, "x").get(key) == "x"


def test_older_name_of_a_key_means_the_key() -> None:
    old, new = "spark.streaming.minRememberDuration", "spark.streaming.fileStream.minRememberDuration"
    conf = empty().set(old, "5s")
    assert conf.getAll() == [(new, "5s")]
    assert conf.get(old) == conf.get(new) == "5s"
    assert conf.contains(old)
    assert conf.read(new) == 5000


def test_read_refuses_a_key_that_is_not_in_the_table() -> None:
    with pytest.raises(KeyError, match="spark.no.such.key"):
        empty().read("spark.no.such.key")


# ------------------------------------------------------------------------------------------------- defaults
def test_conf_begins_with_the_defaults_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text(
        "# a comment\n\nspark.master   spark://host:7077\nspark.app.name=from file\n"
        "spark.task.cpus: 2\nspark.home\nother.key 1\n"
    )
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    assert SparkConf().getAll() == [
        ("spark.master", "spark://host:7077"),
        ("spark.app.name", "from file"),
        ("spark.task.cpus", "2"),
        ("spark.home", ""),
    ]
    assert empty().getAll() == []


def test_conf_names_the_line_of_an_invalid_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.app.name a\nspark.task.cpus many\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    with pytest.raises(IllegalArgumentException, match=r"spark-defaults\.conf, line 2: spark\.task\.cpus: 'many'"):
        SparkConf()


def test_system_properties_win_over_the_defaults_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system_properties: dict[str, str]
) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.app.name file\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    system_properties.update({"spark.app.name": "property", "user.dir": "/tmp"})
    assert SparkConf().getAll() == [("spark.app.name", "property")]


def test_conf_does_without_a_defaults_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPARK_CONF_DIR", raising=False)
    assert SparkConf().getAll() == []


# ---------------------------------------------------------------------------------------- settings without effect
def test_context_warns_once_of_all_settings_without_effect(no_context: None, caplog: pytest.LogCaptureFixture) -> None:
    conf = empty().setMaster("local").setAppName("a").set("spark.ui.port", 80).set("spark.kryo.x", 1)
    with SparkContext(conf=conf):
        assert caplog.messages == ["spark.ui.port has no effect yet"]
    caplog.clear()
    with SparkContext(conf=conf.set("spark.task.cpus", 2)):
        assert caplog.messages == ["spark.ui.port, spark.task.cpus have no effect yet"]
    assert [(record.name, record.levelname) for record in caplog.records] == [("headwater.context", "WARNING")]


def test_context_does_not_warn_of_what_contexts_set(no_context: None, caplog: pytest.LogCaptureFixture) -> None:
    with SparkContext(conf=empty().setMaster("local").setAppName("a")) as sc:
        conf = sc.getConf()
    with SparkContext(conf=conf):
        assert caplog.messages == []


# ------------------------------------------------------------------------------------------------- refused settings
@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("spark.network.crypto.enabled", "true", "not encrypted"),
        ("spark.network.crypto.enabled", "TRUE", "not encrypted"),
        ("spark.network.crypto.keyLength", "256", "not encrypted"),
        ("spark.authenticate.enableSaslEncryption", "true", "not encrypted"),
        ("spark.network.sasl.serverAlwaysEncrypt", "true", "not encrypted"),
        ("spark.ssl.enabled", "true", "not encrypted"),
        ("spark.ssl.ui.enabled", "true", "not encrypted"),
        ("spark.ssl.keyPassword", "hunter2", "not encrypted"),
        ("spark.authenticate.secret.file", "/run/secret", "Set spark.authenticate.secret"),
        ("spark.acls.enable", "true", "no web UI"),
        ("spark.admin.acls", "alice", "no web UI"),
        ("spark.ui.filters", "org.example.Login", "no web UI"),
        ("spark.ui.strictTransportSecurity", "max-age=31536000", "no web UI"),
        ("spark.kerberos.keytab", "/etc/app.keytab", "kinit"),
        ("spark.yarn.principal", "app@EXAMPLE.ORG", "kinit"),
        ("spark.sql.redaction.string.regex", "[0-9]+", "no plans of SQL"),
        ("headwater.streaming.log.keyFile", "/key", r"headwater\.encryption\.keyFile"),
        ("headwater.streaming.log.keyVariable", "KEY", r"headwater\.encryption\.keyVariable"),
    ],
)
def test_setting_is_refused_when_it_asks_for_a_protection_that_is_not_there(key: str, value: str, says: str) -> None:
    conf = empty()
    with pytest.raises(IllegalArgumentException, match=f"{re.escape(key)} is refused: .*{says}") as raised:
        conf.set(key, value)
    assert value not in str(raised.value)  # it may be a secret
    assert not conf.contains(key)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.network.crypto.enabled", "false"),
        ("spark.ssl.enabled", "False"),
        ("spark.acls.enable", "false"),
        ("spark.ui.view.acls", "*"),
        ("spark.ui.filters", ""),
        ("spark.authenticate", "true"),
        ("spark.authenticate", "false"),  # more than is asked for does no harm
    ],
)
def test_setting_of_a_protection_is_taken_when_it_asks_for_none(key: str, value: str) -> None:
    assert empty().set(key, value).get(key) == value


def test_refused_setting_of_the_defaults_file_names_the_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spark-defaults.conf").write_text("spark.app.name a\nspark.ssl.enabled true\n")
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    with pytest.raises(IllegalArgumentException, match=r"spark-defaults\.conf, line 2: spark\.ssl\.enabled is refused"):
        SparkConf()


def test_settings_that_the_redaction_pattern_matches_are_shown_masked() -> None:
    conf = empty().set("spark.redaction.regex", "(?i)customer").set("my.customer", "a").set("my.name", "Customer 7")
    shown = conf.set("my.other", "b").toDebugString().splitlines()
    assert [line.partition("=")[2] for line in shown[1:]] == ["*********(redacted)", "*********(redacted)", "b"]
    with pytest.raises(IllegalArgumentException, match=r"spark\.redaction\.regex: '\(' is not a regular expression"):
        conf.set("spark.redaction.regex", "(")
